"""PyTorch's functions over the ops: importing this package gives Tensor its methods."""

import contextlib as _contextlib
import importlib as _importlib

from ..arrays.devices import on_first_gpu_use as _on_first_gpu_use
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


def _faster_ops() -> None:
    """The GPU's own kernels, if ops/cuda is there."""
    with _contextlib.suppress(ModuleNotFoundError):
        _importlib.import_module("tinygrad_llm.ops.cuda").install()


_on_first_gpu_use.append(_faster_ops)
