"""Many matrix products, shared among the cores: a matrix at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import blas
from ...arrays.matmul import products
from ...arrays.parallel import thread_count
from ..matmul import Matmul
from .compiling import kernel, shared
from .products import PLAIN, TRANSPOSED, gemm, product_address
from .twin import FLOATS, Loop, flat

__all__ = ["LoopMatmul"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
LEAST = 1 << 12  # multiplications of one product that are worth a call of BLAS from a loop
PER_NUMBER = 64  # multiplications in the time in which an element-wise loop does one number


@kernel
def multiply_matrices(a, b, c, a_at, b_at, gemm_at, a_kind, b_kind, n, m, k, a_step, b_step,
                      start, stop):  # fmt: skip
    """C = A·B for every pair of matrices: (n, k), (k, m) -> (n, m), which begin at a_at and b_at.

    a_kind: PLAIN, or TRANSPOSED where A's columns lie in memory one after another, a_step apart.
    """
    for i in range(start, stop):
        gemm(gemm_at, a_kind, b_kind, n, m, k, f(1.0), a, a_at[i], a_step, b, b_at[i], b_step,
             f(0.0), c, i * n * m, m)  # fmt: skip


class LoopMatmul(Loop, Matmul):
    """Several matrices, as many of A as of B. Saves what the NumPy class saves."""

    @classmethod
    def takes(cls, a, b):
        if thread_count() == 1 or a.dtype not in FLOATS or product_address(a.dtype.char) is None:
            return False
        return serves(a, b)

    def forward(self, a, b):
        self.saved = a if self.needs[1] else None, b if self.needs[0] else None
        self.one_product = False
        return batched(a, b)

    def backward(self, g):
        a, b = self.saved
        ga = self.product_like(a, g, b.swapaxes(-1, -2)) if self.needs[0] else None
        gb = self.product_like(b, a.swapaxes(-1, -2), g) if self.needs[1] else None
        return ga, gb

    @staticmethod
    def product_like(x, a, b):
        """a @ b, the gradient of x, whose matrices lie in memory as those of x do.

        Of the keys in q @ k.transpose(2, 3): the gradient of k itself is then in row order.
        """
        if not serves(a, b):
            return products(a, b)
        how = None if x is None else lies(x)
        if how is not None and how[0] == TRANSPOSED:  # (A·B)ᵀ = Bᵀ·Aᵀ
            return batched(b.swapaxes(-1, -2), a.swapaxes(-1, -2)).swapaxes(-1, -2)
        return batched(a, b)


def serves(a: Any, b: Any) -> bool:
    """Whether the loop serves two arrays: (..., N, K), (..., K, M)."""
    if a.ndim < 3 or type(b) is not np.ndarray or b.dtype != a.dtype:
        return False
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        return False
    if not (a.size and b.size) or a.shape[-2] * b.size // len_of(b) < LEAST:
        return False
    return lies(a) is not None and lies(b) is not None


def len_of(a: Any) -> int:
    """How many matrices there are."""
    return a.size // (a.shape[-1] * a.shape[-2])


def lies(a: Any) -> tuple[int, int] | None:
    """How matrices lie, PLAIN or TRANSPOSED, and the elements between two of their rows in memory.

    None where BLAS cannot take them.
    """
    item, (n, m), (row, column) = a.itemsize, a.shape[-2:], a.strides[-2:]
    if not (a.flags.aligned and a.flags.writeable and min(a.strides) >= 0):
        return None
    if any(s % item for s in a.strides):
        return None
    if (column == item or m == 1) and (n == 1 or row >= m * item):
        return PLAIN, (m if n == 1 else row // item)
    if (row == item or n == 1) and (m == 1 or column >= n * item):
        return TRANSPOSED, (n if m == 1 else column // item)
    return None


def starts(a: Any) -> Any:
    """Where each matrix begins, in elements from a's first: (number of matrices)."""
    at = np.zeros(a.shape[:-2], np.int64)
    for d, n in enumerate(a.shape[:-2]):
        steps = np.arange(n, dtype=np.int64) * (a.strides[d] // a.itemsize)
        at += steps.reshape([-1 if e == d else 1 for e in range(a.ndim - 2)])
    return at.reshape(-1)  # (...) -> (number of matrices)


def batched(a: Any, b: Any) -> Any:
    """a @ b, a matrix at a time: (..., N, K), (..., K, M) -> (..., N, M)."""
    (a_kind, a_step), (b_kind, b_step) = lies(a), lies(b)  # type: ignore[misc]
    n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
    c = np.empty((*a.shape[:-1], m), a.dtype)
    address = product_address(a.dtype.char)
    with blas.one_thread:
        shared(multiply_matrices, len_of(c), c.size * k // PER_NUMBER, flat(a), flat(b),
               c.reshape(-1), starts(a), starts(b), address, a_kind, b_kind, n, m, k,
               a_step, b_step)  # fmt: skip
    return c
