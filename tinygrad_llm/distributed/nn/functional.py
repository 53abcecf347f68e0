"""Collectives as ops: what one rank computes depends on the numbers of all.

Which loss is differentiated? In the first group of ops it is L = L₀ + L₁ + ..., the sum of what the
ranks call their loss: each rank calls backward on its own term, and receives ∂L/∂x for its x. Every
rank runs the same ops, so a backward pass meets its counterparts in the same order.

    forward             backward
    all_reduce          all_reduce          y_r = Σ_q x_q  is used on every rank
    all_gather          reduce_scatter      x_r is a part of y on every rank
    reduce_scatter      all_gather          x_r has a part in every rank's y
    broadcast           sum to the source   x of the source is every rank's y
    all_to_all          all_to_all          with sizes exchanged

In the second group, which tensor parallelism uses, all ranks compute the same loss L from the same
numbers, and ∂L/∂y is equal on all of them. copy_to_ranks and sum_over_ranks are conjugate: the
forward of each is the backward of the other (Shoeybi et al. 2019, "Megatron-LM", their f and g).

    copy_to_ranks       x -> x              backward: Σ over the ranks
    sum_over_ranks      x -> Σ over ranks   backward: g -> g
    gather_along        parts -> whole      backward: this rank's part of g
    own_part_of         whole -> own part   backward: the ranks' parts joined
"""

from __future__ import annotations

from typing import Any

from ...arrays.devices import xp_of
from ...autograd.engine import Op
from ...functions.shape.join import stack
from ...tensor import Tensor, wrap
from .. import groups
from ..collectives import all_to_all_single as exchange
from ..collectives import broadcast as send_to_all
from ..collectives import row_counts
from ..parts import everyones_number, gathered, own_part, summed, summed_part
from ..reductions import ReduceOp, check_reduction
from ..steps import divided

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
    "whole_length",
]


def _group(group: Any, name: str) -> Any:
    """The group, of which this rank must be a member.

    Raises: ValueError if it is not.
    """
    chosen = groups.member_group(group, name)
    if chosen is None:
        raise ValueError(f"{name}: rank {groups.get_rank()} is not in the group")
    return chosen


def whole_length(group: Any, x: Tensor, dim: int) -> int:
    """The sum of the ranks' sizes along dim.

    Raises: ValueError if they are not an even division of it.
    """
    sizes = everyones_number(group, x.shape[dim])
    length = sum(sizes)
    if sizes != divided(length, group.size()):
        raise ValueError(
            f"the parts of {length} along dim {dim} are not an even division among "
            f"{group.size()} ranks: they are {sizes}, expected {divided(length, group.size())}"
        )
    return length


# --------------------------------------------------------------- the loss is the sum of the ranks'
class AllReduce(Op, listed=False):
    """y_r = Σ_q x_q on every rank r.

    Backward, with g_r = ∂L/∂y_r:   ∂L/∂x_q = Σ_r g_r   (x_q is in the sum of every rank)
    """

    def forward(self, x: Any, *, group: Any) -> Any:
        self.group = group
        return summed(group, x)

    def backward(self, g: Any) -> Any:
        return summed(self.group, g)


class AllGather(Op, listed=False):
    """y = [x_0; x_1; ...] joined along dim, on every rank.

    Backward, with g_r = ∂L/∂y on rank r:   ∂L/∂x_q = part q of Σ_r g_r   (a reduce-scatter)
    """

    def forward(self, x: Any, *, group: Any, dim: int, length: int) -> Any:
        self.group, self.dim = group, dim
        return gathered(group, x, dim, length)

    def backward(self, g: Any) -> Any:
        return summed_part(self.group, g, self.dim)


class ReduceScatter(Op, listed=False):
    """y_r = part r, along dim, of Σ_q x_q.

    Backward, with g_r = ∂L/∂y_r:   ∂L/∂x_q = [g_0; g_1; ...]   (an all-gather)
    """

    def forward(self, x: Any, *, group: Any, dim: int) -> Any:
        self.group, self.dim, self.length = group, dim, x.shape[dim]
        return summed_part(group, x, dim)

    def backward(self, g: Any) -> Any:
        return gathered(self.group, g, self.dim, self.length)


class Broadcast(Op, listed=False):
    """y_r = x_s on every rank r; s is the source.

    Backward, with g_r = ∂L/∂y_r:   ∂L/∂x_s = Σ_r g_r,   ∂L/∂x_q = 0 for the others
    """

    def forward(self, x: Any, *, group: Any, source: int) -> Any:
        self.group, self.source = group, group.local(source)
        y = x.copy()
        send_to_all(wrap(y), source, group)
        return y

    def backward(self, g: Any) -> Any:
        total = summed(self.group, g)
        return total if self.group.rank() == self.source else xp_of(g).zeros_like(total)


class AllToAll(Op, listed=False):
    """y_r = [part r of x_0; part r of x_1; ...] along dim 0.

    Backward, with g_r = ∂L/∂y_r:   ∂L/∂x_q = [part q of g_0; part q of g_1; ...]
    """

    def forward(self, x: Any, *, group: Any, into: list[int], out: list[int]) -> Any:
        self.group, self.into, self.out = group, into, out
        return _exchanged(group, x, into, out)

    def backward(self, g: Any) -> Any:
        return _exchanged(self.group, g, self.out, self.into)


def _exchanged(group: Any, x: Any, into: list[int], out: list[int]) -> Any:
    xp = xp_of(x)
    y = xp.empty((sum(into), *x.shape[1:]), x.dtype)
    exchange(wrap(y), wrap(xp.ascontiguousarray(x)), into, out, group)
    return y


