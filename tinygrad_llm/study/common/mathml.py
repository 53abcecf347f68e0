"""A formula in plain Unicode, as the docstrings have it, as MathML.

    mathml("∂L/∂x = r·(u − mean(u))")      "<mfrac><mrow>…"

`Formula` reads as much of a text as is a formula, from one position on, and says where it ends. It
knows no algebra: products, fractions, sums, powers, subscripts, brackets and function names only.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .html import escape

__all__ = ["Formula", "NotAFormula", "mathml", "plain_scripts"]

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ᵀᵖˣⁿⁱᵏᵗᵈᐟ", "0123456789+−()Tpxniktd/", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ᵢⱼₖₗₘₙₚₜₛₕₑₓₐᵣ", "0123456789+−()ijklmnptshexar", strict=True))
CLOSING = {"(": ")", "[": "]", "⌊": "⌋", "⌈": "⌉", "|": "|", "{": "}"}
FUNCTIONS = frozenset("exp log ln sin cos tan tanh erf max min det sign".split())  # also: log x
# After a formula may follow one of these; another word says that the last operand was a word too.
AFTER = frozenset(
    "where if for over along and or unless in with at when as on else otherwise is are so that "
    "then by to from of below still there reversed moved".split()
)
NEVER = frozenset(  # words that no formula contains as an operand
    "the an one another none each every all both its their this that which what where if for over "
    "along and or unless in with at when as on else otherwise is are so then by to from of below "
    "not no it they there here same also called copy inputs".split()
)
TOKEN = re.compile(
    r"""(?P<space>[ \t]+)
    | (?P<number>\d+(?:[.,]\d+)*(?:e[−+]?\d+)?|[½¼¾∞…]|\.\.\.)
    | (?P<relation>\+=|[=≤≥<>≈≠~∈←])
    | (?P<operator>[·×∘/+−±^])
    | (?P<prefix>[ΣΠ∫√∂])
    | (?P<open>[(\[⌊⌈{])
    | (?P<close>[)\]⌋⌉}])
    | (?P<bar>\|)
    | (?P<comma>[,;])
    | (?P<sup>[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ᵀᵖˣⁿⁱᵏᵗᵈᐟ]+)
    | (?P<sub>[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ᵢⱼₖₗₘₙₚₜₛₕₑₓₐᵣ]+(?:[≤≥=][₀₁₂₃₄₅₆₇₈₉₊₋ᵢⱼₖₗₘₙₚₜₛ]+)?)
    | (?P<word>[A-Za-z][A-Za-z]+(?:_[A-Za-z]+)*\d*)
    | (?P<symbol>[A-Za-zÀ-ÖØ-öø-ſα-ωΑ-ΡΤ-Ωϕϵ][\u0300-\u036f]?)
    | (?P<under>_[A-Za-z0-9]+)
    | (?P<prime>′+|'(?![a-zA-Z]))""",
    re.X,
)


class NotAFormula(ValueError):
    """The text is not a formula that is understood here."""


@dataclass
class Token:
    """A piece of a formula: its kind, its text, where it begins, and whether a space is before."""

    kind: str
    text: str
    at: int
    spaced: bool


def mathml(text: str) -> str:
    """A whole formula as the content of a <math> element.

    Raises: NotAFormula if a part of it is not understood.
    """
    formula = Formula(text)
    if formula.end != len(text.rstrip()):
        raise NotAFormula(text)
    return formula.content


def plain_scripts(text: str) -> str:
    """Superscripts and subscripts as ordinary characters, combined accents kept."""
    return "".join(SUPERSCRIPTS.get(c) or SUBSCRIPTS.get(c) or c for c in text)


