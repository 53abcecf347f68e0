"""Softmax and its relatives: shares that add up to 1 along a dimension."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.reductions import softmax_of_moderate
from ..arrays.silence import is_silent, silent
from ..tensor import Tensor, dtypes, wrap
from ..tensor.dtypes import DtypeLike
from ..tensor.shapes import normal_dim, normal_dims
from .autocast import mixed
from .checks import need_floating
from .method import function, method
from .operands import as_floating, cast
from .unrecorded import recorded


def _along_dim(name: str, op: Any, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    if input.array.dtype.kind in "iub":
        need_floating(name, input)
    ndim = input.array.ndim
    if dim is None:
        dim = 0 if ndim in (0, 1, 3) else 1  # PyTorch's rule from before dim was an argument
    dim = normal_dim(dim, ndim)
    return op.apply(input, dim=dim) if ndim else op.apply(input.reshape(1), dim=0).reshape(())


def _of_few(input: Any, dim: int | None) -> Tensor | None:
    """softmax along the last dimension of a few numbers, straight to the arrays; else None.

    Where somebody records the op, observes it or has replaced its forward, it is None too.
    """
    x, op = input.array, ops.Softmax
    if dim not in (-1, x.ndim - 1) or recorded(input) or op.forward is not op._written[0]:
        return None
    y = softmax_of_moderate(x)
    if y is None:
        y = op.of_few(x) if is_silent() else silent.run(op.of_few, x)
    return y if y is None else wrap(y)


@method
@mixed
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike = None
) -> Tensor:
    """exp(x)/Σ exp(x) along dim: positive numbers that add up to 1. Pass dim: the default is odd.

    dtype: cast to it first. A row of −inf alone is nan.
    """
    few = _of_few(input, dim) if dtype is None else None
    return _along_dim("softmax", ops.Softmax, input, dim, dtype) if few is None else few


@method
@mixed
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike = None
) -> Tensor:
    """log(softmax(x)) along dim, without the −inf of softmax's zeros. dtype: cast to it first."""
    return _along_dim("log_softmax", ops.LogSoftmax, input, dim, dtype)


@method
@mixed
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log Σ exp(x) over dim, an int or a tuple, without overflow. Integers become floating."""
    input = as_floating(input)
    dims = normal_dims(dim, input.array.ndim)
    if not input.array.ndim:
        return input.clone()
    return ops.Logsumexp.apply(input, dim=dims, keepdim=keepdim)


@function
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DtypeLike = None
) -> Tensor:
    """softmax(−x): the smallest gets the largest share."""
    return softmax(-input, dim, dtype=dtype)


@function
def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample of a class as a soft one-hot vector that gradients go through.

    softmax((logits + g)/tau), g = −log of exponential numbers (Gumbel noise). hard: exactly one-hot
    forward, and the soft one's gradient backward. Jang, Gu, Poole (2017); Maddison et al. (2017).
    """
    need_floating("gumbel_softmax", logits)
    noise = wrap(xp_of(logits.array).empty_like(logits.array))
    gumbels = -noise.exponential_().log()
    soft = softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = (soft.detach() * 0.0).scatter(dim, index, 1.0)
    return one_hot - soft.detach() + soft
