"""Arrays of NumPy that have an address as CuPy's have, for what is called without a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


class GpuArray(np.ndarray):
    """A NumPy array with CuPy's pointer, `data.ptr`."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)
