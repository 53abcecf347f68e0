"""Categorical: one of K classes, each with its probability."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..functions.creation.filled import full
from ..functions.creation.ranges import arange
from ..functions.sampling import multinomial
from ..functions.selection import clamp
from ..functions.shape.broadcast import broadcast_tensors
from ..functions.softmax import logsumexp, softmax
from ..tensor import Size, Tensor, dtypes
from . import constraints
from .distribution import Distribution, probs_to_logits

__all__ = ["Categorical"]


class Categorical(Distribution):
    """P(i) = pᵢ for i = 0, ..., K − 1.

    probs     (..., K) weights, at least 0; they are divided by their sum
    logits    (..., K) any numbers; p = softmax(logits). Give one of the two.

    Raises: ValueError if both or none are given, and for weights below 0.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        given = probs if logits is None else logits
        if given is None or (probs is not None and logits is not None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        name = "probs" if logits is None else "logits"
        if given.ndim < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if logits is None:
            self.probs = given / given.sum(-1, keepdim=True)
        else:
            self.logits = given - logsumexp(given, -1, keepdim=True)
        self._events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @cached_property
    def probs(self) -> Tensor:
        """p, (..., K), from the logits."""
        return softmax(self.logits, -1)

    @cached_property
    def logits(self) -> Tensor:
        """log p, (..., K), from the probabilities."""
        return probs_to_logits(self.probs)

    @property
    def support(self) -> constraints.Constraint:
        """The integers from 0 to K − 1."""
        return constraints.integer_interval(0, self._events - 1)

    @property
    def param_shape(self) -> Size:
        """The parameter's shape, (..., K)."""
        return Size((*self.batch_shape, self._events))

    @property
    def mean(self) -> Tensor:
        """NaN: classes are not numbers."""
        return full(self.batch_shape, float("nan"), dtype=self.probs.dtype)

    variance = mean

    @property
    def mode(self) -> Tensor:
        """The most probable class."""
        return self.probs.argmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Classes (sample_shape, batch_shape), int64."""
        count = Size(sample_shape).numel()
        rows = self.probs.reshape(-1, self._events)  # (..., K) -> (N, K)
        drawn = multinomial(rows.detach(), count, True)  # (N, count)
        return drawn.t().reshape(self._shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of the classes in value, which broadcast with batch_shape.

        Raises: ValueError for what is not a class.
        """
        classes = self._check(value).long().unsqueeze(-1)  # (...) -> (..., 1)
        classes, logits = broadcast_tensors(classes, self.logits)  # (..., K)
        return logits.gather(-1, classes[..., :1]).squeeze(-1)  # (..., 1) -> (...)

    def entropy(self) -> Tensor:
        """−Σ p·log p; a class with p = 0 adds 0."""
        lowest = dtypes.finfo(self.logits.dtype).min
        return -(clamp(self.logits, min=lowest) * self.probs).sum(-1)  # (..., K) -> (...)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0, ..., K − 1 along a new first dimension."""
        ones = (1,) * len(self.batch_shape)
        values = arange(self._events).view(-1, *ones)  # (K) -> (K, 1, ...)
        return values.expand(-1, *self.batch_shape) if expand else values
