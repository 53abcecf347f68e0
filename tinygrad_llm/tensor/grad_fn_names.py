"""The names that PyTorch prints in `grad_fn=<...>`, for the ops here.

Most are the op's own name; the others are what PyTorch calls the same step, which can depend on how
many dimensions took part: a matrix product prints MmBackward0 for two matrices and
UnsafeViewBackward0 for two batches of them. Where one op here is several in PyTorch (a fused loss,
an unsqueeze that is a reshape), the name is that of the step PyTorch does last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["grad_fn_name", "named"]

_RENAMED = {
    "Cast": "ToCopyBackward0",
    "Clamp": "ClampBackward1",
    "Conv1d": "ConvolutionBackward0",
    "Dropout": "MulBackward0",
    "LinearCrossEntropy": "NllLossBackward0",
    "LayerNorm": "NativeLayerNormBackward0",
    "Log1p": "Log1PBackward0",
    "Logsigmoid": "LogSigmoidBackward0",
    "Move": "ToCopyBackward0",
    "Norm": "LinalgVectorNormBackward0",
    "Pad": "ConstantPadNdBackward0",
    "WriteView": "CopySlices",
}
# Losses whose mean or sum is part of the same step in PyTorch.
_LOSSES = ("BinaryCrossEntropy", "BinaryCrossEntropyWithLogits", "MseLoss")


def grad_fn_name(tensor: Any) -> str:
    """What PyTorch would print as grad_fn for a tensor that an op made."""
    op = tensor._op
    if hasattr(op, "printed"):  # several ops that are one in PyTorch
        return op.printed
    if hasattr(op, "rounds"):  # the last step of a function in half precision
        op = op.edges[0].target
    name = type(op).__name__
    rule = _RULES.get(name)
    return rule(op, tensor) if rule else _RENAMED.get(name, f"{name}Backward0")


class _Name(str):
    """An op's own name, a str; called, it returns PyTorch's: x.grad_fn.name()."""

    shown: str

    def __call__(self) -> str:
        return self.shown


class _Output:
    """What `grad_fn_name` asks of a tensor that nobody holds any more."""

    _view_of: Any = ()

    def __init__(self, op: Any, ndim: int) -> None:
        self._op, self.ndim = op, ndim


def named(op: Any, tensor: Any = None, shape: Any = ()) -> Any:
    """The op, whose name can now be called as PyTorch's grad_fn.name().

    tensor: its result, or None if only the result's shape is known.
    """
    if "name" not in op.__dict__:
        name = _Name(op.name)
        name.shown = grad_fn_name(_Output(op, len(shape)) if tensor is None else tensor)
        op.name = name
    return op


def _before(op: Any, i: int = 0) -> tuple[str, Any]:
    """Name and instance of the op that made input i; ("", None) for a leaf."""
    edge = op.edges[i]
    made_by_op = edge is not None and edge.output is not None
    if made_by_op and type(edge.target).__name__ == "Cast":
        return _before(edge.target)
    return (type(edge.target).__name__, edge.target) if made_by_op else ("", None)


def _reduced(name: str) -> Callable[[Any, Any], str]:
    """SumBackward0 over everything, SumBackward1 over some dimensions."""

    def rule(op: Any, y: Any) -> str:
        before, _ = _before(op)
        if before in _LOSSES and y.ndim == 0:
            return f"{before}Backward0"
        everything = len(op.dims) == len(op.edges[0].shape) and not op.keepdim
        return f"{name}Backward{0 if everything else 1}"

    return rule


def _extreme(op: Any, y: Any) -> str:
    name = "Max" if op.largest else "Min"
    everything = y.ndim == 0 and len(op.edges[0].shape) > 0
    return f"{name}Backward1" if everything else f"A{name.lower()}Backward0"


def _pow(op: Any, y: Any) -> str:
    if not op.needs[1]:
        return "PowBackward0"
    return "PowBackward1" if op.needs[0] else "PowBackward2"


def _reshape(op: Any, y: Any) -> str:
    return "ViewBackward0" if y._view_of is not None else "UnsafeViewBackward0"


def _split(op: Any, y: Any) -> str:
    if len(op.outputs) == 1:
        return "SplitBackward0"
    sizes = [shape[op.dim] for shape, _ in op.outputs]
    even = all(n == sizes[0] for n in sizes[:-1]) and sizes[-1] <= sizes[0]
    return "SplitBackward0" if even else "SplitWithSizesBackward0"


def _index(op: Any, y: Any) -> str:
    if op.saved:  # index arrays
        return "IndexBackward0"
    if isinstance(op.index, slice):
        return "SliceBackward0"
    parts = op.index if isinstance(op.index, tuple) else (op.index,)
    parts = tuple(p for p in parts if p is not Ellipsis and p != slice(None))
    if not parts:
        return "AliasBackward0"
    last = parts[-1]
    kind = "Unsqueeze" if last is None else "Slice" if isinstance(last, slice) else "Select"
    return f"{kind}Backward0"


def _matmul(op: Any, y: Any) -> str:
    return "MmBackward0" if y.ndim == 2 else "UnsafeViewBackward0"


def _linear(op: Any, y: Any) -> str:
    biased = len(op.needs) > 2 and (op.needs[2] or op.edges[2] is not None)
    if y.ndim == 2:
        return "AddmmBackward0" if biased else "MmBackward0"
    if biased:
        x = op.saved[0]  # ("freed") after the backward pass
        return "ViewBackward0" if isinstance(x, str) or x.flags.c_contiguous else "AddBackward0"
    return "SqueezeBackward4" if y.ndim == 1 else "UnsafeViewBackward0"


def _remainder(op: Any, y: Any) -> str:
    name = "Fmod" if op.rounding == "trunc" else "Remainder"
    return f"{name}Backward{int(op.needs[1])}"


def _einsum(op: Any, y: Any) -> str:
    return "ViewBackward0" if len(op.edges) > 1 else "PermuteBackward0"


def _step(op: Any, y: Any) -> str:
    return f"{op.function.capitalize()}Backward0"


def _attention(op: Any, y: Any) -> str:
    if y.ndim == 4:
        return "ScaledDotProductFlashAttentionForCpuBackward0"
    return "UnsafeViewBackward0"


def _cross_entropy(op: Any, y: Any) -> str:
    *_, label_smoothing = op.options
    return "AddBackward0" if label_smoothing else _nll_loss(op, y)


def _nll_loss(op: Any, y: Any) -> str:
    return "NllLossBackward0" if len(op.edges[0].shape) <= 2 else "NllLoss2DBackward0"


_RULES: dict[str, Callable[[Any, Any], str]] = {
    "CrossEntropy": _cross_entropy,
    "Div": lambda op, y: "DivBackward0" if op.needs[0] else "MulBackward0",
    "Einsum": _einsum,
    "Extreme": _extreme,
    "Index": _index,
    "IndexPut": lambda op, y: "CopySlices",
    "Linear": _linear,
    "Matmul": _matmul,
    "Mean": _reduced("Mean"),
    "NllLoss": _nll_loss,
    "Pow": _pow,
    "Prod": lambda op, y: "ProdBackward0" if y.ndim == 0 else "ProdBackward1",
    "Remainder": _remainder,
    "Reshape": _reshape,
    "RmsNorm": lambda op, y: "MulBackward0" if op.half is None else "ToCopyBackward0",
    "ScaledDotProductAttention": _attention,
    "Split": _split,
    "Step": _step,
    "Sub": lambda op, y: "SubBackward0" if op.needs[0] else "RsubBackward1",
    "Sum": _reduced("Sum"),
}
