"""Rotary position embedding: each pair is read once and written once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..rope import Rope
from .compiling import exact_kernel, helper, shared
from .twin import FLOATS, Loop, dense, flat

__all__ = ["LoopRope"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


# sizes: (rows of a unit, units of a group, pairs, numbers of a row). steps has a row for each of
# group, unit and row: how many elements lie between two of them in x, in cos and sin, and in y.
# With sign −1 a kernel rotates the other way. Two kernels: in one, LLVM vectorises neither loop.
@helper
def place(u, units, steps, k):
    """Where unit u begins in the array of column k of `steps`."""
    return u // units * steps[0, k] + u % units * steps[1, k]


@exact_kernel
def rotate_halves(x, cos, sin, y, sizes, steps, sign, start, stop):
    """(xⱼ, xⱼ₊ᵣ) = (a, b) -> (a·cos − b·sin, b·cos + a·sin)."""
    rows, units, pairs, columns = sizes[0], sizes[1], sizes[2], sizes[3]
    turn, half = f(sign), np.uint64(pairs)  # an index of this type counts from the front only
    for u in range(start, stop):
        at_x, at_c = place(u, units, steps, 0), place(u, units, steps, 1)
        at_y = place(u, units, steps, 2)
        for _ in range(rows):
            xi, yi = x[at_x : at_x + columns], y[at_y : at_y + columns]
            c, s = cos[at_c : at_c + pairs], sin[at_c : at_c + pairs]
            for j in range(c.size):
                k = np.uint64(j)
                yi[k] = xi[k] * c[k] - xi[k + half] * (s[k] * turn)
            for j in range(c.size):
                k = np.uint64(j)
                yi[k + half] = xi[k + half] * c[k] + xi[k] * (s[k] * turn)
            for j in range(2 * pairs, columns):
                yi[j] = xi[j]
            at_x, at_c, at_y = at_x + steps[2, 0], at_c + steps[2, 1], at_y + steps[2, 2]


@exact_kernel
def rotate_neighbours(x, cos, sin, y, sizes, steps, sign, start, stop):
    """(x₂ⱼ, x₂ⱼ₊₁) = (a, b) -> (a·cos − b·sin, b·cos + a·sin)."""
    rows, units, pairs, columns = sizes[0], sizes[1], sizes[2], sizes[3]
    turn, one = f(sign), np.uint64(1)
    for u in range(start, stop):
        at_x, at_c = place(u, units, steps, 0), place(u, units, steps, 1)
        at_y = place(u, units, steps, 2)
        for _ in range(rows):
            xi, yi = x[at_x : at_x + columns], y[at_y : at_y + columns]
            c, s = cos[at_c : at_c + pairs], sin[at_c : at_c + pairs]
            for j in range(c.size):
                k = np.uint64(2 * j)
                a, b, sj = xi[k], xi[k + one], s[j] * turn
                yi[k] = a * c[j] - b * sj
                yi[k + one] = b * c[j] + a * sj
            for j in range(2 * pairs, columns):
                yi[j] = xi[j]
            at_x, at_c, at_y = at_x + steps[2, 0], at_c + steps[2, 1], at_y + steps[2, 2]


def lies_well(x: Any) -> bool:
    """Whether the rows of x (…, T, D), three dimensions of them at most, can be walked through."""
    if not (2 <= x.ndim <= 4 and x.size and x.flags.writeable and x.flags.aligned):
        return False
    return x.strides[-1] == x.itemsize and all(s >= 0 and s % x.itemsize == 0 for s in x.strides)


def rotated(x: Any, cos: Any, sin: Any, interleaved: bool, sign: float) -> Any:
    """x with each pair rotated, its dimensions in the same order in memory."""
    y = np.empty_like(x)
    n = x.shape[-1]
    turns = np.broadcast_to(cos, (*x.shape[:-1], cos.shape[-1]))
    # of the dimensions but the last: the size, and the steps in x, cos and y
    walks = [(m, *(a.strides[d] // a.itemsize for a in (x, turns, y)))
             for d, m in enumerate(x.shape[:-1])]  # fmt: skip
    walks = [(1, 0, 0, 0)] * (3 - len(walks)) + walks
    walks.sort(key=lambda walk: -walk[3])  # in the order of memory
    (groups, *_), (units, *_), (rows, *_) = walks
    sizes, steps = np.array([rows, units, cos.shape[-1], n]), np.array([w[1:] for w in walks])
    arrays = flat(x), cos.reshape(-1), sin.reshape(-1), flat(y)
    loop = rotate_neighbours if interleaved else rotate_halves
    shared(loop, groups * units, x.size, *arrays, sizes, steps, sign)
    return y


class LoopRope(Loop, Rope):
    """Also for heads that are not in row order, as attention makes them."""

    @classmethod
    def takes(cls, x, cos, sin, interleaved=False):
        if x.dtype not in FLOATS or not dense(cos, sin) or cos.dtype != x.dtype:
            return False
        return lies_well(x) and cos.shape == sin.shape and cos.ndim <= x.ndim

    def forward(self, x, cos, sin, interleaved=False):
        self.saved, self.interleaved = (cos, sin), interleaved
        return rotated(x, cos, sin, interleaved, 1.0)

    def backward(self, g):
        cos, sin = self.saved
        g = g if lies_well(g) else g.copy("C")
        return rotated(g, cos, sin, self.interleaved, -1.0), None, None
