"""Collectives as ops, on ranks that are threads: run, slow twins, finite differences across ranks.

COLLECTIVES   name -> a Collective: its op, its example, which loss is differentiated, its slow twin

The loss is L = Σ_r Σ g_r·y_r, over all ranks r. Where every rank computes the same output
(same_output) it is counted once; where every rank has the same input (same_input) they change
together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...autograd.engine import Op
from ...distributed.nn import functional
from ...distributed.nn.ring_attention import RingAttention, chunks_of_rank, own_positions
from ...distributed.steps import divided
from ...distributed.threads import on_threads
from ...distributed.traffic import Exchange, watching
from ...functions.shape.join import cat
from ...tensor import Tensor, wrap

__all__ = ["COLLECTIVES", "Collective", "Ran", "differences", "numeric", "run", "slow"]

STEP = 1e-6
Backward = Callable[[Any, Any], Any]  # (op, g) -> gradient
Twin = Callable[[Sequence[Tensor]], list[Tensor]]  # every rank's x -> every rank's y


@dataclass(frozen=True)
class Collective:
    """A collective as an op, and a small call of it.

    rows, columns   each rank's x has this shape in the example of 2 ranks
    options         of the op, beside the group
    same_input      every rank has the same x; same_output: every rank computes the same y
    x               what a rank's input is called in the example
    twin            the same over a list of all ranks' tensors: its gradient is the chain rule's
    """

    op: type[Op]
    rows: int
    columns: int
    twin: Twin
    options: dict[str, Any] = field(default_factory=dict)
    same_input: bool = False
    same_output: bool = False
    x: str = "x"

    def inputs(self, ranks: int = 2) -> list[np.ndarray]:
        """Every rank's x (rows, columns) of the example, in float64."""
        rows = ranks if "into" in self.options else self.rows
        n = rows * self.columns
        xs = [np.arange(1.0, n + 1) + 10 * (0 if self.same_input else r) for r in range(ranks)]
        return [x.reshape(rows, self.columns) for x in xs]

    def options_for(self, ranks: int) -> dict[str, Any]:
        """The op's options, with what depends on the number of ranks."""
        chosen = dict(self.options)
        if "length" in chosen:  # of the joined dimension
            chosen["length"] = ranks * (self.rows, self.columns)[chosen["dim"]]
        if "into" in chosen:
            chosen["into"] = chosen["out"] = [1] * ranks
        return chosen

    def forward(self, op: Any, x: Any, group: Any) -> Any:
        """The op's y on a rank of a group."""
        return op.forward(x, group=group, **self.options_for(group.size()))

    def backward(self, op: Any, g: Any) -> Any:
        """The op's ∂L/∂x."""
        return op.backward(g)


class Ring(Collective):
    """Attention in a ring: x (3, 1, rows, columns) of a rank are its queries, keys and values."""

    def inputs(self, ranks: int = 2) -> list[np.ndarray]:
        """Every rank's x of the example: numbers for which no probability is close to 0."""
        shape = (3, 1, self.rows, self.columns)
        n = int(np.prod(shape))
        return [np.arange(n).reshape(shape) % (5 + 2 * r) / 4 - 0.5 for r in range(ranks)]

    def forward(self, op: Any, x: Any, group: Any) -> Any:
        """y (1, rows, columns) of this rank's queries, and the keys and values of all."""
        ranks = group.size()
        everyones = [chunks_of_rank(ranks * self.rows, ranks, r) for r in range(ranks)]
        return op.forward(
            *x, group=group, own=everyones[group.rank()], everyones=everyones, **self.options
        )

    def backward(self, op: Any, g: Any) -> Any:
        """The gradients of queries, keys and values, stacked as x is."""
        return np.stack(op.backward(g))


class Ran(NamedTuple):
    """What every rank had, in rank order; the exchanges that each took part in."""

    outputs: list[Any]
    upstream: list[Any]
    gradients: list[Any]
    forward: list[list[Exchange]]
    backward: list[list[Exchange]]


# ------------------------------------------------------------------------------------ slow twins
def _parts(x: Tensor, ranks: int, dim: int) -> list[Tensor]:
    """x cut along dim into a part for each rank."""
    return list(x.split(divided(x.shape[dim], ranks), dim))


