"""torch.linalg: norms, systems of equations, determinants and decompositions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import ops
from ..arrays.devices import xp_of
from ..autograd.grad_mode import is_grad_enabled
from ..tensor import Tensor, dtypes, wrap
from ..tensor.dtypes import DtypeLike
from ..tensor.shapes import normal_dim
from .creation.filled import eye
from .method import function, method
from .operands import cast
from .reductions import norm as _vector_norm
from .shape.broadcast import broadcast_shapes


# ------------------------------------------------------------------------------------- checks
def _printed(pair: Any, name: str) -> str:
    fields = ",\n".join(f"{key}={value!r}" for key, value in pair._asdict().items())
    return f"torch.return_types.{name}(\n{fields})"


class Slogdet(NamedTuple):
    """The sign of a determinant and the logarithm of its absolute value."""

    sign: Tensor
    logabsdet: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_slogdet")


class Svd(NamedTuple):
    """A = U·diag(S)·Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_svd")


class Qr(NamedTuple):
    """A = Q·R."""

    Q: Tensor
    R: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_qr")


class Eigh(NamedTuple):
    """The eigenvalues of a symmetric matrix and its eigenvectors, as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_eigh")


def _matrices(name: str, *tensors: Tensor, square: bool = False) -> None:
    """Raises: RuntimeError if one is not a (batch of square) float32 or float64 matrices."""
    for x in tensors:
        a = x.array
        if a.ndim < 2:
            raise RuntimeError(
                f"{name}: The input tensor A must have at least 2 dimensions, got {a.ndim}"
            )
        if a.dtype.kind in "iub":
            raise RuntimeError(
                f"{name}: Expected a floating point or complex tensor as input. Got "
                f"{dtypes.title(x.dtype)}: call .float() first"
            )
        if a.dtype.itemsize == 2:
            raise RuntimeError(f"{name}: Low precision dtypes not supported. Got "
                               f"{dtypes.title(x.dtype)}: call .float() first")  # fmt: skip
        if square and a.shape[-1] != a.shape[-2]:
            raise RuntimeError(
                f"{name}: A must be batches of square matrices, but they are {a.shape[-2]} by "
                f"{a.shape[-1]} matrices"
            )


def _no_gradient(name: str, x: Tensor, instead: str) -> None:
    """Raises: RuntimeError if a gradient would be needed, which is not there."""
    if x.requires_grad and is_grad_enabled():
        raise RuntimeError(
            f"{name} has no gradient in this package: {instead}, or call it on x.detach()"
        )


def _solved(name: str, call: Callable[[], Any]) -> Any:
    """call(), in which NumPy's error of a singular matrix is PyTorch's."""
    try:
        return call()
    except RuntimeError as error:
        if "Singular" not in str(error):
            raise
        raise RuntimeError(
            f"{name}: The solver failed because the input matrix is singular."
        ) from error


# -------------------------------------------------------------------------------------- norms
@function
def vector_norm(
    x: Tensor,
    ord: Any = 2,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """(Σ |x|ᵒʳᵈ)^(1/ord) over dim, or over all elements; ord: a number, inf or −inf.

    Raises: RuntimeError if ord is not a number, and for integers.
    """
    if isinstance(ord, bool) or not isinstance(ord, int | float):
        raise RuntimeError(f"linalg.vector_norm: ord is {ord!r}, expected a number, inf or -inf")
    return _vector_norm(x, ord, dim, keepdim, dtype)


@function
def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """A norm of each matrix over the two dimensions `dim`.

    ord: "fro" √(Σ a²); "nuc" the sum of the singular values; 2 and −2 the largest and smallest of
    them; 1 and −1 the largest and smallest sum of |a| of a column; inf and −inf of a row.
    Raises: RuntimeError for another ord, and if dim is not two different dimensions.
    """
    if dtype is not None:
        A = cast(A, dtypes.numpy_dtype(dtype))
    _matrices("linalg.matrix_norm", A)
    if isinstance(dim, int) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    rows, columns = (normal_dim(d, A.array.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    if ord == "fro":
        return _vector_norm(A, 2, (rows, columns), keepdim)
    matrices = A.movedim((rows, columns), (-2, -1))  # (..., N, M)
    if ord in ("nuc", 2, -2):
        values = svdvals(matrices)  # (..., K)
        y = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = matrices.abs().sum(-2 if abs(ord) == 1 else -1)  # (..., M) or (..., N)
        y = sums.amax(-1) if ord > 0 else sums.amin(-1)
    else:
        raise RuntimeError(
            f"linalg.matrix_norm: Order {ord!r} not supported: 'fro', 'nuc', inf, 1, 2 or the "
            "negative of a number"
        )
    if not keepdim:
        return y
    for d in sorted((rows, columns)):
        y = y.unsqueeze(d)
    return y


@function
def norm(
    A: Tensor,
    ord: Any = None,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """A vector's or a matrix's norm: vector_norm where one dimension (or no ord) is given, else
    matrix_norm.

    Raises: RuntimeError if ord is given without dim and A is neither 1-D nor 2-D.
    """
    if ord is None and (dim is None or isinstance(dim, int) or len(dim) <= 2):
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if A.array.ndim not in (1, 2):
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A.array.ndim}D."
            )
        dim = tuple(range(A.array.ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)


# -------------------------------------------------------------------------------- systems
@function
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A·X = B, or X·A = B with left=False.

    A: (..., N, N); B: (..., N, K), or vectors (..., N) if B is 1-D or has A's shape without the
    last dimension. Leading dimensions broadcast.
    Raises: RuntimeError if A is singular or the shapes do not go together.
    """
    _matrices("linalg.solve", A, square=True)
    vector = B.array.ndim == 1 or B.array.shape == A.array.shape[:-1]
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not "
                           "supported for left=False")  # fmt: skip
    if vector:
        B = B.unsqueeze(-1)  # (..., N) -> (..., N, 1)
    _matrices("linalg.solve", B)
    if A.array.dtype != B.array.dtype:
        raise RuntimeError(
            "linalg.solve: Expected A and B to have the same dtype, but found A of type "
            f"{dtypes.title(A.dtype)} and B of type {dtypes.title(B.dtype)} instead"
        )
    if not left:
        return solve(A.mT, B.mT).mT
    if A.array.shape[-1] != B.array.shape[-2]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B "
            f"({A.array.shape[-2]}x{A.array.shape[-1]} and "
            f"{B.array.shape[-2]}x{B.array.shape[-1]})"
        )
    lead = broadcast_shapes(A.array.shape[:-2], B.array.shape[:-2])
    A, B = (x.expand(*lead, *x.array.shape[-2:]) for x in (A, B))  # (..., N, N), (..., N, K)
    X = _solved("linalg.solve", lambda: ops.Solve.apply(A, B))
    return X.squeeze(-1) if vector else X


