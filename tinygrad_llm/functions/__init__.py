"""PyTorch's functions over the ops: importing this package gives Tensor its methods."""

import contextlib as _contextlib
import importlib as _importlib

from ..arrays.devices import on_first_gpu_use as _when_gpu
from . import (
    activation,
    arrange,
    attention,
    compare,
    composed,
    convert,
    creation,
    dropout,
    elementwise,
    embedding,
    filled,
    find,
    index,
    information,
    inplace,
    linalg,
    linear,
    loss,
    norm,
    places,
    random,
    reduce,
    rounding,
    shape,
)


def _several_gpus() -> None:
    _importlib.import_module("tinygrad_llm.cuda.multi_gpu").install()


def _faster_ops() -> None:
    """The GPU's own kernels, if ops/cuda is there."""
    with _contextlib.suppress(ModuleNotFoundError):
        _importlib.import_module("tinygrad_llm.ops.cuda").install()


_when_gpu += [_faster_ops, _several_gpus]  # the last one first
