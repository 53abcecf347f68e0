"""A batch cut into micro-batches, and their outputs joined again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...functions.shape.join import cat
from ...functions.shape.split import tensor_split
from ...tensor import Tensor

__all__ = ["TensorChunkSpec", "merge_chunks", "split_args_kwargs_into_chunks"]


class TensorChunkSpec:
    """Along which dimension an argument is cut into micro-batches."""

    def __init__(self, split_dim: int) -> None:
        self.split_dim = split_dim

    @staticmethod
    def from_tuple(chunk_dims: Sequence[int]) -> tuple[TensorChunkSpec, ...]:
        """One for each positional argument."""
        return tuple(TensorChunkSpec(dim) for dim in chunk_dims)

    @staticmethod
    def from_dict(chunk_dims: Mapping[str, int]) -> dict[str, TensorChunkSpec]:
        """One for each keyword argument."""
        return {name: TensorChunkSpec(dim) for name, dim in chunk_dims.items()}

    def __repr__(self) -> str:
        return f"TensorChunkSpec({self.split_dim})"


def _chunks(value: Any, n: int, spec: TensorChunkSpec | None) -> list[Any]:
    """The parts of an argument: a tensor is cut, anything else goes into every micro-batch.

    Raises: ValueError if a tensor has fewer rows than there are micro-batches.
    """
    if not isinstance(value, Tensor):
        return [value] * n
    dim = 0 if spec is None else spec.split_dim
    rows = value.shape[dim] if value.ndim else 1
    if rows < n:
        raise ValueError(
            f"a tensor of shape {tuple(value.shape)} has {rows} rows along dim {dim} and cannot be "
            f"cut into {n} micro-batches: pass a larger batch, or fewer n_microbatches"
        )
    return list(tensor_split(value, n, dim))


def split_args_kwargs_into_chunks(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None, chunks: int,
    args_chunk_spec: Sequence[TensorChunkSpec] | None = None,
    kwargs_chunk_spec: Mapping[str, TensorChunkSpec] | None = None,
) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]]]:  # fmt: skip
    """The arguments of each micro-batch: tensors cut along dim 0, or where the specs say.

    The first micro-batches have one row more where `chunks` does not divide the rows.
    Raises: ValueError if a tensor has fewer rows than `chunks`, or the specs are not as many as the
    arguments.
    """
    kwargs = kwargs or {}
    specs = list(args_chunk_spec) if args_chunk_spec is not None else [None] * len(args)
    if len(specs) != len(args):
        raise ValueError(f"args_chunk_spec has {len(specs)} entries for {len(args)} arguments")
    cut = [_chunks(a, chunks, spec) for a, spec in zip(args, specs, strict=True)]
    named = {k: _chunks(v, chunks, (kwargs_chunk_spec or {}).get(k)) for k, v in kwargs.items()}
    positional = [tuple(parts[i] for parts in cut) for i in range(chunks)]
    return positional, [{k: parts[i] for k, parts in named.items()} for i in range(chunks)]


def merge_chunks(chunks: Sequence[Any], chunk_spec: Any = None) -> Any:
    """The outputs of the micro-batches as one: tensors are joined along dim 0, or the spec's.

    Tuples are joined entry by entry, with a spec for each; other values stay a list.
    """
    first = chunks[0]
    if isinstance(first, Tensor):
        spec = chunk_spec[0] if isinstance(chunk_spec, tuple) else chunk_spec
        if not first.ndim:
            return list(chunks)
        return cat(list(chunks), 0 if spec is None else spec.split_dim)
    if isinstance(first, tuple):
        specs = chunk_spec if isinstance(chunk_spec, tuple) else [chunk_spec] * len(first)
        columns = zip(*chunks, strict=True)
        return tuple(merge_chunks(c, s) for c, s in zip(columns, specs, strict=True))
    return list(chunks)
