"""PyTorch's functions over the ops: importing this package gives Tensor its methods."""

import contextlib as _contextlib
import importlib as _importlib

from ..arrays.devices import on_first_gpu_use as _on_first_gpu_use
from . import (
    activation,
    arithmetic,
    attention,
    autocast,
    checks,
    comparison,
    convert,
    diagonal,
    dropout,
    elementary,
    embedding,
    gather,
    half_precision,
    index,
    inplace,
    linalg,
    linear,
    logic,
    method,
    next_functions,
    norm,
    operands,
    order,
    properties,
    random,
    reductions,
    return_types,
    rounding,
    sampling,
    search,
    selection,
    settings,
    softmax,
    storage,
)
from .creation import arguments, filled, from_data, grids, ranges
from .losses import classification, pairs, reduction, regression
from .shape import broadcast, join, padding, reorder, repeat, split, views


def _install_cuda_ops() -> None:
    """The GPU's own kernels, if ops/cuda is there."""
    with _contextlib.suppress(ModuleNotFoundError):
        _importlib.import_module("tinygrad_llm.ops.cuda").install()


_on_first_gpu_use.append(_install_cuda_ops)
