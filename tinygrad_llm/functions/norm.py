"""Normalisation, with PyTorch's names and arguments."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..autograd.grad_mode import no_grad
from ..tensor import Tensor, dtypes
from .autocast import mixed
from .checks import need_floating, need_same_dtype, real_number
from .method import function
from .reductions import var_mean
from .selection import clamp_min
from .shape.broadcast import broadcast_tensors
from .unrecorded import past_the_engine


def _normalize_last(
    name: str, op: Any, input: Tensor, normalized_shape: Any, eps: float, **parameters: Any
) -> Tensor:
    """The op over the last dimensions, which must be normalized_shape, as one."""
    need_floating(name, input)
    eps = real_number(name, "eps", eps)
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
    few = None
    if any([p is not None for p in parameters.values()]):
        need_same_dtype(name, input=input, **parameters)
    elif len(shape) == 1:
        few = past_the_engine(op, input, *parameters.values(), eps)
    if few is not None:
        return few
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
    eps = real_number("normalize", "eps", eps)
    length = clamp_min(input.norm(p, dim, keepdim=True), eps)
    return input / length.expand_as(input)


@function
@mixed
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1·x2/(|x1|·|x2|) along dim, each length taken as at least eps; shapes broadcast."""
    need_floating("cosine_similarity", x1, x2)
    x1, x2 = broadcast_tensors(x1, x2)
    return (normalize(x1, 2.0, dim, eps) * normalize(x2, 2.0, dim, eps)).sum(dim)


def _several_values(count: int, shape: Any) -> None:
    if count == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"torch.Size({list(shape)})"
        )


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """weight·x + bias, both (C), for x (B, C, ...)."""
    ones = [1] * (x.array.ndim - 2)
    x = x if weight is None else x * weight.reshape(-1, *ones)  # (C) -> (C, 1, ...)
    return x if bias is None else x + bias.reshape(-1, *ones)  # (C) -> (C, 1, ...)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """weight·(x − μ)/√(σ² + eps) + bias for x (B, C, ...); μ and σ² over a group of C/num_groups
    channels and all positions. Wu and He (2018).

    Raises: RuntimeError if the groups do not divide C; ValueError if a group has one value.
    """
    need_floating("group_norm", input)
    shape = input.array.shape
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received "
                           f"{len(shape)}")  # fmt: skip
    if num_groups < 1 or shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(shape)} and num_groups={num_groups}"
        )
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.array.shape != (shape[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, "
                f"but got {name} of shape {list(p.array.shape)} and input of shape {list(shape)}"
            )
    size = math.prod(shape[1:]) // num_groups
    _several_values(size * shape[0], shape)
    groups = input.reshape(shape[0], num_groups, size)  # (B, C, ...) -> (B, G, C/G·...)
    return _scaled(layer_norm(groups, (size,), eps=eps).reshape(shape), weight, bias)


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """weight·(x − μ)/√(σ² + eps) + bias for x (B, C, ...), each channel by its own μ and σ².

    training: they are the batch's, over B and all positions, and running_mean and running_var move
    towards them by the share `momentum` (the variance with n − 1); otherwise they are the running
    ones. Ioffe and Szegedy (2015).
    Raises: ValueError if training with one value per channel; RuntimeError if a shape disagrees.
    """
    need_floating("batch_norm", input)
    shape = input.array.shape
    if len(shape) < 2:
        raise RuntimeError(f"batch_norm: expected an input (B, C, ...), got shape {list(shape)}")
    for name, p in (("running_mean", running_mean), ("running_var", running_var),
                    ("weight", weight), ("bias", bias)):  # fmt: skip
        if p is not None and p.array.shape != (shape[1],):
            raise RuntimeError(f"{name} should contain {shape[1]} elements not {p.array.size}")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when "
                               "training=False")  # fmt: skip
        scale = (running_var + eps).rsqrt()
        centred = _scaled(input, None, -running_mean)
        return _scaled(centred, scale if weight is None else scale * weight, bias)
    n = math.prod(shape) // max(shape[1], 1)
    _several_values(n, shape)
    channels = input.transpose(0, 1)  # (B, C, ...) -> (C, B, ...)
    rows = channels.reshape(shape[1], n)  # (C, B, ...) -> (C, B·...)
    if running_mean is not None and running_var is not None:
        with no_grad():
            var, mean = var_mean(rows.detach(), -1)
            for running, new in ((running_mean, mean), (running_var, var)):
                running.mul_(1.0 - momentum).add_(new.to(running.dtype), alpha=momentum)
    normal = layer_norm(rows, (n,), eps=eps).reshape(channels.array.shape)  # (C, B, ...)
    return _scaled(normal.transpose(0, 1), weight, bias)  # (C, B, ...) -> (B, C, ...)