# ---------------------------------------------------------- the loss is the same on every rank
class CopyToRanks(Op, listed=False):
    """y = x, which every rank has; from here on the ranks compute different parts.

    Backward:   ∂L/∂x = Σ_r g_r   (each rank has the gradient through its part alone)
    """

    def forward(self, x: Any, *, group: Any) -> Any:
        self.group = group
        return x.view()

    def backward(self, g: Any) -> Any:
        return summed(self.group, g)


class SumOverRanks(Op, listed=False):
    """y = Σ_r x_r, after which every rank computes the same.

    Backward:   ∂L/∂x_r = g   (equal on all ranks)
    """

    def forward(self, x: Any, *, group: Any) -> Any:
        return summed(group, x)

    def backward(self, g: Any) -> Any:
        return g


class GatherAlong(Op, listed=False):
    """y = [x_0; x_1; ...] along dim, after which every rank computes the same.

    Backward:   ∂L/∂x_r = part r of g   (equal on all ranks)
    """

    def forward(self, x: Any, *, group: Any, dim: int, length: int) -> Any:
        self.group, self.dim = group, dim
        return gathered(group, x, dim, length)

    def backward(self, g: Any) -> Any:
        return own_part(self.group, g, self.dim)


class OwnPartOf(Op, listed=False):
    """y = part r of x, which every rank has, along dim.

    Backward:   ∂L/∂x = [g_0; g_1; ...]   (each rank has the gradient of its part)
    """

    def forward(self, x: Any, *, group: Any, dim: int) -> Any:
        self.group, self.dim, self.length = group, dim, x.shape[dim]
        return own_part(group, x, dim).copy()

    def backward(self, g: Any) -> Any:
        return gathered(self.group, g, self.dim, self.length)


# ------------------------------------------------------------------------------------- functions
def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum over the ranks, or the mean for ReduceOp.AVG, as a new tensor with a gradient.

    Raises: ValueError for another reduction, which has no gradient here.
    """
    chosen = _group(group, "all_reduce")
    check_reduction(op, tensor.array.dtype)
    if op not in (ReduceOp.SUM, ReduceOp.AVG):
        raise ValueError(f"all_reduce with a gradient is SUM or AVG, got {op.name}")
    total = AllReduce.apply(tensor, group=chosen)
    return total / chosen.size() if op is ReduceOp.AVG else total


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """Every rank's tensor, all of one shape; their gradients go back to the ranks they are from."""
    chosen = _group(group, "all_gather")
    stacked = AllGather.apply(tensor[None], group=chosen, dim=0, length=chosen.size())  # (R, ...)
    return tuple(stacked[i] for i in range(chosen.size()))


def reduce_scatter(
    output: Tensor | None, input_list: Any, op: ReduceOp = ReduceOp.SUM, group: Any = None
) -> Tensor:
    """This rank's part of the sum over the ranks: input_list has one tensor per rank, of one shape.

    output gives only the shape in PyTorch, and may be None here.
    Raises: ValueError for a reduction that is neither SUM nor AVG, or a list of another length.
    """
    chosen = _group(group, "reduce_scatter")
    if op not in (ReduceOp.SUM, ReduceOp.AVG):
        raise ValueError(f"reduce_scatter with a gradient is SUM or AVG, got {op.name}")
    if len(input_list) != chosen.size():
        raise ValueError(f"expected one tensor per rank, {chosen.size()}, got {len(input_list)}")
    part = ReduceScatter.apply(stack(list(input_list)), group=chosen, dim=0)[0]  # (1, ...) -> (...)
    return part / chosen.size() if op is ReduceOp.AVG else part


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of rank src on every rank; all ranks' gradients go back to src."""
    return Broadcast.apply(tensor, group=_group(group, "broadcast"), source=src)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Any = None, input_split_sizes: Any = None,
    group: Any = None,
) -> Tensor:  # fmt: skip
    """Part r of input (dim 0) goes to rank r; returns what each rank sent here, with a gradient.

    output gives the shape, and is not written. The sizes are as in the collective of this name.
    """
    chosen = _group(group, "all_to_all_single")
    into = row_counts(output, output_split_sizes, chosen.size(), "output_split_sizes")
    out = row_counts(input, input_split_sizes, chosen.size(), "input_split_sizes")
    return AllToAll.apply(input, group=chosen, into=into, out=out)


def copy_to_ranks(tensor: Tensor, group: Any = None) -> Tensor:
    """The tensor itself; its gradient is the sum over the ranks."""
    return CopyToRanks.apply(tensor, group=_group(group, "copy_to_ranks"))


def sum_over_ranks(tensor: Tensor, group: Any = None) -> Tensor:
    """The sum over the ranks; each rank's gradient is that of the sum."""
    return SumOverRanks.apply(tensor, group=_group(group, "sum_over_ranks"))


def gather_along(tensor: Tensor, dim: int = -1, group: Any = None) -> Tensor:
    """The ranks' parts joined along dim; each rank's gradient is its part.

    Raises: ValueError if the parts are not an even division (see distributed.parts).
    """
    chosen = _group(group, "gather_along")
    length = whole_length(chosen, tensor, dim)
    return GatherAlong.apply(tensor, group=chosen, dim=dim, length=length)


def own_part_of(tensor: Tensor, dim: int = -1, group: Any = None) -> Tensor:
    """This rank's part along dim; the gradient is joined from all ranks."""
    return OwnPartOf.apply(tensor, group=_group(group, "own_part_of"), dim=dim)
