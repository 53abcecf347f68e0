"""Several texts in one call of a model: the new tokens of all, one text after another, in a row.

Each text has its own Cache, so that it joins and leaves without a copy of the others, and a
prompt of many tokens goes through the matrices together with single tokens of other texts. Between
the tokens of different texts nothing happens: each text equals itself alone.

    together = TextsCache()
    together.take([first, second], [1, 5])       # one new token, and five
    logits = model(idx, cache=together, last_only=True)     # idx (1, 6) -> (1, 2, V)

Source: Yu et al. (2022), "Orca", section 4.1 (selective batching).
Shapes: N new tokens of all texts, H heads of keys and values, D head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..tensor import Tensor, wrap
from .cache import Cache

__all__ = ["TextsCache", "TextsPart"]


class TextsPart:
    """One layer's part of the caches of all texts, as Attention gets it."""

    length = 0  # texts say themselves how long they are

    def __init__(self, together: TextsCache, layer: int) -> None:
        self.together, self.layer = together, layer

    def texts(
        self, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, int, int]]:
        """The texts one by one: queries (1, H, N, D) and keys and values (1, KV, N, D) of all.

        For each: its queries (1, H, T, D), all its keys and values (1, KV, S, D), how many tokens
        it had before, and the position of the first key.
        """
        first = 0
        for cache, count in zip(self.together.caches, self.together.counts, strict=True):
            part, own = cache.layers[self.layer], slice(first, first + count)
            past = part.length
            seen = part.append(keys[:, :, own], values[:, :, own])  # (1, KV, S, D) twice
            yield queries[:, :, own], seen[0], seen[1], past, seen[2]
            first += count


class TextsCache(Cache):
    """The caches of several texts, of full attention in every layer; see above.

    `take` says which texts the next call computes, and how many new tokens of each.
    """

    def __init__(self) -> None:
        super().__init__([], 0)
        self.caches: list[Cache] = []
        self.counts: list[int] = []

    def take(self, caches: Sequence[Cache], counts: Sequence[int]) -> None:
        """The texts of the next call, and how many tokens of each it has.

        Raises: ValueError if a cache cannot join others, or a text would be too long for its own.
        """
        for cache, count in zip(caches, counts, strict=True):
            if not cache.can_join:
                raise ValueError("only caches with full attention in every layer can be joined")
            if count < 1 or len(cache) + count > cache.max_length:
                raise ValueError(
                    f"a text of {len(cache)} tokens can't get {count} more: its cache holds "
                    f"{cache.max_length}"
                )
        self.caches, self.counts = list(caches), list(counts)
        n_layers = len(caches[0].layers) if caches else 0
        if len(self.layers) != n_layers:
            self.layers = [TextsPart(self, i) for i in range(n_layers)]

    @property
    def can_join(self) -> bool:
        """Whether it can be one text of several: no."""
        return False

    def positions(self, idx: Tensor) -> Tensor:
        """The positions (N) of the new tokens idx (1, N), each in its own text.

        Raises: ValueError if these are not as many tokens as `take` said.
        """
        expected = (1, sum(self.counts))
        if tuple(idx.shape) != expected:
            raise ValueError(
                f"idx must have the new tokens of all texts, of the shape {expected}, got "
                f"{tuple(idx.shape)}"
            )
        both = zip(self.caches, self.counts, strict=True)
        own = [np.arange(len(cache), len(cache) + count) for cache, count in both]
        return wrap(np.concatenate(own)).to(idx.device)  # (T) each -> (N)

    @property
    def ends(self) -> list[int]:
        """Which of the N tokens is the last of each text."""
        return (np.cumsum(self.counts) - 1).tolist()
