"""The slow twins of attention's other forms: loops over heads and queries, by the definition.

Shapes: B batch, T tokens, C channels, H heads, D head_dim, P channels of the position, R kv_rank, W
value_head_dim.
"""

from __future__ import annotations

from typing import Any

from ...functions.creation.ranges import arange
from ...functions.shape.join import cat, stack
from ...tensor import Tensor
from .slow_caches import picked

__all__ = ["SlowIndexer", "SlowLatentAttention", "SlowLatentCache"]


def product(x: Tensor, linear: Any) -> Tensor:
    """x·Wᵀ + b: (..., in) -> (..., out)."""
    y = x @ linear.weight.T  # (..., in) -> (..., out)
    return y if linear.bias is None else y + linear.bias


class SlowLatentAttention:
    """Keys and values of each head and token from its latent; nothing is absorbed or cached."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def normed(self, x: Tensor, norm: Any) -> Tensor:
        """x/√(mean(x²) + ε)·w: (B, T, n) -> (B, T, n)."""
        return x / ((x * x).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """c (B, T, R), normalised, and r (B, T, P), the channels of the position, not turned."""
        L = self.layer
        both = product(x, L.kv_down)  # (B, T, R + P)
        return self.normed(both[..., : L.kv_rank], L.kv_norm), both[..., L.kv_rank :]

    def narrow(self, x: Tensor) -> Tensor:
        """What queries are computed from: (B, T, C) -> (B, T, q_rank), or x itself."""
        L = self.layer
        return x if L.q_rank is None else self.normed(product(x, L.q_down), L.q_norm)

    def query(self, h: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Head h's query without position (B, T, D) and its channels of the position (B, T, P)."""
        L = self.layer
        n = L.head_dim + L.rotary_dim
        rows = (L.q if L.q_rank is None else L.q_up).weight[h * n : (h + 1) * n]
        q = self.narrow(x) @ rows.T  # (B, T, D + P)
        return q[..., : L.head_dim], q[..., L.head_dim :]

    def rows(self, h: int) -> tuple[Tensor, Tensor]:
        """Head h's rows of kv_up: of its key (D, R) and of its value (W, R)."""
        L = self.layer
        n = L.head_dim + L.value_head_dim
        own = L.kv_up.weight[h * n : (h + 1) * n]
        return own[: L.head_dim], own[L.head_dim :]

    def turned(self, x: Tensor, positions: Tensor) -> Tensor:
        """x (B, T, P) turned by its positions."""
        rotary = self.layer.rotary
        return x if rotary is None else rotary(x.unsqueeze(1), positions=positions)[0].squeeze(1)

    def scale(self) -> float:
        """The factor of the scores."""
        return self.layer.scale

    def sees(self, i: int, j: int) -> bool:
        """Whether token i may look at token j."""
        return j <= i

    def head(self, h: int, x: Tensor, c: Tensor, r: Tensor, positions: Tensor) -> Tensor:
        """One head: (B, T, C), (B, T, R), (B, T, P) -> (B, T, W)."""
        q, q_position = self.query(h, x)
        w_key, w_value = self.rows(h)
        q = cat([q, self.turned(q_position, positions)], -1)  # (B, T, D + P)
        k = cat([c @ w_key.T, self.turned(r, positions)], -1)  # (B, T, D + P)
        v, rows = c @ w_value.T, []  # (B, T, W)
        for i in range(x.shape[1]):
            seen = [j for j in range(x.shape[1]) if self.sees(i, j)]
            scores = (q[:, i : i + 1] * k[:, seen]).sum(-1) * self.scale()  # (B, seen)
            e = (scores - scores.detach().max(-1, keepdim=True)[0]).exp()
            weights = e / e.sum(-1, keepdim=True)
            rows.append((weights.unsqueeze(-1) * v[:, seen]).sum(1))  # (B, seen, W) -> (B, W)
        return stack(rows, 1)  # T times (B, W) -> (B, T, W)

    def __call__(self, x: Tensor, *, positions: Tensor | None = None) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        c, r = self.latent(x)
        positions = arange(0, x.shape[1]) if positions is None else positions
        heads = [self.head(h, x, c, r, positions) for h in range(self.layer.n_heads)]
        return product(cat(heads, -1), self.layer.out_proj)  # (B, T, H·W) -> (B, T, C)


class SlowLatentCache:
    """A list of tokens, each with its parts, (B, 1, N) each."""

    def __init__(self, layer: Any) -> None:
        self.tokens: list[tuple[Tensor, ...]] = []

    @property
    def length(self) -> int:
        """Tokens in it."""
        return len(self.tokens)

    def append(self, *parts: Tensor) -> list[Tensor]:
        """All tokens of each part, (B, S, N), the new ones last."""
        self.tokens += [tuple(p[:, t : t + 1] for p in parts) for t in range(parts[0].shape[1])]
        return [cat(list(part), 1) for part in zip(*self.tokens, strict=True)]

    def can_truncate(self, length: int) -> bool:
        """Whether there are so many tokens."""
        return 0 <= length <= self.length

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`."""
        self.tokens = self.tokens[:length]

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        self.tokens = [tuple(picked(p, indices) for p in one) for one in self.tokens]


class SlowIndexer:
    """A loop over queries and heads: how much each wants every key."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def normed(self, k: Tensor) -> Tensor:
        """Layer norm of keys (B, T, D)."""
        norm, mean = self.layer.k_norm, k.mean(-1, keepdim=True)
        size = (((k - mean) * (k - mean)).mean(-1, keepdim=True) + norm.eps).sqrt()
        return (k - mean) / size * norm.weight + norm.bias

    def turned(self, x: Tensor) -> Tensor:
        """x (B, T, D) turned by its positions."""
        rotary, T = self.layer.rotary, x.shape[1]
        return x if rotary is None else rotary(x.unsqueeze(1), positions=arange(0, T))[0][:, 0]

    def positive(self, scores: Tensor) -> Tensor:
        """What counts of the scores: their positive part."""
        return scores * (scores.detach() > 0).to(scores.dtype)

    def factor(self) -> float:
        """1/√(D·H)."""
        return float((self.layer.head_dim * self.layer.n_heads) ** -0.5)

    def weight(self, x: Tensor, j: int) -> Tensor:
        """How much head j counts for the token x (B, C): (B, 1)."""
        return x @ self.layer.weights.weight[j : j + 1].T

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, S)."""
        L = self.layer
        D, keys = L.head_dim, self.turned(self.normed(product(x, L.k)))  # (B, T, D)
        every = [self.turned(x @ L.q.weight[j * D : (j + 1) * D].T) for j in range(L.n_heads)]
        rows = []
        for t in range(x.shape[1]):
            row = keys[..., 0] * 0.0  # (B, S)
            for j, q in enumerate(every):
                scores = self.positive((q[:, t : t + 1] * keys).sum(-1))  # (B, S)
                row = row + self.weight(x[:, t], j) * scores
            rows.append(row * self.factor())
        return stack(rows, 1)  # T times (B, S) -> (B, T, S)
