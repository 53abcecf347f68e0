"""Activations and softmax, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor, dtypes
from ..tensor.shapes import normal_dim, normal_dims
from .autocast import mixed
from .elementwise import cast, clamp, where
from .fused import need_floating, need_tensor, run
from .inplace import change_in_place, write
from .method import method


def _activate(name: str, op: Any, input: Tensor, inplace: bool = False, **options: Any) -> Tensor:
    need_floating(name, input)
    if inplace:
        return change_in_place(input, name + "_", op, **options)
    return run(op, input, **options)


@method
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the gradient at 0 is 0. Integers stay integers."""
    need_tensor("relu", input)
    return change_in_place(input, "relu_", ops.Relu) if inplace else ops.Relu.apply(input)


@method
def relu_(input: Tensor) -> Tensor:
    """max(x, 0) in place."""
    return relu(input, inplace=True)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x."""
    return _activate("leaky_relu", ops.LeakyRelu, input, inplace, negative_slope=negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(eˣ − 1). Clevert, Unterthiner, Hochreiter (2015)."""
    return _activate("elu", ops.Elu, input, inplace, alpha=alpha)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function. Hendrycks and Gimpel (2016).

    approximate="none" is exact (BERT), "tanh" an approximation of it (GPT-2, Gemma): they differ
    by up to 5e-4, so a model must be run with the one that it was trained with.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(
            f"gelu: approximate argument must be either none or tanh, got {approximate!r}"
        )
    return _activate("gelu", ops.Gelu, input, approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish."""
    return _activate("silu", ops.Silu, input, inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta·x))/beta, and x itself where beta·x > threshold."""
    return _activate("softplus", ops.Softplus, input, beta=beta, threshold=threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x), without overflow."""
    return _activate("logsigmoid", ops.Logsigmoid, input)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x held between min_val and max_val; at both of them the gradient is 0."""
    held = clamp(input, min_val, max_val)
    result = where((input > min_val) & (input < max_val), input, held.detach())
    return write(input, result, "hardtanh_") if inplace else result


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x held between 0 and 6."""
    return hardtanh(input, 0.0, 6.0, inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a·σ(b) for the two halves a, b of x along dim, which must be even."""
    need_floating("glu", input)
    if input.size(dim) % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size "
                           f"{input.size(dim)}")  # fmt: skip
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


# ------------------------------------------------------------------------------------ softmax
def _over(name: str, op: Any, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    need_floating(name, input)
    ndim = input.array.ndim
    if dim is None:
        dim = 0 if ndim in (0, 1, 3) else 1  # PyTorch's rule from before dim was an argument
    dim = normal_dim(dim, ndim)
    return run(op, input, dim=dim) if ndim else run(op, input.reshape(1), dim=0).reshape(())


@method
@mixed
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x)/Σ exp(x) along dim: positive numbers that add up to 1; give dim, the default is odd.

    dtype: cast to it first. A row of −inf alone is nan.
    """
    return _over("softmax", ops.Softmax, input, dim, dtype)


@method
@mixed
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """log(softmax(x)) along dim, without the −inf of softmax's zeros. dtype: cast to it first."""
    return _over("log_softmax", ops.LogSoftmax, input, dim, dtype)


@method
@mixed
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log Σ exp(x) over dim, an int or a tuple, without overflow. Integers become floating."""
    need_tensor("logsumexp", input)
    if input.array.dtype.kind in "iub":
        input = cast(input, dtypes.numpy_dtype(dtypes.get_default_dtype()))
    dims = normal_dims(dim, input.array.ndim)
    if not input.array.ndim:
        return input.clone()
    return run(ops.Logsumexp, input, dim=dims, keepdim=keepdim)
