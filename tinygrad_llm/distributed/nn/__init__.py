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

__all__ = [
    "all_gather",
    "all_reduce",
    "all_to_all_single",
    "broadcast",
    "copy_to_ranks",
    "gather_along",
    "own_part_of",
    "reduce_scatter",
    "sum_over_ranks",
]
