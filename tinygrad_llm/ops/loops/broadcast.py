"""Arithmetic of rows with an operand that has one number for each row, or one for each column.

An array (..., C) is seen as rows here. One number for a row: shapes such as (..., 1), or a Python
number, of which all is one row. One for a column: (C,), or (T, C) beside (B, T, C). The gradient of
such an operand is a sum along the rows, or over them, in the same pass as the product before it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...arrays.reductions import row_sum
from .compiling import exact_kernel, kernel, shared
from .elementary import piece
from .norm import strips
from .twin import dense

__all__ = [
    "LONGEST", "Operand", "added", "divided", "divided_back", "operand_of", "operand_gradient",
    "row_totals", "times_rows",
]  # fmt: skip

f: Any = np.float64  # in a compiled copy the arrays' dtype
LONGEST = 1 << 14  # numbers of a row whose plain sum has the digits of NumPy's
NARROW = 16  # columns of a row that takes longer than the step to the next one


class Operand(NamedTuple):
    """How a small operand meets the rows of a large one."""

    of_rows: bool  # one number for each row, else one for each column
    rows: int
    columns: int

    def numbers(self, y: Any, like: Any) -> Any:
        """y as a vector of like's dtype: (rows) or (columns)."""
        return y.reshape(-1) if isinstance(y, np.ndarray) else np.full(1, y, like.dtype)

    @property
    def short(self) -> bool:
        """Whether the loops compute the sums of its gradient: else NumPy, in groups."""
        return self.columns <= LONGEST or not self.of_rows


def operand_of(x: Any, y: Any) -> Operand | None:
    """How y meets x, an array in row order; None where it is neither a row's nor a column's, and
    where rows are so narrow that NumPy is as fast.
    """
    if type(y) in (int, float):  # NumPy's own numbers may be wider than x
        return Operand(True, 1, x.size)
    if type(y) is not np.ndarray or y.ndim > x.ndim or y.size >= x.size or not dense(x, y):
        return None
    shape, n = (1,) * (x.ndim - y.ndim) + y.shape, x.ndim
    first = next(d for d in range(n) if shape[d] != x.shape[d])  # the first that broadcasts
    last = next(d for d in range(n, 0, -1) if shape[d - 1] != x.shape[d - 1])
    of_rows = math.prod(shape[first:]) == 1
    cut = first if of_rows else last
    how = Operand(of_rows, math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))
    served = how.columns >= NARROW and (of_rows or math.prod(shape[:last]) == 1)
    return how if served else None


# ------------------------------------------------------------------------- element by element
@exact_kernel
def add_rows(x, y, z, sign, columns, start, stop):
    """z = x + sign·y, with one y for each row."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        xi, zi, a = x[i : i + n], z[i : i + n], f(sign) * y[row]
        for j in range(xi.size):
            zi[j] = xi[j] + a
        i += n


@exact_kernel
def add_columns(x, y, z, sign, columns, start, stop):
    """z = x + sign·y, with one y for each column."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        xi, yi, zi = x[i : i + n], y[place : place + n], z[i : i + n]
        for j in range(xi.size):
            zi[j] = xi[j] + f(sign) * yi[j]
        i += n


@exact_kernel
def multiply_rows(x, y, z, columns, start, stop):
    """z = x·y, with one y for each row."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        xi, zi, a = x[i : i + n], z[i : i + n], y[row]
        for j in range(xi.size):
            zi[j] = xi[j] * a
        i += n


@exact_kernel
def divide_rows(x, y, z, columns, start, stop):
    """z = x / y, with one y for each row."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        xi, zi, a = x[i : i + n], z[i : i + n], y[row]
        for j in range(xi.size):
            zi[j] = xi[j] / a
        i += n


@kernel
def divide_rows_back(g, x, y, gx, gy, start, stop):
    """∂L/∂x = g / y,   ∂L/∂y = −Σ g·((x / y) / y) along a row."""
    for i in range(start, stop):
        gi, xi, to, a = g[i], x[i], gx[i], y[i]
        total = f(0.0)
        for j in range(gi.size):
            to[j] = gi[j] / a
            total += gi[j] * ((xi[j] / a) / a)
        gy[i] = -total


