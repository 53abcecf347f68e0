"""A cache for texts without end: the first tokens and a window, of any text.

Shapes: B batch, H heads of keys and values, T new tokens, D head_dim.
"""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..functions.shape.join import cat
from ..tensor import Tensor, wrap
from .cache import AttentionCache, _arrays, _rows

__all__ = ["StreamingCache"]


class StreamingCache(AttentionCache):
    """An AttentionCache with a window that never drops the first keep_first tokens.

    Keys stay as they were turned, at their positions in the text. Xiao et al. (2023), "Efficient
    Streaming Language Models with Attention Sinks", section 3.2.
    """

    def __init__(self, max_length: int, window: int, keep_first: int) -> None:
        super().__init__(max_length, window)
        self.keep_first = keep_first
        self._kept: tuple[Any, Any] | None = None  # (B, H, keep_first, D) each

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Add the keys and values of T new tokens, (B, H, T, D) each.

        Returns the keys and values that they may see, (B, H, S, D) each, and the position `first`
        where the window begins: before its tokens stand the first min(keep_first, first) ones.
        Raises: see AttentionCache.append.
        """
        past, arrays = self.length, _arrays(keys, values)
        keys, values, first = super().append(keys, values)
        n = min(self.keep_first, self.length) - past
        if n > 0:
            self._keep(past, n, arrays)
        kept = min(self.keep_first, first)
        if kept and self._kept is not None:
            k, v = (wrap(a[:, :, :kept]) for a in self._kept)
            keys, values = cat([k, keys], 2), cat([v, values], 2)  # (B, H, kept + S, D)
        return keys, values, first

    def _keep(self, past: int, n: int, arrays: tuple[Any, Any]) -> None:
        """Store the first n of the new tokens at the places past … past + n − 1."""
        if self._kept is None:
            k, v = (
                xp_of(a).empty((*a.shape[:2], self.keep_first, a.shape[3]), a.dtype) for a in arrays
            )
            self._kept = k, v
        for memory, a in zip(self._kept, arrays, strict=True):
            memory[:, :, past : past + n] = a[:, :, :n]

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was: for beams; B may change.

        Raises: IndexError if one of them is not a row.
        """
        super().reorder(indices)
        if self._kept is not None:
            rows = _rows(indices, self._kept[0])
            self._kept = self._kept[0][rows], self._kept[1][rows]
