"""Sums, products, ReLU, sigmoid, tanh and dropout: one pass each.

NumPy has such a pass for sums and products too, but on one core: with one core it is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.parallel import thread_count
from ..activation import Relu
from ..arithmetic import Add, Mul, Sub
from ..dropout import Dropout
from ..elementary import Sigmoid, Tanh
from .compiling import exact_kernel, kernel, shared
from .elementary import piece, sigmoid, tanh
from .twin import Loop, dense, even_rows, flat, in_rows, row_steps

__all__ = [
    "LoopAdd", "LoopDropout", "LoopMul", "LoopRelu", "LoopSigmoid", "LoopSub", "LoopTanh",
    "copied", "takes_copy",
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
def copy(x, y, start, stop):
    """y = x."""
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = x[i]


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
        gx[i] = f(0.0) if y[i] <= f(0.0) else g[i]


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
    return pass_over(copy, x)


class _Pair(Loop):
    """Two arrays of one shape; others are NumPy's."""

    @classmethod
    def takes(cls, x, y):
        if thread_count() == 1 or x.size < WORTH or getattr(y, "shape", None) != x.shape:
            return False
        return dense(x, y)


class LoopAdd(_Pair, Add):
    """Its gradients are g itself."""

    def forward(self, x, y):
        return pass_over(add, x, y)


class LoopSub(_Pair, Sub):
    """∂L/∂y = −g is NumPy's."""

    def forward(self, x, y):
        return pass_over(subtract, x, y)


class LoopMul(Loop, Mul):
    """Saves what the NumPy class saves. The factors may be pieces of a split array."""

    @classmethod
    def takes(cls, x, y):
        if x.size < WORTH or getattr(y, "shape", None) != x.shape:
            return False
        return even_rows(x, y)

    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y if self.needs[0] else None
        return self.product(x, y)

    def product(self, x, y):
        """x·y, in row order."""
        columns, steps = row_steps(x, y)
        z = np.empty(x.shape, x.dtype)
        shared(multiply, z.size, z.size, flat(x), flat(y), z.reshape(-1), columns, *steps)
        return z

    def backward(self, g):
        x, y = self.saved
        g = in_rows(g)
        if x is None or y is None:
            gx, gy = (None if a is None else self.product(g, a) for a in (y, x))
            return gx, gy
        columns, steps = row_steps(x, y)
        gx, gy = np.empty(g.shape, g.dtype), np.empty(g.shape, g.dtype)
        args = g.reshape(-1), flat(x), flat(y), gx.reshape(-1), gy.reshape(-1), columns, *steps
        shared(multiply_back, g.size, g.size, *args)
        return gx, gy


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
