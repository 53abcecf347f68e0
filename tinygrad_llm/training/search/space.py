"""What is searched: ranges and choices in place of single values of options.

    space = Space.parse(PretrainOptions, {"lr": "1e-4..1e-2:log", "n_layers": "2,4,6", "seed": "1"})
    space.fixed               # {"seed": 1}
    space.draw(rng)           # {"lr": 0.00213, "n_layers": 4}

A range is LOW..HIGH, or LOW..HIGH:log where each factor is equally likely; choices are separated
with commas, those of texts, which may have commas themselves, with |.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...files.untrusted import describe
from ..options import Option, OptionError, Options, converted

__all__ = ["Choice", "Range", "Space", "number_of"]

_MOST = 10_000  # combinations of a grid
_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}


class Range(NamedTuple):
    """Numbers from low to high, both included. log: whether factors count, not differences."""

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, rng: np.random.Generator) -> float | int:
        """A random one."""
        if self.log:
            # Of whole numbers each has the stretch from n − 1/2 to n + 1/2
            half = 0.5 if self.whole else 0.0
            low, high = math.log(self.low - half), math.log(self.high + half)
            value = math.exp(rng.uniform(low, high))
        elif self.whole:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        else:
            value = float(rng.uniform(self.low, self.high))
        return self.inside(value)

    def inside(self, value: float) -> float | int:
        """The value, rounded where whole numbers are meant, and not outside."""
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else float(value)

    def points(self, n: int) -> list[float | int]:
        """n of them, evenly from low to high; fewer where whole numbers would repeat."""
        if n == 1:
            middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2.0
            return [self.inside(middle)]
        make = np.geomspace if self.log else np.linspace
        values = [self.inside(float(v)) for v in make(self.low, self.high, n)]
        return list(dict.fromkeys(values))

    def place(self, value: float) -> float:
        """Where a value lies: 0 at low, 1 at high; on a log axis if factors count."""
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class Choice(NamedTuple):
    """Some values of an option."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """A random one."""
        return self.values[int(rng.integers(len(self.values)))]

    def points(self, n: int) -> list[Any]:
        """All of them."""
        return list(self.values)

    def place(self, value: Any) -> float:
        """Where a value lies: 0 for the first, 1 for the last."""
        return self.values.index(value) / max(1, len(self.values) - 1)


class Space(NamedTuple):
    """Searched options by their field's name, and the fixed values of others."""

    searched: dict[str, Range | Choice]
    fixed: dict[str, Any]

    @classmethod
    def parse(cls, kind: type[Options], texts: Mapping[str, str]) -> Space:
        """The space that texts describe, by the field of their option.

        Raises: OptionError for a text that is neither a value nor a range nor choices, and if there
        is nothing to search.
        """
        declared = kind.declared()
        searched: dict[str, Range | Choice] = {}
        fixed = {}
        for name, text in texts.items():
            value = _parsed(declared[name], text)
            if isinstance(value, Range | Choice):
                searched[name] = value
            else:
                fixed[name] = value
        if not searched:
            raise OptionError(
                "there is nothing to search: give an option a range or choices, such as "
                "`lr` 1e-4..1e-2:log or 0.001,0.003"
            )
        return cls(searched, fixed)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """A random value of each."""
        return {name: each.draw(rng) for name, each in self.searched.items()}

    def grid(self, points: int) -> list[dict[str, Any]]:
        """All combinations, with so many points of each range; the last option changes fastest.

        Raises: OptionError if they are more than 10,000.
        """
        rows = [each.points(points) for each in self.searched.values()]
        n = math.prod(len(row) for row in rows)
        if n > _MOST:
            raise OptionError(f"`strategy` grid: {n:,} combinations are too many: take random")
        return [dict(zip(self.searched, values, strict=True)) for values in product(*rows)]


def number_of(option: Option, text: str) -> Any:
    """The number, truth or text that a word is for an option.

    Raises: OptionError if it is not of the option's type.
    """
    text = text.strip()
    if option.type is bool:
        if text.lower() not in _TRUTHS:
            raise OptionError(f"`{option.field}` should be true or false, got {describe(text)}")
        return _TRUTHS[text.lower()]
    if option.type is str:
        return text
    try:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        words = "a whole number" if option.type is int else "a number"
        raise OptionError(
            f"`{option.field}` should be {words}, a range LOW..HIGH or LOW..HIGH:log, or choices "
            f"with commas, got {describe(text)}"
        ) from None
    if option.type is not int or not number.is_integer():
        return number
    return int(text) if text.lstrip("+-").isdigit() else int(number)


def _parsed(option: Option, text: str) -> Any:
    if option.type is str:
        parts = [part.strip() for part in text.split("|")]
        return _choice(option, parts) if len(parts) > 1 else text
    if ".." in text:
        return _range(option, text)
    parts = text.split(",")
    return _choice(option, parts) if len(parts) > 1 else _allowed(option, text)


def _allowed(option: Option, text: str) -> Any:
    """Raises: OptionError for a value that the option may not have."""
    value = converted(option, number_of(option, text))
    rule = option.about.rule
    if rule is not None and not rule.allows(value):
        raise OptionError(f"`{option.field}` must be {rule.words}, got {text.strip()}")
    return value


def _choice(option: Option, parts: list[str]) -> Choice:
    values = tuple(_allowed(option, part) for part in parts)
    if len(set(values)) < len(values):
        raise OptionError(f"`{option.field}`: one of {', '.join(parts)} stands there twice")
    return Choice(values)


def _range(option: Option, text: str) -> Range:
    """Raises: OptionError for a range that makes no sense."""
    if option.type is bool:
        raise OptionError(f"`{option.field}` has no range: write true,false")
    body, sign, scale = text.partition(":")
    if sign and scale.strip() not in ("log", "linear"):
        raise OptionError(
            f"`{option.field}`: a range ends with :log or :linear, got {describe(text)}"
        )
    low, _, high = body.partition("..")
    ends = _allowed(option, low), _allowed(option, high)
    if not ends[0] < ends[1]:
        raise OptionError(f"`{option.field}`: a range goes from low to high, got {describe(text)}")
    log = scale.strip() == "log"
    if log and ends[0] <= 0:
        raise OptionError(
            f"`{option.field}`: a range with :log begins above 0, got {describe(text)}"
        )
    return Range(ends[0], ends[1], log, option.type is int)
