"""Matrix products, with PyTorch's names and arguments."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from .. import ops
from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap
from ..tensor.numbers import fitted
from ..tensor.shapes import normal_dim
from .autocast import mixed
from .half_precision import rounded_once
from .method import function, method
from .operands import cast, promote
from .printed_names import printed_as


def _same_dtype(name: str, a: Tensor, b: Tensor) -> None:
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(
            f"{name}: expected m1 and m2 to have the same dtype, but got: {a.dtype} != {b.dtype}: "
            "bring one to the other's with .to(dtype)"
        )


@method("matmul", "__matmul__")
@mixed
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product of every combination PyTorch knows.

    1-D·1-D a dot product; 2-D·2-D a product; 1-D counts as a row on the left and a column on the
    right, and its dimension is dropped again; leading dimensions are batches and broadcast.
    Raises: RuntimeError if a factor is 0-d.
    """
    if not isinstance(other, Tensor):
        return NotImplemented
    a, b = input.array, other.array
    if a.ndim > 1 < b.ndim and a.dtype is b.dtype:  # as nearly always
        return ops.Matmul.apply(input, other)
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError("both arguments to matmul need to be at least 1D, but they are "
                           f"{a.ndim}D and {b.ndim}D")  # fmt: skip
    _same_dtype("matmul", input, other)
    if a.ndim > 1 and b.ndim > 1:
        return ops.Matmul.apply(input, other)
    row = input.reshape(1, -1) if a.ndim == 1 else input  # (K) -> (1, K)
    column = other.reshape(-1, 1) if b.ndim == 1 else other  # (K) -> (K, 1)
    c = ops.Matmul.apply(row, column)
    if a.ndim == 1:
        c = c.squeeze(-2)  # (..., 1, M) -> (..., M)
    if b.ndim == 1:
        c = c.squeeze(-1)  # (..., N, 1) -> (..., N)
    return c if c._op is None else printed_as(_printed(a.ndim, b.ndim), c)


def _printed(a_dims: int, b_dims: int) -> str:
    """What grad_fn of a product prints, one factor of which is a vector."""
    if a_dims > 2 or b_dims > 2:
        return "UnsafeViewBackward0"
    if b_dims == 2:
        return "SqueezeBackward4"
    return "DotBackward0" if a_dims == 1 else "MvBackward0"


@method("__rmatmul__")
def _rmatmul(input: Tensor, other: Any) -> Tensor:
    return NotImplemented


def _dims_are(name: str, x: Tensor, ndim: int, argument: str) -> None:
    if x.array.ndim != ndim:
        raise RuntimeError(
            f"{name}: expected {argument} to be {ndim}-D, got {x.array.ndim}-D of shape "
            f"{tuple(x.array.shape)}: matmul takes any"
        )


@method
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    _dims_are("mm", input, 2, "self")
    _dims_are("mm", mat2, 2, "mat2")
    return matmul(input, mat2)


@method
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices: (B, N, K)·(B, K, M) -> (B, N, M).

    Raises: RuntimeError if the numbers of matrices differ.
    """
    _dims_are("bmm", input, 3, "batch1")
    _dims_are("bmm", mat2, 3, "batch2")
    if input.array.shape[0] != mat2.array.shape[0]:
        raise RuntimeError(
            f"bmm: the batches have {input.array.shape[0]} and {mat2.array.shape[0]} matrices, "
            "expected equally many"
        )
    return matmul(input, mat2)


@method
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector: (N, K)·(K) -> (N)."""
    _dims_are("mv", input, 2, "self")
    _dims_are("mv", vec, 1, "vec")
    return matmul(input, vec)


@method
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Σ input·tensor of two vectors of the same length.

    Raises: RuntimeError if a tensor is not 1-D or the lengths differ.
    """
    a, b = input.array, tensor.array
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.shape != b.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor {list(a.shape)} and src {list(b.shape)} to "
            f"have the same number of elements, but got {a.size} and {b.size} elements respectively"
        )
    return matmul(input, tensor)


@method
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """dot; it would take the complex conjugate, but there are no complex numbers here."""
    return dot(input, other)


@method
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Products summed over the last dimensions: (..., K), (..., K) -> (..., ...).

    With a 0-d tensor it is the product.
    Raises: RuntimeError if the last sizes differ.
    """
    if input.array.ndim == 0 or other.array.ndim == 0:
        return input * other
    if input.array.shape[-1] != other.array.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.array.shape)} and {list(other.array.shape)}"
        )
    return tensordot(input, other, dims=([-1], [-1]))


