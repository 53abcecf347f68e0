"""Devices that PyTorch knows besides CUDA: torch.xpu, torch.mps, torch.mtia, torch.accelerator.

Programs ask whether they are there. Of these only CUDA can be, as `accelerator`.
"""

from __future__ import annotations

from typing import Any

from .. import cuda
from ..tensor import device

__all__ = ["accelerator", "mps", "mtia", "xpu"]


class _Absent:
    """A kind of device that is never there."""

    @staticmethod
    def is_available() -> bool:
        """False."""
        return False

    @staticmethod
    def device_count() -> int:
        """0."""
        return 0

    @staticmethod
    def manual_seed(seed: int) -> None:
        """Nothing to seed: there is no device."""

    manual_seed_all = manual_seed

    @staticmethod
    def empty_cache() -> None:
        """Nothing to free: there is no device."""

    @staticmethod
    def synchronize(device: Any = None) -> None:
        """Nothing to wait for: there is no device."""


class xpu(_Absent):
    """Intel's GPUs, which this package does not use."""


class mps(_Absent):
    """Apple's GPU, which this package does not use."""


class mtia(_Absent):
    """Meta's accelerator, which this package does not use."""


class accelerator:
    """The kind of GPU that this machine has: CUDA or none."""

    @staticmethod
    def is_available() -> bool:
        """Whether a GPU can be used."""
        return cuda.is_available()

    @staticmethod
    def device_count() -> int:
        """The number of GPUs."""
        return cuda.device_count()

    @staticmethod
    def current_accelerator(check_available: bool = False) -> device | None:
        """device("cuda") if a GPU can be used, else None."""
        return device("cuda") if cuda.is_available() else None

    @staticmethod
    def current_device_index() -> int:
        """The number of the GPU that "cuda" stands for."""
        return cuda.current_device()

    @staticmethod
    def synchronize(device: Any = None) -> None:
        """Wait until the GPU has finished all its work; nothing without one."""
        cuda.synchronize(device)

    @staticmethod
    def empty_cache() -> None:
        """Return the pool's unused memory to the driver."""
        cuda.empty_cache()
