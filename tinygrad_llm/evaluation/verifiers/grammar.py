"""A grammar of answers: LaTeX and plain formulas as trees. Nothing is ever evaluated as a program.

sympy's own parser runs Python's eval on a text. Here a text becomes tokens of a closed list, and
these become a tree of lists and texts, which JSON can hold:

    ["num", "14/3"]   ["sym", "x"]   ["const", "pi"]   ["add", a, b]   ["mul", a, b]   ["div", a, b]
    ["pow", a, b]   ["neg", a]   ["fn", "sqrt", a]   ["eq", a, b]   ["rel", "<", a, b]
    ["tuple", "(", ")", a, ...]   ["list", a, ...]   ["set", a, ...]   ["union", a, ...]
    ["matrix", [a, ...], ...]   ["base", digits, base]   ["text", words]

A text is at most LONGEST letters, and its brackets are at most DEEPEST deep.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from .latex import normalise

__all__ = ["DEEPEST", "FUNCTIONS", "LONGEST", "ParseError", "parse"]

LONGEST, DEEPEST = 2_000, 50
Tree = list[Any]

FUNCTIONS = (
    "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "log", "ln",
    "exp", "abs",
)  # fmt: skip
_CONSTANTS = {"pi": "pi", "infty": "inf", "infinity": "inf", "inf": "inf"}
_NAMES = {name: name for name in FUNCTIONS} | {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_GREEK = (
    "alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "omega", "sigma", "rho",
)  # fmt: skip
_OPERATORS = {
    "cdot": "*", "times": "*", "div": "/", "pm": "±", "cup": "∪", "le": "<=", "leq": "<=",
    "ge": ">=", "geq": ">=", "lt": "<", "gt": ">", "ne": "!=", "neq": "!=",
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d+|\.\d+|\d+)|\\(?P<command>[A-Za-z]+)|(?P<word>[A-Za-z]+)"
    r"|(?P<row>\\\\)|(?P<brace>\\[{}])|(?P<sign>\*\*|<=|>=|!=|[-+*/^_=<>(){}\[\],&!|]))"
)


class ParseError(ValueError):
    """A text that is not an answer in this grammar."""


def parse(text: str) -> Tree:
    """The tree of an answer; see the top of this file.

    Raises: ParseError for a text that the grammar does not know, is too long, or too deep.
    """
    if len(text) > LONGEST:
        raise ParseError(f"an answer has at most {LONGEST:,} letters, this one has {len(text):,}")
    plain = normalise(text)
    if not plain:
        raise ParseError("the answer is empty")
    words = _words(plain)
    return ["text", words] if words is not None else _Parser(plain).whole()


def _words(text: str) -> str | None:
    """The words of an answer that is not a formula, such as a name; None for a formula."""
    letter = re.fullmatch(r"\(([A-Za-z])\)", text)
    if letter:
        return letter[1].lower()
    if not re.fullmatch(r"[A-Za-z][A-Za-z' -]*[A-Za-z]", text):
        return None
    parts = re.findall(r"[A-Za-z]+", text)
    known = all(p in _NAMES or p in _CONSTANTS or len(p) == 1 for p in parts)
    return None if known else " ".join(text.lower().split())


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ParseError(f"{text[place:].strip()[:1]!r} is not part of a formula: {text[:60]}")
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind]))
        place = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, _tokens(text)
        self.place, self.depth = 0, 0

    # ------------------------------------------------------------------------------ the tokens
    @property
    def next(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")

    def at(self, *signs: str) -> bool:
        """Whether the next token is one of these signs."""
        kind, value = self.next
        if kind == "command":
            value = _OPERATORS.get(value, "")
        return kind in ("sign", "command", "row", "brace") and value in signs

    def take(self) -> tuple[str, str]:
        token = self.next
        self.place += 1
        return token

    def accept(self, *signs: str) -> str | None:
        if not self.at(*signs):
            return None
        kind, value = self.take()
        return _OPERATORS[value] if kind == "command" else value

    def expect(self, sign: str) -> None:
        if self.accept(sign) is None:
            raise self.error(f"expected {sign}")

    def error(self, what: str) -> ParseError:
        return ParseError(f"{what} at {self.next[1] or 'the end'!r} of {self.text[:60]!r}")

    # ----------------------------------------------------------------------------- the grammar
    def whole(self) -> Tree:
        parts = [self.relation()]
        while self.accept("∪"):
            parts.append(self.relation())
        tree = parts[0] if len(parts) == 1 else ["union", *parts]
        if self.at(","):
            items = [tree]
            while self.accept(","):
                items.append(self.relation())
            tree = ["list", *(one for item in items for one in _several(item))]
        if self.next[0] == "word" and self.next[1] in ("and", "or"):
            self.take()
            tree = ["list", *_several(tree), *_several(self.whole())]
        if self.next[0] != "end":
            raise self.error("something is left")
        return tree

    def relation(self) -> Tree:
        left = self.sum()
        sign = self.accept("=", "<", ">", "<=", ">=", "!=")
        if sign is None:
            return left
        right = self.sum()
        return ["eq", left, right] if sign == "=" else ["rel", sign, left, right]

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ParseError(f"brackets are at most {DEEPEST} deep")
        tree = self.product(self.accept("+", "-", "±"))
        while sign := self.accept("+", "-", "±"):
            right = self.product(None)
            if sign == "±":
                tree = ["list", ["add", tree, right], ["add", tree, ["neg", right]]]
            else:
                tree = _over(lambda t, r=right, s=sign: ["add", t, ["neg", r] if s == "-" else r],
                             tree)  # fmt: skip
        self.depth -= 1
        return tree

    def product(self, sign: str | None) -> Tree:
        tree = self.power()
        while True:
            if self.accept("*", "**"):
                tree = ["mul", tree, self.signed()]
            elif self.accept("/"):
                tree = ["div", tree, self.signed()]
            elif self.starts_factor():
                mixed = tree[0] == "num" and self.next == ("command", "frac")
                right = self.power()
                whole = mixed and right[0] == "div" and _natural(tree) and _natural(right[1])
                tree = ["add" if whole else "mul", tree, right]
            else:
                break
        if sign == "±":
            return ["list", tree, ["neg", tree]]
        return ["neg", tree] if sign == "-" else tree

    def signed(self) -> Tree:
        return ["neg", self.signed()] if self.accept("-") else self.power()

    def starts_factor(self) -> bool:
        kind, value = self.next
        if kind == "number":
            return self.tokens[self.place - 1][0] != "number"
        if kind == "word":
            return value not in ("and", "or")
        if kind == "command":
            return value not in _OPERATORS and value != "end"
        return self.at("(", "{")

    def power(self) -> Tree:
        base = self.atom()
        while self.accept("!"):
            base = ["fn", "factorial", base]
        if self.accept("^", "**"):
            return ["pow", base, self.exponent()]
        return base

    def exponent(self) -> Tree:
        """After ^: a group, one digit or letter, or a signed number or power as plain text has."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise ParseError(f"powers are at most {DEEPEST} deep")
        tree = ["neg", self.exponent()] if self.accept("-") else self.power()
        self.depth -= 1
        return tree

    def atom(self) -> Tree:
        kind, value = self.take()
        if kind == "number":
            return self.number(value)
        if kind == "word":
            return self.word(value)
        if kind == "command":
            return self.command(value)
        if value in ("(", "["):
            return self.bracket(value)
        if value == "{":
            tree = self.sum()
            self.expect("}")
            return tree
        if value == "\\{":
            return ["set", *self.items("\\}")]
        if value == "|":
            tree = self.sum()
            self.expect("|")
            return ["fn", "abs", tree]
        self.place -= 1
        raise self.error("expected a number, a letter or a bracket")

    def number(self, digits: str) -> Tree:
        if self.accept("_"):
            base = self.group()
            if base[0] != "num":
                raise self.error("a base is a number")
            return ["base", digits, base[1]]
        return ["num", str(Fraction(digits))]

    def word(self, word: str) -> Tree:
        """A function, a constant, or letters that are multiplied: at most three."""
        if word in _NAMES:
            return self.function(_NAMES[word])
        if word in _CONSTANTS:
            return ["const", _CONSTANTS[word]]
        for name in (*_NAMES, *_CONSTANTS):  # pix, xsqrt(2)
            if len(name) > 1 and word.startswith(name) and len(word) - len(name) <= 2:
                self.place -= 1
                self.tokens[self.place : self.place + 1] = [
                    ("word", name), ("word", word[len(name) :])
                ]  # fmt: skip
                return self.atom()
        if len(word) > 3:
            raise ParseError(f"{word[:40]!r} is not a known name")
        tree = self.letter(word[0])
        for letter in word[1:]:
            tree = ["mul", tree, self.letter(letter)]
        return tree

    def letter(self, letter: str) -> Tree:
        if letter in "ei":
            return ["const", letter]
        if letter.isalpha() and self.at("_"):
            self.take()
            kind, value = self.take()
            if kind == "sign" and value == "{":
                kind, value = self.take()
                self.expect("}")
            if kind not in ("number", "word"):
                raise self.error("expected an index")
            return ["sym", f"{letter}_{value}"]
        return ["sym", letter]

    def command(self, name: str) -> Tree:
        if name in ("frac", "binom"):
            above, below = self.group(), self.group()
            return ["div", above, below] if name == "frac" else ["fn", "binom", above, below]
        if name in _NAMES:
            return self.function(_NAMES[name])
        if name in _CONSTANTS:
            return ["const", _CONSTANTS[name]]
        if name in _GREEK:
            return ["sym", name]
        if name == "begin":
            return self.matrix()
        self.place -= 1
        raise self.error(f"the command \\{name[:20]} is not known")

    def group(self) -> Tree:
        """What a LaTeX command takes: a group in braces, a command, or one digit or letter."""
        kind, value = self.next
        if kind in ("number", "word") and len(value) > 1 and value.isalnum():
            rest = [(kind, value[1:])] if kind == "number" or value[1:] else []
            self.tokens[self.place : self.place + 1] = [(kind, value[0]), *rest]
        if self.accept("{"):
            tree = self.sum()
            self.expect("}")
            return tree
        kind, value = self.take()
        if kind == "number":
            return ["num", str(Fraction(value))]
        if kind == "word":
            return self.letter(value)
        if kind == "command":
            return self.command(value)
        self.place -= 1
        raise self.error("expected a group")

    def function(self, name: str) -> Tree:
        index = power = None
        if name == "sqrt" and self.accept("["):
            index = self.sum()
            self.expect("]")
        if name == "log" and self.accept("_"):
            index = self.group()
        if name != "sqrt" and self.accept("^"):
            power = self.group()
        if name == "sqrt":
            argument = self.group() if not self.at("(") else self.atom()
        else:
            argument = self.atom() if self.at("(", "{") else self.argument()
        tree = ["fn", name, argument] if index is None else ["fn", name, argument, index]
        return tree if power is None else ["pow", tree, power]

    def argument(self) -> Tree:
        """Of \\sin 2x: the factors that follow, up to an operator."""
        tree = self.power()
        while self.next[0] in ("number", "word") or self.next == ("command", "pi"):
            tree = ["mul", tree, self.power()]
        return tree

    def bracket(self, opening: str) -> Tree:
        items = self.items(")", "]")
        closing = self.tokens[self.place - 1][1]
        if len(items) == 1 and opening == "(" and closing == ")":
            return items[0]
        return ["tuple", opening, closing, *items]

    def items(self, *closing: str) -> list[Tree]:
        items = [self.relation()]
        while self.accept(","):
            items.append(self.relation())
        if self.accept(*closing) is None:
            raise self.error(f"expected {closing[0]}")
        return items if closing[0] == ")" else [one for i in items for one in _several(i)]

    def matrix(self) -> Tree:
        kind = self.environment()
        rows: list[list[Tree]] = [[self.sum()]]
        while not (self.next == ("command", "end")):
            if self.accept("&"):
                rows[-1].append(self.sum())
            elif self.next[0] == "row":
                self.take()
                if self.next != ("command", "end"):
                    rows.append([self.sum()])
            else:
                raise self.error("expected & or \\\\")
        self.take()
        if self.environment() != kind or len({len(row) for row in rows}) > 1:
            raise ParseError("a matrix does not end as it began, or has rows of two lengths")
        return ["matrix", *rows]

    def environment(self) -> str:
        self.expect("{")
        kind, name = self.take()
        self.expect("}")
        if kind != "word" or name not in ("pmatrix", "bmatrix", "vmatrix", "matrix"):
            raise ParseError(f"the environment {name[:20]!r} is not known")
        return name


def _natural(tree: Tree) -> bool:
    return tree[0] == "num" and "/" not in tree[1]


def _several(tree: Tree) -> list[Tree]:
    return tree[1:] if tree[0] == "list" else [tree]


def _over(change: Any, tree: Tree) -> Tree:
    """change(tree), of each where ± made two of it."""
    return ["list", *map(change, tree[1:])] if tree[0] == "list" else change(tree)
