"""The dimensions in another order, and the elements in another order along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...tensor import Tensor, attach
from ...tensor.shapes import normal_dim, normal_dims
from ..method import method
from ..unrecorded import plain, view_of
from .views import as_shape


def _permuted(input: Tensor, order: tuple[int, ...]) -> Tensor:
    """The dimensions in another order: dim i of the result is input's dim order[i]; a view."""
    if plain(input):
        return view_of(input, input.array.transpose(order))
    return ops.Permute.apply(input, order=order)


@method("transpose", "swapaxes", "swapdims")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """With two dimensions exchanged; a view."""
    n = input.array.ndim
    a, b = normal_dim(dim0, n), normal_dim(dim1, n)
    if n == 0:
        return ops.Reshape.apply(input, shape=())
    order = list(range(n))
    order[a], order[b] = b, a
    y = _permuted(input, tuple(order))
    if y._op is not None:
        y._op.printed = "TransposeBackward0"
    return y


swapaxes = swapdims = transpose


@method
def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """With the dimensions in the order given; a view.

    Raises: RuntimeError if dims does not name every dimension exactly once.
    """
    order = as_shape(dims)
    n = input.array.ndim
    if len(order) != n:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {n} is not equal to "
            f"len(dims) = {len(order)}"
        )
    normal = tuple(normal_dim(d, n) for d in order)
    if len(set(normal)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permuted(input, normal)


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a 0-d or 1-d tensor as it is.

    Raises: RuntimeError if input has more than 2 dimensions.
    """
    if input.array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is "
                           f"{input.array.ndim}D")  # fmt: skip
    if input.array.ndim < 2:
        return input
    y = _permuted(input, (1, 0))
    if y._op is not None:
        y._op.printed = "TBackward0"
    return y


@method
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """With the dimensions `source` moved to the positions `destination`."""
    n = input.array.ndim
    moved, to = normal_dims(source, n), normal_dims(destination, n)
    order = [d for d in range(n) if d not in moved]
    for d, s in sorted(zip(to, moved, strict=True)):
        order.insert(d, s)
    return _permuted(input, tuple(order))


moveaxis = movedim


@method
def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """In reverse order along dims (none of them for ()); a copy."""
    along = as_shape(dims)
    if along:
        along = normal_dims(along[0] if len(along) == 1 else along, input.array.ndim)
    return ops.Flip.apply(input, dims=along)


@method
def roll(
    input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Tensor:
    """Moved along dims by shifts; elements that leave at one end enter at the other.

    Raises: RuntimeError if shifts and dims differ in number.
    """
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = None if dims is None else normal_dims(dims, input.array.ndim)
    if len(by) != (1 if along is None else len(along)):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims: "
                           f"{0 if along is None else len(along)}")  # fmt: skip
    return ops.Roll.apply(input, shifts=by, dims=along)


def _transposed(self: Tensor) -> Tensor:
    """All dimensions in reverse order; for a matrix the transpose."""
    return _permuted(self, tuple(range(self.array.ndim))[::-1])


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two dimensions exchanged; one number is itself."""
    if self.array.ndim == 0:
        return _transposed(self)
    if self.array.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got "
            f"{self.array.ndim}-D tensor."
        )
    return transpose(self, -1, -2)


@method
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order.

    Raises: RuntimeError if input has fewer than 2 dimensions.
    """
    if input.array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@method
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order.

    Raises: RuntimeError if input is 0-d.
    """
    if input.array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@method
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by k quarter turns in the plane of two dimensions, from the first to the second.

    Raises: RuntimeError if dims are not two different dimensions.
    """
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


attach("T", property(_transposed))
attach("mT", property(_matrix_transposed))


def _adjoint(input: Tensor) -> Tensor:
    """x.mH: the last two dimensions swapped, and complex numbers conjugated."""
    return input.mT.conj() if input.is_complex() else input.mT


def _adjoint_of_matrix(input: Tensor) -> Tensor:
    """x.H: the adjoint of a matrix, or a 0-d tensor."""
    if input.array.ndim not in (0, 2):
        raise RuntimeError(
            "tensor.H is only supported on matrices (2-D tensors). Got "
            f"{input.array.ndim}-D tensor. For batches of matrices, consider using tensor.mH"
        )
    return _adjoint(input) if input.array.ndim else input.conj()


attach("mH", property(_adjoint))
attach("H", property(_adjoint_of_matrix))
