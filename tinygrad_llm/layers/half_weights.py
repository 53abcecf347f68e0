"""Matrices in a half precision, everything else in float32: what `generate --dtype` computes.

model.to(bfloat16) rounds every activation as PyTorch does. After the 30 layers of SmolLM2 its
logits are off by about 0.5, more than the two likeliest tokens often differ by: the processor
then decides which of them is written. Rounding the weights alone moves logits far less.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.matmul import product
from ..autograd.function import Function
from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..nn.sparse import Embedding
from ..tensor import Tensor, dtypes, wrap

__all__ = ["keep_in_half"]  # which alone makes the layers below


class HalfProduct(Function):
    """y = x·Wᵀ for every row of x, with W in a half precision on a CPU: few rows read it as it is.

    Backward: ∂L/∂x = g·W. W is constant, so it has no gradient; nothing is saved but W.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        rows = np.ascontiguousarray(x.array).reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
        y = product(rows, weight.array.T)  # (N, I) @ (I, O) -> (N, O)
        return wrap(y.reshape(*x.shape[:-1], weight.shape[0]))  # (N, O) -> (..., O)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        O, I = ctx.weight.shape
        rows = np.ascontiguousarray(g.array).reshape(-1, O)  # (..., O) -> (N, O)
        gx = product(rows, ctx.weight.array)  # (N, O) @ (O, I) -> (N, I)
        return wrap(gx.reshape(*g.shape[:-1], I)), None  # (N, I) -> (..., I)


class HalfLinear(Module):
    """y = x·Wᵀ + b in the dtype of x: x (..., in_features) -> (..., out_features).

    half_weight   W (out_features, in_features) in bfloat16 or float16; `weight` is a float32 copy
    bias          (out_features) or None
    """

    def __init__(self, half_weight: Parameter, bias: Parameter | None = None) -> None:
        super().__init__()
        self.half_weight = half_weight
        self.register_parameter("bias", bias)
        self.out_features, self.in_features = half_weight.shape

    @property
    def weight(self) -> Tensor:
        """A float32 copy of W, made when it is asked for."""
        return self.half_weight.to(dtypes.float32)

    def forward(self, input: Tensor) -> Tensor:
        on_cpu = type(input.array) is np.ndarray
        if not on_cpu or input.dtype.itemsize == 2 or input.shape[-1] != self.in_features:
            return F.linear(input, self.half_weight.to(input.dtype), self.bias)
        y: Tensor = HalfProduct.apply(input, self.half_weight)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {self.half_weight.dtype}"
        )


class HalfEmbedding(Module):
    """Rows of a table in a half precision, as float32: ids (...) -> (..., embedding_dim).

    half_weight   (num_embeddings, embedding_dim) in bfloat16 or float16; `weight` is a float32 copy
    """

    def __init__(self, half_weight: Parameter) -> None:
        super().__init__()
        self.half_weight = half_weight
        self.num_embeddings, self.embedding_dim = half_weight.shape

    @property
    def weight(self) -> Tensor:
        """A float32 copy of the table, made when it is asked for."""
        return self.half_weight.to(dtypes.float32)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.half_weight).to(dtypes.float32)  # (...) -> (..., C)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, {self.half_weight.dtype}"


def keep_in_half(model: Module, dtype: dtypes.dtype) -> None:
    """Keep the weights of every Linear and Embedding in bfloat16 or float16, in place.

    All else of the model (norms, biases, matrices of experts and convolutions) and everything that
    it computes is float32. The model is frozen: it serves to generate. A weight that an output
    layer shares with the embedding stays shared.
    Raises: ValueError for another dtype.
    """
    if dtype not in (dtypes.bfloat16, dtypes.float16):
        raise ValueError(f"the weights can be kept in bfloat16 or float16, got {dtype}")
    model.requires_grad_(False)
    kept: dict[int, Parameter] = {}
    for name, module in list(model.named_modules()):
        if not name or type(module) not in (Linear, Embedding):
            continue
        key = id(module.weight)
        if key not in kept:
            kept[key] = Parameter(module.weight.detach().to(dtype), False)
        layer: Module = HalfEmbedding(kept[key])
        if isinstance(module, Linear):
            layer = HalfLinear(kept[key], module.bias)
        model.set_submodule(name, layer.train(module.training))
    halves = {id(weight.array) for weight in kept.values()}

    def widened(numbers: Tensor) -> Tensor:
        if id(numbers.array) in halves or not numbers.is_floating_point():
            return numbers
        return numbers.to(dtypes.float32)

    model._apply(widened)