def all_reduce(xs: Sequence[Tensor]) -> list[Tensor]:
    """Every rank has the sum."""
    return [sum(xs[1:], xs[0]) for _ in xs]


def all_gather(xs: Sequence[Tensor]) -> list[Tensor]:
    """Every rank has all rows."""
    return [cat(list(xs)) for _ in xs]  # R times (n, C) -> (R * n, C)


def reduce_scatter(xs: Sequence[Tensor]) -> list[Tensor]:
    """Rank r has part r of the sum."""
    return _parts(sum(xs[1:], xs[0]), len(xs), 0)


def broadcast(xs: Sequence[Tensor]) -> list[Tensor]:
    """Every rank has rank 0's."""
    return [xs[0] for _ in xs]


def all_to_all_single(xs: Sequence[Tensor]) -> list[Tensor]:
    """Rank r has part r of every rank's."""
    parts = [_parts(x, len(xs), 0) for x in xs]
    return [
        cat([part[r] for part in parts]) for r in range(len(xs))
    ]  # R times (n / R, C) -> (n, C)


def copy_to_ranks(xs: Sequence[Tensor]) -> list[Tensor]:
    """Every rank has the same x."""
    return [xs[0] for _ in xs]


def gather_along(xs: Sequence[Tensor]) -> list[Tensor]:
    """Every rank has all columns."""
    return [cat(list(xs), 1) for _ in xs]  # R times (n, C) -> (n, R * C)


def own_part_of(xs: Sequence[Tensor]) -> list[Tensor]:
    """Rank r has part r of the columns."""
    return _parts(xs[0], len(xs), 1)


def ring_attention(xs: Sequence[Tensor]) -> list[Tensor]:
    """Causal attention over the positions of all ranks, each of which has its own in order."""
    length = sum(x.shape[2] for x in xs)
    places = np.concatenate([own_positions(length, len(xs), r) for r in range(len(xs))])  # (T,)
    q, k, v = cat(list(xs), 2).unbind()  # R times (3, 1, L, E) -> three of (1, T, E)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (1, T, T)
    future = wrap(places[None, :] > places[:, None])
    y = scores.masked_fill(future, -math.inf).softmax(-1) @ v  # (1, T, E)
    return list(y.split([x.shape[2] for x in xs], 1))


COLLECTIVES: dict[str, Collective] = {
    "all_reduce": Collective(functional.AllReduce, 1, 3, all_reduce),
    "all_gather": Collective(functional.AllGather, 1, 2, all_gather, {"dim": 0, "length": 0}),
    "reduce_scatter": Collective(functional.ReduceScatter, 2, 2, reduce_scatter, {"dim": 0}),
    "broadcast": Collective(functional.Broadcast, 1, 3, broadcast, {"source": 0}),
    "all_to_all_single": Collective(
        functional.AllToAll, 2, 2, all_to_all_single, {"into": [], "out": []}
    ),
    "copy_to_ranks": Collective(functional.CopyToRanks, 1, 3, copy_to_ranks, same_input=True),
    "sum_over_ranks": Collective(functional.SumOverRanks, 1, 3, all_reduce, same_output=True),
    "gather_along": Collective(
        functional.GatherAlong, 2, 1, gather_along, {"dim": 1, "length": 0}, same_output=True
    ),
    "own_part_of": Collective(functional.OwnPartOf, 1, 4, own_part_of, {"dim": 1}, same_input=True),
    "ring_attention": Ring(
        RingAttention,
        2,
        2,
        ring_attention,
        {"is_causal": True, "scale": None, "window": None, "softcap": None},
        x="x = (queries, keys, values)",
    ),
}


# ---------------------------------------------------------------------------------- on all ranks
def upstream(collective: Collective, outputs: Sequence[Any]) -> list[Any]:
    """∂L/∂y of every rank: numbers that differ, so that no sum hides a mistake."""
    some = np.array([1.0, -0.5, 2.0, 0.5, -1.0, 1.5, 3.0])
    gs = []
    for rank, y in enumerate(outputs):
        first = 0 if collective.same_output else 3 * rank
        gs.append(np.resize(np.roll(some, -first), y.size).reshape(y.shape))
    return gs


