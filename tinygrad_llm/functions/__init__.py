"""PyTorch's functions over the ops: importing this package gives Tensor its methods.

Files without a method, such as attention and the losses, are imported where they are used.
"""

import contextlib as _contextlib
import importlib as _importlib

from ..arrays.devices import on_first_gpu_use as _on_first_gpu_use
from ..arrays.twins import twins as _twins
from . import (
    activation,
    arithmetic,
    autocast,
    comparison,
    convert,
    diagonal,
    elementary,
    gather,
    index,
    index_along,
    inplace,
    linalg,
    linear_algebra,
    logic,
    next_functions,
    order,
    properties,
    random,
    reductions,
    rounding,
    running,
    sampling,
    search,
    selection,
    settings,
    softmax,
    storage,
)
from .creation import filled, from_data, ranges
from .shape import broadcast, join, reorder, repeat, split, views


def _install_cuda_ops() -> None:
    """The GPU's own kernels, if ops/cuda is there."""
    with _contextlib.suppress(ModuleNotFoundError):
        _importlib.import_module("tinygrad_llm.ops.cuda").install()


_on_first_gpu_use.append(_install_cuda_ops)


def _install_loops() -> str | None:
    """The compiled loops, if ops/loops is there; else why they are not."""
    try:
        loops = _importlib.import_module("tinygrad_llm.ops.loops")
    except ModuleNotFoundError:
        return "the folder ops/loops is not there"
    return loops.install()


_twins.load_cpu = _install_loops
