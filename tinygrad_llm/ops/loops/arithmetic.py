"""Sums, products, quotients, ReLU, sigmoid, tanh and dropout: one pass each.

NumPy has such a pass for sums and products too, but on one core: with one core it is taken.
broadcast.py has those of an operand for each row or column.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.parallel import thread_count
from ..activation import Relu
from ..arithmetic import Add, Div, Mul, Sub
from ..dropout import Dropout
from ..elementary import Sigmoid, Tanh
from .broadcast import (
    added,
    divided,
    divided_back,
    operand_gradient,
    operand_of,
    times_rows,
)
from .compiling import exact_kernel, kernel, shared
from .elementary import piece, sigmoid, tanh
from .twin import Loop, dense, even_rows, flat, in_rows, row_steps

__all__ = [
    "LoopAdd", "LoopDiv", "LoopDropout", "LoopMul", "LoopRelu", "LoopSigmoid", "LoopSub",
    "LoopTanh", "add_into", "copied", "joined", "takes_copy",
]  # fmt: skip

f: Any = np.float64  # in a compiled copy the arrays' dtype
SHORT = 2048  # numbers of a row that stay in the nearest cache
WORTH = 1 << 17  # numbers for which one pass is worth waking another core


@exact_kernel
def add(x, y, z, start, stop):
    """z = x + y."""
    x, y, z = x[start:stop], y[start:stop], z[start:stop]
    for i in range(x.size):
        z[i] = x[i] + y[i]


@exact_kernel
def increase(total, g, start, stop):
    """total += g."""
    total, g = total[start:stop], g[start:stop]
    for i in range(total.size):
        total[i] += g[i]


@exact_kernel
def increase_rows(total, g, columns, start, stop):
    """total += g, with one g for each row."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        to, a = total[i : i + n], g[row]
        for j in range(to.size):
            to[j] += a
        i += n


@exact_kernel
def copy_rows(x, y, columns, step, start, stop):
    """y = x, for elements of rows of x that begin `step` numbers apart in y."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        at = row * step + place
        xi, yi = x[i : i + n], y[at : at + n]
        for j in range(xi.size):
            yi[j] = xi[j]
        i += n


@exact_kernel
def subtract(x, y, z, start, stop):
    """z = x − y."""
    x, y, z = x[start:stop], y[start:stop], z[start:stop]
    for i in range(x.size):
        z[i] = x[i] - y[i]


@exact_kernel
def multiply(x, y, z, columns, x_step, y_step, start, stop):
    """z = x·y, for elements of rows that begin x_step and y_step numbers apart."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        at = row * x_step + place
        xi = x[at : at + n]
        at = row * y_step + place
        yi, zi = y[at : at + n], z[i : i + n]
        for j in range(xi.size):
            zi[j] = xi[j] * yi[j]
        i += n


