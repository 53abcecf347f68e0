"""The parts of torch.backends that programs use: the precision of a GPU's float32 products. Apple's
GPU is never available, and cuDNN is not used."""

from __future__ import annotations

from .arrays.devices import settings
from .functions.settings import set_float32_matmul_precision

__all__ = ["cuda", "cudnn", "mps"]


class _Matmul:
    """Settings of the matrix products on a GPU."""

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 products on a GPU may round their factors to TF32's 10 bits."""
        return settings.tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        set_float32_matmul_precision("high" if value else "highest")

    @property
    def fp32_precision(self) -> str:
        """The same by PyTorch's newer name: "tf32" or "ieee"."""
        return "tf32" if settings.tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        if value not in ("tf32", "ieee", "none"):
            raise RuntimeError(f"fp32_precision must be 'ieee' or 'tf32', got {value!r}")
        self.allow_tf32 = value == "tf32"


class cuda:
    """Settings of NVIDIA GPUs: `backends.cuda.matmul.allow_tf32 = True`."""

    matmul = _Matmul()

    @staticmethod
    def is_built() -> bool:
        """True. `cuda.is_available()` tests whether a GPU can be used."""
        return True


class mps:
    """Apple's GPU, which this package does not use."""

    @staticmethod
    def is_available() -> bool:
        """False."""
        return False

    @staticmethod
    def is_built() -> bool:
        """False."""
        return False


class cudnn:
    """Settings of cuDNN, which this package does not use: they may be set and change nothing."""

    deterministic = False
    benchmark = False
    allow_tf32 = False
    enabled = False

    @staticmethod
    def is_available() -> bool:
        """False."""
        return False
