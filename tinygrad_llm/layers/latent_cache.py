"""The cache of latent attention: a few numbers for each token, which all heads share.

Shapes: B batch, T new tokens, S all tokens, N numbers per token.
"""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap
from .cache import _arrays, _rows

__all__ = ["LatentCache"]


class LatentCache:
    """Arrays (B, S, N) with one row per token, one array for each part, in memory that grows.

    max_length: the most tokens, in all. LatentAttention keeps the latent vector and the turned key
    of a token in one part, and an indexer's key in another.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._parts: list[Any] = []  # (B, room, N) each

    def append(self, *parts: Tensor) -> list[Tensor]:
        """Add T new tokens, (B, T, N) for each part; returns all tokens of each, (B, S, N).

        Raises: ValueError if there are more than max_length tokens in all, or if the number of
        parts, or batch, N or dtype of one differ from what is stored; RuntimeError if they require
        grad, because the cache is outside the graph.
        """
        new = [_arrays(x, x)[0] for x in parts]
        past, stop = self.length, self.length + new[0].shape[1]
        if stop > self.max_length:
            raise ValueError(f"the KV cache holds {self.max_length} tokens, not {stop}")
        self._check(new)
        if not self._parts or stop > self._parts[0].shape[1]:
            room = min(self.max_length, max(2 * stop, 64))
            self._parts = [self._moved(i, x, room) for i, x in enumerate(new)]
        for memory, x in zip(self._parts, new, strict=True):
            memory[:, past:stop] = x
        self.length = stop
        return [wrap(memory[:, :stop]) for memory in self._parts]

    def _check(self, new: list[Any]) -> None:
        def kinds(arrays: list[Any]) -> list[tuple]:
            return [(a.shape[0], a.shape[2], str(a.dtype)) for a in arrays]

        if self._parts and kinds(self._parts) != kinds(new):
            raise ValueError(
                f"the KV cache holds (batch, numbers per token, dtype) {kinds(self._parts)}, not "
                f"{kinds(new)}"
            )

    def _moved(self, i: int, new: Any, room: int) -> Any:
        """Memory for `room` tokens like `new`, with the tokens that part i holds."""
        memory = xp_of(new).empty((new.shape[0], room, new.shape[2]), new.dtype)
        if self._parts:
            memory[:, : self.length] = self._parts[i][:, : self.length]
        return memory

    def can_truncate(self, length: int) -> bool:
        """Whether there are so many tokens: nothing is dropped."""
        return 0 <= length <= self.length

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`.

        Raises: ValueError if it has fewer.
        """
        if not self.can_truncate(length):
            raise ValueError(f"the KV cache holds {self.length} tokens, it can't keep {length}")
        self.length = length

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was: for beams; B may change.

        indices: integers (new B), a tensor or a list
        Raises: IndexError if one of them is not a row.
        """
        if self._parts:
            rows = _rows(indices, self._parts[0])
            self._parts = [memory[rows] for memory in self._parts]
