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
        self._entries: dict[Hashable, list[_Entry]] = {}  # of an owner, the newest last
        self._owners: list[Hashable] = []  # by their newest use, the newest last

    def begin(self, owner: Hashable, ids: Sequence[int]) -> Cache | None:
        """A cache of its own with the longest known beginning of ids (not all of it), or None."""
        asked, best, length = np.asarray(ids), None, 0
        for entry in self._entries.get(owner, []):
            same = common(entry.ids, asked[:-1])
            if same > length:
                best, length = entry, same
        self.hits += length
        self.misses += len(ids) - length
        if best is None:
            return None
        self._entries[owner].remove(best)
        self._put(owner, best)
        return best.cache.beginning(length)

    def keep(self, owner: Hashable, ids: Sequence[int], cache: Cache) -> None:
        """Keep the beginning of a text: its cache holds these ids at least, and may grow on.

        What is kept shares the cache's memory, so that nothing is copied now. Beginnings that this
        one begins with are dropped, and the oldest ones where there is no room.
        """
        if not len(ids) or not cache.can_join or cache.nbytes > self.most_bytes:
            return
        kept = _Entry(np.asarray(ids), cache.beginning(len(ids), copied=False), cache.nbytes)
        for old in list(self._entries.get(owner, [])):
            if common(old.ids, kept.ids) == len(old.ids):
                self._drop(owner, old)
        self._put(owner, kept)
        self.nbytes += kept.nbytes
        while self.nbytes > self.most_bytes:
            oldest = self._owners[0]
            self._drop(oldest, self._entries[oldest][0])

    def clear(self) -> None:
        """Forget all."""
        self._entries, self._owners, self.nbytes = {}, [], 0

    def _put(self, owner: Hashable, entry: _Entry) -> None:
        self._entries.setdefault(owner, []).append(entry)
        if owner in self._owners:
            self._owners.remove(owner)
        self._owners.append(owner)

    def _drop(self, owner: Hashable, entry: _Entry) -> None:
        entries = self._entries[owner]
        self._entries[owner] = [kept for kept in entries if kept is not entry]
        self.nbytes -= entry.nbytes
        if not self._entries[owner]:
            del self._entries[owner]
            self._owners.remove(owner)


def common(a: np.ndarray, b: np.ndarray) -> int:
    """How many elements two arrays have in common at their beginnings."""
    n = min(len(a), len(b))
    differing = np.flatnonzero(a[:n] != b[:n])
    return int(differing[0]) if len(differing) else n
