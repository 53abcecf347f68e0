"""The slow twins of positions: one number at a time, for one head, query and key.

Shapes: T positions of queries, S of keys, C channels, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...functions.shape.join import stack
from ...tensor import Tensor, wrap

__all__ = [
    "SameOmega",
    "SlowAlibi",
    "SlowRelativeBias",
    "SlowRotary",
    "SlowSinusoidalPositions",
    "bias_twin",
]


class SlowRotary:
    """Each pair of channels times its rotation matrix: x (B, T, D) -> (B, T, D)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def omega(self, j: int) -> float:
        """By how much pair j turns from one position to the next."""
        scaling, omega = self.layer.scaling, self.layer.base ** (-2.0 * j / self.layer.dim)
        kind, factor = scaling.get("rope_type", "default"), scaling.get("factor", 1.0)
        return omega if kind == "default" else self.mixed(omega, self.kept(kind, j, omega), factor)

    def mixed(self, omega: float, kept: float, factor: float) -> float:
        """A share `kept` of ω as it is, the rest divided by factor."""
        return kept * omega + (1.0 - kept) * omega / factor

    def kept(self, kind: str, j: int, omega: float) -> float:
        """The share of ω that the scaling leaves as it is: 0 slow pairs, 1 fast ones."""
        scaling = self.layer.scaling
        if kind == "linear":
            return 0.0
        turns = scaling["original_max_position_embeddings"] * omega / (2.0 * math.pi)
        if kind == "llama3":
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            return min(max((turns - low) / (high - low), 0.0), 1.0)
        first, last = (
            self.layer.dim * math.log(scaling["original_max_position_embeddings"]
                                      / (times * 2.0 * math.pi)) / (2.0 * math.log(self.layer.base))
            for times in (scaling.get("beta_fast", 32.0), scaling.get("beta_slow", 1.0))
        )  # fmt: skip
        first = max(math.floor(first), 0)
        last = min(math.ceil(last), self.layer.dim - 1)
        return 1.0 - min(max((j - first) / max(last - first, 0.001), 0.0), 1.0)

    def pair(self, j: int) -> tuple[int, int]:
        """The two channels of pair j."""
        return (2 * j, 2 * j + 1) if self.layer.interleaved else (j, j + self.layer.dim // 2)

    def matrix(self, cos: Any, sin: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """The rotation matrix, its two rows."""
        return (cos, -sin), (sin, cos)

    def turned(self, x: Tensor, positions: Tensor) -> Tensor:
        """x (B, T, D) turned by its positions, (T) or (B, T)."""
        channels = [x[..., i] for i in range(x.shape[-1])]  # (B, T) each
        for j in range(self.layer.dim // 2):
            angle = positions.numpy().astype("float32") * np.float32(self.omega(j))  # (T) or (B, T)
            factor = self.layer.attention_factor
            wide = angle.astype("float64")
            cos, sin = (
                wrap((f(wide).astype("float32") * factor).astype(x.array.dtype))
                for f in (np.cos, np.sin)
            )  # as the layer: angles in float32
            a, b = self.pair(j)
            (aa, ab), (ba, bb) = self.matrix(cos, sin)
            old_a, old_b = x[..., a], x[..., b]
            channels[a], channels[b] = aa * old_a + ab * old_b, ba * old_a + bb * old_b
        return stack(channels, -1)  # D times (B, T) -> (B, T, D)

    def __call__(self, *xs: Tensor, positions: Tensor) -> list[Tensor]:
        """As the layer: each x is (B, H, T, D)."""
        return [
            stack([self.turned(x[:, h], positions) for h in range(x.shape[1])], 1) for x in xs
        ]  # H times (B, T, D) -> (B, H, T, D)


class SameOmega(SlowRotary):
    """With the layer's own ω, which are rounded to float32: for comparisons to 1e-12."""

    def omega(self, j: int) -> float:
        return float(self.layer.frequencies[j])


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
    """−mₕ·|i − j|, the rate of each head by the paper's rule."""

    def rate(self, h: int) -> float:
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
        return -self.rate(h) * self.distance(i, j)


class SlowRelativeBias(_Slow):
    """A row of the table for each pair, by the distance of the key from the query."""

    def direction(self, i: int, j: int) -> tuple[int, int, int]:
        """(the first bucket, the number of buckets, the distance) for query i and key j."""
        n = self.layer.n_buckets
        if not self.layer.bidirectional:
            return 0, n, max(i - j, 0)
        return (n // 2 if j > i else 0), n // 2, abs(i - j)

    def grown(self, far: int, exact: int, n: int) -> int:
        """The bucket of a distance that has no bucket for itself alone."""
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
