"""A calculator that a model calls while it writes: after "<<12*3=" it fills in "36>>".

    Calculator().answer("He has <<12*3=")        # "36>>"; None if the text ends in no call

A language model guesses digits; a program computes them. The call is ordinary text, so any model
can learn it, and what the calculator writes is not the model's: it carries no loss in training.
The formula is read by a separate parser, with limits of length, depth and size: no text is ever
evaluated as a program.
Source of the notation: Cobbe et al. (2021), "Training verifiers to solve math word problems".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Calculator", "FormulaError", "evaluate"]

LONGEST, DEEPEST, HIGHEST_POWER, MOST_BITS = 200, 30, 64, 512
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\*\*|[-+*/^()×÷−·])")
_SAME = {"×": "*", "·": "*", "÷": "/", "−": "-", "**": "^"}


class FormulaError(ValueError):
    """A formula that the calculator does not compute, with the reason."""


def evaluate(text: str) -> Fraction:
    """The exact value of a formula of numbers, + - * / ^ and brackets.

    Raises: FormulaError for another text, one longer than 200 letters or deeper than 30 brackets,
    a division by zero, and for numbers too large to write.
    """
    if len(text) > LONGEST:
        raise FormulaError(f"a formula has at most {LONGEST} letters, this one has {len(text)}")
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise FormulaError(f"{text[place]!r} is not part of a formula")
        tokens.append(_SAME.get(match[1], match[1]))
        place = match.end()
    parser = _Parser(tokens)
    value = parser.sum(0)
    if parser.next is not None:
        raise FormulaError(f"{parser.next!r} does not fit there")
    return value


class _Parser:
    """sum: product ± product …; product: power · power …; power: atom ^ power; atom: (sum)."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens[::-1]

    @property
    def next(self) -> str | None:
        return self.tokens[-1] if self.tokens else None

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while self.next in ("+", "-"):
            sign = self.tokens.pop()
            other = self.product(depth)
            value = _bounded(value + other if sign == "+" else value - other)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.signed(depth)
        while self.next in ("*", "/"):
            sign = self.tokens.pop()
            other = self.signed(depth)
            if sign == "/" and other == 0:
                raise FormulaError("a division by zero")
            value = _bounded(value * other if sign == "*" else value / other)
        return value

    def signed(self, depth: int) -> Fraction:
        minus = False
        while self.next in ("+", "-"):
            minus ^= self.tokens.pop() == "-"
        value = self.power(depth)
        return -value if minus else value

    def power(self, depth: int) -> Fraction:
        value = self.atom(depth)
        if self.next != "^":
            return value
        self.tokens.pop()
        if depth >= DEEPEST:
            raise FormulaError(f"more than {DEEPEST} powers or brackets in each other")
        minus = self.next == "-"
        if minus:
            self.tokens.pop()
        exponent = self.power(depth + 1)  # 2^3^2 is 2^(3^2)
        exponent = -exponent if minus else exponent
        if exponent.denominator != 1 or abs(exponent) > HIGHEST_POWER:
            raise FormulaError(f"exponents are whole numbers up to {HIGHEST_POWER}")
        if value == 0 and exponent < 0:
            raise FormulaError("a division by zero")
        return _bounded(Fraction(value ** int(exponent)))

    def atom(self, depth: int) -> Fraction:
        if self.next is None:
            raise FormulaError("the formula ends too early")
        token = self.tokens.pop()
        if token == "(":
            if depth >= DEEPEST:
                raise FormulaError(f"more than {DEEPEST} powers or brackets in each other")
            value = self.sum(depth + 1)
            if self.next != ")":
                raise FormulaError("a bracket is not closed")
            self.tokens.pop()
            return value
        if not (token[0].isdigit() or token[0] == "."):
            raise FormulaError(f"{token!r} does not fit there")
        return _bounded(Fraction(token))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise FormulaError(f"a number of more than {MOST_BITS} bits")
    return value


def _written(value: Fraction) -> str:
    """A whole number, or a decimal number of at most 10 digits, without zeros at its end."""
    if value.denominator == 1 and abs(value) < 10**15:
        return str(value.numerator)
    return f"{float(value):.10g}"


@dataclass(frozen=True)
class Calculator:
    """The tool: `answer` is asked after each token that a model writes.

    opens, asks, closes: what begins a call, what ends its formula, and what follows its result
    """

    opens: str = "<<"
    asks: str = "="
    closes: str = ">>"

    @property
    def instruction(self) -> str:
        """A sentence that tells a model about it, for a system message."""
        return (
            f"To compute, write {self.opens}12*3{self.asks} and the result is filled in: "
            f"{self.opens}12*3{self.asks}36{self.closes}."
        )

    def answer(self, text: str) -> str | None:
        """What follows a text that ends in a call: its result and `closes`; None for no call.

        A formula that cannot be computed has the result "error".
        """
        if not text.endswith(self.asks):
            return None
        start = text.rfind(self.opens, max(0, len(text) - 2 * LONGEST))
        formula = text[start + len(self.opens) : -len(self.asks)]
        if start < 0 or self.closes in formula or self.asks in formula:
            return None
        try:
            return _written(evaluate(formula)) + self.closes
        except FormulaError:
            return "error" + self.closes
