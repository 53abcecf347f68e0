"""Activations that are made of other functions here, gradients included."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap
from .activation import elu, relu6, softmax, softplus
from .elementwise import abs, tanh, where
from .fused import need_floating
from .inplace import write
from .sampling import exponential_

__all__ = [
    "celu",
    "gumbel_softmax",
    "hardsigmoid",
    "hardswish",
    "mish",
    "selu",
    "softmin",
    "softsign",
    "tanhshrink",
]

# Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks" (2017)
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _done(input: Tensor, result: Tensor, name: str, inplace: bool) -> Tensor:
    return write(input, result, name + "_") if inplace else result


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(log(1 + eˣ)). Misra (2019)."""
    need_floating("mish", input)
    x = input.clone() if inplace else input
    return _done(input, x * tanh(softplus(x)), "mish", inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x/6 + ½ held between 0 and 1: a sigmoid of straight lines."""
    need_floating("hardsigmoid", input)
    x = input.clone() if inplace else input
    return _done(input, relu6(x + 3.0) / 6.0, "hardsigmoid", inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·hardsigmoid(x). Howard et al., MobileNetV3 (2019)."""
    need_floating("hardswish", input)
    x = input.clone() if inplace else input
    return _done(input, x * relu6(x + 3.0) / 6.0, "hardswish", inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale·elu(x, alpha), with numbers that keep mean 0 and variance 1 from layer to layer."""
    need_floating("selu", input)
    x = input.clone() if inplace else input
    return _done(input, elu(x, _SELU_ALPHA) * _SELU_SCALE, "selu", inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(exp(x/alpha) − 1). Barron (2017). RuntimeError for alpha 0."""
    need_floating("celu", input)
    if alpha == 0.0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    x = input.clone() if inplace else input
    return _done(input, elu(x / alpha) * alpha if alpha > 0 else _celu(x, alpha), "celu", inplace)


def _celu(x: Tensor, alpha: float) -> Tensor:
    return where(x > 0, x, (x / alpha).expm1() * alpha)


def softsign(input: Tensor) -> Tensor:
    """x/(1 + |x|)."""
    return input / (abs(input) + 1.0)


def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh x."""
    return input - tanh(input)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax(−x): the smallest gets the largest share."""
    return softmax(-input, dim, dtype=dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample of a class as a soft one-hot vector that gradients go through.

    softmax((logits + g)/tau), g = −log of exponential numbers (Gumbel noise). hard: exactly one-hot
    forward, and the soft one's gradient backward. Jang, Gu, Poole (2017); Maddison et al. (2017).
    """
    need_floating("gumbel_softmax", logits)
    noise = wrap(xp_of(logits.array).empty_like(logits.array))
    gumbels = -exponential_(noise).log()
    soft = softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = (soft.detach() * 0.0).scatter(dim, index, 1.0)
    return one_hot - soft.detach() + soft