class Formula:
    """The longest formula that begins at `start` of a text.

    content    MathML, without the <math> around it
    end        where the formula ends in the text
    relations  how many relations it has; rich: whether it has anything that plain text cannot show
    Raises: NotAFormula if none begins there.
    """

    def __init__(self, text: str, start: int = 0) -> None:
        self.text = text
        self.tokens = _tokens(text, start)
        self.i = 0
        self.depth = 0
        self.relations = 0
        self.rich = False
        self.words = 0  # how many operands are words
        self.end = start
        self.content = self._relation()
        self._accept_end()

    # ----------------------------------------------------------------------------- reading tokens
    @property
    def _now(self) -> Token | None:
        return self.tokens[self.i] if self.i < len(self.tokens) else None

    def _is(self, kind: str, *texts: str) -> bool:
        now = self._now
        return now is not None and now.kind == kind and (not texts or now.text in texts)

    def _next(self) -> Token:
        now = self._now
        if now is None:
            raise NotAFormula(self.text)
        self.i += 1
        last = now.at + len(now.text)
        self.end = max(self.end, last)
        return now

    def _accept_end(self) -> None:
        """Whether what follows the last token lets it be the formula's end."""
        rest = self.text[self.end :]
        word = re.match(r" ?([A-Za-z]+)", rest)
        if word and rest[0] != " ":
            raise NotAFormula(self.text)
        if word and self._ended_in_a_word and word[1] not in AFTER:
            raise NotAFormula(self.text)
        if re.match(r"[\w.]*\w\.\w|['`\"\-]|\.\w", rest):
            raise NotAFormula(self.text)

    @property
    def _ended_in_a_word(self) -> bool:
        last = self.tokens[self.i - 1]
        return last.kind == "word" or last.text in ("a", "A", "I")

    # ----------------------------------------------------------------------------------- grammar
    def _relation(self) -> str:
        parts = [self._sum()]
        while self._is("relation"):
            mark = self.i, self.end, self.relations, self.rich
            relation = self._next()
            if not relation.spaced and len(self.tokens[self.i - 2].text) > 1 and not self.depth:
                raise NotAFormula(self.text)  # name=value is Python
            try:
                right = self._sum()
                if not self.depth:
                    self._accept_end_or_more()
            except NotAFormula:
                if len(parts) == 1 or self.depth:
                    raise
                self.i, self.end, self.relations, self.rich = mark
                break
            self.relations += 1
            parts += [f"<mo>{escape(relation.text)}</mo>", right]
        return _row(parts)

    def _accept_end_or_more(self) -> None:
        if not self._is("relation"):
            self._accept_end()

    def _sum(self) -> str:
        parts = []
        if self._is("operator", "−", "+", "±"):
            parts.append(f"<mo>{self._next().text}</mo>")
        parts.append(self._term())
        while self._is("operator", "+", "−", "±") and self._is_binary():
            mark = self.i, self.end, self.rich
            operator = self._next()
            try:
                right = self._term()
            except NotAFormula:
                if self.depth:
                    raise
                self.i, self.end, self.rich = mark
                break
            self.rich = True
            parts += [f"<mo>{operator.text}</mo>", right]
        return _row(parts)

    def _is_binary(self) -> bool:
        """Whether a sign stands between two terms: "at least −100" has the sign of a number."""
        sign, after = self.tokens[self.i], self.tokens[self.i + 1 : self.i + 2]
        return bool(after) and (after[0].spaced or not sign.spaced)

    def _term(self) -> str:
        factors = [self._factor()]
        while True:
            if self._is("operator", "·", "×", "∘"):
                operator = self._next()
                self.rich = True
                factors += [f"<mo>{operator.text}</mo>", self._factor()]
            elif self._is("operator", "/"):
                self._next()
                self.rich = True
                partial = self._is("prefix", "∂")
                below = _bare(self._factor())
                above = factors[-1:] if partial else factors
                rest = factors[:-1] if partial else []
                top = _bare(above[0]) if len(above) == 1 else _row(above)
                factors = [*rest, f"<mfrac>{_one(top)}{_one(below)}</mfrac>"]
            elif self._adjacent():
                factors.append(self._factor())
            else:
                return _row(factors)

    def _adjacent(self) -> bool:
        """Whether the next token multiplies without a sign: 2x, 2(x − t), β x, (a)(b)."""
        now = self._now
        if now is None or now.spaced:
            return False
        before = self.tokens[self.i - 1]
        if now.kind == "symbol" or now.text in ("√",):
            return before.kind in ("number", "symbol", "sub", "sup") and now.text not in "_"
        if now.kind == "open":
            return before.kind in ("number", "close") and now.text == "("
        return now.kind == "prefix" and before.kind == "number"

    def _factor(self) -> str:
        if self._is("operator", "−"):  # of a denominator or a power
            return _row([f"<mo>{self._next().text}</mo>", self._factor()])
        base = self._scripts(self._primary())
        if self._is("operator", "^"):
            self._next()
            self.rich = True
            base = f"<msup>{_one(base)}{_one(_bare(self._factor()))}</msup>"
        return base

    def _primary(self) -> str:
        now = self._next()
        if now.kind == "number":
            return f"<mn>{now.text}</mn>"
        if now.kind == "prefix":
            return self._prefixed(now)
        if now.kind == "open":
            return self._bracketed(now)
        if now.kind == "bar":
            return self._absolute()
        if now.kind == "symbol":
            self.rich = self.rich or not now.text.isascii()
            return self._called(f"<mi>{now.text}</mi>")
        if now.kind == "word" and now.text not in NEVER:
            return self._word(now)
        raise NotAFormula(self.text)

    def _word(self, now: Token) -> str:
        name = f'<mi mathvariant="normal">{now.text}</mi>'
        if now.text not in FUNCTIONS:
            self.words += 1
            return self._called(name)
        name = self._scripts(name)
        if self._is("open", "("):
            return self._called(name)
        self.rich = True
        return _row([name, "<mspace width='0.17em'/>", self._factor()])

    def _prefixed(self, now: Token) -> str:
        self.rich = True
        if now.text == "√":
            return f"<msqrt>{_bare(self._scripts(self._primary()))}</msqrt>"
        if now.text == "∂":
            following = self._now
            if following is None or following.kind in ("operator", "relation"):
                return "<mo>∂</mo>"
            return _row(["<mi>∂</mi>", self._factor()])
        sign = {"Σ": "∑", "Π": "∏"}.get(now.text, now.text)
        operator = self._scripts(f'<mo largeop="false">{sign}</mo>')
        operand = self._term()
        if now.text == "∫" and self._is("word") and len(self.tokens[self.i].text) == 2:
            last = self._next().text
            operand = _row([operand, f"<mspace width='0.17em'/><mi>{last[0]}</mi>",
                            f"<mi>{last[1]}</mi>"])  # fmt: skip
        return _row([operator, operand])

    def _bracketed(self, now: Token) -> str:
        inside = self._list(CLOSING[now.text])
        return f"<mrow><mo>{now.text}</mo>{inside}<mo>{CLOSING[now.text]}</mo></mrow>"

    def _list(self, closing: str) -> str:
        self.depth += 1
        parts = [] if self._is("close", closing) else [self._relation()]
        while self._is("comma"):
            parts += [f"<mo>{self._next().text}</mo>", self._relation()]
        if not self._is("close", closing):
            raise NotAFormula(self.text)
        self._next()
        self.depth -= 1
        return _row(parts)

    def _absolute(self) -> str:
        self.depth += 1
        inside = self._relation()
        if not self._is("bar"):
            raise NotAFormula(self.text)
        self._next()
        self.depth -= 1
        self.rich = True
        return f"<mrow><mo>|</mo>{inside}<mo>|</mo></mrow>"

    def _called(self, name: str) -> str:
        """A name with its scripts, and then brackets directly behind it: f(x), b[i, j]."""
        name = self._scripts(name)
        while self._now is not None and not self._now.spaced and self._is("open", "(", "["):
            self.rich = True
            name = _row([name, self._bracketed(self._next())])
            name = self._scripts(name)
        return name

    def _scripts(self, base: str) -> str:
        """Subscripts, superscripts and primes that stand directly behind."""
        low = high = ""
        while self._now is not None and not self._now.spaced:
            if self._is("sub"):
                low += plain_scripts(self._next().text)
                if low[-1] in "+−" and self._is("symbol") and not self.tokens[self.i].spaced:
                    low += self._next().text
            elif self._is("under"):
                low += self._next().text[1:]
            elif self._is("sup"):
                high += plain_scripts(self._next().text)
            elif self._is("prime") and self.tokens[self.i - 1].kind != "word":
                high += self._next().text.replace("'", "′")
            else:
                break
        if not low and not high:
            return base
        self.rich = True
        below, above = _script(low), _script(high)
        if low and high:
            return f"<msubsup>{_one(base)}{below}{above}</msubsup>"
        return f"<msub>{_one(base)}{below}</msub>" if low else f"<msup>{_one(base)}{above}</msup>"


