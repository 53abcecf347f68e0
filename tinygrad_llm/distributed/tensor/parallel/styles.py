"""Tensor parallelism: the matrices of a layer divided among ranks, which compute parts of it.

Column-parallel (rows of Linear's weight, which has shape (out, in)): each rank computes some of the
outputs. Row-parallel: each rank has some of the inputs, and the partial products are added up over
the ranks. One after the other they need one sum in the forward pass and one in the backward pass:

    x -> copy_to_ranks -> column-parallel -> gelu, attention heads ... -> row-parallel -> sum

All ranks have the same inputs and compute the same loss.
Source: Shoeybi et al. 2019, "Megatron-LM".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from ....arrays.ids import all_within
from ....functions.embedding import embedding
from ....functions.linear import linear
from ....nn import Embedding, Linear
from ....nn.module import Module
from ....tensor import Tensor
from ...collectives import broadcast
from ...nn.functional import copy_to_ranks, own_part_of, sum_over_ranks
from ...parts import own_slice
from ...sharded import divide_parameter
from ..placements import Placement, Replicate, Shard
from .layouts import check_placement, dim_of, for_parts, redistributed, summed_as
from .loss import note_columns

__all__ = ["ColwiseParallel", "LayerStyle", "ParallelStyle", "RowwiseParallel"]


class ParallelStyle:
    """How one layer is divided among the ranks: `apply_to` changes a module in its place."""

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Divide the module among the ranks of the group.

        source: the rank in the group whose weights all take before; None where they are equal.
        Raises: NotImplementedError if the class does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define apply_to")


class LayerStyle(ParallelStyle):
    """A Linear or an Embedding whose parameters are divided.

    input_layouts     where the layer's input is: Replicate(), or Shard(dim) for a part along dim
    output_layouts    the same of its output
    use_local_output  accepted: layers here return plain tensors
    Raises: ValueError for another layout.
    """

    default_input: Placement = Replicate()
    default_output: Placement = Replicate()
    # of a class: (the class of the divided layer, by parameter the dimension that is divided)
    layers: ClassVar[dict[type[Module], tuple[type[Module], dict[str, int]]]] = {}

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.given = input_layouts is not None
        self.input_layouts = check_placement(name, input_layouts or self.default_input)
        self.output_layouts = check_placement(name, output_layouts or self.default_output)

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Divide the module's parameters, and make its forward compute this rank's part.

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
        take_weights(module, group, source)
        new_class, dims = self.layers[type(module)]
        for name, dim in dims.items():
            parameter = getattr(module, name)
            if parameter is not None:
                setattr(module, name, divide_parameter(parameter, group, dim))
        inputs = self.input_layouts
        if isinstance(module, Embedding) and not self.given:
            inputs = Replicate()
        module.__dict__["tp"] = _Place(group, inputs, self.output_layouts)
        module.__class__ = new_class

    def __repr__(self) -> str:
        layouts = f"input_layouts={self.input_layouts}, output_layouts={self.output_layouts}"
        return f"{type(self).__name__}({layouts})"


def take_weights(module: Module, group: Any, source: int | None) -> None:
    """Give the module the parameters of one rank of the group; its own stay if source is None."""
    if source is not None:
        for tensor in module.parameters():
            broadcast(tensor, group.ranks[source], group)


@contextmanager
def other_parameters(
    module: Any, make: Callable[[list[Tensor]], Iterable[Tensor]]
) -> Iterator[None]:
    """A block in which a module has, in place of its parameters, what make returns for them."""
    own = {name: p for name, p in module._parameters.items() if p is not None}
    if not own:
        yield
        return
    module.__dict__.update(zip(own, make(list(own.values())), strict=True))
    try:
        yield
    finally:
        module.__dict__.update(own)


class _Place:
    """What a divided layer knows: its group, and where its input and its output are."""

    def __init__(self, group: Any, inputs: Placement, outputs: Placement) -> None:
        self.group, self.inputs, self.outputs = group, inputs, outputs

    def columns(self, y: Tensor, length: int) -> Tensor:
        """This rank's columns y (..., n) of `length` in all, as the output layout says."""
        if dim_of(self.outputs, y.ndim) == y.ndim - 1:
            return note_columns(y, self.group, length)
        return redistributed(y, Shard(-1), self.outputs, self.group)

    def sum(self, terms: Tensor, bias: Tensor | None = None) -> Tensor:
        """The sum of the ranks' terms, plus a bias that all have, as the output layout says.

        Where the output is a part, this rank has a term of the bias's gradient.
        """
        dim = dim_of(self.outputs, terms.ndim)
        if dim is None:
            y = sum_over_ranks(terms, self.group)
        else:
            y = summed_as(terms, dim, self.group)
        if bias is None:
            return y
        if dim == terms.ndim - 1:
            return y + own_part_of(bias, -1, self.group)
        return y + (bias if dim is None else copy_to_ranks(bias, self.group))


class ColumnLinear(Linear):
    """y = x·Wᵀ + b for this rank's rows of W: x (..., in) -> y (..., out / R)."""

    def forward(self, input: Tensor) -> Tensor:
        x = for_parts(input, self.tp.inputs, self.tp.group)
        y = linear(x, self.weight, self.bias)  # (..., in) -> (..., out / R)
        return self.tp.columns(y, self.out_features)


class RowLinear(Linear):
    """y = Σ_r x_r·W_rᵀ + b for this rank's columns of W: x (..., in / R) -> y (..., out)."""

    def forward(self, input: Tensor) -> Tensor:
        x = redistributed(input, self.tp.inputs, Shard(-1), self.tp.group)
        return self.tp.sum(linear(x, self.weight), self.bias)  # (..., in / R) -> (..., out)


class ColumnEmbedding(Embedding):
    """This rank's features of each word: ids (...) -> (..., dim / R)."""

    def forward(self, input: Tensor) -> Tensor:
        ids = redistributed(input, self.tp.inputs, Replicate(), self.tp.group)
        return self.tp.columns(
            embedding(ids, self.weight, self.padding_idx), self.embedding_dim
        )  # (...) -> (..., dim / R)


def check_ids(ids: Tensor, n: int) -> None:
    """Raises: IndexError for an id outside of a vocabulary of n words."""
    if not all_within(ids.array, n):
        raise IndexError(f"embedding: a token id is outside of the vocabulary of {n}")


class RowEmbedding(Embedding):
    """The vocabulary divided among ranks: each looks up its words, and the sum has all."""

    def forward(self, input: Tensor) -> Tensor:
        tp = self.tp
        input = redistributed(input, tp.inputs, Replicate(), tp.group)
        check_ids(input, self.num_embeddings)
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
        return tp.sum(rows)


class ColwiseParallel(LayerStyle):
    """Each rank computes some of the outputs of a Linear, or some features of an Embedding."""

    default_output = Shard(-1)
    layers: ClassVar = {
        Linear: (ColumnLinear, {"weight": 0, "bias": 0}),
        Embedding: (ColumnEmbedding, {"weight": 1}),
    }


class RowwiseParallel(LayerStyle):
    """Each rank has some of the inputs of a Linear, or some words of an Embedding's vocabulary.

    An Embedding's input_layouts, where they are not given, are Replicate().
    """

    default_input = Shard(-1)
    layers: ClassVar = {
        Linear: (RowLinear, {"weight": 1}),
        Embedding: (RowEmbedding, {"weight": 0}),
    }
