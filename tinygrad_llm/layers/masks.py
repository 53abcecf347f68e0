"""Masks for layers in which softmax chooses among keys: padding at the left, beside the causal one.

Shapes: B batch, T tokens of x, S keys: those in a cache and T new ones.
"""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, dtypes, wrap

__all__ = ["causal_keys", "with_padding"]


def causal_keys(xp: Any, past: int, T: int) -> Any:
    """Which of past + T keys the queries past … past + T − 1 may look at: bool (T, past + T)."""
    return xp.arange(past + T) <= xp.arange(past, past + T)[:, None]


def with_padding(mask: Tensor | None, past: int, T: int) -> Tensor | None:
    """A padding mask (B, past + T) with the causal one: bool (B, 1, T, past + T).

    mask: bool, False for padding, also of the tokens in the cache. A query sees the real keys up to
    its own; padding sees itself, so that no row is empty. None, and masks that are not of this
    kind (numbers, or more than two dimensions), are returned as they are.
    Raises: ValueError if the mask has another number of columns.
    """
    if mask is None or mask.dim() != 2 or mask.dtype is not dtypes.bool_:
        return mask
    if mask.shape[1] != past + T:
        raise ValueError(
            f"a mask of padding has one column for each token, also of those in the cache: "
            f"{past + T}, got {mask.shape[1]}"
        )
    xp = xp_of(mask.array)
    own = xp.arange(past + T) == xp.arange(past, past + T)[:, None]  # (T, S)
    seen = causal_keys(xp, past, T) & mask.array[:, None]  # (T, S), (B, 1, S) -> (B, T, S)
    return wrap((seen | own)[:, None])  # (B, T, S) -> (B, 1, T, S)