@exact_kernel
def multiply_back(g, x, y, gx, gy, columns, x_step, y_step, start, stop):
    """∂L/∂x = g·y,   ∂L/∂y = g·x."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        n = min(n, SHORT)  # that g is read from the cache the second time
        at = row * x_step + place
        xi = x[at : at + n]
        at = row * y_step + place
        yi, gi, gxi, gyi = y[at : at + n], g[i : i + n], gx[i : i + n], gy[i : i + n]
        for j in range(gi.size):
            gxi[j] = gi[j] * yi[j]
        for j in range(gi.size):
            gyi[j] = gi[j] * xi[j]
        i += n


@exact_kernel
def relu(x, y, start, stop):
    """y = max(x, 0); a NaN stays one."""
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = f(0.0) if x[i] <= f(0.0) else x[i]


@exact_kernel
def relu_back(g, y, gx, start, stop):
    """∂L/∂x = g where y > 0 or NaN, else 0."""
    g, y, gx = g[start:stop], y[start:stop], gx[start:stop]
    for i in range(g.size):
        gi = g[i]  # read always: a load that depends on y is slow on AVX2
        gx[i] = f(0.0) if y[i] <= f(0.0) else gi


@exact_kernel
def drop(x, keep, y, scale, start, stop):
    """y = x·keep·scale."""
    x, keep, y = x[start:stop], keep[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = x[i] * f(keep[i]) * f(scale)


@kernel
def sigmoid_loop(x, y, start, stop):
    """y = σ(x)."""
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = sigmoid(x[i])


@kernel
def sigmoid_back(g, y, gx, start, stop):
    """∂L/∂x = g·y·(1 − y)."""
    g, y, gx = g[start:stop], y[start:stop], gx[start:stop]
    for i in range(g.size):
        gx[i] = g[i] * (f(1.0) - y[i]) * y[i]


@kernel
def tanh_loop(x, y, start, stop):
    """y = tanh(x)."""
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = tanh(x[i])


@exact_kernel
def tanh_back(g, y, gx, start, stop):
    """∂L/∂x = g·(1 − y²)."""
    g, y, gx = g[start:stop], y[start:stop], gx[start:stop]
    for i in range(g.size):
        gx[i] = g[i] * (f(1.0) - y[i] * y[i])


def pass_over(loop: Any, *arrays: Any, numbers: tuple = ()) -> Any:
    """A new array like the first, which the loop computes from all of them, element by element."""
    y = np.empty(arrays[0].shape, arrays[0].dtype)
    shared(loop, y.size, y.size, *(a.reshape(-1) for a in (*arrays, y)), *numbers)
    return y


def takes_copy(x: Any) -> bool:
    """Whether a copy of x is worth more than one core."""
    return thread_count() > 1 and x.size >= WORTH and dense(x)


def copied(x: Any) -> Any:
    """A copy of an array that takes_copy takes."""
    return pass_over(copy_rows, x, numbers=(x.size, x.size))  # one long row


def joined(pieces: Any, dim: int) -> Any:
    """The pieces one after another along dim, dim 0 excepted; None for pieces left to NumPy."""
    first = pieces[0]
    n = sum(a.shape[dim] for a in pieces)
    whole_shape = (*first.shape[:dim], n, *first.shape[dim + 1 :])
    if thread_count() == 1 or math.prod(whole_shape) < WORTH or not dense(*pieces):
        return None
    whole, at = np.empty(whole_shape, first.dtype), 0
    step, numbers = math.prod(whole_shape[dim:]), whole.reshape(-1)
    for a in pieces:
        columns = math.prod(a.shape[dim:])
        if a.size:
            shared(copy_rows, a.size, a.size, a.reshape(-1), numbers[at:], columns, step)
        at += columns
    return whole


def add_into(total: Any, g: Any) -> bool:
    """total += g, in the memory of total; False for arrays that are left to NumPy.

    g may have one number for each row of total, repeated, as the gradient of a mean has.
    """
    if thread_count() == 1 or total.size < WORTH or not dense(total) or g.dtype != total.dtype:
        return False
    if g.shape != total.shape or np.may_share_memory(total, g):
        return False
    if dense(g):
        shared(increase, g.size, g.size, total.reshape(-1), g.reshape(-1))
        return True
    if g.ndim < 2 or g.strides[-1] or not g.shape[-1]:
        return False
    numbers = np.ascontiguousarray(g[..., 0]).reshape(-1)  # (..., C) -> (...) -> (N)
    shared(increase_rows, g.size, g.size, total.reshape(-1), numbers, g.shape[-1])
    return True


class _Two(Loop):
    """Two arrays of one shape, or one beside a smaller operand for its rows or columns.

    `how` is the operand's place, None for one shape; `swapped`: the first array is the smaller.
    """

    commutes = False
    how: Any = None
    needs: Any

    @classmethod
    def takes(cls, x, y):
        small_first = cls.commutes and _size(x) < _size(y)
        x, y = (y, x) if small_first else (x, y)
        if not x.size or x.size < WORTH:
            return False
        return cls.takes_pair(x, y) if _shape(y) == x.shape else cls.takes_operand(x, y)

    @staticmethod
    def takes_pair(x, y):
        """Whether the loops serve two arrays of one shape."""
        return thread_count() > 1 and dense(x, y)

    @staticmethod
    def takes_operand(x, y):
        """Whether the loops serve a large x beside a smaller y."""
        return dense(x) and operand_of(x, y) is not None

    def ordered(self, x, y):
        """The large array and the smaller operand; self.how is then known."""
        self.swapped = _size(x) < _size(y)
        x, y = (y, x) if self.swapped else (x, y)
        self.how = None if _shape(y) == x.shape else operand_of(x, y)
        return x, y

    def pair(self, gx, gy):
        """The gradients of the large array and of the operand, in the inputs' order."""
        return (gy, gx) if self.swapped else (gx, gy)

    @property
    def needs_operand(self):
        """Whether the smaller operand wants a gradient."""
        return self.needs[0 if self.swapped else 1]

    def gradient_of(self, y_shape, g, factor=None):
        """Σ g·factor over what met one number of the operand, in the operand's shape."""
        return operand_gradient(g, factor, self.how).reshape(y_shape)


def _size(x: Any) -> int:
    return getattr(x, "size", 1)


def _shape(x: Any) -> Any:
    return getattr(x, "shape", None)


