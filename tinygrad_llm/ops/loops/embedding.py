"""Rows read from a table, and the table of zeros to which their gradients are added."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.parallel import thread_count
from ..embedding import Embedding
from .arithmetic import WORTH
from .compiling import exact_kernel, shared
from .twin import Loop, dense

__all__ = ["LoopEmbedding"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@exact_kernel
def gather(w, ids, y, start, stop):
    """y[i] = W[ids[i]]."""
    for i in range(start, stop):
        wi, yi = w[ids[i]], y[i]
        for j in range(yi.size):
            yi[j] = wi[j]


@exact_kernel
def clear(y, start, stop):
    """y = 0."""
    y = y[start:stop]
    for i in range(y.size):
        y[i] = f(0.0)


class LoopEmbedding(Loop, Embedding):
    """The rows of a gradient are added as they are in NumPy's class: see update.py."""

    @classmethod
    def takes(cls, w, ids, padding_idx=None, scale_grad_by_freq=False):
        if thread_count() == 1 or w.ndim != 2 or type(ids) is not np.ndarray:
            return False
        return ids.dtype.kind in "iu" and ids.size * w.shape[1] >= WORTH and dense(w)

    def read(self, w, ids):
        y = np.empty((*ids.shape, w.shape[1]), w.dtype)
        places = np.array(ids, np.int64).reshape(-1)
        shared(gather, places.size, y.size, w, places, y.reshape(places.size, w.shape[1]))
        return y  # (..., C)

    def zeros(self, g):
        gw = np.empty(self.shape, g.dtype)
        shared(clear, gw.size, gw.size, gw.reshape(-1))
        return gw
