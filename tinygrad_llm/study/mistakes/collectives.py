"""Named mistakes of collectives as ops: wrong backward passes on several ranks.

COLLECTIVE_MISTAKES   name of a collective -> its mistakes; backward(op, g) runs on every rank
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...distributed.parts import gathered, own_part, summed, summed_part

__all__ = ["COLLECTIVE_MISTAKES", "CollectiveMistake"]


@dataclass(frozen=True)
class CollectiveMistake:
    """A wrong backward pass of a collective that people really write.

    sentence: what is wrong, for a reader whose gradient this is
    """

    collective: str
    name: str
    sentence: str
    backward: Callable[[Any, Any], Any]


COLLECTIVE_MISTAKES: dict[str, list[CollectiveMistake]] = {}


def wrong(collective: str, *mistakes: tuple[str, str, Callable[[Any, Any], Any]]) -> None:
    """Enter a collective's mistakes: (name, sentence, backward)."""
    COLLECTIVE_MISTAKES[collective] = [CollectiveMistake(collective, *m) for m in mistakes]


def _next_part(op: Any, array: Any) -> Any:
    """The part of the rank after this one, of parts of one size."""
    size, rank = op.group.size(), op.group.rank()
    return np.array_split(array, size, axis=op.dim)[(rank + 1) % size]


def _only_own_place(op: Any, g: Any) -> Any:
    """g in this rank's place, 0 in those of the others."""
    whole = gathered(op.group, g, op.dim, op.length)
    zeros = np.zeros_like(whole)
    own_part(op.group, zeros, op.dim)[...] = g
    return zeros


def _reversed_parts(op: Any, g: Any) -> Any:
    whole = gathered(op.group, g, op.dim, op.length)
    return np.concatenate(np.array_split(whole, op.group.size(), op.dim)[::-1], op.dim)


def _sum_on_source(op: Any, total: Any) -> Any:
    return total if op.group.rank() == op.source else np.zeros_like(total)


def _ring(op: Any, g: Any, keys: float = 1.0) -> Any:
    """The gradients of queries, keys and values, those of keys and values with a factor."""
    gq, gk, gv = op.backward(g)
    return np.stack([gq, keys * gk, keys * gv])


def _own_queries_only(op: Any, g: Any) -> Any:
    mine = [
        _ring(op, g if rank == op.group.rank() else np.zeros_like(g))
        for rank in range(op.group.size())
    ]
    return mine[op.group.rank()]


def _a_turn_too_far(op: Any, g: Any) -> Any:
    gq, gk, gv = op.backward(g)
    gk, gv = op._exchange(gk, gv, op._length_before(op.group.rank()), 1)()
    return np.stack([gq, gk, gv])


def _without_means(op: Any, g: Any) -> Any:
    q, k, v, y, log_sum = op.saved
    op.saved = q, k, v, np.zeros_like(y), log_sum
    return _ring(op, g)


def _first_rank_only(op: Any, g: Any) -> Any:
    return g if op.group.rank() == 0 else np.zeros_like(g)


