"""Where a token stands: vectors that are added to tokens, and numbers that are added to scores.

Rotary positions, which turn queries and keys, are in rotary.py.

Shapes: T tokens of the queries, S tokens of the keys, C channels, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..arrays.devices import xp_of
from ..autograd.grad_mode import is_grad_enabled
from ..nn.module import Module
from ..nn.sparse import Embedding
from ..tensor import Tensor, dtypes, wrap

__all__ = ["Alibi", "RelativeBias", "SinusoidalPositions", "shared_biases"]


class SinusoidalPositions(Module):
    """p₂ⱼ = sin(t·ωⱼ), p₂ⱼ₊₁ = cos(t·ωⱼ), ωⱼ = base^(−2j/C): positions (...) -> (..., C).

    dim     C, channels; an odd C ends with a sine
    base    how slowly the slowest pair turns

    It has no parameters and no longest text. p(t + n) is p(t) with each pair turned by n·ωⱼ, so
    that p(t)·p(s) depends on t − s alone. Source: Vaswani et al. (2017), section 3.5.
    Raises: ValueError if dim is below 1 or base is not a positive number.
    """

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        super().__init__()
        if dim < 1 or not 0.0 < base < math.inf:
            raise ValueError(
                f"SinusoidalPositions: dim must be at least 1 and base positive and finite, got "
                f"{dim!r} and {base!r}"
            )
        self.dim, self.base = dim, base

    def forward(self, positions: Tensor, dtype: dtypes.dtype | None = None) -> Tensor:
        """positions, integers (...), -> (..., C) of dtype; the default dtype if None."""
        xp = xp_of(positions.array)
        j = xp.arange((self.dim + 1) // 2, dtype="float64")
        angles = positions.array[..., None] * self.base ** (-2.0 * j / self.dim)  # (..., C/2)
        pairs = xp.stack([xp.sin(angles), xp.cos(angles)], -1)  # (..., C/2, 2)
        both = pairs.reshape(*angles.shape[:-1], -1)[..., : self.dim]  # (..., C/2, 2) -> (..., C)
        return wrap(both.astype(dtypes.numpy_dtype(dtype)))

    def extra_repr(self) -> str:
        return f"{self.dim}, base={self.base:g}"


def distances(queries: Tensor, keys: Tensor) -> Any:
    """How far each key stands behind its query, i − j: an array (T, S), negative for later keys."""
    return queries.array[:, None] - keys.array[None, :]  # (T, 1) − (1, S) -> (T, S)


class Alibi(Module):
    """bias = −mₕ·|i − j| for query i and key j: positions (T) and (S) -> (H, T, S).

    n_heads     H. Its rates are mₕ = 2^(−8h/H) for h = 1 … H, if H is a power of two; otherwise
                those of the power of two below H, and then every second one of the power above

    It has no parameters: near heads and far heads are fixed. Used as an Attention's position_bias.
    Source: Press et al. (2021), "Train Short, Test Long", section 3.
    Raises: ValueError if n_heads is below 1.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1:
            raise ValueError(f"Alibi: n_heads must be at least 1, got {n_heads!r}")
        below = 1 << (n_heads.bit_length() - 1)  # the power of two
        rates = [2.0 ** (-8.0 * h / below) for h in range(1, below + 1)]
        between = [2.0 ** (-4.0 * h / below) for h in range(1, 2 * below, 2)]
        self.n_heads, self.rates = n_heads, (rates + between)[:n_heads]

    def forward(self, queries: Tensor, keys: Tensor, dtype: dtypes.dtype | None = None) -> Tensor:
        """Positions of the queries (T) and keys (S), -> (H, T, S) of dtype."""
        xp, far = xp_of(queries.array), abs(distances(queries, keys))
        rates = xp.asarray(self.rates)[:, None, None]  # (H) -> (H, 1, 1)
        return wrap((-rates * far).astype(dtypes.numpy_dtype(dtype)))  # (H, T, S)

    def extra_repr(self) -> str:
        return f"{self.n_heads}"


_SHARED: ContextVar[dict[Any, Tensor] | None] = ContextVar("shared_biases", default=None)


@contextmanager
def shared_biases() -> Iterator[None]:
    """Within it a RelativeBias computes its biases once, and returns the same tensor to all blocks.

    For one pass through blocks with the same queries and keys: as many of each are the same ones.
    """
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


class RelativeBias(Module):
    """bias = table[bucket(j − i), h] for query i and key j: positions (T) and (S) -> (H, T, S).

    n_heads         H
    n_buckets       rows of the table; max_distance: from there on all keys share the last bucket
    bidirectional   True: half of the buckets are for later keys (T5's encoder). False: later keys
                    share bucket 0 with the query itself, for attention that does not see them

    Half of the buckets of a direction hold one distance each, the others grow with the logarithm.
    `table` is an Embedding (n_buckets, H), learned; T5's blocks share one. Used as an Attention's
    position_bias: ∂L/∂table[b] is the sum of ∂L/∂score over all pairs in bucket b.
    Source: Raffel et al. (2019), "Exploring the Limits of Transfer Learning", section 2.1.
    Raises: ValueError for too few buckets, or a max_distance that buckets of one reach.
    """

    def __init__(
        self, n_heads: int, *, n_buckets: int = 32, max_distance: int = 128,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        each = n_buckets // 2 if bidirectional else n_buckets  # buckets of a direction
        if each < 2 or max_distance <= each // 2:
            raise ValueError(
                "RelativeBias: n_buckets must be at least 2 in each direction and max_distance "
                f"more than half of them, got {n_buckets} and {max_distance}"
            )
        self.n_heads, self.n_buckets, self.max_distance = n_heads, n_buckets, max_distance
        self.bidirectional = bidirectional
        self.table = Embedding(n_buckets, n_heads)

    def buckets(self, queries: Tensor, keys: Tensor) -> Any:
        """The bucket of each pair: an integer array (T, S)."""
        xp, behind = xp_of(queries.array), distances(queries, keys)  # (T, S)
        n, first = self.n_buckets, xp.zeros_like(behind)
        if self.bidirectional:
            n //= 2
            first = xp.where(behind < 0, n, 0)
        far = abs(behind) if self.bidirectional else behind.clip(0)
        exact = n // 2
        # In float32, as transformers computes it: a distance on an edge falls into the same bucket
        ratio = xp.log(far.clip(1).astype("float32") / exact) / math.log(self.max_distance / exact)
        grown = exact + (ratio * (n - exact)).astype("int64")
        return first + xp.where(far < exact, far, grown.clip(0, n - 1))

    def forward(self, queries: Tensor, keys: Tensor, dtype: dtypes.dtype | None = None) -> Tensor:
        """Positions of the queries (T) and keys (S), -> (H, T, S) of dtype, the table's if None."""
        made = _SHARED.get()
        key = id(self), len(queries), len(keys), dtype, is_grad_enabled()
        if made is not None and key in made:
            return made[key]
        rows = self.table(wrap(self.buckets(queries, keys)))  # (T, S, H)
        bias = rows.permute(2, 0, 1)  # (T, S, H) -> (H, T, S)
        bias = bias if dtype is None else bias.to(dtype)
        if made is not None:
            made[key] = bias
        return bias

    def extra_repr(self) -> str:
        kind = "bidirectional" if self.bidirectional else "causal"
        return f"{self.n_heads}, max_distance={self.max_distance}, {kind}"
