"""The slow twins of the caches: lists of all tokens that were ever appended, nothing dropped.

Each is made from a cache and has its protocol; a window only chooses what append returns.
Shapes: B batch, H heads of keys and values, T tokens, D head_dim.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...functions.shape.join import cat
from ...tensor import Tensor

__all__ = [
    "SlowAttentionCache", "SlowCache", "SlowCrossCache", "SlowDecoderCache", "SlowStreamingCache",
]  # fmt: skip

Token = tuple[Tensor, Tensor]  # its key and its value, (B, H, 1, D) each


class SlowAttentionCache:
    """A list of tokens: one key and one value each."""

    def __init__(self, layer: Any) -> None:
        self.window: int | None = layer.window
        self.tokens: list[Token] = []

    @property
    def length(self) -> int:
        """Tokens in it."""
        return len(self.tokens)

    def oldest(self, position: int) -> int:
        """The position of the oldest key that the token at `position` sees."""
        return 0 if self.window is None else max(0, position - self.window + 1)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values (B, H, S, D) that the new tokens may see; the first one's place."""
        first = self.oldest(self.length)
        for t in range(keys.shape[2]):
            self.tokens.append((keys[:, :, t : t + 1], values[:, :, t : t + 1]))
        seen = self.tokens[first:]
        return cat([k for k, _ in seen], 2), cat([v for _, v in seen], 2), first

    def can_truncate(self, length: int) -> bool:
        """Whether there are so many tokens: nothing is dropped."""
        return 0 <= length <= self.length

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`."""
        self.tokens = self.tokens[:length]

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        self.tokens = [(picked(k, indices), picked(v, indices)) for k, v in self.tokens]


def picked(x: Tensor, indices: Any) -> Tensor:
    """The rows of x (B, ...) that the indices name."""
    rows = indices.tolist() if isinstance(indices, Tensor) else np.asarray(indices).tolist()
    return cat([x[row : row + 1] for row in rows], 0)


class SlowCrossCache:
    """The keys and values of a memory, as they were."""

    def __init__(self, layer: Any) -> None:
        self.kept: Token | None = None

    @property
    def length(self) -> int:
        """Tokens of the memory."""
        return 0 if self.kept is None else self.kept[0].shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keep the memory's keys and values, (B, H, S, D) each; returns them, and 0."""
        self.kept = keys, values
        return keys, values, 0

    def stored(self) -> Token | None:
        """Keys and values, (B, H, S, D) each; None before the first call."""
        return self.kept

    def can_truncate(self, length: int) -> bool:
        """Always: the memory stays."""
        return True

    def truncate(self, length: int) -> None:
        """Does nothing: the memory stays."""

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        if self.kept is not None:
            self.kept = picked(self.kept[0], indices), picked(self.kept[1], indices)


class SlowDecoderCache:
    """A list of the text's tokens, `own`, and the memory as it was, `cross`."""

    def __init__(self, layer: Any) -> None:
        self.own, self.cross = SlowAttentionCache(layer.own), SlowCrossCache(layer.cross)

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return self.own.length

    def can_truncate(self, length: int) -> bool:
        """Whether the text has so many tokens."""
        return self.own.can_truncate(length)

    def truncate(self, length: int) -> None:
        """Forget all tokens of the text except the first `length`."""
        self.own.truncate(length)

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was, in text and memory."""
        self.own.reorder(indices)
        self.cross.reorder(indices)


class SlowCache:
    """One list of tokens for each layer."""

    def __init__(self, layer: Any) -> None:
        self.layers = [SlowAttentionCache(one) for one in layer.layers]

    def __len__(self) -> int:
        return self.layers[0].length

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`, in every layer."""
        for layer in self.layers:
            layer.truncate(length)

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was, in every layer."""
        for layer in self.layers:
            layer.reorder(indices)


class SlowStreamingCache(SlowAttentionCache):
    """The first tokens and those of the window, out of a list of all."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.keep_first: int = layer.keep_first

    def first(self, begin: int) -> int:
        """How many of the first tokens stand before a window that begins at `begin`."""
        return min(self.keep_first, begin)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values (B, H, S, D) of the first tokens and of the window; where it begins."""
        keys, values, begin = super().append(keys, values)
        kept = self.tokens[: self.first(begin)]
        return (
            cat([*(k for k, _ in kept), keys], 2), cat([*(v for _, v in kept), values], 2), begin
        )  # fmt: skip
