"""Beginnings of prompts whose keys and values are kept: a prompt that begins so is computed from
there on.

Source: Kwon et al. (2023), "Efficient Memory Management for Large Language Model Serving with
PagedAttention", section 4.4 (shared prefixes); here a new text copies the beginning.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ..layers.cache import Cache

__all__ = ["Prefixes"]


@dataclass(eq=False)
class _Entry:
    owner: Hashable
    ids: np.ndarray
    cache: Cache
    nbytes: int


class Prefixes:
    """The newest prompts and texts of each owner, with at most `most_bytes` of keys and values.

    Owners never see each other's: whether a prompt is fast says something about the others.
    `hits` counts the tokens that were not computed, `misses` those that were.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.nbytes = most_bytes, 0
        self.hits = self.misses = 0
        self._entries: list[_Entry] = []  # by their newest use, the newest last

    def begin(self, owner: Hashable, ids: Sequence[int]) -> Cache | None:
        """A new cache with the longest known beginning of ids (not all of it), or None."""
        asked, best, length = np.asarray(ids), None, 0
        for entry in self._entries:
            same = common(entry.ids, asked[:-1]) if entry.owner == owner else 0
            if same > length:
                best, length = entry, same
        self.hits += length
        self.misses += len(ids) - length
        if best is None:
            return None
        self._entries.remove(best)
        self._entries.append(best)
        return best.cache.beginning(length)

    def keep(self, owner: Hashable, ids: Sequence[int], cache: Cache) -> None:
        """Keep the beginning of a text: its cache holds these ids at least, and may grow on.

        What is kept shares the cache's memory, so that nothing is copied now. Beginnings that this
        one begins with are dropped, and the oldest ones where there is no room.
        """
        if not len(ids) or not cache.can_join or cache.nbytes > self.most_bytes:
            return
        shared, new = cache.beginning(len(ids), copied=False), np.asarray(ids)
        for old in [entry for entry in self._entries if entry.owner == owner]:
            if common(old.ids, new) == len(old.ids):
                self._drop(old)
        self._entries.append(_Entry(owner, new, shared, cache.nbytes))
        self.nbytes += cache.nbytes
        while self.nbytes > self.most_bytes:
            self._drop(self._entries[0])

    def clear(self) -> None:
        """Forget all."""
        self._entries, self.nbytes = [], 0

    def _drop(self, entry: _Entry) -> None:
        self._entries.remove(entry)
        self.nbytes -= entry.nbytes


def common(a: np.ndarray, b: np.ndarray) -> int:
    """How many elements two arrays have in common at their beginnings."""
    n = min(len(a), len(b))
    differing = np.flatnonzero(a[:n] != b[:n])
    return int(differing[0]) if len(differing) else n
