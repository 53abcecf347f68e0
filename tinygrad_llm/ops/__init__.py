"""The derivatives, one class for each op. `tinygrad_llm.functions` adds PyTorch's signatures.

`ops.Softmax` imports softmax.py when it is first asked for: `import tinygrad_llm` costs less.
"""

import importlib as _importlib
from typing import Any as _Any

# File: the ops in it.
_OPS = {
    "activation": "Elu GatedActivation Gelu LeakyRelu Logsigmoid Relu Silu Softplus",
    "arithmetic": "Abs Add Div Mul Neg Pow Reciprocal Sub",
    "attention": "ScaledDotProductAttention",
    "conv": "Conv1d",
    "convert": "Cast Clone Move",
    "crf": "CrfLogPartition",
    "delta_rule": "GatedDeltaRule",
    "dropout": "Dropout",
    "elementary": "Cos Erf Exp Expm1 Log Log1p Log2 Log10 Rsqrt Sigmoid Sin Sqrt Tanh",
    "embedding": "Embedding",
    "grouped": "GroupedMm",
    "index": "Diagonal Gather Index IndexPut ReadView ScatterAdd ScatterReduce WriteView",
    "linalg": "Logabsdet Solve",
    "linear": "Linear LinearGeluLinear",
    "loss": (
        "BinaryCrossEntropy BinaryCrossEntropyWithLogits CrossEntropy KlDiv LinearCrossEntropy "
        "MseLoss NllLoss"
    ),
    "matmul": "Einsum Matmul",
    "norm": "LayerNorm RmsNorm",
    "reduce": "Cumprod Cumsum Extreme Mean Norm Prod Std Sum Var",
    "rope": "Rope",
    "rounding": "Remainder Step",
    "selection": "Clamp MaskedFill Maximum Minimum Where",
    "selective_scan": "SelectiveScan",
    "shape": "Cat Expand Flip Pad Permute Reshape Roll Split Tril Triu",
    "softmax": "LogSoftmax Logsumexp Softmax",
}
_FILES = {op: file for file, names in _OPS.items() for op in names.split()}


def __getattr__(name: str) -> _Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_importlib.import_module(f".{_FILES[name]}", __name__), name)
    globals()[name] = value  # from now on it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})


def load_all() -> None:
    """Import every file, for those who list the ops: autograd.engine.OPS has them all then."""
    for name in _FILES:
        __getattr__(name)