class LoopAdd(_Two, Add):
    """Its gradients are g itself, and for an operand a sum of it."""

    commutes = True

    def forward(self, x, y):
        x, y = self.ordered(x, y)
        self.shape = _shape(y)
        return pass_over(add, x, y) if self.how is None else added(x, y, self.how)

    def backward(self, g):
        if self.how is None or not (self.needs_operand and self.how.short):
            return g, g
        return self.pair(g, self.gradient_of(self.shape, in_rows(g)))


class LoopSub(_Two, Sub):
    """∂L/∂y = −g is NumPy's, and for an operand the sum of it a loop's."""

    def forward(self, x, y):
        x, y = self.ordered(x, y)
        self.shape = _shape(y)
        return pass_over(subtract, x, y) if self.how is None else added(x, y, self.how, -1.0)

    def backward(self, g):
        if self.how is None or not (self.needs_operand and self.how.short):
            return super().backward(g)
        return g, -self.gradient_of(self.shape, in_rows(g))


class LoopMul(_Two, Mul):
    """Saves what the NumPy class saves. The factors may be pieces of a split array."""

    commutes = True
    takes_pair = staticmethod(even_rows)

    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y if self.needs[0] else None
        x, y = self.ordered(x, y)
        self.shape = _shape(y)
        return self.product(x, y)

    def product(self, x, y):
        """x·y, in row order."""
        if self.how is not None and self.how.of_rows:
            return times_rows(x, y, self.how)
        z = np.empty(x.shape, x.dtype)
        if self.how is None:
            columns, steps = row_steps(x, y)
        else:
            columns, steps = self.how.columns, [self.how.columns, 0]  # each row meets all of y
        shared(multiply, z.size, z.size, flat(x), flat(y), z.reshape(-1), columns, *steps)
        return z

    def backward(self, g):
        x, y = self.saved
        g = in_rows(g)
        if self.how is not None:
            return self.backward_of_operand(g, *self.pair(x, y))
        if x is None or y is None:
            gx, gy = (None if a is None else self.product(g, a) for a in (y, x))
            return gx, gy
        columns, steps = row_steps(x, y)
        gx, gy = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
        args = g.reshape(-1), flat(x), flat(y), gx.reshape(-1), gy.reshape(-1), columns, *steps
        shared(multiply_back, g.size, g.size, *args)
        return gx, gy

    def backward_of_operand(self, g, x, y):
        """The gradients of a large x and of an operand y; x and y are None if not saved."""
        gx = None if y is None else self.product(g, y)
        gy = None
        if x is not None:
            gy = self.gradient_of(self.shape, g, x) if self.how.short else g * x
        return self.pair(gx, gy)


class LoopDiv(_Two, Div):
    """A large array by an operand for its rows. Saves what the NumPy class saves."""

    @staticmethod
    def takes_pair(x, y):
        return False

    @staticmethod
    def takes_operand(x, y):
        how = operand_of(x, y) if dense(x) else None
        return how is not None and how.of_rows

    def forward(self, x, y):
        x, y = self.ordered(x, y)
        self.saved = x if self.needs[1] else None, y
        return divided(x, y, self.how)

    def backward(self, g):
        x, y = self.saved
        if x is None:
            return divided(in_rows(g), y, self.how), None
        if not self.how.short:
            return super().backward(g)
        gx, gy = divided_back(in_rows(g), x, y, self.how)
        return gx if self.needs[0] else None, gy


class LoopRelu(Loop, Relu):
    """Saves y in place of a mask: a pass less over memory. As in PyTorch y must stay as is."""

    def forward(self, x):
        y = pass_over(relu, x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return pass_over(relu_back, in_rows(g), self.saved[0])


class LoopDropout(Loop, Dropout):
    """A mask of bools, of x's shape."""

    @classmethod
    def takes(cls, x, keep, p=0.5):
        if type(keep) is not np.ndarray or keep.dtype != np.bool_ or keep.shape != x.shape:
            return False
        return keep.flags.c_contiguous and keep.flags.writeable and dense(x)

    def forward(self, x, keep, p=0.5):
        self.scale = float(x.dtype.type(1.0) / x.dtype.type(1.0 - p)) if p < 1.0 else 0.0
        self.saved = (keep,)
        return pass_over(drop, x, keep, numbers=(self.scale,))

    def backward(self, g):
        return pass_over(drop, in_rows(g), self.saved[0], numbers=(self.scale,)), None


class LoopSigmoid(Loop, Sigmoid):
    """Saves y, as the NumPy class does."""

    def forward(self, x):
        y = pass_over(sigmoid_loop, x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return pass_over(sigmoid_back, in_rows(g), self.saved[0])


class LoopTanh(Loop, Tanh):
    """Saves y, as the NumPy class does."""

    def forward(self, x):
        y = pass_over(tanh_loop, x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return pass_over(tanh_back, in_rows(g), self.saved[0])
