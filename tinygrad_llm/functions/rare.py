"""Functions that few programs use: each is a few others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.devices import asarray, xp_of
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dim
from .arithmetic import add, sub
from .diagonal import diagonal
from .inverse import atan2
from .linalg import mv, outer
from .method import function, method
from .operands import need_pair
from .selection import where
from .shape.join import cat
from .shape.split import split

__all__ = [
    "addmv", "addr", "adjoint", "angle", "diag_embed", "diagflat", "gcd", "ger", "isreal", "lcm",
    "logcumsumexp", "matrix_power", "positive", "resolve_conj", "resolve_neg", "rsub",
    "split_with_sizes", "unique_consecutive",
]  # fmt: skip


@function
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other − alpha·input, element by element."""
    return sub(other, input, alpha=alpha)


@method
def positive(input: Tensor) -> Tensor:
    """x itself.

    Raises: RuntimeError for a tensor of truth values.
    """
    if input.array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def resolve_conj(input: Tensor) -> Tensor:
    """x itself: conjugates are computed when they are asked for."""
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """x itself: negations are computed when they are asked for."""
    return input


method(resolve_conj)
method(resolve_neg)


@method
def isreal(input: Tensor) -> Tensor:
    """Whether the imaginary part is 0, element by element: true of every real number."""
    if input.is_complex():
        return wrap(asarray(input.array.imag == 0, input.array))
    return wrap(xp_of(input.array).ones(input.array.shape, bool))


@method
def angle(input: Tensor) -> Tensor:
    """The angle of a complex number; of a real one π below 0, else 0, and nan of nan."""
    if input.is_complex():
        return atan2(input.imag, input.real)
    x = input if input.is_floating_point() else input.to(dtypes.get_default_dtype())
    fixed = where(x.detach() < 0, math.pi, where(x.detach().isnan(), x.detach(), 0.0))
    return fixed + where(x == x, x, 0.0) * 0.0 if x.requires_grad else fixed.to(x.dtype)


@method
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log Σ exp(x) over the elements up to each place along dim, in log₂ n passes.

    After k passes each place has added up 2ᵏ elements.
    """
    dim = normal_dim(dim, input.array.ndim)
    if not input.array.ndim:
        return input.clone()
    y, n, step = input.contiguous(), input.array.shape[dim], 1
    while step < n:
        later, before = y.narrow(dim, step, n - step), y.narrow(dim, 0, n - step)
        y = cat([y.narrow(dim, 0, step), later.logaddexp(before)], dim)
        step *= 2
    return y.clone() if y is input else y


@method
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions swapped, and complex numbers conjugated."""
    return input.mT.conj() if input.is_complex() else input.mT


# ----------------------------------------------------------------------- products, diagonals
@method
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta·input + alpha·(mat·vec)."""
    return add(input if beta == 1 else input * beta, mv(mat, vec), alpha=alpha)


@method
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta·input + alpha·(vec1·vec2ᵀ)."""
    return add(input if beta == 1 else input * beta, outer(vec1, vec2), alpha=alpha)


ger = outer


@method
def matrix_power(input: Tensor, n: int) -> Tensor:
    """A·A·…·A, n times, of a square matrix or a batch of them; n = 0 the identity.

    Raises: RuntimeError if they are not square; a negative n needs A's inverse.
    """
    size = tuple(input.array.shape[-2:])
    if len(size) < 2 or size[0] != size[1]:
        raise RuntimeError(
            "linalg.matrix_power: A must be batches of square matrices, but they are "
            f"{list(input.shape)}"
        )
    if n < 0:
        return matrix_power(input.inverse(), -n)
    if n == 0:
        one = wrap(xp_of(input.array).eye(size[0], dtype=input.array.dtype))
        return one.expand(input.array.shape).clone()
    half = matrix_power(input, n // 2) if n > 1 else None
    if half is None:
        return input.clone()
    return half @ half @ input if n % 2 else half @ half


@method
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices whose diagonals are the rows of input: (..., N) -> (..., M, M), M = N + |offset|.

    Raises: RuntimeError if dim1 and dim2 are the same dimension.
    """
    rank, n = input.array.ndim + 1, input.array.shape[-1]
    dim1, dim2 = normal_dim(dim1, rank), normal_dim(dim2, rank)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    m = n + abs(offset)
    whole = wrap(xp_of(input.array).zeros((*input.array.shape[:-1], m, m), input.array.dtype))
    rows = slice(max(-offset, 0), max(-offset, 0) + n)
    columns = slice(max(offset, 0), max(offset, 0) + n)
    if input.requires_grad:
        spread = input.unsqueeze(-1) * wrap(xp_of(input.array).eye(n, dtype=input.array.dtype))
        whole[..., rows, columns] = where(wrap(xp_of(input.array).eye(n, dtype=bool)), spread, 0.0)
    else:
        diagonal(whole[..., rows, columns], 0, -2, -1).copy_(input)
    return whole.movedim((-2, -1), (dim1, dim2)).contiguous()


@method
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix whose diagonal are all elements of input."""
    return diag_embed(input.reshape(-1), offset)


# --------------------------------------------------------------------------------- whole numbers
def _whole(name: str, input: Tensor, other: Tensor) -> Tensor:
    a, b = need_pair(name, input, other)
    if a.array.dtype.kind not in "iu":
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{dtypes.title(a.dtype)}'")
    return wrap(asarray(getattr(np, name)(a.array, b.array), a.array))


@method
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of integers, element by element."""
    return _whole("gcd", input, other)


@method
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers, element by element."""
    return _whole("lcm", input, other)


# ---------------------------------------------------------------------------------------- parts
@method
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """split into parts of these sizes."""
    return split(input, list(split_sizes), dim)


@method
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The values of runs of equal ones, in their order; with dim, of equal slices along it.

    With return_inverse also to which run each element belongs, with return_counts also the runs'
    lengths.
    """
    a, xp = input.array, xp_of(input.array)
    rows = a.reshape(-1, 1) if dim is None else xp.moveaxis(a, normal_dim(dim, a.ndim), 0)
    flat = rows.reshape(len(rows), -1)  # (n, ...) -> (n, m)
    begins = xp.ones(len(rows), bool)
    begins[1:] = (flat[1:] != flat[:-1]).any(-1)
    starts = xp.flatnonzero(begins)
    picked = (
        flat[starts, 0] if dim is None else xp.moveaxis(rows[starts], 0, normal_dim(dim, a.ndim))
    )
    results = [wrap(xp.ascontiguousarray(picked))]
    if return_inverse:
        runs = xp.cumsum(begins) - 1
        results.append(wrap(runs.reshape(a.shape) if dim is None else runs))
    if return_counts:
        results.append(wrap(xp.diff(xp.append(starts, len(rows)))))
    return results[0] if len(results) == 1 else tuple(results)