@method("inverse")
def inv(A: Tensor) -> Tensor:
    """The inverse of each matrix (..., N, N), the solution of A·X = 1.

    Raises: RuntimeError if a matrix is singular or not square.
    """
    _matrices("linalg.inv", A, square=True)
    n = A.array.shape[-1]
    one = eye(n, dtype=A.dtype, device=A.device).expand(A.array.shape)  # (N, N) -> (..., N, N)
    return _solved("linalg.inv", lambda: ops.Solve.apply(A, one))


inverse = inv


@method
def slogdet(A: Tensor) -> Slogdet:
    """(sign, logabsdet) of each matrix (..., N, N): the determinant's sign and log |det A|.

    Raises: RuntimeError if a gradient is needed and a matrix is singular, where there is none.
    """
    _matrices("linalg.slogdet", A, square=True)
    xp = xp_of(A.array)
    sign = xp.asarray(xp.linalg.slogdet(A.array)[0], A.array.dtype)
    if A.requires_grad and is_grad_enabled() and not bool(sign.all()):
        raise RuntimeError(
            "linalg.slogdet: a matrix is singular: log |det A| is -inf and has no gradient there"
        )
    return Slogdet(wrap(sign), ops.Logabsdet.apply(A))


@method
def logdet(input: Tensor) -> Tensor:
    """log det A of each matrix: nan where the determinant is negative."""
    sign, logabsdet = slogdet(input)
    return logabsdet.masked_fill(sign < 0, math.nan)


