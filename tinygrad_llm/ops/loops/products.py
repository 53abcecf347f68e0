"""OpenBLAS's matrix product inside a kernel, without the interpreter's lock."""

from __future__ import annotations

import importlib
from typing import Any

from ...arrays import blas
from .compiling import Helper

__all__ = ["PLAIN", "TRANSPOSED", "gemm", "product_address"]

IN_ROWS, PLAIN, TRANSPOSED = 101, 111, 112  # what BLAS calls row order, a matrix, and its transpose


class _Gemm(Helper):
    """C ← αA·B + βC, all of it in arrays without dimensions and in row order.

    gemm(address, ta, tb, m, n, k, alpha, a, at, lda, b, at, ldb, beta, c, at, ldc): C has m rows
    and n columns; A (m, k) and B (k, n) are PLAIN or TRANSPOSED in memory. A matrix begins at
    element `at` of its array, and its rows in memory are lda, ldb or ldc elements apart.
    """

    def compiled(self, char: str) -> Any:
        """Numba's function for float32 ("f") or float64 ("d")."""
        if char not in self.by_dtype:
            product = blas.product(char)
            self.by_dtype[char] = _intrinsic(char, product[1] if product else 64)
        return self.by_dtype[char]


gemm = _Gemm(_Gemm, set())


def product_address(char: str) -> int | None:
    """Where the product for "f" or "d" lies, for gemm; None if NumPy does not run on OpenBLAS."""
    product = blas.product(char)
    return None if product is None else product[0]


def _intrinsic(char: str, bits: int) -> Any:
    """A call of the address that it gets, written in LLVM's code; BLAS's integers have `bits`."""
    intrinsic = importlib.import_module("numba.extending").intrinsic
    void = importlib.import_module("numba").types.void
    ir = importlib.import_module("llvmlite.ir")
    number = ir.DoubleType() if char == "d" else ir.FloatType()
    whole, choice = ir.IntType(bits), ir.IntType(32)

    @intrinsic
    def call(context, function, ta, tb, m, n, k, alpha, a, ai, lda, b, bi, ldb, beta, c, ci, ldc):
        types = function, ta, tb, m, n, k, alpha, a, ai, lda, b, bi, ldb, beta, c, ci, ldc
        return void(*types), lower

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function, ta, tb, m, n, k, alpha, a, ai, lda, b, bi, ldb, beta, c, ci, ldc = values

        def fits(value: Any, kind: Any) -> Any:
            return value if value.type == kind else builder.trunc(value, kind)

        def pointer(i: int) -> Any:
            array = context.make_array(signature.args[i])(context, builder, values[i])
            return builder.gep(array.data, [values[i + 1]])

        given = [ir.Constant(choice, IN_ROWS), fits(ta, choice), fits(tb, choice)]
        given += [fits(m, whole), fits(n, whole), fits(k, whole), alpha]
        given += [pointer(7), fits(lda, whole), pointer(10), fits(ldb, whole), beta]
        given += [pointer(14), fits(ldc, whole)]
        assert alpha.type == beta.type == number
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(function, kind.as_pointer()), given)
        return context.get_dummy_value()

    return call
