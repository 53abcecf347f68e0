"""Settings of the process: threads, float32's precision on a GPU, the default device."""

from __future__ import annotations

from typing import Any

from ..arrays import devices, parallel
from ..tensor import device


def compile(model: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The model itself, unchanged: nothing is compiled here. As a decorator, the function itself.

    PyTorch's options (backend, mode, fullgraph, dynamic ...) are accepted and make no difference:
    programs that call it run, as fast as without it. What it is for is done elsewhere: the ops are
    fused already, and on a GPU `cuda.CUDAGraph` repeats the launches of a whole step.
    """
    return (lambda function: function) if model is None else model


def get_default_device() -> device:
    """device(type='cpu'): where tensors are made unless device= is given."""
    return device("cpu")


def set_default_device(device: Any) -> None:
    """Accepts "cpu" alone.

    Raises: RuntimeError for another: pass device= to the function instead.
    """
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
    factors rounded to TF32's 10 bits of mantissa, several times faster. On a CPU always float32.
    Raises: RuntimeError if precision is none of the three.
    """
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(
            f"set_float32_matmul_precision: {precision!r} is not 'highest', 'high' or 'medium'"
        )
    devices.settings.tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """ "highest" or "high": see set_float32_matmul_precision."""
    return "high" if devices.settings.tf32 else "highest"