def _tokens(text: str, start: int) -> list[Token]:
    tokens: list[Token] = []
    at, spaced = start, False
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            break
        kind = match.lastgroup or ""
        if kind == "space":
            if len(match[0]) > 2:
                break  # three spaces separate formulas
            spaced = True
        else:
            tokens.append(Token(kind, match[0], at, spaced))
            spaced = False
        at = match.end()
    return tokens


def _script(text: str) -> str:
    """The characters of a subscript or a superscript."""
    if not text:
        return ""
    if text == "T" or re.fullmatch(r"[A-Za-z]{3,}\d*", text):
        return f'<mi mathvariant="normal">{text}</mi>'
    parts = []
    for piece in re.findall(r"\d+|.", text):
        kind = unicodedata.category(piece[0])
        tag = "mn" if piece[0].isdigit() else "mi" if kind.startswith("L") else "mo"
        parts.append(f"<{tag}>{escape(piece)}</{tag}>")
    return _one("".join(parts)) if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _row(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else "".join(parts)


def _one(content: str) -> str:
    """The content as one element: what <mfrac> and <msup> need."""
    return content if _is_one(content) else f"<mrow>{content}</mrow>"


def _is_one(content: str) -> bool:
    """Whether the content is a single element."""
    depth = 0
    for match in re.finditer(r"<(/?)[a-z]+[^<>]*?(/?)>", content):
        depth += 0 if match[2] else -1 if match[1] else 1
        if depth == 0:
            return match.end() == len(content)
    return False


def _bare(content: str) -> str:
    """The content without the round brackets around all of it: a fraction's bar replaces them."""
    start, end = "<mrow><mo>(</mo>", "<mo>)</mo></mrow>"
    if content.startswith(start) and content.endswith(end) and _is_one(content):
        return content[len(start) : -len(end)]
    return content
