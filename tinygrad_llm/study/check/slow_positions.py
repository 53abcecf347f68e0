"""The slow twins of positions: one number at a time, for one head, query and key.

Shapes: T positions of queries, S of keys, C channels, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...functions.shape.join import stack
from ...tensor import Tensor, wrap

__all__ = ["SlowAlibi", "SlowRelativeBias", "SlowSinusoidalPositions", "bias_twin"]


class SlowSinusoidalPositions:
    """Sine or cosine of one angle for each position and channel: (T) -> (T, C)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def omega(self, j: int) -> float:
        """By how much pair j turns from one position to the next."""
        return self.layer.base ** (-2.0 * j / self.layer.dim)

    def pair(self, c: int) -> tuple[int, bool]:
        """The pair of channel c, and whether it is the pair's sine."""
        return c // 2, c % 2 == 0

    def __call__(self, positions: Tensor, dtype: Any = None) -> Tensor:
        """As the layer."""
        rows = []
        for t in positions.numpy().tolist():
            pairs = [self.pair(c) for c in range(self.layer.dim)]
            rows.append([(math.sin if s else math.cos)(t * self.omega(j)) for j, s in pairs])
        return wrap(np.array(rows)).to(dtype)  # (T, C)


class _Slow:
    """A bias of scores from the number of each head, query and key."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def number(self, h: int, i: int, j: int) -> Any:
        """What is added to the score of head h, query i and key j; a float or a 0-d tensor."""
        raise NotImplementedError("a twin of a bias says what is added")

    def __call__(self, queries: Tensor, keys: Tensor, dtype: Any = None) -> Tensor:
        """As the layer: positions (T) and (S) -> (H, T, S)."""
        numbers = [
            self.number(h, i, j)
            for h in range(self.layer.n_heads)
            for i in queries.numpy().tolist()
            for j in keys.numpy().tolist()
        ]
        shape = self.layer.n_heads, len(queries), len(keys)
        if isinstance(numbers[0], float):
            return wrap(np.array(numbers).reshape(shape)).to(dtype)  # (H·T·S) -> (H, T, S)
        return stack(numbers).view(*shape)  # (H·T·S) -> (H, T, S)


class SlowAlibi(_Slow):
    """−mₕ·|i − j|, the slope of each head by the paper's rule."""

    def slope(self, h: int) -> float:
        """mₕ for h = 0 … H − 1."""
        below = 1
        while 2 * below <= self.layer.n_heads:
            below *= 2
        if h < below:
            return 2.0 ** (-8.0 * (h + 1) / below)
        return 2.0 ** (-8.0 * (2 * (h - below) + 1) / (2 * below))

    def distance(self, i: int, j: int) -> int:
        """How far key j is from query i."""
        return abs(i - j)

    def number(self, h: int, i: int, j: int) -> float:
        return -self.slope(h) * self.distance(i, j)


class SlowRelativeBias(_Slow):
    """A row of the table for each pair, by the distance of the key from the query."""

    def direction(self, i: int, j: int) -> tuple[int, int, int]:
        """(the first bucket, the number of buckets, the distance) for query i and key j."""
        n = self.layer.n_buckets
        if not self.layer.bidirectional:
            return 0, n, max(i - j, 0)
        return (n // 2 if j > i else 0), n // 2, abs(i - j)

    def grown(self, far: int, exact: int, n: int) -> int:
        """The bucket of a distance that has no bucket of its own."""
        share = math.log(far / exact) / math.log(self.layer.max_distance / exact)
        return exact + int(share * (n - exact) + 1e-6)  # a distance on an edge belongs above it

    def bucket(self, i: int, j: int) -> int:
        """The row of the table."""
        first, n, far = self.direction(i, j)
        exact = n // 2
        return first + (far if far < exact else min(self.grown(far, exact, n), n - 1))

    def number(self, h: int, i: int, j: int) -> Tensor:
        return self.layer.table.weight[self.bucket(i, j), h]


def bias_twin(layer: Any) -> Any:
    """The slow twin of a position bias."""
    twins: dict[str, Any] = {"Alibi": SlowAlibi, "RelativeBias": SlowRelativeBias}
    return twins[type(layer).__name__](layer)
