"""Settings of NVIDIA GPUs: `backends.cuda.matmul.allow_tf32 = True`, and attention's kernels."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from ..arrays.devices import settings
from ..functions.settings import set_float32_matmul_precision

__all__ = ["is_built", "matmul", "sdp_kernel"]


class _Matmul:
    """Settings of the matrix products on a GPU."""

    allow_fp16_reduced_precision_reduction = False  # sums of half-precision products are float32
    allow_bf16_reduced_precision_reduction = False
    allow_fp16_accumulation = False

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


matmul = _Matmul()


def is_built() -> bool:
    """True. `cuda.is_available()` tests whether a GPU can be used."""
    return True


# ------------------------------------------------------------------------- attention's kernels
# Which of PyTorch's kernels for attention may be used. There is one here for every case, which
# works in blocks, as the flash kernel does, and cuDNN's where it is installed (backends.cudnn). So
# "cudnn" allows or forbids that one; the others may be set and asked, and change nothing.
_allowed = settings.attention_kernels


def flash_sdp_enabled() -> bool:
    """Whether the flash kernel may be used."""
    return _allowed["flash"]


def enable_flash_sdp(enabled: bool) -> None:
    """Allow or forbid the flash kernel."""
    _allowed["flash"] = bool(enabled)


def mem_efficient_sdp_enabled() -> bool:
    """Whether the memory-efficient kernel may be used."""
    return _allowed["mem_efficient"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Allow or forbid the memory-efficient kernel."""
    _allowed["mem_efficient"] = bool(enabled)


def math_sdp_enabled() -> bool:
    """Whether the plain computation may be used."""
    return _allowed["math"]


def enable_math_sdp(enabled: bool) -> None:
    """Allow or forbid the plain computation."""
    _allowed["math"] = bool(enabled)


def cudnn_sdp_enabled() -> bool:
    """Whether cuDNN's kernel may be used."""
    return _allowed["cudnn"]


def enable_cudnn_sdp(enabled: bool) -> None:
    """Allow or forbid cuDNN's kernel."""
    _allowed["cudnn"] = bool(enabled)


@contextlib.contextmanager
def allowed_kernels(**chosen: bool) -> Iterator[None]:
    """A block in which other kernels are allowed: allowed_kernels(flash=True, math=False)."""
    before = dict(_allowed)
    _allowed.update(chosen)
    try:
        yield
    finally:
        _allowed.update(before)


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
) -> Iterator[Any]:  # fmt: skip
    """PyTorch's older `nn.attention.sdpa_kernel`: a block with these kernels allowed."""
    warnings.warn(
        "`torch.backends.cuda.sdp_kernel()` is deprecated. In the future, this context manager "
        "will be removed. Please see `torch.nn.attention.sdpa_kernel()` for the new context "
        "manager, with updated signature.",
        FutureWarning,
        stacklevel=3,
    )
    with allowed_kernels(
        flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient,
        cudnn=enable_cudnn,
    ):  # fmt: skip
        yield
