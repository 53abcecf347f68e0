"""LayerNorm, RMSNorm and GroupNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..tensor import Tensor
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike
from . import functional as F
from . import init
from .module import Module
from .parameter import new_parameter

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


class _Norm(Module):
    """What both share: the last dimensions that they normalise, and the weight over these."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None, elementwise_affine: bool,
        parameters: dict[str, bool], device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        """parameters: the name of each, and whether the layer has it."""
        super().__init__()
        one = hasattr(normalized_shape, "__index__")
        sizes: Any = (normalized_shape,) if one else normalized_shape
        self.normalized_shape = tuple(int(size) for size in sizes)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, present in parameters.items():
            new = None
            if elementwise_affine and present:
                new = new_parameter(*self.normalized_shape, device=device, dtype=dtype)
            self.register_parameter(name, new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to one."""
        if self.weight is not None:
            init.ones_(self.weight)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LayerNorm(_Norm):
    """y = w·(x − μ)/√(σ² + eps) + b over the last dimensions (Ba, Kiros and Hinton, 2016).

    normalized_shape: the size of the last dimension, or of the last few. weight starts at one and
    bias at zero; elementwise_affine=False leaves both out, bias=False the second.
    """

    eps: float

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, device: DeviceLike = None,
        dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        parameters = {"weight": True, "bias": bias}
        super().__init__(normalized_shape, eps, elementwise_affine, parameters, device, dtype)

    def reset_parameters(self) -> None:
        """Set the weight to one and the bias to zero."""
        super().reset_parameters()
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class RMSNorm(_Norm):
    """y = w·x/√(mean(x²) + eps) over the last dimensions (Zhang and Sennrich, 2019).

    eps=None takes the smallest step of the input's dtype. weight starts at one;
    elementwise_affine=False leaves it out.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, device: DeviceLike = None, dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        super().__init__(normalized_shape, eps, elementwise_affine, {"weight": True}, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """y = w·(x − μ)/√(σ² + eps) + b for x (B, C, ...); μ, σ² over a group of channels and all
    positions (Wu and He, 2018).

    num_groups must divide num_channels. weight and bias are (C), one and zero at first;
    affine=False leaves both out, bias=False the second.
    Raises: ValueError if num_groups does not divide num_channels.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: DeviceLike = None, dtype: DtypeLike = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        for name, present in (("weight", affine), ("bias", affine and bias)):
            new = new_parameter(num_channels, device=device, dtype=dtype) if present else None
            self.register_parameter(name, new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to one and the bias to zero."""
        if self.affine:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