@method
def det(A: Tensor) -> Tensor:
    """The determinant of each matrix (..., N, N); a singular one has no gradient here.

    Raises: RuntimeError as slogdet.
    """
    _matrices("linalg.det", A, square=True)
    if not (A.requires_grad and is_grad_enabled()):
        xp = xp_of(A.array)
        return wrap(xp.asarray(xp.linalg.det(A.array), A.array.dtype))
    sign, logabsdet = slogdet(A)
    return sign * logabsdet.exp()


# -------------------------------------------------------------------------- decompositions
@function
def svd(A: Tensor, full_matrices: bool = True) -> Svd:
    """(U, S, Vh) with A = U·diag(S)·Vh, S from the largest down. Without a gradient.

    full_matrices=False leaves out the columns of U and the rows of Vh that meet no singular value.
    Raises: RuntimeError if a gradient is needed: singular values alone have one, in svdvals.
    """
    _matrices("linalg.svd", A)
    _no_gradient("linalg.svd", A, "linalg.svdvals has one, of the singular values")
    parts = xp_of(A.array).linalg.svd(A.array, full_matrices=full_matrices)
    return Svd(*map(wrap, parts))


@function
def svdvals(A: Tensor) -> Tensor:
    """The singular values of each matrix (..., N, M) -> (..., K), K = min(N, M), largest first.

    S = diag(Uᵀ·A·V), and to first order only A moves in it: dS = diag(Uᵀ·dA·V).
    """
    _matrices("linalg.svdvals", A)
    u, s, vh = (wrap(x) for x in xp_of(A.array).linalg.svd(A.array, full_matrices=False))
    if not (A.requires_grad and is_grad_enabled()):
        return s
    return (u * (A @ vh.mT)).sum(-2)  # (..., N, K)·((..., N, M) @ (..., M, K)) -> (..., K)


@function
def qr(A: Tensor, mode: str = "reduced") -> Qr:
    """(Q, R) with A = Q·R, Q orthogonal and R upper triangular. Without a gradient.

    mode: "reduced", "complete", or "r" (Q is empty).
    Raises: RuntimeError if a gradient is needed or for another mode.
    """
    _matrices("linalg.qr", A)
    _no_gradient("linalg.qr", A, "compute it outside of the graph")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    xp = xp_of(A.array)
    if mode == "r":
        return Qr(wrap(xp.zeros((0,), A.array.dtype)), wrap(xp.linalg.qr(A.array, mode="r")))
    return Qr(*map(wrap, xp.linalg.qr(A.array, mode=mode)))


def _check_triangle(name: str, UPLO: str) -> None:
    if UPLO not in ("L", "U", "l", "u"):
        raise RuntimeError(f"{name}: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")


@function
def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """(eigenvalues, eigenvectors) of symmetric matrices, the smallest first. Without a gradient.

    UPLO: which triangle is read, "L" or "U".
    Raises: RuntimeError if a gradient is needed: eigenvalues alone have one, in eigvalsh.
    """
    _matrices("linalg.eigh", A, square=True)
    _check_triangle("linalg.eigh", UPLO)
    _no_gradient("linalg.eigh", A, "linalg.eigvalsh has one, of the eigenvalues")
    return Eigh(*map(wrap, xp_of(A.array).linalg.eigh(A.array, UPLO.upper())))


@function
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices (..., N, N) -> (..., N), the smallest first.

    λ = diag(Vᵀ·A·V), and to first order only A moves in it: dλ = diag(Vᵀ·dA·V).
    """
    _matrices("linalg.eigvalsh", A, square=True)
    _check_triangle("linalg.eigvalsh", UPLO)
    values, v = map(wrap, xp_of(A.array).linalg.eigh(A.array, UPLO.upper()))
    if not (A.requires_grad and is_grad_enabled()):
        return values
    moved = (v * (A @ v)).sum(-2)  # (..., N, N) -> (..., N)
    return values + (moved - moved.detach())  # the values of the triangle that was read
