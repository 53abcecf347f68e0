"""Conv1d."""

from __future__ import annotations

import math
from typing import Any

from ..functions.conv import single
from ..tensor import Tensor
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike
from . import functional as F
from . import init
from .module import Module
from .parameter import new_parameter

__all__ = ["Conv1d"]


class Conv1d(Module):
    """Filters along the last dimension: x (B, C, T) or (C, T) -> (B, O, S) or (O, S).

    weight (out_channels, in_channels/groups, kernel_size) and bias (out_channels) start uniform in
    ±1/√(in_channels/groups·kernel_size). groups=in_channels: depthwise, each channel has its own
    filter. See nn.functional.conv1d for stride, padding and dilation.
    Raises: ValueError if groups does not divide the channels, for "same" with a stride, and for a
    padding_mode other than "zeros".
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: DeviceLike = None, dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}: use 'valid' or 'same'")
        if padding == "same" and single("stride", stride) != 1:
            raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros' here, but got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = (single("kernel_size", kernel_size),)
        self.stride = (single("stride", stride),)
        self.padding = padding if isinstance(padding, str) else (single("padding", padding),)
        self.dilation = (single("dilation", dilation),)
        self.groups = groups
        self.padding_mode = padding_mode
        self.weight = new_parameter(
            out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype
        )
        if bias:
            self.bias = new_parameter(out_channels, device=device, dtype=dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = self.weight.shape[1] * self.weight.shape[2]
            bound = 1 / math.sqrt(fan_in) if fan_in else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv1d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        if self.padding != (0,):
            text += f", padding={self.padding}"
        if self.dilation != (1,):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text + (", bias=False" if self.bias is None else "")
