"""Tensors divided among ranks: placements, and tensor parallelism in `parallel`."""

from ..not_offered import not_offered
from . import experimental, parallel
from .placements import Placement, Replicate, Shard

__all__ = ["Placement", "Replicate", "Shard", "experimental", "parallel"]


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