# --------------------------------------------------------------------------------------- sums
@kernel
def row_sums(x, total, start, stop):
    """Σ x along a row."""
    for i in range(start, stop):
        xi = x[i]
        s = f(0.0)
        for j in range(xi.size):
            s += xi[j]
        total[i] = s


@kernel
def row_dots(a, b, total, start, stop):
    """Σ a·b along a row."""
    for i in range(start, stop):
        ai, bi = a[i], b[i]
        s = f(0.0)
        for j in range(ai.size):
            s += ai[j] * bi[j]
        total[i] = s


@kernel
def column_sums(x, part, strip, start, stop):
    """Σ x over the rows of each strip."""
    for s in range(start, stop):
        to = part[s]
        for j in range(to.size):
            to[j] = f(0.0)
        for i in range(s * strip, min(s * strip + strip, x.shape[0])):
            xi = x[i]
            for j in range(xi.size):
                to[j] += xi[j]


@kernel
def column_dots(a, b, part, strip, start, stop):
    """Σ a·b over the rows of each strip."""
    for s in range(start, stop):
        to = part[s]
        for j in range(to.size):
            to[j] = f(0.0)
        for i in range(s * strip, min(s * strip + strip, a.shape[0])):
            ai, bi = a[i], b[i]
            for j in range(ai.size):
                to[j] += ai[j] * bi[j]


# ------------------------------------------------------------------------------ what ops call
def _pass(loop: Any, x: Any, y: Any, how: Operand, *numbers: Any) -> Any:
    z = np.empty(x.shape, x.dtype)
    args = x.reshape(-1), how.numbers(y, x), z.reshape(-1), *numbers, how.columns
    shared(loop, x.size, x.size, *args)
    return z


def added(x: Any, y: Any, how: Operand, sign: float = 1.0) -> Any:
    """x + sign·y."""
    return _pass(add_rows if how.of_rows else add_columns, x, y, how, sign)


def times_rows(x: Any, y: Any, how: Operand) -> Any:
    """x·y, for an operand of rows."""
    return _pass(multiply_rows, x, y, how)


def divided(x: Any, y: Any, how: Operand) -> Any:
    """x / y, for an operand of rows."""
    return _pass(divide_rows, x, y, how)


def divided_back(g: Any, x: Any, y: Any, how: Operand) -> tuple[Any, Any]:
    """∂L/∂x and ∂L/∂y of x / y, for an operand of rows."""
    shape, gx, gy = (how.rows, how.columns), np.empty(g.shape, g.dtype), np.empty(y.shape, y.dtype)
    args = g.reshape(shape), x.reshape(shape), y.reshape(-1), gx.reshape(shape), gy.reshape(-1)
    shared(divide_rows_back, how.rows, g.size, *args)
    return gx, gy


def row_totals(a: Any, b: Any, rows: int, columns: int) -> Any:
    """Σ a·b along rows, or Σ a where b is None: (rows)."""
    total = np.empty(rows, a.dtype)
    if b is None:
        shared(row_sums, rows, a.size, a.reshape(rows, columns), total)
    else:
        factors = a.reshape(rows, columns), b.reshape(rows, columns)
        shared(row_dots, rows, a.size, *factors, total)
    return total


def column_totals(a: Any, b: Any, rows: int, columns: int) -> Any:
    """Σ a·b over rows, or Σ a where b is None: (columns)."""
    strip, count = strips(rows)
    part = np.empty((count, columns), a.dtype)
    if b is None:
        shared(column_sums, count, a.size, a.reshape(rows, columns), part, strip)
    else:
        factors = a.reshape(rows, columns), b.reshape(rows, columns)
        shared(column_dots, count, a.size, *factors, part, strip)
    return row_sum(part)  # (strips, columns) -> (columns)


def operand_gradient(g: Any, factor: Any, how: Operand) -> Any:
    """Σ g·factor, or Σ g where factor is None, over the elements that met one number of y."""
    totals = row_totals if how.of_rows else column_totals
    return totals(g, factor, how.rows, how.columns)
