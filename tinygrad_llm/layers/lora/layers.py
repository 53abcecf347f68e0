"""One layer: the two small matrices, and a Linear to which their product is added."""

from __future__ import annotations

import math
import operator
from typing import Any

from ...autograd.inplace_versions import modified_at
from ...files.untrusted import describe
from ...nn import functional as F
from ...nn import init
from ...nn.linear import Linear
from ...nn.module import Module
from ...nn.parameter import Parameter, new_parameter
from ...tensor import Tensor, wrap
from ...tensor.device import DeviceLike
from ...tensor.dtypes import DtypeLike
from ..quantized import QuantizedLinear

__all__ = ["LinearWithLoRA", "LoRALayer"]


_LARGEST_ALPHA = 1e30  # α/r is still a float32
_SMALL_RANK = 256  # allowed in a layer of any size


def check_settings(
    rank: Any, alpha: Any, dropout: Any, most: int = 1 << 31
) -> tuple[int, float, float]:
    """(rank, alpha, dropout) as numbers, if they can be a LoRA layer's; they may come from a file.

    most: the largest rank. More than min(in_features, out_features) adds nothing to ΔW.
    Raises: ValueError if rank is not an integer from 1 to most, alpha not a positive number, or
    dropout not a number in [0, 1).
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"LoRA: rank must be a positive integer, got {describe(rank)}")
    if rank > most:
        raise ValueError(f"LoRA: rank must be at most {most:,} here, got {describe(rank)}")
    for name, value in (("alpha", alpha), ("dropout", dropout)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"LoRA: {name} must be a number, got {describe(value)}")
    if not 0 < alpha <= _LARGEST_ALPHA:
        raise ValueError(f"LoRA: alpha must be positive, got {describe(alpha)}")
    if not 0 <= dropout < 1:
        raise ValueError(
            f"LoRA: dropout must be at least 0 and less than 1, got {describe(dropout)}"
        )
    return rank, float(alpha), float(dropout)


class LoRALayer(Module):
    """x·Aᵀ·Bᵀ·(α/r): x (..., in_features) -> (..., out_features), with dropout on x in training.

    lora_A (rank, in_features) starts as a Linear's weight, lora_B (out_features, rank) at zero.
    Raises: ValueError if rank is not a positive integer or larger than both sizes and 256, alpha
    not positive, or dropout outside [0, 1).
    """

    def __init__(
        self, in_features: int, out_features: int, rank: int = 8, alpha: float = 16.0,
        dropout: float = 0.0, device: DeviceLike = None, dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        super().__init__()
        most = max(in_features, out_features, _SMALL_RANK)
        self.rank, self.alpha, self.dropout = check_settings(rank, alpha, dropout, most)
        self.lora_A = new_parameter(rank, in_features, device=device, dtype=dtype)
        self.lora_B = new_parameter(out_features, rank, device=device, dtype=dtype)
        init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        init.zeros_(self.lora_B)

    @property
    def scaling(self) -> float:
        """α/r, the factor of B·A."""
        return self.alpha / self.rank

    def delta(self) -> Any:
        """ΔW = (α/r)·B·A as an array (out_features, in_features), outside the graph.

        Its dtype is the matrices', but float32 for half precisions: the sum W + ΔW is rounded once.
        """
        A, B = self.lora_A.array, self.lora_B.array
        if A.dtype.itemsize == 2:
            A, B = A.astype("float32"), B.astype("float32")
        return B @ A * self.scaling  # (out_features, rank) @ (rank, in_features)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(x, self.dropout, self.training)
        low = F.linear(x, self.lora_A)  # (..., in_features) -> (..., rank)
        return F.linear(low, self.lora_B) * self.scaling  # (..., rank) -> (..., out_features)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, dropout={self.dropout:g}"


class LinearWithLoRA(Module):
    """A frozen Linear and a LoRA layer: linear(x) + lora(x). With a QuantizedLinear it is QLoRA.

    After `merge` the layer computes with one matrix, W + ΔW, which is outside of its state:
    parameters, state_dict() and so checkpoints hold W, A and B, merged or not, and the matrix is
    computed again when one of them has changed. `unmerge` forgets it. A weight that other layers
    share (an output layer tied to the embedding) stays as it is for them.
    """

    def __init__(
        self,
        linear: Linear | QuantizedLinear,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(linear, Linear | QuantizedLinear):
            raise TypeError(f"LinearWithLoRA: expected a Linear, got {type(linear).__name__}")
        like: dict[str, Any] = {}
        if isinstance(linear, Linear):
            like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        elif not linear.matrix.on_cpu:
            like = {"device": "{}:{}".format(*linear.matrix.device)}
        self.lora = LoRALayer(
            linear.in_features, linear.out_features, rank, alpha, dropout, **like
        )  # fmt: skip
        self.linear = linear.requires_grad_(False)
        self.merged = False  # whether the layer computes with W + ΔW
        # The arrays W, A and B, when the last of them was changed in place, and their W + ΔW
        self._sum: tuple[list[Any], int, Parameter] | None = None
        self.train(linear.training)

    @property
    def in_features(self) -> int:
        """The linear's in_features."""
        return self.linear.in_features

    @property
    def out_features(self) -> int:
        """The linear's out_features."""
        return self.linear.out_features

    @property
    def weight(self) -> Parameter:
        """The linear's weight W, frozen; W + ΔW while merged."""
        return self._merged_weight() if self.merged else self.linear.weight

    @property
    def bias(self) -> Parameter | None:
        """The linear's bias, frozen."""
        return self.linear.bias

    def merge(self) -> None:
        """From now on compute with one matrix, W + ΔW.

        Raises: RuntimeError if it is merged already, or W is quantised.
        """
        if self.merged:
            raise RuntimeError("this layer is merged already: unmerge it first")
        if isinstance(self.linear, QuantizedLinear):
            raise RuntimeError(
                "W + ΔW has no place in a quantised weight: call layers.quantized.dequantize(model)"
            )
        self.merged = True

    def unmerge(self) -> None:
        """From now on compute with W and the LoRA layer again.

        Raises: RuntimeError if not merged.
        """
        if not self.merged:
            raise RuntimeError("this layer is not merged")
        self.merged, self._sum = False, None

    def _merged_weight(self) -> Parameter:
        """W + ΔW (out_features, in_features) in W's dtype, computed again if one has changed."""
        parts = [p.array for p in (self.linear.weight, self.lora.lora_A, self.lora.lora_B)]
        changed = max(map(modified_at, parts))
        if self._sum is not None:
            old_parts, old_change, weight = self._sum
            if old_change == changed and all(map(operator.is_, old_parts, parts)):
                return weight
        W = parts[0]
        total = (W + self.lora.delta()).astype(W.dtype, copy=False)
        weight = Parameter(wrap(total), False)
        self._sum = parts, changed, weight
        return weight

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return F.linear(x, self._merged_weight(), self.linear.bias)
        return self.linear(x) + self.lora(x)
