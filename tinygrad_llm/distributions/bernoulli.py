"""Bernoulli: a coin that shows 1 with probability p."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..autograd import no_grad
from ..functions import sampling
from ..functions.creation.ranges import arange
from ..functions.elementary import sigmoid
from ..functions.losses.classification import binary_cross_entropy_with_logits
from ..functions.selection import where
from ..tensor import Size, Tensor, dtypes
from . import constraints
from .distribution import Distribution, broadcast_all, probs_to_logits

__all__ = ["Bernoulli"]


class Bernoulli(Distribution):
    """P(1) = p, P(0) = 1 − p.

    probs     p, a number or a tensor
    logits    log p − log(1 − p), a number or a tensor. Give one of the two.

    Raises: ValueError if both or none are given, and for p outside [0, 1].
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}  # noqa: RUF012
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        if logits is None:
            (self.probs,) = broadcast_all(probs)
            shape = self.probs.shape
        else:
            (self.logits,) = broadcast_all(logits)
            shape = self.logits.shape
        super().__init__(shape, validate_args=validate_args)

    @cached_property
    def probs(self) -> Tensor:
        """p, from the logits."""
        return sigmoid(self.logits)

    @cached_property
    def logits(self) -> Tensor:
        """log p − log(1 − p), from the probability."""
        return probs_to_logits(self.probs, is_binary=True)

    @property
    def param_shape(self) -> Size:
        """The parameter's shape."""
        return self.batch_shape

    @property
    def mean(self) -> Tensor:
        """p."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """p·(1 − p)."""
        return self.probs * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        """The more probable side; NaN for p = ½."""
        side = (self.probs >= 0.5).to(self.probs.dtype)
        return where(self.probs == 0.5, float("nan"), side)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """0 and 1, (sample_shape, batch_shape), in the parameter's dtype."""
        with no_grad():
            return sampling.bernoulli(self.probs.expand(self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """value·log p + (1 − value)·log(1 − p).

        Raises: ValueError for what is neither 0 nor 1.
        """
        logits, value = broadcast_all(self.logits, self._check(value))
        kind = dtypes.promote_types(logits.dtype, value.dtype)
        return -binary_cross_entropy_with_logits(logits.to(kind), value.to(kind), reduction="none")

    def entropy(self) -> Tensor:
        """−p·log p − (1 − p)·log(1 − p)."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1 along a new first dimension."""
        ones = (1,) * len(self.batch_shape)
        values = arange(2, dtype=self.probs.dtype).view(-1, *ones)  # (2) -> (2, 1, ...)
        return values.expand(-1, *self.batch_shape) if expand else values
