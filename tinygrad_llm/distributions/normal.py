"""Normal: the bell curve."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import no_grad
from ..functions import random
from ..functions.creation.filled import ones, zeros
from ..functions.elementary import erf, log
from ..functions.special import erfinv
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution, broadcast_all

__all__ = ["Normal"]


class Normal(Distribution):
    """p(x) = exp(−(x − μ)² / 2σ²) / (σ·√(2π)).

    loc, scale    μ and σ > 0, numbers or tensors that broadcast

    Raises: ValueError for σ <= 0 and for NaN.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Tensor:
        """σ."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """σ²."""
        return self.scale.square()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Random numbers (sample_shape, batch_shape), outside the graph."""
        shape = self._shape(sample_shape)
        with no_grad():
            return random.normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """μ + σ·ε with ε standard normal: gradients reach μ and σ."""
        shape, kind = self._shape(sample_shape), self.loc.dtype
        noise = random.normal(zeros(shape, dtype=kind), ones(shape, dtype=kind))
        return self.loc + noise.to(self.loc.device) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """−(x − μ)² / 2σ² − log σ − log √(2π)."""
        distance = (self._check(value) - self.loc).square()
        density = -distance / (2 * self.scale.square())
        return density - log(self.scale) - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value: Tensor) -> Tensor:
        """½·(1 + erf((x − μ) / (σ·√2)))."""
        z = (self._check(value) - self.loc) * self.scale.reciprocal() / math.sqrt(2)
        return 0.5 * (1 + erf(z))

    def icdf(self, value: Tensor) -> Tensor:
        """The number below which the share `value` lies: μ + σ·√2·erf⁻¹(2·value − 1)."""
        return self.loc + self.scale * erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Tensor:
        """½ + ½·log(2π) + log σ."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + log(self.scale)
