"""Tensors divided among ranks: placements, and tensor parallelism in `parallel`."""

from ...tensor.missing_names import missing
from . import parallel
from .placements import Placement, Replicate, Shard

__all__ = ["Placement", "Replicate", "Shard", "parallel"]


def __getattr__(name: str) -> object:
    raise missing(__name__, name, __all__)
