"""The shape of a model as a frozen dataclass: each field is declared once, with what it may be.

    @dataclass(frozen=True)
    class MyConfig(ModelConfig):
        n_heads: int = positive_integer(4)
        drop_rate: float = fraction(0.1)
        tie_weights: bool = flag(True)

ModelConfig checks every field when a config is made. NumPy's numbers become Python's, so that a
config can be written as JSON. Fields that depend on each other are checked in the family's own
`__post_init__`, after `super().__post_init__()`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np

__all__ = ["ModelConfig", "choice", "flag", "fraction", "positive_integer", "token_id"]


def _integer(value: Any) -> int:
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError("an integer")


def _at_least(minimum: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        number = _integer(value)
        if number < minimum:
            raise ValueError(f"at least {minimum}")
        return number

    return check


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


def positive_integer(default: Any = MISSING, *, minimum: int = 1) -> Any:
    """A field for an integer of at least `minimum`: a size, a number of layers."""
    return _declare(_at_least(minimum), default)


def token_id(default: Any = MISSING) -> Any:
    """A field for a token id: an integer; ModelConfig checks that it is in the vocabulary."""
    return field(default=default, metadata={"check": _integer, "token_id": True})


def fraction(default: Any = MISSING) -> Any:
    """A field for a number of at least 0 and less than 1: a dropout rate."""
    return _declare(_fraction, default)


def flag(default: Any = MISSING) -> Any:
    """A field for True or False."""
    return _declare(_flag, default)


def choice(options: Sequence[str], default: Any = MISSING) -> Any:
    """A field for one of these strings."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise ValueError(", ".join(options))
        return str(value)

    return _declare(check, default)


@dataclass(frozen=True)
class ModelConfig:
    """What every language model's config says.

    vocab_size      how many different tokens there are
    context_length  the most tokens that the model sees

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = positive_integer()
    context_length: int = positive_integer()

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for declared in fields(self):
            value, check = getattr(self, declared.name), declared.metadata.get("check")
            if check is None:
                continue
            try:
                object.__setattr__(self, declared.name, check(value))  # the dataclass is frozen
            except (TypeError, ValueError) as expected:
                text = f"{owner}: {declared.name} must be {expected}, got {value!r}"
                raise type(expected)(text) from None
            if declared.metadata.get("token_id") and not 0 <= value < self.vocab_size:
                raise ValueError(
                    f"{owner}: {declared.name} must be a token of the vocabulary, 0 … "
                    f"{self.vocab_size - 1}, got {value}"
                )