@function
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over dimensions of both: the last n of a and the first n of b for a number n,
    else those that two lists name. The result has a's other dimensions and then b's.

    Raises: RuntimeError if the sizes that are summed over differ.
    """
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        dims = (list(range(a.array.ndim - dims, a.array.ndim)), list(range(dims)))
    if not isinstance(dims, (tuple, list)) or len(dims) != 2:
        raise RuntimeError(f"tensordot expects a number as dims, or two lists, but got dims={dims}")
    of_a, of_b = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(of_a) != len(of_b):
        raise RuntimeError("both dimension lists should have same length")
    of_a = [normal_dim(d, a.array.ndim) for d in of_a]
    of_b = [normal_dim(d, b.array.ndim) for d in of_b]
    sums = [a.array.shape[d] for d in of_a]
    for i, j in zip(of_a, of_b, strict=True):
        if a.array.shape[i] != b.array.shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.array.shape[i]} in "
                f"dim {i} and second has size {b.array.shape[j]} in dim {j}"
            )
    others_a = [d for d in range(a.array.ndim) if d not in of_a]
    others_b = [d for d in range(b.array.ndim) if d not in of_b]
    shape = [a.array.shape[d] for d in others_a] + [b.array.shape[d] for d in others_b]
    k = math.prod(sums)
    rows = a.permute(others_a + of_a).reshape(math.prod(shape[: len(others_a)]), k)  # (N, K)
    columns = b.permute(of_b + others_b).reshape(k, math.prod(shape[len(others_a) :]))  # (K, M)
    return matmul(rows, columns).reshape(shape)  # (N, M) -> a's and b's other dimensions


@method("outer", "ger")
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Every product of an element of one vector and one of the other: (N), (M) -> (N, M)."""
    _dims_are("outer", input, 1, "self")
    _dims_are("outer", vec2, 1, "vec2")
    return input.reshape(-1, 1) * vec2.reshape(1, -1)


def _weighted_sum(input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    if isinstance(alpha, complex) or isinstance(beta, complex):  # real tensors take none
        alpha, beta = (fitted(factor, product.array.dtype) for factor in (alpha, beta))
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else product + (input if beta == 1 else input * beta)


@method
@rounded_once(gradient="addmm")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta·input + alpha·(mat1·mat2)."""
    return _weighted_sum(input, mm(mat1, mat2), beta, alpha)


@method
@rounded_once(gradient="addmm")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta·input + alpha·(batch1·batch2), batch by batch."""
    return _weighted_sum(input, bmm(batch1, batch2), beta, alpha)


@function
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by letters: einsum("bqd,bkd->bqk", q, k).

    Letters that the output lacks are summed; without "->" the output has the letters that appear
    once, in alphabetical order; "..." means leading dimensions.
    Raises: RuntimeError if letters and dimensions disagree.
    """
    xs = list(operands[0]) if len(operands) == 1 and not isinstance(operands[0], Tensor) else list(
        operands)  # fmt: skip
    terms, output = _letters(equation.replace(" ", ""), tuple([x.array.ndim for x in xs]))
    inputs = list(terms)
    sizes: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(inputs, xs, strict=True)):
        for letter in sorted(set(term)) if len(set(term)) < len(term) else ():
            if term.count(letter) > 1:  # a diagonal, taken by position
                xs[i], inputs[i] = x, term = _diagonal(x, term, letter)
        for letter, n in zip(term, xs[i].array.shape, strict=True):
            if n != sizes.setdefault(letter, n) and 1 not in (n, sizes[letter]):
                raise RuntimeError(
                    f"einsum(): {letter!r} is {sizes[letter]} in one operand and {n} in operand {i}"
                )
            sizes[letter] = max(sizes[letter], n) if n else 0
    xs = promote(*xs)
    if xs[0].array.dtype.kind in "iub":
        every = "".join(dict.fromkeys(c for term in inputs for c in set(term)))
        if any(c not in output and [c in term for term in inputs].count(True) == 1 for c in every):
            xs = [cast(x, "int64") for x in xs]  # as sum
    return ops.Einsum.apply(*xs, inputs=inputs, output=output)


@functools.lru_cache(256)
def _letters(equation: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """The letters of each operand's dimensions, and of the output's.

    Raises: RuntimeError if they are not those of operands with so many dimensions.
    """
    left, arrow, output = equation.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} names {len(inputs)} operands, got {len(ndims)}"
        )
    if re.search(r"[^A-Za-z,.]", left + output):
        raise RuntimeError(f"einsum(): {equation!r}: only letters, commas, '...' and '->' are read")
    free = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in equation]
    batch = ""
    for i, (term, ndim) in enumerate(zip(inputs, ndims, strict=True)):
        letters = term.replace("...", "")
        extra = ndim - len(letters)
        if extra < 0 or (extra and "..." not in term):
            raise RuntimeError(
                f"einsum(): operand {i} has {ndim} dimensions, but {term!r} names {len(letters)}"
            )
        dots = "".join(free[:extra])[::-1]
        batch = max(batch, dots, key=len)
        inputs[i] = term.replace("...", dots)
    output = output.replace("...", batch)
    if not arrow:
        every = "".join(inputs)
        output = batch + "".join(
            sorted(c for c in set(every) if every.count(c) == 1 and c not in batch)
        )
    if wrong := [c for c in output if not any(c in term for term in inputs)]:
        raise RuntimeError(f"einsum(): output letter {wrong[0]!r} is in no operand of {equation!r}")
    return tuple(inputs), output


def _diagonal(x: Tensor, term: str, letter: str) -> tuple[Tensor, str]:
    """x[.., i, .., i, ..] with the repeated letter's dimensions as one, moved to the front."""
    dims = [d for d, c in enumerate(term) if c == letter]
    others = [d for d, c in enumerate(term) if c != letter]
    if len({x.array.shape[d] for d in dims}) > 1:
        raise RuntimeError(f"einsum(): {letter!r} is repeated in {term!r} with different sizes")
    x = x.permute(*dims, *others)
    i = wrap(xp_of(x.array).arange(x.array.shape[0]))
    return x[(i,) * len(dims)], letter + "".join(term[d] for d in others)
