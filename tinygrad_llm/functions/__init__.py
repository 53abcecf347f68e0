"""PyTorch's functions over the ops: importing this package gives Tensor its methods.

Files without a method, such as attention and the losses, are imported where they are used, and so
are those whose methods are rarer (`_LATER`): the first use of such a method imports its file.
"""

import contextlib as _contextlib
import importlib as _importlib

from ..arrays.devices import on_first_gpu_use as _on_first_gpu_use
from ..arrays.twins import twins as _twins
from ..tensor import attach_later as _attach_later
from . import (
    activation,
    arithmetic,
    autocast,
    comparison,
    convert,
    elementary,
    index,
    inplace,
    linalg,
    logic,
    next_functions,
    properties,
    reductions,
    rounding,
    selection,
    softmax,
    storage,
)
from .creation import filled, from_data
from .shape import broadcast, reorder, views

# File: the methods that it attaches.
_LATER = {
    "diagonal": "diag diagonal trace tril triu",
    "gather": (
        "gather scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ "
        "take_along_dim"
    ),
    "index_along": (
        "index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_put index_put_ "
        "index_select masked_scatter masked_scatter_ masked_select put_ take"
    ),
    "linear_algebra": "det inverse logdet slogdet",
    "order": "argsort kthvalue median msort nanmedian quantile sort topk",
    "running": "cummax cummin cumprod",
    "sampling": "bernoulli bernoulli_ exponential_ multinomial normal_ random_ uniform_",
    "search": "argwhere bincount count_nonzero histc histogram isin nonzero unique",
    "shape.repeat": "repeat repeat_interleave tile",
    "shape.split": "chunk dsplit hsplit split tensor_split unbind unfold vsplit",
}
for _file, _methods in _LATER.items():
    _attach_later(f"{__name__}.{_file}", _methods)


def load_all() -> None:
    """Import every file that has methods, for those who list the methods of Tensor."""
    for file in _LATER:
        _importlib.import_module(f".{file}", __name__)


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
