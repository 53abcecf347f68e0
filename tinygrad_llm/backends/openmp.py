"""OpenMP: not used here. NumPy's BLAS and this package have other threads."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False
