"""Activations, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap
from .checks import need_floating, need_same_dtype, real_number
from .elementary import tanh
from .half_precision import rounded_once
from .inplace import change_in_place, write
from .method import function, method
from .operands import differentiated
from .selection import clamp, where

GATES = ("silu", "gelu", "gelu_tanh")


def _activate(name: str, op: Any, input: Tensor, inplace: bool = False, **options: Any) -> Tensor:
    need_floating(name, input)
    if inplace:
        return change_in_place(input, name + "_", op, **options)
    return op.apply(input, **options)


@method
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the gradient at 0 is 0. Integers stay integers."""
    return change_in_place(input, "relu_", ops.Relu) if inplace else ops.Relu.apply(input)


@method
def relu_(input: Tensor) -> Tensor:
    """max(x, 0) in place."""
    return relu(input, inplace=True)


@function
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x."""
    negative_slope = real_number("leaky_relu", "negative_slope", negative_slope)
    return _activate("leaky_relu", ops.LeakyRelu, input, inplace, negative_slope=negative_slope)


@function
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(eˣ − 1). Clevert, Unterthiner, Hochreiter (2015)."""
    return _activate("elu", ops.Elu, input, inplace, alpha=real_number("elu", "alpha", alpha))


@function
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function. Hendrycks and Gimpel (2016).

    approximate="none" is exact (BERT), "tanh" an approximation of it (GPT-2, Gemma): they differ
    by up to 5e-4, so a model must be run with the one that it was trained with.
    Raises: RuntimeError if approximate is neither "none" nor "tanh".
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(
            f"gelu: approximate argument must be either none or tanh, got {approximate!r}"
        )
    return _activate("gelu", ops.Gelu, input, approximate=approximate)


@function
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish."""
    return _activate("silu", ops.Silu, input, inplace)


def gated_activation(input: Tensor, activation: str = "silu") -> Tensor:
    """f(a)·b for the halves a and b of x along its last dimension: (..., 2F) -> (..., F).

    activation: f, "silu" (SwiGLU), "gelu" or "gelu_tanh" (GeGLU). PyTorch has no such function:
    it is F.silu(a) * b for a, b = x.chunk(2, -1), without a copy of the halves.
    Source: Shazeer (2020), "GLU Variants Improve Transformer", equation 5.
    Raises: RuntimeError if the last dimension is odd, ValueError for another activation.
    """
    need_floating("gated_activation", input)
    if activation not in GATES:
        raise ValueError(
            f"gated_activation: activation must be {', '.join(GATES)}, got {activation!r}"
        )
    if input.size(-1) % 2:
        raise RuntimeError(
            "gated_activation: the last dimension is cut into two halves, so its size must be "
            f"even, got {input.size(-1)}"
        )
    return ops.GatedActivation.apply(input, activation=activation)


@function
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta·x))/beta, and x itself where beta·x > threshold."""
    beta = real_number("softplus", "beta", beta)
    threshold = real_number("softplus", "threshold", threshold)
    return _activate("softplus", ops.Softplus, input, beta=beta, threshold=threshold)


@function
def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x), without overflow."""
    return _activate("logsigmoid", ops.Logsigmoid, input)


@function
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x clamped to [min_val, max_val]; at both bounds and outside the gradient is 0."""
    held = clamp(input, min_val, max_val)
    result = where((input > min_val) & (input < max_val), input, held.detach())
    return write(input, result, "hardtanh_") if inplace else result


@function
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x clamped to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


@function
def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Tensor:  # fmt: skip
    """x where x > 0, else x times a factor: drawn from [lower, upper) while training, else their
    mean. Xu et al. (2015), "Empirical Evaluation of Rectified Activations".
    """
    need_floating("rrelu", input)
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    low = input.detach() <= 0
    factors = wrap(xp_of(input.array).ones(input.array.shape, input.array.dtype))
    drawn = wrap(np.empty(int(low.sum()), np.float64)).uniform_(lower, upper)
    factors[low] = drawn.to(input.dtype)
    result = input * factors
    return input.copy_(result) if inplace else result