wrong(
    "all_reduce",
    ("not summed", "This is g of this rank alone: x is in the sum of every rank, so the gradients "
     "of all ranks add up.", lambda op, g: g),
    ("averaged", "The gradients are averaged over the ranks: the loss is the sum of the ranks' "
     "losses, so they add up. An average belongs where the loss is a mean.",
     lambda op, g: summed(op.group, g) / op.group.size()),
    ("this rank left out", "Only what the other ranks send back is added: this rank's own output "
     "has x in it too.", lambda op, g: summed(op.group, g) - g),
    ("summed twice", "The gradient is summed over the ranks two times, so it is as many times too "
     "large as there are ranks.", lambda op, g: summed(op.group, summed(op.group, g))),
)  # fmt: skip
wrong(
    "all_gather",
    ("not summed", "This is the own part of this rank's g: every rank has a copy of x, and each "
     "copy sends a gradient back.", lambda op, g: own_part(op.group, g, op.dim).copy()),
    ("wrong part", "This is the part of the next rank: rank r's x stands at place r of y.",
     lambda op, g: _next_part(op, summed(op.group, g))),
    ("averaged", "The ranks' gradients are averaged: they add up, each copy had a full effect on "
     "the loss.", lambda op, g: summed_part(op.group, g, op.dim) / op.group.size()),
)  # fmt: skip
wrong(
    "reduce_scatter",
    ("only the own part", "The gradient is 0 outside of this rank's part: the other ranks use the "
     "other parts of the sum, in which this x is too.", _only_own_place),
    ("wrong order", "The ranks' gradients are joined from the last rank to the first: part r of x "
     "goes to rank r.", _reversed_parts),
    ("averaged", "The gradients are divided by the number of ranks: a sum passes g on as it is.",
     lambda op, g: gathered(op.group, g, op.dim, op.length) / op.group.size()),
)  # fmt: skip
wrong(
    "broadcast",
    ("not summed", "The source keeps its own g alone: every rank's y is a copy of its x.",
     _sum_on_source),
    ("a gradient on every rank", "Ranks that are not the source get the sum too: their x is not "
     "used.", lambda op, g: summed(op.group, g)),
    ("averaged", "The source has the mean of the gradients: they add up.",
     lambda op, g: _sum_on_source(op, summed(op.group, g) / op.group.size())),
)  # fmt: skip
wrong(
    "all_to_all_single",
    ("not sent back", "g stays where it arrived: part q of it belongs to rank q, which sent it.",
     lambda op, g: g),
    ("wrong order", "The parts come back from the last rank to the first: what was part r of x has "
     "its gradient at place r.",
     lambda op, g: np.concatenate(np.array_split(type(op).backward(op, g), op.group.size())[::-1])),
    ("summed", "The gradients of all ranks are added: each element of x went to one rank alone.",
     lambda op, g: summed(op.group, g)),
)  # fmt: skip
wrong(
    "copy_to_ranks",
    ("not summed", "This is the gradient through this rank's part alone: x goes into every rank's "
     "part, so they add up. Training runs on, and the ranks' weights drift apart.",
     lambda op, g: g),
    ("averaged", "The parts' gradients are averaged: the ranks compute different parts of one "
     "loss, so they add up.", lambda op, g: summed(op.group, g) / op.group.size()),
    ("summed twice", "The gradient is summed over the ranks two times.",
     lambda op, g: summed(op.group, summed(op.group, g))),
)  # fmt: skip
wrong(
    "sum_over_ranks",
    ("summed again", "The gradient is summed over the ranks: all ranks compute the same loss, "
     "which counts once, so g passes on as it is.",
     lambda op, g: summed(op.group, g)),
    ("divided among the ranks", "The gradient is divided by the number of ranks: each rank's x is "
     "in the sum with the factor 1.", lambda op, g: g / op.group.size()),
    ("on the first rank only", "Ranks other than the first get 0: every rank's x is in the sum.",
     _first_rank_only),
)  # fmt: skip
wrong(
    "gather_along",
    ("summed", "This is this rank's part of the sum of all ranks' gradients: the ranks compute the "
     "same loss, which counts once.", lambda op, g: summed_part(op.group, g, op.dim)),
    ("wrong part", "This is the part of the next rank: rank r's x stands at place r of y.",
     lambda op, g: _next_part(op, g).copy()),
    ("averaged", "The part is divided by the number of ranks: each part has a full effect on the "
     "loss.", lambda op, g: own_part(op.group, g, op.dim) / op.group.size()),
)  # fmt: skip
wrong(
    "own_part_of",
    ("only the own part", "The gradient is 0 outside of this rank's part: all ranks have the whole "
     "x, and need the gradient of the whole.", _only_own_place),
    ("wrong order", "The parts are joined from the last rank to the first.", _reversed_parts),
    ("averaged", "The joined gradient is divided by the number of ranks: each part has a full "
     "effect on the loss.",
     lambda op, g: gathered(op.group, g, op.dim, op.length) / op.group.size()),
)  # fmt: skip
wrong(
    "ring_attention",
    ("not sent round", "Keys and values have the gradients of this rank's queries alone: the "
     "queries of all later positions used them too, on every rank.", _own_queries_only),
    ("a place too far", "The gradients of keys and values make one step more than the ring needs: "
     "each rank has those of its neighbour's keys.", _a_turn_too_far),
    ("averaged", "The gradients of keys and values are divided by the number of ranks: the ranks "
     "have different queries, so what they send adds up.",
     lambda op, g: _ring(op, g, 1 / op.group.size())),
    ("mean left out", "d, the sum of g·y over a row, is not subtracted: a larger score makes the "
     "other probabilities smaller.", _without_means),
)  # fmt: skip
