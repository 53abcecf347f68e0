"""cuDNN, which computes attention on Hopper and newer GPUs: the extra `cudnn-cuda13` installs it.

It serves bfloat16 without a mask and dropout, in lengths that are multiples of 128; the kernels of
this package compute everything else. `enabled = False`, or TINYGRAD_LLM_CUDNN=0 in the environment,
leaves all to them. `deterministic` is True at first, unlike PyTorch's: the same inputs give the
same numbers. The other settings may be set and change nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ..arrays import availability
from ..arrays.devices import settings

benchmark = False
benchmark_limit = 10
allow_tf32 = False


class _Module(ModuleType):
    """This module, with two settings that the kernels read."""

    @property
    def enabled(self) -> bool:
        """Whether cuDNN may be used."""
        return settings.cudnn

    @enabled.setter
    def enabled(self, value: bool) -> None:
        settings.cudnn = bool(value)

    @property
    def deterministic(self) -> bool:
        """Whether only kernels that add in a fixed order may be used."""
        return settings.cudnn_deterministic

    @deterministic.setter
    def deterministic(self, value: bool) -> None:
        settings.cudnn_deterministic = bool(value)


sys.modules[__name__].__class__ = _Module


def _library() -> Any:
    """The module of ops/cuda that calls cuDNN, or None without a GPU."""
    if not availability.is_available():
        return None
    return importlib.import_module("..ops.cuda.cudnn_attention", __package__)


def is_available() -> bool:
    """Whether cuDNN can be used here: imports it, if there is a GPU."""
    library = _library()
    return library is not None and library.why_not() == ""


def version() -> int | None:
    """cuDNN's version, 91900 for 9.19.0, or None if it cannot be used."""
    library = _library()
    return None if library is None else library.version()


def is_acceptable(tensor: Any) -> bool:
    """Whether cuDNN computes with a tensor of this kind: bfloat16, on a GPU."""
    return tensor.is_cuda and str(tensor.dtype).endswith("bfloat16") and is_available()


@contextlib.contextmanager
def flags(**settings: Any) -> Iterator[None]:
    """A block with other settings: flags(enabled=False, benchmark=True).

    Raises: TypeError for a setting that cuDNN does not have.
    """
    module = sys.modules[__name__]
    names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    unknown = set(settings) - {*names, "fp32_precision"}
    if unknown:
        raise TypeError(f"flags() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    before = {name: getattr(module, name) for name in names}
    for name, value in settings.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