@function
@rounded_once(gradient="glu")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a·σ(b) for the two halves a, b of x along dim, which must be even.

    Raises: RuntimeError if the size of dim is odd.
    """
    need_floating("glu", input)
    if input.size(dim) % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size "
                           f"{input.size(dim)}")  # fmt: skip
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


# Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks" (2017)
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _in_place_if(input: Tensor, result: Tensor, name: str, inplace: bool) -> Tensor:
    return write(input, result, name + "_") if inplace else result


@function
@rounded_once
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(log(1 + eˣ)). Misra (2019)."""
    need_floating("mish", input)
    x = input.clone() if inplace else input
    t, s = tanh(softplus(x.detach())), x.detach().sigmoid()
    y = x.detach() * t
    result = differentiated(y.array, (x, lambda: (t + x.detach() * s * (1.0 - t * t)).array))
    return _in_place_if(input, result, "mish", inplace)


@function
@rounded_once
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x/6 + ½ clamped to [0, 1]: a sigmoid of straight lines."""
    need_floating("hardsigmoid", input)
    x = input.clone() if inplace else input
    return _in_place_if(input, relu6(x + 3.0) / 6.0, "hardsigmoid", inplace)


@function
@rounded_once
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·hardsigmoid(x). Howard et al., MobileNetV3 (2019)."""
    need_floating("hardswish", input)
    x = input.clone() if inplace else input
    before = x.detach()
    y, derivative = before * relu6(before + 3.0) / 6.0, before / 3.0 + 0.5
    derivative = where(before < 3.0, derivative, 1.0)
    result = differentiated(y.array, (x, lambda: derivative.array, (before > -3.0).array))
    return _in_place_if(input, result, "hardswish", inplace)


@function
@rounded_once
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale·elu(x, alpha), with numbers that keep mean 0 and variance 1 from layer to layer."""
    need_floating("selu", input)
    x = input.clone() if inplace else input
    return _in_place_if(input, elu(x, _SELU_ALPHA) * _SELU_SCALE, "selu", inplace)


@function
@rounded_once
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(exp(x/alpha) − 1). Barron (2017).

    Raises: RuntimeError if alpha is 0.
    """
    need_floating("celu", input)
    if alpha == 0.0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    x = input.clone() if inplace else input
    return _in_place_if(
        input, elu(x / alpha) * alpha if alpha > 0 else _celu(x, alpha), "celu", inplace
    )


def _celu(x: Tensor, alpha: float) -> Tensor:
    return where(x > 0, x, (x / alpha).expm1() * alpha)


@function
def softsign(input: Tensor) -> Tensor:
    """x/(1 + |x|)."""
    return input / (abs(input) + 1.0)


@function
def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh x."""
    return input - tanh(input)


@function
@rounded_once
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value, whose gradient is 0."""
    x = input.clone() if inplace else input
    return _in_place_if(input, where(x <= threshold, value, x), "threshold", inplace)


@method
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    need_floating("hardshrink", input)
    return where((input >= -lambd) & (input <= lambd), 0.0, input)


@function
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 where |x| ≤ lambd, with a gradient of 0.

    Raises: RuntimeError if lambd is negative.
    """
    need_floating("softshrink", input)
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    x = input.detach()
    inside = (x >= -lambd) & (x <= lambd)  # in half precision lambd is rounded here, as PyTorch's
    return differentiated(_shrunk(x, lambd).array, (input, None, (~inside).array))


@rounded_once
def _shrunk(x: Tensor, lambd: float) -> Tensor:
    inside = (x >= -lambd) & (x <= lambd)
    return where(inside, x * 0.0, where(x > 0, x - lambd, x + lambd))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight·x; weight (1), or (C) for an input (B, C, ...).

    He et al. (2015).
    Raises: RuntimeError if weight has neither one element nor one per channel.
    """
    need_floating("prelu", input, weight)
    need_same_dtype("prelu", input=input, weight=weight)
    n, ndim = weight.array.size, input.array.ndim
    if n != 1:
        channels = input.array.shape[1] if ndim > 1 else 1
        if channels != n:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{n} and channel size = {channels}."
            )
        weight = weight.reshape(1, n, *[1] * (ndim - 2))  # (C) -> (1, C, 1, ...)
    positive = input > 0
    return where(positive, input, weight * input.masked_fill(positive, 0.0))
