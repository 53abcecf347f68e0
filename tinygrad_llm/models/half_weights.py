"""Matrices in a half precision, everything else in float32: what `generate --dtype` computes.

model.to(bfloat16) rounds every activation as PyTorch does. After the 30 layers of SmolLM2 its
logits are off by about 0.5, more than the two likeliest tokens often differ by: the processor
then decides which of them is written. Rounding the weights alone moves logits far less.
"""

from __future__ import annotations

from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..nn.sparse import Embedding
from ..tensor import Tensor, dtypes

__all__ = ["HalfEmbedding", "HalfLinear", "keep_in_half"]


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
        return F.linear(input, self.half_weight.to(input.dtype), self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {self.half_weight.dtype}"
        )


class HalfEmbedding(Module):
    """Rows of a table in a half precision, as float32: ids (...) -> (..., embedding_dim).

    half_weight   (num_embeddings, embedding_dim) in bfloat16 or float16
    """

    def __init__(self, half_weight: Parameter) -> None:
        super().__init__()
        self.half_weight = half_weight
        self.num_embeddings, self.embedding_dim = half_weight.shape

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
