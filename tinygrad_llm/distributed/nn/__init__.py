"""Collectives as ops, with their gradients: torch.distributed.nn."""

from .functional import (
    all_gather,
    all_reduce,
    all_to_all_single,
    broadcast,
    copy_to_ranks,
    gather_along,
    own_part_of,
    reduce_scatter,
    sum_over_ranks,
)
from .ring_attention import ring_attention

__all__ = [
    "all_gather",
    "all_reduce",
    "all_to_all_single",
    "broadcast",
    "copy_to_ranks",
    "gather_along",
    "own_part_of",
    "reduce_scatter",
    "ring_attention",
    "sum_over_ranks",
]
