"""PyTorch's names for the types of arguments, for annotations."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TypeAlias

from ..tensor import Size, Tensor, device, dtypes
from ..tensor.layout import layout

__all__ = ["Device", "Number", "Size", "Tensor"]

_int, _float, _bool = builtins.int, builtins.float, builtins.bool
_complex = builtins.complex
_dtype, _device, _layout = dtypes.dtype, device, layout
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
Number: TypeAlias = int | float | bool
Device: TypeAlias = device | str | int | None
