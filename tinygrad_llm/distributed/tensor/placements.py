"""Where the numbers of a tensor are: whole on every rank, or divided along a dimension."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Placement", "Replicate", "Shard"]


class Placement:
    """Where the numbers of a tensor are."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether the tensor is divided, along dim if it is given."""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Whether every rank has the whole tensor."""
        return isinstance(self, Replicate)


@dataclass(frozen=True)
class Shard(Placement):
    """Divided along dim: rank r has part r."""

    dim: int


@dataclass(frozen=True)
class Replicate(Placement):
    """Whole, and equal, on every rank."""
