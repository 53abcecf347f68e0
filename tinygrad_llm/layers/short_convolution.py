"""The short causal convolution that recurrent layers begin with: each channel sees a few tokens."""

from __future__ import annotations

from ..nn import functional as F
from ..nn.conv import Conv1d
from ..tensor import Tensor
from .cache import RecurrentCache

__all__ = ["short_convolution"]


def short_convolution(conv: Conv1d, x: Tensor, cache: RecurrentCache | None) -> Tensor:
    """silu of each channel's filter over its last tokens: (B, channels, T) -> (B, channels, T).

    conv   a Conv1d with a group per channel: the last of its K taps is the token itself
    cache  what came before x, K − 1 tokens; zeros without one
    """
    T, before = x.shape[2], conv.kernel_size[0] - 1
    padding = before if cache is None else 0
    if cache is not None:
        x = cache.convolved(x)  # (B, channels, before + T)
    y = F.conv1d(x, conv.weight, conv.bias, padding=padding, groups=conv.groups)
    return F.silu(y[:, :, :T])  # (B, channels, T + before) -> (B, channels, T) without a cache
