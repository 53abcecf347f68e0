"""The shape of a model as a frozen dataclass: each field is declared once, with what it may be.

    @dataclass(frozen=True)
    class MyConfig(ModelConfig):
        n_heads: int = integer(4)
        drop_rate: float = fraction(0.1)
        tie_weights: bool = flag(True)

`Config` checks every field when a config is made. NumPy's numbers become Python's, so that a config
can be written as JSON. Fields that depend on each other are checked in the family's
`__post_init__`, after `super().__post_init__()`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np

from ..files.untrusted import describe

__all__ = [
    "Config",
    "ModelConfig",
    "choice",
    "choices",
    "config_of",
    "flag",
    "fraction",
    "indices",
    "integer",
    "mapping",
    "optional",
    "positive",
]


_Same = TypeVar("_Same", bound="ModelConfig")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError("True or False")
    return bool(value)


def _fraction(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError("a number")
    if not 0.0 <= value < 1.0:  # NaN is not either
        raise ValueError("at least 0 and less than 1")
    return float(value)


def _declare(check: Callable[[Any], Any], default: Any) -> Any:
    return field(default=default, metadata={"check": check})


MOST_PARAMETERS = 1 << 44  # 70 terabytes of float32: more than the memory of any machine


def integer(
    default: Any = MISSING, *, at_least: int | None = 1, at_most: int | None = 1 << 31
) -> Any:
    """A field for an integer: a size, a number of layers; None for no limit."""

    def check(value: Any) -> int:
        try:
            if isinstance(value, bool | np.bool_):
                raise TypeError
            number = operator.index(value)
        except TypeError:
            raise TypeError("an integer") from None
        if at_least is not None and number < at_least:
            raise ValueError(f"at least {at_least}")
        if at_most is not None and number > at_most:
            raise ValueError(f"at most {at_most:,}")
        return number

    return _declare(check, default)


def fraction(default: Any = MISSING) -> Any:
    """A field for a number of at least 0 and less than 1: a dropout rate."""
    return _declare(_fraction, default)


def flag(default: Any = MISSING) -> Any:
    """A field for True or False."""
    return _declare(_flag, default)


def positive(default: Any = MISSING) -> Any:
    """A field for a finite number above 0: an ε, a base of frequencies."""

    def check(value: Any) -> float:
        if isinstance(value, bool | np.bool_) or not isinstance(
            value, int | float | np.integer | np.floating
        ):
            raise TypeError("a number")
        if not 0.0 < value <= sys.float_info.max:  # NaN is not, nor an integer beyond floats
            raise ValueError("positive and finite")
        return float(value)

    return _declare(check, default)


def mapping(default: Any = MISSING) -> Any:
    """A field for a dict from names to values, as JSON has them; the config keeps a copy."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise TypeError("a dict with names as keys")
        return dict(value)

    return _declare(check, default)


def optional(declared: Any) -> Any:
    """The same field, which may also be None."""
    check = declared.metadata["check"]
    return _declare(lambda value: None if value is None else check(value), declared.default)


def choice(options: Sequence[str], default: Any = MISSING) -> Any:
    """A field for one of these strings."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise ValueError(", ".join(options))
        return str(value)

    return _declare(check, default)


def choices(options: Sequence[str], default: Any = MISSING) -> Any:
    """A field for a sequence of these strings; the config keeps a tuple."""

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError(f"a list of {', '.join(options)}")
        for one in value:
            if not isinstance(one, str) or one not in options:
                raise ValueError(f"a list of {', '.join(options)}")
        return tuple(value)

    return _declare(check, default)


def names(default: Any = MISSING) -> Any:
    """A field for a tuple of different names; JSON has it as a list."""

    def check(value: Any) -> tuple[str, ...]:
        given = tuple(value) if isinstance(value, list | tuple) else ()
        if not given or not all(isinstance(name, str) and name for name in given):
            raise TypeError("a tuple of names, at least one")
        if len(set(given)) < len(given):
            raise ValueError("a tuple of different names")
        return given

    return _declare(check, default)


def indices(default: Any = MISSING) -> Any:
    """A field for places in a list, such as blocks: different integers from 0, kept in order."""

    def check(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError("a list of integers")
        try:
            numbers = [operator.index(i) for i in value if not isinstance(i, bool | np.bool_)]
        except TypeError:
            raise TypeError("a list of integers") from None
        if len(set(numbers)) != len(value) or min(numbers, default=0) < 0:
            raise ValueError("a list of different integers, each at least 0")
        return tuple(sorted(numbers))

    return _declare(check, default)


def config_of(kind: type[Config]) -> Any:
    """A field, without a default, for a config of this kind."""

    def check(value: Any) -> Config:
        if not isinstance(value, kind):
            raise TypeError(f"a {kind.__name__}")
        return value

    return _declare(check, MISSING)


def _shown(value: Any) -> str:
    """The value as a message shows it: short, because it may come out of a file."""
    if isinstance(value, list | tuple) and len(value) <= 8:
        plain = all(isinstance(item, str | int | float | type(None)) for item in value)
        return f"[{', '.join(map(describe, value))}]" if plain else describe(value)
    known = isinstance(value, str | bytes | int | list | tuple | Mapping | set | frozenset)
    return describe(value) if known else repr(value)


class Config:
    """What checks the declared fields of a dataclass when one is made."""

    def __post_init__(self) -> None:
        owner = type(self).__name__
        declared: Any = self  # a subclass is a dataclass
        for each in fields(declared):
            value, check = getattr(self, each.name), each.metadata.get("check")
            if check is None:
                continue
            try:
                object.__setattr__(self, each.name, check(value))  # the dataclass is frozen
            except (TypeError, ValueError) as expected:
                text = f"{owner}: {each.name} must be {expected}, got {_shown(value)}"
                raise type(expected)(text) from None


@dataclass(frozen=True)
class ModelConfig(Config):
    """What every language model's config says.

    vocab_size      how many different tokens there are
    context_length  the most tokens that the model sees
    emb_dim         channels of a token's vector

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer()
    context_length: int = integer()
    emb_dim: int = integer()

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.least_parameters()
        if n > MOST_PARAMETERS:
            raise ValueError(
                f"{type(self).__name__}: a model of these sizes has at least {float(n):.1e} "
                f"parameters, which fit no memory: {self.summary()}"
            )

    def check_tokens(self, *names: str) -> None:
        """Raises: ValueError if one of these fields is not the id of a token."""
        for name in names:
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise ValueError(
                    f"{type(self).__name__}: {name} must be a token of the vocabulary, 0 … "
                    f"{self.vocab_size - 1}, got {getattr(self, name)}"
                )

    def resized(self: _Same, **sizes: Any) -> _Same:
        """The config with these fields, and others that must fit them."""
        return replace(self, **sizes)

    def dropout(self, rate: float) -> dict[str, float | None]:
        """The fields that say how much is dropped in training, so that all drop this much."""
        return {"drop_rate": rate}

    def least_parameters(self) -> int:
        """A number of parameters that the model has at least, without making it."""
        return self.vocab_size * self.emb_dim

    def summary(self) -> str:
        """The shape in a few words, for one line of output."""
        return f"{self.emb_dim} channels, context {self.context_length:,}"
