"""Normalisation, with PyTorch's names and arguments."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..tensor import Tensor, dtypes
from .autocast import mixed
from .checks import need_floating, need_same_dtype
from .method import function
from .selection import clamp_min
from .shape.broadcast import broadcast_tensors


def _normalize_last(
    name: str, op: Any, input: Tensor, normalized_shape: Any, eps: float, **parameters: Any
) -> Tensor:
    """The op over the last dimensions, which must be normalized_shape, as one."""
    need_floating(name, input)
    shape = (
        tuple(normalized_shape) if not isinstance(normalized_shape, int) else (normalized_shape,)
    )
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    for key, p in parameters.items():
        if p is not None and p.array.shape != shape:
            raise RuntimeError(
                f"Expected {key} to be of same shape as normalized_shape, but got {key} of shape "
                f"{list(p.array.shape)} and normalized_shape = {list(shape)}"
            )
    x = input.array
    if x.shape[-len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(x.shape)}"
        )
    need_same_dtype(name, input=input, **parameters)
    if len(shape) == 1:
        return op.apply(input, *parameters.values(), eps=eps)
    flat = input.reshape(*x.shape[: -len(shape)], math.prod(shape))  # (..., C₁, C₂) -> (..., C)
    last = [p if p is None else p.reshape(-1) for p in parameters.values()]
    return op.apply(flat, *last, eps=eps).reshape(x.shape)


@function
@mixed
def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """weight·(x − μ)/√(σ² + eps) + bias, mean and variance over the last dimensions.

    These must be normalized_shape, which weight and bias have too. Ba, Kiros, Hinton (2016).
    Raises: RuntimeError if a shape disagrees.
    """
    return _normalize_last(
        "layer_norm", ops.LayerNorm, input, normalized_shape, eps, weight=weight, bias=bias
    )


@function
@mixed
def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """weight·x/√(mean(x²) + eps), the mean over the last dimensions. Zhang and Sennrich (2019).

    These must be normalized_shape, which weight has too. eps None: the machine epsilon of
    the dtype that it is computed in, which is float32 for half precisions.
    """
    need_floating("rms_norm", input)
    if eps is None:
        eps = dtypes.finfo(dtypes.promote_types(input.dtype, dtypes.float32)).eps
    return _normalize_last("rms_norm", ops.RmsNorm, input, normalized_shape, eps, weight=weight)


@function
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its p-norm along dim, which is taken as at least eps."""
    length = clamp_min(input.norm(p, dim, keepdim=True), eps)
    return input / length.expand_as(input)


@function
@mixed
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1·x2/(|x1|·|x2|) along dim, each length taken as at least eps; shapes broadcast."""
    need_floating("cosine_similarity", x1, x2)
    x1, x2 = broadcast_tensors(x1, x2)
    return (normalize(x1, 2.0, dim, eps) * normalize(x2, 2.0, dim, eps)).sum(dim)
