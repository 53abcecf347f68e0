"""Modules of PyTorch: those whose contents live elsewhere here, and errors for those not offered.

`import tinygrad_llm.amp.autocast_mode` finds the names of `tinygrad_llm.amp`: PyTorch divides some
packages into more files than there are here. `import tinygrad_llm.fft` raises an error that says
what to do. Python asks here only when no file of the name was found.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["install"]

_ROOT = __name__.partition(".")[0]

# PyTorch's module: where its names are here.
_ELSEWHERE = {
    "amp.autocast_mode": "amp", "amp.grad_scaler": "amp", "autograd.variable": "autograd",
    "cuda.amp.autocast_mode": "amp", "cuda.amp.grad_scaler": "amp", "cuda.amp.common": "amp",
    "cuda.memory": "cuda", "cuda.random": "cuda", "cuda.streams": "cuda",
    "distributed.algorithms": "distributed", "distributed.distributed_c10d": "distributed",
    "distributed.elastic": "distributed", "distributed.elastic.multiprocessing": "distributed",
    "distributed.elastic.multiprocessing.errors": "distributed",
    "multiprocessing.spawn": "multiprocessing", "nn.modules.rnn": "nn",
    "nn.modules.dropout": "nn", "nn.modules.pooling": "nn", "nn.modules.padding": "nn",
    "nn.modules.transformer": "nn", "nn.modules.distance": "nn",
    "nn.modules.flatten": "nn", "nn.utils.clip_grad": "nn.utils",
    "nn.utils.convert_parameters": "nn.utils", "optim.adam": "optim", "optim.adamw": "optim",
    "optim.optimizer": "optim", "optim.sgd": "optim", "storage": "functions.storage",
    "return_types": "functions.return_types", "_tensor": "tensor",
    "utils.data._utils": "utils.data", "utils.data._utils.collate": "utils.data.collate",
}  # fmt: skip

# PyTorch's module: what to do in its place.
_INSTEAD = {
    "autograd.functional": "derivatives of functions: call backward() for each row",
    "autograd.profiler": "tinygrad_llm.profiler has profile and record_function",
    "distributed.algorithms.join": "give each rank the same number of batches: "
    "DistributedSampler(drop_last=True)",
    "library": "a custom op is a subclass of tinygrad_llm.autograd.Function",
    "masked": "masked_fill, where and boolean indices",
    "nested": "padding and a mask, or within_documents",
    "nn.grad": "backward()",
    "nn.utils.parametrizations": "compute the weight in forward, from the parameters",
    "nn.utils.parametrize": "compute the weight in forward, from the parameters",
    "nn.utils.prune": "masks that are multiplied in forward",
    "nn.utils.spectral_norm": "compute the weight in forward, from the parameters",
    "nn.utils.weight_norm": "compute the weight in forward, from the parameters",
    "utils.benchmark": "the standard library's timeit",
    "utils.bottleneck": "tinygrad_llm.profiler",
    "utils.cpp_extension": "a custom op in Python: a subclass of tinygrad_llm.autograd.Function",
    "utils.mobile_optimizer": "export onnx or export html of the command line",
    "utils.model_zoo": "tinygrad_llm.weights.load_pretrained",
}


class _Loader:
    """A module whose names are those of another."""

    def __init__(self, source: str) -> None:
        self.source = source

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        source = importlib.import_module(f"{_ROOT}.{self.source}")
        module.__doc__ = f"The names of {_ROOT}.{self.source}, where PyTorch's programs look."
        module.__dict__.update(
            {n: v for n, v in vars(source).items() if not n.startswith("__") or n == "__all__"}
        )
        module.__getattr__ = lambda name: getattr(source, name)
        module.__path__ = []
        if callable(vars(source).get(module.__name__.rpartition(".")[2])):
            module.__class__ = _called(type(module))


def _called(kind: Any) -> Any:
    """A class of modules that can be called: mp.spawn(f) works after `import mp.spawn`."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return vars(self)[self.__name__.rpartition(".")[2]](*args, **kwargs)

    return type("CallableModule", (kind,), {"__call__": call})


class _Finder:
    """What Python asks after all others, with the name of a module."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        root, _, name = fullname.partition(".")
        if root != _ROOT or not name:
            return None
        from .out_of_scope import not_done

        source = _ELSEWHERE.get(name)
        if source is not None:
            spec: Any = importlib.import_module("importlib.machinery").ModuleSpec
            return spec(fullname, _Loader(source), is_package=True)
        hint = _INSTEAD.get(name)
        if hint is not None:
            raise ModuleNotFoundError(
                f"{fullname}: PyTorch has it, {_ROOT} does not. Instead: {hint}", name=fullname
            )
        if part := not_done(name.rpartition(".")[2]) or not_done(name.partition(".")[0]):
            raise ModuleNotFoundError(
                f'{fullname}: there are no {part} here (README.md, "What it does not do")',
                name=fullname,
            )
        return None


def install() -> None:
    """Let Python ask here for modules of this package that no file has."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
