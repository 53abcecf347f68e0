"""A number in the place of what a mask covers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..selection import MaskedFill
from .compiling import exact_kernel, shared
from .elementary import piece
from .twin import Loop, dense, in_rows

__all__ = ["LoopMaskedFill"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@exact_kernel
def fill(x, mask, y, value, columns, start, stop):
    """y = value where the mask holds, else x: each row of x meets all of the mask."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        xi, mi, yi = x[i : i + n], mask[place : place + n], y[i : i + n]
        for j in range(xi.size):
            kept = xi[j]  # read always: see relu_back
            yi[j] = f(value) if mi[j] else kept
        i += n


class LoopMaskedFill(Loop, MaskedFill):
    """A mask of x's shape, or of its last dims, as that of the future: (T, T) of (B, H, T, T)."""

    @classmethod
    def takes(cls, x, mask, value):
        if type(mask) is not np.ndarray or mask.dtype != np.bool_ or not mask.size:
            return False
        if not (mask.flags.c_contiguous and mask.flags.writeable and mask.flags.aligned):
            return False
        shape = mask.shape[max(mask.ndim - x.ndim, 0) :]
        while shape and shape[0] == 1:
            shape = shape[1:]
        if mask.ndim > x.ndim or shape != x.shape[x.ndim - len(shape) :]:
            return False
        return math.prod(getattr(value, "shape", ())) == 1 and dense(x)

    def forward(self, x, mask, value):
        self.saved = (mask,)
        return self.filled(x, float(value))

    def filled(self, x, value):
        """x with the value where the mask holds."""
        (mask,) = self.saved
        y = np.empty(x.shape, x.dtype)
        shared(fill, x.size, x.size, x.reshape(-1), mask.reshape(-1), y.reshape(-1), value,
               mask.size)  # fmt: skip
        return y

    def backward(self, g):
        if self.needs[2]:
            return super().backward(g)
        return self.filled(in_rows(g), 0.0), None, None
