"""Convolution over time, with PyTorch's name and arguments."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from .autocast import mixed
from .checks import need_same_dtype, need_tensor
from .method import function
from .shape.padding import pad


def single(name: str, value: Any) -> int:
    """The int in 3 or (3,).

    Raises: RuntimeError if it is neither.
    """
    if isinstance(value, tuple | list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise RuntimeError(f"conv1d: {name} must be an int or a tuple of one, got {value!r}")
    return value.__index__()


@function
@mixed
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The filters in weight along the last dimension of input (a correlation, as in PyTorch).

    input (B, C, T) or (C, T), weight (O, C/groups, K), bias (O); returns (B, O, S) or (O, S) with
    S = ⌊(T + 2·padding − dilation·(K − 1) − 1) / stride⌋ + 1. padding: zeros on either side, or
    "valid" (none), or "same" (S = T, the odd zero at the end). For a causal model take padding
    K − 1 and the first T of the result.
    Raises: RuntimeError for shapes, dtypes or options that do not fit.
    """
    need_tensor("conv1d", input)
    need_tensor("conv1d", weight, "weight")
    need_same_dtype("conv1d", input=input, weight=weight, bias=bias)
    s, d = single("stride", stride), single("dilation", dilation)
    if min(s, d, groups) < 1:
        name = "stride" if s < 1 else "dilation" if d < 1 else "groups"
        raise RuntimeError(f"non-positive {name} is not supported: got {min(s, d, groups)}")
    if weight.array.ndim != 3 or input.array.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2D (unbatched) or 3D (batched) input to conv1d and weight (O, C/groups, K), "
            f"but got input of size: {list(input.shape)} and weight {list(weight.shape)}"
        )
    if input.array.ndim == 2:
        y = conv1d(input.unsqueeze(0), weight, bias, s, padding, d, groups)  # (C, T) -> (1, C, T)
        return y.squeeze(0)  # (1, O, S) -> (O, S)
    if isinstance(padding, str):
        input, p = _padded(input, weight.array.shape[-1], padding, s, d)
    else:
        p = single("padding", padding)
    _check(input, weight, bias, p, d, groups)
    return ops.Conv1d.apply(
        input, weight, bias, stride=s, padding=p, dilation=d, groups=groups
    )  # (B, C, T) -> (B, O, S)


def _padded(input: Tensor, taps: int, padding: str, stride: int, dilation: int) -> tuple:
    """(input, zeros on either side) for "valid" and "same"; an odd zero is added to input."""
    if padding not in ("valid", "same"):
        raise RuntimeError(f"padding must be an int, 'valid' or 'same', got {padding!r}")
    if padding == "valid":
        return input, 0
    if stride != 1:
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = dilation * (taps - 1)
    return pad(input, (0, 1)) if total % 2 else input, total // 2  # (B, C, T) -> (B, C, T + 1)


def _check(
    input: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int, groups: int
) -> None:
    """Check shapes in PyTorch's words."""
    x, w = list(input.shape), list(weight.shape)
    if padding < 0:
        raise RuntimeError("negative padding is not supported")
    if w[0] < groups or w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0 and "
            f"divisible by it, but got weight of size {w} instead"
        )
    if x[1] != w[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {w}, expected input{x} to have "
            f"{w[1] * groups} channels, but got {x[1]} channels instead"
        )
    if bias is not None and list(bias.shape) != w[:1]:
        raise RuntimeError(
            f"Given weight of size {w}, expected bias to be 1-dimensional with {w[0]} elements, "
            f"but got bias of size {list(bias.shape)} instead"
        )
    size, kernel = x[2] + 2 * padding, dilation * (w[2] - 1) + 1
    if w[2] < 1 or kernel > size:
        raise RuntimeError(
            f"Calculated padded input size per channel: ({size}). Kernel size: ({kernel}). "
            "Kernel size can't be greater than actual input size"
        )
