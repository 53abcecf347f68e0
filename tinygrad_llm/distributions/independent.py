"""Independent: some batch dimensions of a distribution as dimensions of one event."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .distribution import Distribution

__all__ = ["Independent"]


class Independent(Distribution):
    """A distribution whose last batch dimensions belong to one event: their log p are added.

    base_distribution            such as Normal(zeros(3), ones(3)): three numbers, each by itself
    reinterpreted_batch_ndims    how many of its last batch dimensions; 1: one vector of three

    Raises: ValueError if the distribution has fewer batch dimensions.
    """

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        batch, n = base_distribution.batch_shape, reinterpreted_batch_ndims
        if n > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{n} vs {len(batch)}"
            )
        self.base_dist: Any = base_distribution
        self.reinterpreted_batch_ndims = n
        cut = len(batch) - n
        super().__init__(
            batch[:cut], (*batch[cut:], *base_distribution.event_shape), validate_args=validate_args
        )

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether a gradient can flow through a sample."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> Any:
        """The constraint of the base distribution's values."""
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        """The base distribution's."""
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        """The base distribution's."""
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        """The base distribution's."""
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """The base distribution's samples."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """The base distribution's samples, through which gradients flow."""
        return self.base_dist.rsample(sample_shape)

    def _added(self, x: Tensor) -> Tensor:
        dims = tuple(range(-self.reinterpreted_batch_ndims, 0))
        return x.sum(dims) if dims else x  # (..., event) -> (...)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of whole events."""
        return self._added(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        """The entropy of whole events."""
        return self._added(self.base_dist.entropy())
