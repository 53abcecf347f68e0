"""Settings of the process: threads, float32's precision on a GPU, the default device."""

from __future__ import annotations

import warnings
from typing import Any

from ..arrays import devices, parallel
from ..tensor.device import default_device, set_default
from ..tensor.device import device as _device
from ..tensor.numbers import number


def compile(model: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The model itself, unchanged: nothing is compiled here. As a decorator, the function itself.

    PyTorch's options (backend, mode, fullgraph, dynamic ...) are accepted and make no difference:
    programs that call it run, as fast as without it. What it is for is done elsewhere: the ops are
    fused already, and on a GPU `cuda.CUDAGraph` repeats the launches of a whole step. A warning
    says so.
    """
    warnings.warn(_NOT_COMPILED, stacklevel=2)
    return as_it_is(model)


_NOT_COMPILED = (
    "torch.compile: nothing is compiled here, the model or function stays as it is. The ops are "
    "fused already; on a GPU cuda.CUDAGraph repeats the launches of a whole step"
)


def as_it_is(function: Any = None) -> Any:
    """The function itself; for None a decorator that returns its function."""
    return (lambda decorated: decorated) if function is None else function


def get_default_device() -> _device:
    """Where this thread makes tensors unless device= is given: the CPU unless it was changed."""
    place = default_device() or _device("cpu")
    if place.type == "cuda" and place.index is None:
        return _device("cuda", devices.current_gpu())
    return place


def set_default_device(device: Any) -> None:
    """Make tensors on this device, "cuda" or "meta", unless device= is given; None for the CPU.

    Raises: RuntimeError for a device that does not exist, and for a GPU where none can be used.
    """
    place = None if device is None else _device(device)
    if place is not None and place.type == "cuda":
        devices.gpu_to_use(place.index)
    set_default(place)


def get_num_threads() -> int:
    """How many threads element-wise work uses."""
    return parallel.thread_count()


def set_num_threads(n: int) -> None:
    """How many threads work on big arrays and on matrix products.

    A warning says so if the library of matrix products cannot be set (Apple's Accelerate).
    Raises: TypeError if n is not an int, RuntimeError if it is below 1.
    """
    count = number(n)
    if not isinstance(count, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    parallel.set_thread_count(count)


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


_deterministic = {"enabled": False, "warn_only": False}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same numbers in every run, which a CPU returns anyway.

    On GPUs distributed sums over NCCL then add in rank order; every rank calls this.
    """
    _deterministic.update(enabled=bool(mode), warn_only=bool(warn_only))
    devices.settings.deterministic = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """Whether use_deterministic_algorithms(True) was called."""
    return _deterministic["enabled"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether use_deterministic_algorithms(True, warn_only=True) was called."""
    return _deterministic["warn_only"]


def set_flush_denormal(mode: bool) -> bool:
    """False: numbers below the smallest normal one are kept, as NumPy keeps them."""
    return False


def get_num_interop_threads() -> int:
    """1: ops run one after the other."""
    return 1


def set_num_interop_threads(n: int) -> None:
    """Accept a number of ops that may run side by side: they run one after the other."""


def typename(obj: Any) -> str:
    """The type's name with its module; for a tensor "torch.FloatTensor" and the like."""
    if hasattr(obj, "array") and hasattr(obj, "grad_fn"):
        return obj.type()
    kind = obj if isinstance(obj, type) else type(obj)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
