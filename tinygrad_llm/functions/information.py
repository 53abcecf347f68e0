"""Questions about tensors and settings of the process, with PyTorch's names."""

from __future__ import annotations

from typing import Any

from ..arrays import devices, parallel
from ..tensor import Tensor, device
from .method import checked

__all__ = [
    "compile",
    "get_default_device",
    "get_float32_matmul_precision",
    "get_num_threads",
    "is_floating_point",
    "is_tensor",
    "numel",
    "set_default_device",
    "set_float32_matmul_precision",
    "set_num_threads",
]


def compile(model: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The model itself: there is nothing to compile here. As a decorator, the function itself."""
    return (lambda function: function) if model is None else model


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


@checked
def numel(input: Tensor) -> int:
    """How many elements the tensor has."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is a floating one."""
    return input.is_floating_point()


def get_default_device() -> device:
    """device(type='cpu'): where tensors are made unless device= says otherwise."""
    return device("cpu")


def set_default_device(device: Any) -> None:
    """Accepts "cpu" alone; RuntimeError for another: pass device= to the function instead."""
    if str(device) != "cpu":
        raise RuntimeError(
            f"set_default_device({str(device)!r}): tensors are made on the CPU unless the function "
            f"that makes them gets device={str(device)!r}"
        )


def get_num_threads() -> int:
    """How many threads element-wise work uses."""
    return parallel.thread_count()


def set_num_threads(n: int) -> None:
    """How many threads work on big arrays, and on matrix products if threadpoolctl is installed."""
    parallel.set_thread_count(n)


def set_float32_matmul_precision(precision: str) -> None:
    """How a GPU multiplies float32 matrices: "highest" in float32, "high" and "medium" with the
    factors rounded to TF32's 10 bits of mantissa, several times faster. On a CPU always float32."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(
            f"set_float32_matmul_precision: {precision!r} is not 'highest', 'high' or 'medium'"
        )
    devices.settings.tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """ "highest" or "high": see set_float32_matmul_precision."""
    return "high" if devices.settings.tf32 else "highest"
