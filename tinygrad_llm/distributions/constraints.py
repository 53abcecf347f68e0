"""What parameters and values of a distribution must be: check(x) is True where x is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.logic import logical_and, logical_or
from ..functions.rounding import floor
from ..tensor import Tensor

__all__ = [
    "Constraint",
    "boolean",
    "greater_than",
    "integer_interval",
    "interval",
    "less_than",
    "positive",
    "real",
    "real_vector",
    "simplex",
    "unit_interval",
]


class Constraint:
    """A condition with a name, which errors print.

    is_discrete    whether it allows integers only
    event_dim      how many last dimensions belong to one value: 1 for a vector of probabilities
    """

    def __init__(
        self, name: str, test: Callable[[Tensor], Tensor], is_discrete: bool = False,
        event_dim: int = 0,
    ) -> None:  # fmt: skip
        self._name, self._test = name, test
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def check(self, value: Tensor) -> Tensor:
        """For each value whether it is allowed, as a tensor of truth values."""
        return self._test(value)

    def __repr__(self) -> str:
        return self._name


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """From lower_bound to upper_bound, both included."""
    return Constraint(
        f"Interval(lower_bound={lower_bound}, upper_bound={upper_bound})",
        lambda x: logical_and(x >= lower_bound, x <= upper_bound),
    )


def greater_than(lower_bound: Any) -> Constraint:
    """Above lower_bound."""
    return Constraint(f"GreaterThan(lower_bound={lower_bound})", lambda x: x > lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """Below upper_bound."""
    return Constraint(f"LessThan(upper_bound={upper_bound})", lambda x: x < upper_bound)


def integer_interval(lower_bound: int, upper_bound: int) -> Constraint:
    """The integers from lower_bound to upper_bound, both included."""
    return Constraint(
        f"IntegerInterval(lower_bound={lower_bound}, upper_bound={upper_bound})",
        lambda x: logical_and(
            logical_and(x >= lower_bound, x <= upper_bound), _whole(x)
        ),
        is_discrete=True,
    )  # fmt: skip


def _whole(x: Tensor) -> Tensor:
    return x == floor(x) if x.is_floating_point() else x == x


def _probabilities(x: Tensor) -> Tensor:
    sums_to_one = (x.sum(-1) - 1.0).abs() < 1e-6  # (..., K) -> (...)
    return logical_and((x >= 0).all(-1), sums_to_one)


boolean = Constraint("Boolean()", lambda x: logical_or(x == 0, x == 1), is_discrete=True)
real = Constraint("Real()", lambda x: x == x)
real_vector = Constraint("IndependentConstraint(Real(), 1)", lambda x: (x == x).all(-1), False, 1)
positive = greater_than(0.0)
simplex = Constraint("Simplex()", _probabilities, event_dim=1)
unit_interval = interval(0.0, 1.0)
