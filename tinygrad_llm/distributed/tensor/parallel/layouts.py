"""From one layout of a tensor to another, with the gradient that goes the other way.

A tensor that is whole is equal on all ranks, and so is its gradient. Of one that is divided each
rank has its part, and the gradient of its part.

    whole      -> part       own_part_of        backward: the ranks' parts joined
    part       -> whole      gather_along       backward: the own part
    terms      -> whole      sum_over_ranks     backward: the gradient itself
    terms      -> part       reduce-scatter     backward: all-gather

A layer of which each rank computes a part uses a whole input, and its gradient there is one term of
the sum over the ranks: `for_parts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....autograd.engine import Op
from ....tensor import Tensor
from ...nn.functional import (
    AllGather,
    ReduceScatter,
    copy_to_ranks,
    gather_along,
    own_part_of,
    whole_length,
)
from ...parts import own_part, summed_all
from ..placements import Placement, Shard

__all__ = [
    "check_placement", "copies_to_ranks", "dim_of", "for_parts", "redistributed", "shared_gather",
    "summed_as",
]  # fmt: skip


def check_placement(name: str, layout: Any) -> Placement:
    """The layout.

    Raises: ValueError if it is neither Replicate() nor Shard(dim).
    """
    if not isinstance(layout, Placement) or not (layout.is_shard() or layout.is_replicate()):
        raise ValueError(f"{name}: a layout is Replicate() or Shard(dim), got {layout!r}")
    return layout


def dim_of(layout: Placement, ndim: int) -> int | None:
    """The dimension that is divided, counted from 0; None if the tensor is whole.

    Raises: ValueError if a tensor of ndim dimensions does not have it.
    """
    if not isinstance(layout, Shard):
        return None
    if not -ndim <= layout.dim < ndim:
        raise ValueError(f"{layout} does not fit a tensor of {ndim} dimensions")
    return layout.dim % ndim


class CopiesToRanks(Op, listed=False):
    """y_i = x_i for several x_i, which every rank has: CopyToRanks of all in one exchange.

    Backward:   ∂L/∂x_i = Σ_r g_ir   (each rank has the gradient through its part alone)
    """

    def forward(self, *xs: Any, group: Any) -> Any:
        self.group = group
        return tuple(x.view() for x in xs) if len(xs) > 1 else xs[0].view()

    def backward(self, g: Any) -> Any:
        gs = g if isinstance(g, tuple) else (g,)
        present = [i for i, each in enumerate(gs) if each is not None]
        grads: list[Any] = [None] * len(gs)
        for i, total in zip(present, summed_all(self.group, [gs[i] for i in present]), strict=True):
            grads[i] = total
        return tuple(grads)


def copies_to_ranks(tensors: Sequence[Tensor], group: Any) -> list[Tensor]:
    """copy_to_ranks of several tensors, whose gradients are summed in one exchange."""
    copies = CopiesToRanks.apply(*tensors, group=group)
    return list(copies) if isinstance(copies, tuple) else [copies]


class _SharedGather(Op, listed=False):
    """y = [x_0; x_1; ...] along dim, which was gathered before: the numbers are given.

    Backward:   ∂L/∂x_r = part r of g   (equal on all ranks)
    """

    def forward(self, x: Any, *, group: Any, dim: int, whole: Any) -> Any:
        self.group, self.dim = group, dim
        return whole.view()

    def backward(self, g: Any) -> Any:
        return own_part(self.group, g, self.dim)


def shared_gather(x: Tensor, dim: int, group: Any) -> Tensor:
    """The ranks' parts joined along dim, for an op that is the same on all ranks and for others.

    Layers that compute parts find in it the same numbers with the gradient that they need (see
    for_parts), so one all-gather forward and one reduce-scatter backward serve all of them.
    """
    length = whole_length(group, x, dim)
    terms = AllGather.apply(x, group=group, dim=dim, length=length)
    y = _SharedGather.apply(x, group=group, dim=dim, whole=terms.array)
    y.__dict__["_for_parts"] = (group, terms)
    return y


def redistributed(x: Tensor, source: Placement, target: Placement, group: Any) -> Tensor:
    """The tensor in another layout."""
    a, b = dim_of(source, x.ndim), dim_of(target, x.ndim)
    if a == b:
        return x
    if a is not None:
        x = gather_along(x, a, group)
    return x if b is None else own_part_of(x, b, group)


def for_parts(x: Tensor, source: Placement, group: Any) -> Tensor:
    """The whole tensor, of whose gradient each rank has one term."""
    dim = dim_of(source, x.ndim)
    if dim is None:
        known, terms = x.__dict__.get("_for_parts", (None, None))
        return terms if known is group else copy_to_ranks(x, group)
    length = whole_length(group, x, dim)
    return AllGather.apply(x, group=group, dim=dim, length=length)


def summed_as(terms: Tensor, dim: int, group: Any) -> Tensor:
    """This rank's part, along dim, of the sum of the ranks' terms."""
    return ReduceScatter.apply(terms, group=group, dim=dim)
