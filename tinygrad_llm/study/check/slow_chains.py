"""The slow twin of a CRF: every path of tags is listed, and its score added up tag by tag.

Shapes: B batch, T tokens, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from ...functions.shape.join import stack
from ...tensor import Tensor

__all__ = ["SlowCRF"]


class SlowCRF:
    """log p of the tags of each row, added up: a loop over rows and over all Kᵀ paths."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def tokens(self, seen: np.ndarray) -> list[int]:
        """The places of a row's tokens, from its mask (T)."""
        return [t for t, real in enumerate(seen) if real]

    def first(self, tag: int) -> Tensor:
        """The score of a text's first tag."""
        return self.layer.start_transitions[tag]

    def last(self, path: Sequence[int], whole: Sequence[int]) -> Tensor:
        """The score of the last tag of a path; whole: the row's tags, those of padding too."""
        return self.layer.end_transitions[path[-1]]

    def between(self, before: int, tag: int) -> Tensor:
        """The score of two tags in a row."""
        return self.layer.transitions[before, tag]

    def score(self, emissions: Tensor, path: Sequence[int], whole: Sequence[int]) -> Tensor:
        """s of one path through the emissions (n, K) of its tokens."""
        total = self.first(path[0]) + self.last(path, whole)
        for t, tag in enumerate(path):
            total = total + emissions[t, tag]
            if t:
                total = total + self.between(path[t - 1], tag)
        return total

    def paths(self, n: int) -> list[tuple[int, ...]]:
        """Every path of n tags."""
        return list(product(range(self.layer.num_tags), repeat=n))

    def log_sum(self, scores: Tensor) -> Tensor:
        """log Σ exp of the scores of all paths."""
        top = scores.detach().max()
        return (scores - top).exp().sum().log() + top

    def rows(self, emissions: Tensor, tags: Tensor, mask: Any) -> list[Tensor]:
        """log p of each row, the batch first."""
        seen = np.ones(tags.shape, bool) if mask is None else mask.numpy() != 0
        results = []
        for b, given in enumerate(tags.tolist()):
            places = self.tokens(seen[b])
            own, path = emissions[b][places], [given[t] for t in places]  # (T, K) -> (n, K)
            every = stack([self.score(own, p, p) for p in self.paths(len(places))])
            results.append(self.score(own, path, given) - self.log_sum(every))
        return results

    def __call__(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """As the layer: (B, T, K), (B, T) -> ()."""
        if not self.layer.batch_first:
            emissions, tags = emissions.transpose(0, 1), tags.transpose(0, 1)
            mask = None if mask is None else mask.transpose(0, 1)
        return stack(self.rows(emissions, tags, mask)).sum()
