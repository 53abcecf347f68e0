"""Tensor parallelism: the matrices of a layer divided among ranks, which compute parts of it.

Column-parallel (rows of Linear's weight, which has shape (out, in)): each rank computes some of the
outputs. Row-parallel: each rank has some of the inputs, and the partial products are added up over
the ranks. One after the other they need one sum in the forward pass and one in the backward pass:

    x -> copy_to_ranks -> column-parallel -> gelu, attention heads ... -> row-parallel -> sum

All ranks have the same inputs and compute the same loss.
Source: Shoeybi et al. 2019, "Megatron-LM".
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any, ClassVar

from ...functions.embedding import embedding
from ...functions.linear import linear
from ...nn import Embedding, Linear
from ...nn.module import Module
from ...tensor import Tensor
from .. import groups
from ..collectives import broadcast
from ..nn.functional import (
    AllGather,
    copy_to_ranks,
    gather_along,
    own_part_of,
    sum_over_ranks,
)
from ..not_offered import not_offered
from ..parts import own_slice
from ..sharded import divide_parameter
from .placements import Placement, Replicate, Shard

__all__ = ["ColwiseParallel", "ParallelStyle", "RowwiseParallel", "parallelize_module"]


class ParallelStyle:
    """How one layer is divided among the ranks.

    input_layouts     where the layer's input is: Replicate(), or Shard(-1) for parts of features
    output_layouts    the same of its output
    use_local_output  accepted: layers here return plain tensors
    """

    default_input: Placement = Replicate()
    default_output: Placement = Replicate()
    # of a class: (the class of the divided layer, by parameter the dimension that is divided)
    layers: ClassVar[dict[type[Module], tuple[type[Module], dict[str, int]]]] = {}

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:  # fmt: skip
        self.input_layouts = input_layouts or self.default_input
        self.output_layouts = output_layouts or self.default_output
        for layout in (self.input_layouts, self.output_layouts):
            if layout not in (Replicate(), Shard(-1)):
                raise ValueError(
                    f"{type(self).__name__}: a layout is Replicate() or Shard(-1), got {layout}"
                )

    def apply_to(self, module: Module, group: Any) -> None:
        """Divide the module's parameters, and make its forward compute this rank's part.

        The weights become those of the group's first rank before.
        Raises: NotImplementedError for a module that is neither Linear nor Embedding; ValueError
        for an Embedding with max_norm or scale_grad_by_freq.
        """
        if type(module) not in self.layers:
            raise NotImplementedError(
                f"{type(self).__name__} currently only support nn.Linear and nn.Embedding! "
                f"(got {type(module).__name__})"
            )
        if getattr(module, "max_norm", None) or getattr(module, "scale_grad_by_freq", False):
            raise ValueError(
                f"{type(self).__name__}: an Embedding with max_norm or scale_grad_by_freq is not "
                "divided here"
            )
        for tensor in module.parameters():
            broadcast(tensor, group.ranks[0], group)
        new_class, dims = self.layers[type(module)]
        for name, dim in dims.items():
            parameter = getattr(module, name)
            if parameter is not None:
                setattr(module, name, divide_parameter(parameter, group, dim))
        module.__dict__["tp"] = _Place(group, self.input_layouts, self.output_layouts)
        module.__class__ = new_class


class _Place:
    """What a divided layer knows: its group, and where its input and its output are."""

    def __init__(self, group: Any, inputs: Placement, outputs: Placement) -> None:
        self.group, self.inputs, self.outputs = group, inputs, outputs

    def leave(self, y: Tensor) -> Tensor:
        """The output of a column-parallel layer as its layout says."""
        return y if self.outputs == Shard(-1) else gather_along(y, -1, self.group)


class ColumnLinear(Linear):
    """y = x·Wᵀ + b for this rank's rows of W: x (..., in) -> y (..., out / R)."""

    def forward(self, input: Tensor) -> Tensor:
        tp = self.tp
        if tp.inputs == Shard(-1):
            whole = {"group": tp.group, "dim": -1, "length": self.in_features}
            x = AllGather.apply(input, **whole)  # (..., in / R) -> (..., in)
        else:
            x = copy_to_ranks(input, tp.group)
        return tp.leave(linear(x, self.weight, self.bias))  # (..., in) -> (..., out / R)