def run(
    collective: Collective, xs: Sequence[Any], gs: Sequence[Any] | None = None,
    backward: Backward | None = None,
) -> Ran:  # fmt: skip
    """Forward and backward of the op on every rank, one thread each.

    xs      every rank's input
    gs      every rank's ∂L/∂y, those of the example if None
    backward    in place of the op's own: backward(op, g)
    """
    exchanges: list[Exchange] = []
    ops = [collective.op() for _ in xs]
    for op in ops:
        op.needs = (True,)

    def forward(group: Any) -> Any:
        y = collective.forward(ops[group.rank()], xs[group.rank()].copy(), group)
        return y, [e for e in exchanges if e.rank == group.rank()]

    with watching(exchanges.append):
        ahead = on_threads(len(xs), forward)
    outputs = [y for y, _ in ahead]
    arriving = upstream(collective, outputs) if gs is None else list(gs)
    exchanges.clear()

    def back(group: Any) -> Any:
        op: Any = ops[group.rank()]
        op.group = group  # the threads of the forward pass have ended
        g = arriving[group.rank()].copy()
        gradient = (backward or collective.backward)(op, g)
        return gradient, [e for e in exchanges if e.rank == group.rank()]

    with watching(exchanges.append):
        behind = on_threads(len(xs), back)
    return Ran(outputs, arriving, [g for g, _ in behind], [e for _, e in ahead],
               [e for _, e in behind])  # fmt: skip


def slow(
    collective: Collective, xs: Sequence[Any], gs: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Outputs and gradients of the slow twin, every rank's."""
    leaves = [wrap(x.copy()) for x in xs]
    for leaf in leaves:
        leaf.requires_grad = True
    given = [leaves[0]] * len(xs) if collective.same_input else leaves
    ys = collective.twin(given)
    counted = list(zip(ys, gs, strict=True))[: 1 if collective.same_output else None]
    loss = sum(((y * wrap(g)).sum() for y, g in counted[1:]), (counted[0][0] * wrap(gs[0])).sum())
    loss.backward()
    gradients = [
        np.zeros_like(x) if leaf.grad is None else leaf.grad.array
        for x, leaf in zip(xs, given, strict=True)
    ]
    return [y.array for y in ys], gradients


def numeric(collective: Collective, xs: Sequence[Any], gs: Sequence[Any]) -> list[Any]:
    """Every rank's ∂L/∂x by central differences: one rank's element is moved, all ranks run."""
    moves = [
        (q, i, step)
        for q in range(1 if collective.same_input else len(xs))
        for i in range(xs[q].size)
        for step in (STEP, -STEP)
    ]

    def on_rank(group: Any) -> list[float]:
        rank, terms = group.rank(), []
        for q, i, step in moves:
            x = xs[rank].copy()
            if collective.same_input or q == rank:
                x.reshape(-1)[i] += step
            y = collective.forward(collective.op(), x, group)
            counts = not (collective.same_output and rank)
            terms.append(float((y * gs[rank]).sum()) if counts else 0.0)
        return terms

    losses = np.sum(on_threads(len(xs), on_rank), 0)  # (R, moves) -> (moves,)
    gradients = (losses[0::2] - losses[1::2]) / (2 * STEP)
    if collective.same_input:
        return [gradients.reshape(x.shape) for x in xs]
    ends = np.cumsum([x.size for x in xs])[:-1]
    return [part.reshape(x.shape) for part, x in zip(np.split(gradients, ends), xs, strict=True)]


def differences(
    collective: Collective, backward: Backward | None = None, ranks: int = 2
) -> list[float]:
    """For every rank the largest difference of its gradient from finite differences.

    backward: in place of the op's own, such as a planted mistake
    Infinite where the gradient has another shape than x.
    """
    xs = collective.inputs(ranks)
    ran = run(collective, xs, None, backward)
    expected = numeric(collective, xs, ran.upstream)
    return [
        float(np.abs(a - b).max()) if np.shape(a) == b.shape else float("inf")
        for a, b in zip(ran.gradients, expected, strict=True)
    ]
