"""Uniform: every number of an interval alike."""

from __future__ import annotations

import math
from typing import Any

from ..functions import random
from ..functions.elementary import log
from ..functions.selection import clamp
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution, broadcast_all

__all__ = ["Uniform"]


class Uniform(Distribution):
    """p(x) = 1 / (b − a) for a <= x < b.

    low, high    a < b, numbers or tensors that broadcast

    Raises: ValueError unless a < b everywhere.
    """

    arg_constraints = {"low": constraints.real, "high": constraints.real}  # noqa: RUF012
    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args and not bool((self.low < self.high).all()):
            raise ValueError(
                f"Expected parameter low (Tensor of shape {tuple(self.low.shape)}) of distribution "
                f"{self!r} to satisfy the constraint {constraints.less_than(self.high)}, but found "
                f"invalid values:\n{self.low}"
            )

    @property
    def support(self) -> constraints.Constraint:
        """From a to b, both included."""
        return constraints.interval(self.low.detach(), self.high.detach())

    @property
    def mean(self) -> Tensor:
        """(a + b) / 2."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """NaN: all numbers are alike."""
        return self.high * float("nan")

    @property
    def stddev(self) -> Tensor:
        """(b − a) / √12."""
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> Tensor:
        """(b − a)² / 12."""
        return (self.high - self.low).square() / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """a + (b − a)·u with u uniform in [0, 1): gradients reach a and b."""
        u = random.rand(self._shape(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """−log(b − a); −inf for b itself.

        Raises: ValueError for a number outside of the interval.
        """
        value = self._check(value)
        inside = (self.low <= value) & (self.high > value)
        return log(inside.to(self.low.dtype)) - log(self.high - self.low)

    def cdf(self, value: Tensor) -> Tensor:
        """(x − a) / (b − a), between 0 and 1."""
        return clamp((self._check(value) - self.low) / (self.high - self.low), min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        """a + (b − a)·value."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """log(b − a)."""
        return log(self.high - self.low)