class RowLinear(Linear):
    """y = Σ_r x_r·W_rᵀ + b for this rank's columns of W: x (..., in / R) -> y (..., out)."""

    def forward(self, input: Tensor) -> Tensor:
        tp = self.tp
        x = input if tp.inputs == Shard(-1) else own_part_of(input, -1, tp.group)
        y = sum_over_ranks(linear(x, self.weight), tp.group)  # (..., in / R) -> (..., out)
        y = y if self.bias is None else y + self.bias
        return y if tp.outputs == Replicate() else own_part_of(y, -1, tp.group)


class ColumnEmbedding(Embedding):
    """This rank's features of each word: ids (...) -> (..., dim / R)."""

    def forward(self, input: Tensor) -> Tensor:
        return self.tp.leave(embedding(input, self.weight, self.padding_idx))


class RowEmbedding(Embedding):
    """The vocabulary divided among ranks: each looks up its words, and the sum has all."""

    def forward(self, input: Tensor) -> Tensor:
        tp = self.tp
        mine = own_slice(tp.group, self.num_embeddings)
        n = mine.stop - mine.start
        ids = input - mine.start
        elsewhere = (ids < 0) | (ids >= n)
        padding = self.padding_idx
        padding = padding - mine.start if padding is not None else None
        padding = padding if padding is not None and 0 <= padding < n else None
        if n:
            rows = embedding(ids.masked_fill(elsewhere, 0), self.weight, padding)
            rows = rows.masked_fill(elsewhere[..., None], 0.0)  # (..., dim)
        else:  # more ranks than words
            rows = self.weight.sum() + input[..., None] * self.weight.new_zeros(self.embedding_dim)
        y = sum_over_ranks(rows, tp.group)
        return y if tp.outputs == Replicate() else own_part_of(y, -1, tp.group)


class ColwiseParallel(ParallelStyle):
    """Each rank computes some of the outputs of a Linear, or some features of an Embedding."""

    default_output = Shard(-1)
    layers: ClassVar = {
        Linear: (ColumnLinear, {"weight": 0, "bias": 0}),
        Embedding: (ColumnEmbedding, {"weight": 1}),
    }


class RowwiseParallel(ParallelStyle):
    """Each rank has some of the inputs of a Linear, or some words of an Embedding's vocabulary."""

    default_input = Shard(-1)
    layers: ClassVar = {
        Linear: (RowLinear, {"weight": 1}),
        Embedding: (RowEmbedding, {"weight": 0}),
    }


# --------------------------------------------------------------------------------- whole modules
def parallelize_module(
    module: Module, device_mesh: Any = None, parallelize_plan: Any = None, **options: Any
) -> Module:
    """Divide layers of a module among the ranks of a mesh of one dimension; returns the module.

    parallelize_plan    a style for the module itself, or a dict from names of submodules, such as
                        "layers.*.attn.q_proj", to styles
    Divided layers take the weights of the group's first rank; all others are equal on all ranks
    before, for example from one seed. Weights that two modules share stay shared if both are
    divided along the same dimension.
    Raises: ValueError for a mesh of several dimensions or an unknown style; NotImplementedError for
    a layer that is neither Linear nor Embedding.
    """
    if device_mesh is not None and device_mesh.ndim != 1:
        raise ValueError(
            f"parallelize_module: expected a mesh of one dimension, got {device_mesh}: take one "
            'with device_mesh["tp"]'
        )
    group = None if device_mesh is None else device_mesh.get_group()
    chosen = groups.member_group(group, "parallelize_module")
    if chosen is None or parallelize_plan is None:
        return module
    if isinstance(parallelize_plan, ParallelStyle):
        parallelize_plan.apply_to(module, chosen)
        return module
    if not isinstance(parallelize_plan, Mapping):
        raise TypeError(
            "Expect Union[ParallelStyle, Dict[str, ParallelStyle]] for parallelize_plan, "
            f"{type(parallelize_plan)} found!"
        )
    for path, style in parallelize_plan.items():
        matches = list(_submodules(module, path.split(".")))
        if not matches:
            warnings.warn(
                f"Parallelize plan key '{path}' could not be resolved: no submodule matching it",
                stacklevel=2,
            )
        for each in matches:
            parallelize_module(each, device_mesh, style)
    return module


def _submodules(module: Module, path: list[str]) -> Iterator[Module]:
    """The submodules whose names match a path, in which each part may have wildcards."""
    if not path or path == [""]:
        yield module
        return
    for name, child in module.named_children():
        if fnmatch(name, path[0]):
            yield from _submodules(child, path[1:])


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
