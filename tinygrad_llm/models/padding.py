"""Rows of unequal length in one batch: where padding stands, and what follows from it.

Shapes: B batch, T time (tokens), S tokens with those in a cache.
"""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap

__all__ = ["check_mask", "padded_places", "padding_counts", "padding_of"]


def padding_counts(padding: Tensor, batch: int) -> Any:
    """The checked array of `padding`, (B) int64.

    Raises: TypeError if it is not a tensor of integers; ValueError if its shape is not (B,) or a
    number is negative.
    """
    if not isinstance(padding, Tensor) or padding.array.dtype.kind not in "iu":
        what = padding.dtype if isinstance(padding, Tensor) else type(padding).__name__
        raise TypeError(f"padding must be a tensor of integers, one for each row, got {what}")
    if tuple(padding.shape) != (batch,):
        raise ValueError(
            f"padding must have one number for each of the {batch} rows, got the shape "
            f"{tuple(padding.shape)}"
        )
    if (padding.array < 0).any():
        raise ValueError(f"padding must be at least 0, got {padding.array.min()}")
    return padding.array.astype("int64", copy=False)


def check_mask(attention_mask: Any, shape: tuple[int, int], tokens: str = "each token") -> None:
    """Raises: TypeError if an attention_mask is not a tensor of integers or bools; ValueError if it
    does not have this shape; tokens: which have a number in it, for the message.
    """
    if not isinstance(attention_mask, Tensor) or attention_mask.array.dtype.kind not in "iub":
        kind = type(attention_mask).__name__
        what = attention_mask.dtype if isinstance(attention_mask, Tensor) else kind
        raise TypeError(f"attention_mask must be a tensor of integers or bools, got {what}")
    if tuple(attention_mask.shape) != shape:
        raise ValueError(
            f"attention_mask must have one number for {tokens}: the shape {shape}, got "
            f"{tuple(attention_mask.shape)}"
        )


def padding_of(attention_mask: Tensor, batch: int, time: int) -> Tensor | None:
    """How many zeros stand at the left of each row of an attention_mask (B, S): (B) int64, or None.

    None if there are none. Zeros at the right hide nothing: no token looks at those after it.
    Raises: TypeError if it is not a tensor of integers or bools; ValueError if its shape does not
    fit, if it holds other numbers than 0 and 1, or if zeros stand between ones.
    """
    check_mask(attention_mask, (batch, time), "each token, also of those in the cache")
    mask = attention_mask.array
    real = mask != 0  # (B, S)
    if mask.dtype.kind != "b" and (mask * mask != mask).any():
        raise ValueError("attention_mask must hold 0 for padding and 1 for tokens only")
    runs = real[:, :1].sum(-1) + (real[:, 1:] > real[:, :-1]).sum(-1)  # (B, S) -> (B): of ones
    if (runs > 1).any():
        raise ValueError(
            "attention_mask must have its zeros at the left or the right of each row, not between "
            "ones; hidden_states takes any mask"
        )
    if bool(real[:, :1].all()):
        return None
    zeros = (~real).cumprod(-1).sum(-1)  # (B, S) -> (B): until the first one
    return wrap(zeros.astype("int64"))


def padded_places(past: int, T: int, padding: Any) -> tuple[Tensor, Tensor]:
    """Positions (B, T) and mask (B, 1, T, S) of T columns after `past`, with `padding` (B)."""
    keys = xp_of(padding).arange(past + T)  # (S)
    columns = keys[past:]  # (T)
    positions = (columns - padding[:, None]).clip(0, None)  # (T) - (B, 1) -> (B, T)
    queries = columns[:, None]  # (T, 1)
    seen = (keys <= queries) & (keys >= padding[:, None, None])  # (T, S), (B, 1, S) -> (B, T, S)
    seen |= keys == queries  # (T, S): padding looks at itself
    return wrap(positions), wrap(seen[:, None])  # (B, T), (B, 1, T, S)
