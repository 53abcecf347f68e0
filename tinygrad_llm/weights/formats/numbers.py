"""Numbers that NumPy alone cannot hold: bfloat16 and floats of 8 bits, through ml_dtypes."""

from __future__ import annotations

import numpy as np

__all__ = ["EXTENDED", "extended_dtype", "itemsize", "widened"]

# The name that PyTorch and the package ml_dtypes share: its bytes.
EXTENDED = {
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}


def itemsize(name: str) -> int:
    """Bytes of one number of a dtype, NumPy's or one of EXTENDED.

    Raises: TypeError if unknown.
    """
    return EXTENDED.get(name) or np.dtype(name).itemsize


def extended_dtype(name: str) -> np.dtype | None:
    """The NumPy dtype of one of EXTENDED, or None if ml_dtypes is not installed."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    return np.dtype(getattr(ml_dtypes, name))


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16 numbers, given as their bits (uint16), in float32, which is exact."""
    out = np.empty(bits.shape, np.float32)  # not a view: torch_file.py keeps a weak reference to it
    np.left_shift(bits, 16, out=out.view(np.uint32), dtype=np.uint32)
    return out
