"""More ways to join, cut and turn tensors, each made of the functions in shape.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..tensor import Tensor
from ..tensor.shapes import normal_dim
from .filled import arange, meshgrid
from .index import index_select
from .method import checked, method
from .shape import cat, flip, hstack, split, stack, transpose, vstack

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "cartesian_prod",
    "column_stack",
    "combinations",
    "diff",
    "dsplit",
    "dstack",
    "fliplr",
    "flipud",
    "hsplit",
    "rot90",
    "row_stack",
    "tensor_split",
    "vsplit",
]

row_stack = vstack


# ------------------------------------------------------------------------------------- joining
def _each(n: int, tensors: tuple) -> Any:
    """Every tensor given, alone or several, with at least n dimensions: NumPy's rule."""

    def widened(x: Tensor) -> Tensor:
        if x.array.ndim >= n:
            return x
        if n == 1 or x.array.ndim == 0:
            return x.reshape((1,) * n)
        if n == 2 or x.array.ndim == 1:
            x = x.unsqueeze(0)  # (N) -> (1, N)
        return x.unsqueeze(-1) if n == 3 else x

    if len(tensors) == 1:
        one = tensors[0]
        return tuple(map(widened, one)) if isinstance(one, tuple | list) else widened(one)
    return tuple(map(widened, tensors))


@checked
def atleast_1d(*tensors: Any) -> Any:
    """The tensor with at least one dimension; of several (or of a list) each, in a tuple."""
    return _each(1, tensors)


@checked
def atleast_2d(*tensors: Any) -> Any:
    """The tensor with at least two dimensions, a vector as one row; of several each, in a tuple."""
    return _each(2, tensors)


@checked
def atleast_3d(*tensors: Any) -> Any:
    """The tensor with at least three dimensions, (N) as (1, N, 1) and (N, M) as (N, M, 1); of
    several each, in a tuple."""
    return _each(3, tensors)


@checked
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors beside each other; a vector is one column."""
    return hstack([x.reshape(-1, 1) if x.array.ndim < 2 else x for x in tensors])


@checked
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors behind each other, along the third dimension; each gets three."""
    return cat([_each(3, (x,)) for x in tensors], 2)


@checked
def block_diag(*tensors: Tensor) -> Tensor:
    """The matrices along the diagonal of a larger one, 0 elsewhere; a vector is one row.

    RuntimeError for a tensor of more than two dimensions.
    """
    from .embedding import pad

    blocks = [_each(2, (x,)) for x in tensors]
    for x in blocks:
        if x.array.ndim > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions, got "
                f"{x.array.ndim}"
            )
    width = sum(x.array.shape[1] for x in blocks)
    rows, left = [], 0
    for x in blocks:
        n = x.array.shape[1]
        rows.append(pad(x, (left, width - left - n)))  # (N, M) -> (N, width)
        left += n
    return cat(rows, 0)


@checked
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every way to take one element of each vector: one row a way; of one vector the vector."""
    for x in tensors:
        if x.array.ndim != 1:
            raise RuntimeError("Expect a 1D vector, but got shape " + str(list(x.array.shape)))
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return stack([g.reshape(-1) for g in grids], 1)


@checked
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every way to take r elements of a vector in their order: one row a way.

    with_replacement: an element may be taken again. RuntimeError unless input is a vector.
    """
    if input.array.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.array.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    choose: Any = (
        itertools.combinations_with_replacement if with_replacement else itertools.combinations
    )
    places = list(choose(range(input.array.shape[0]), r))
    if not places or r == 0:
        return input[:0] if r == 0 else input[:0].reshape(0, 1).expand(0, r)
    flat = arange(len(places) * r) * 0
    flat.array[...] = [i for place in places for i in place]
    return index_select(input, 0, flat.to(input.device)).reshape(len(places), r)


# ------------------------------------------------------------------------------------- cutting
@method
def tensor_split(
    input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, sections: Any = None,
    indices: Any = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Pieces along dim: n of nearly one size, or cut at the positions listed."""
    where = indices_or_sections
    where = sections if sections is not None else where if indices is None else indices
    dim = normal_dim(dim, input.array.ndim)
    size = input.array.shape[dim]
    if isinstance(where, Tensor):
        where = where.tolist()
    if isinstance(where, int):
        if where <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {where}")
        least, more = divmod(size, where)
        return split(input, [least + 1] * more + [least] * (where - more), dim)
    cuts = [0, *where, size]
    whole = (slice(None),) * dim
    return tuple(input[whole + (slice(a, b),)] for a, b in itertools.pairwise(cuts))


def _cut(name: str, input: Tensor, where: Any, dim: int, least: int) -> tuple[Tensor, ...]:
    if input.array.ndim < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension"
            f"{'s' if least > 1 else ''}, but got a tensor with {input.array.ndim} dimensions!"
        )
    n = input.array.shape[dim]
    if isinstance(where, int) and (where == 0 or n % where):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{n} is not divisible by the split_size {where}!"
        )
    return tensor_split(input, where, dim)


@method
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces beside each other: equal ones, or cut at the positions listed."""
    return _cut("hsplit", input, indices_or_sections, 0 if input.array.ndim == 1 else 1, 1)


@method
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces below each other: equal ones, or cut at the positions listed."""
    return _cut("vsplit", input, indices_or_sections, 0, 2)


@method
def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces along the third dimension: equal ones, or cut at the positions listed."""
    return _cut("dsplit", input, indices_or_sections, 2, 3)


# ------------------------------------------------------------------------------------- turning
@method
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if input.array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@method
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if input.array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@method
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by k quarter turns in the plane of two dimensions, from the first to the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    a, b = (normal_dim(d, input.array.ndim) for d in dims)
    if a == b:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    turns = k % 4
    if turns == 1:
        return transpose(flip(input, b), a, b)
    if turns == 2:
        return flip(input, a, b)
    return flip(transpose(input, a, b), b) if turns == 3 else input.clone()


@method
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Differences of neighbours along dim, n times over; prepend and append are joined first."""
    if input.array.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [x for x in (prepend, input, append) if x is not None]
    whole = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, whole.size(dim))):
        rest = whole.size(dim) - 1
        later, sooner = whole.narrow(dim, 1, rest), whole.narrow(dim, 0, rest)
        is_bool = whole.array.dtype.kind == "b"
        whole = later.logical_xor(sooner) if is_bool else later - sooner
    return whole
