"""Errors between processes, with PyTorch's names."""

from __future__ import annotations

__all__ = ["DistBackendError", "DistError", "DistNetworkError"]


class DistError(RuntimeError):
    """Processes that should work together did not: each rank names what it did."""


class DistBackendError(DistError):
    """What moves bytes between the processes failed: a rank ended, or was too late."""


class DistNetworkError(DistError):
    """The processes did not find each other."""
