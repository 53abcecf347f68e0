"""Multi-head latent attention: keys and values of all heads are computed from one short vector.

Shapes: B batch, T tokens of x, S keys, H heads, D head_dim, P channels that carry the position,
W value_head_dim, R kv_rank.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays.devices import xp_of
from ..autograd.grad_mode import no_grad
from ..functions.creation.ranges import arange
from ..functions.shape.join import cat
from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.norm import RMSNorm
from ..tensor import Tensor, dtypes, wrap
from .indexer import Indexer, collecting, index_loss
from .latent_cache import LatentCache
from .masks import causal_keys, with_padding
from .rotary import Rotary

__all__ = ["LatentAttention"]


class LatentAttention(Module):
    """y = W_o·concat(softmax(Qₕ·Kₕᵀ·scale)·Vₕ), K and V from a latent c: x (B, T, dim) -> the same.

    c = norm(W_kv·x) has R channels, far fewer than the keys and values of all heads; W_up makes
    them from it: head h has the key [W_K,h·c, r] and the value W_V,h·c. A rotation can't pass
    through W_up, so the position has P separate channels: r, one key for all heads, turned.

        x ──► kv_down ──┬─ R ──► kv_norm ──► c ──► kv_up ──► H keys (D) and H values (W)
                        └─ P ──► rotary  ──► r ──────────►  + the same P channels for each head
        the cache keeps c and r only: R + P numbers per token, for any number of heads

    dim             channels of x
    n_heads         H
    kv_rank         R, channels of c
    q_rank          queries pass such a narrow vector too, with its norm; None: straight from x
    head_dim        D, channels of a query and a key without a position; dim/H if None
    value_head_dim  W, channels of a value; D if None
    rotary          a Rotary for P channels (DeepSeek's is interleaved); None: P = 0
    bias            whether kv_down, q_down and out_proj have a bias
    norm_eps        ε of the norms
    scale           of the scores, 1/√(D + P) if None
    dropout         of the weights, in training
    absorb          see below; None: the form with less work
    indexer         an Indexer with q_dim = q_rank, or dim: each query reads only the top_k keys
                    that it chooses (DeepSeek V3.2); the cache keeps the indexer's key too

    Two forms with the same result. *Expanded*: kv_up makes keys and values of all tokens, then
    ordinary attention. *Absorbed*: q·(W_K·c) = (W_Kᵀ·q)·c, so queries move to the R channels of c,
    attend to c itself as H query heads with one key head, and W_V follows at the end; nothing is
    computed per key. For T new tokens and S keys, multiplications of a head:
        expanded  S·R·(D + W) + T·S·(D + P + W)       absorbed  T·R·(D + W) + T·S·(2R + P)
    The first is less in training (T = S), the second while tokens are written one by one.

    `q` is one matrix, or `q_down`, `q_norm`, `q_up`: D rows of a head, then its P. `kv_down`: R
    rows, then P. `kv_up`: for each head D rows of its key, then W of its value. `out_proj` is W_o.
    Raises: ValueError if the numbers do not fit each other.
    Sources: DeepSeek-AI (2024), "DeepSeek-V2", section 2.1; V3 (2024), section 2.1.1.
    """

    def __init__(
        self, dim: int, n_heads: int, *, kv_rank: int, q_rank: int | None = None,
        head_dim: int | None = None, value_head_dim: int | None = None,
        rotary: Rotary | None = None, bias: bool = False, norm_eps: float = 1e-6,
        scale: float | None = None, dropout: float = 0.0, absorb: bool | None = None,
        indexer: Indexer | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = {"dim": dim, "n_heads": n_heads, "kv_rank": kv_rank, "q_rank": q_rank,
                 "head_dim": head_dim, "value_head_dim": value_head_dim}  # fmt: skip
        for name, n in sizes.items():
            if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
                raise ValueError(
                    f"LatentAttention: {name} must be an integer of at least 1, got {n!r}"
                )
        if head_dim is None and dim % n_heads:
            raise ValueError(
                f"LatentAttention: dim must be a multiple of n_heads, got {dim} and {n_heads}"
            )
        H, D = n_heads, dim // n_heads if head_dim is None else head_dim
        P, W = 0 if rotary is None else rotary.head_dim, value_head_dim or D
        self.n_heads, self.head_dim, self.rotary_dim, self.value_head_dim = H, D, P, W
        self.kv_rank, self.q_rank, self.rotary = kv_rank, q_rank, rotary
        self.dropout, self.absorb = dropout, absorb
        self.scale = 1.0 / math.sqrt(D + P) if scale is None else scale
        if q_rank is None:
            self.q = Linear(dim, H * (D + P), bias=False)
        else:
            self.q_down = Linear(dim, q_rank, bias=bias)
            self.q_norm = RMSNorm(q_rank, norm_eps)
            self.q_up = Linear(q_rank, H * (D + P), bias=False)
        self.kv_down = Linear(dim, kv_rank + P, bias=bias)
        self.kv_norm = RMSNorm(kv_rank, norm_eps)
        self.kv_up = Linear(kv_rank, H * (D + W), bias=False)
        self.out_proj = Linear(H * W, dim, bias=bias)
        self.indexer = indexer

    def forward(
        self, x: Tensor, *, cache: LatentCache | None = None, mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, dim) -> (B, T, dim).

        cache: see `new_cache`; x are the tokens that follow those in it
        mask: bool (B, past + T), False for padding at the left; or, with four dimensions, as
        Attention takes it: in place of the causal mask, it broadcasts to (B, H, T, past + T)
        positions: integers (T) or (B, T) for rotary; past, past + 1, … if None
        """
        B, T, _ = x.shape
        H, W = self.n_heads, self.value_head_dim
        past = 0 if cache is None else cache.length
        if positions is None:
            positions = arange(past, past + T, device=x.device)  # (T)
        narrow = x if self.q_rank is None else self.q_norm(self.q_down(x))  # (B, T, q_rank)
        queries, tokens = self._queries_and_tokens(x, narrow, positions)
        parts = [tokens]
        if self.indexer is not None:
            parts.append(self.indexer.keys(x.detach(), positions))  # (B, T, channels of a key)
        if cache is not None:
            parts = cache.append(*parts)  # (B, S, R + P), (B, S, channels of a key)
        tokens = parts[0]
        mask = with_padding(mask, past, T)
        if self.indexer is not None:
            mask = self._sparse(x, narrow, parts[1], positions, mask, queries, tokens)
        causal = mask is None and T > 1  # one token sees all that are there
        attend = self._absorbed if self._absorbs(T, tokens.shape[1]) else self._expanded
        context = attend(
            queries, tokens, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal, scale=self.scale, enable_gqa=True, offset=past if causal else 0,
        )  # (B, H, T, W)  # fmt: skip
        return self.out_proj(context.transpose(1, 2).reshape(B, T, H * W))  # (B, T, dim)

    def _queries_and_tokens(
        self, x: Tensor, narrow: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, H, T, D + P), and what the cache keeps: [c, r] (B, T, R + P); turned."""
        B, T, _ = x.shape
        H, D, P = self.n_heads, self.head_dim, self.rotary_dim
        queries = (self.q if self.q_rank is None else self.q_up)(narrow)
        queries = queries.view(B, T, H, D + P).transpose(1, 2)  # (B, H, T, D + P)
        c, r = self.kv_down(x).split([self.kv_rank, P], dim=-1)  # (B, T, R), (B, T, P)
        c = self.kv_norm(c)
        if self.rotary is None:
            return queries, c
        plain, turned = queries.split([D, P], dim=-1)  # (B, H, T, D), (B, H, T, P)
        turned, r = self.rotary(turned, r.unsqueeze(1), positions=positions)  # (B, 1, T, P)
        return cat([plain, turned], -1), cat([c, r.squeeze(1)], -1)

    def _sparse(
        self, x: Tensor, narrow: Tensor, keys: Tensor, positions: Tensor, mask: Tensor | None,
        queries: Tensor, tokens: Tensor,
    ) -> Tensor:  # fmt: skip
        """Which keys the indexer chose for each query: bool (B, 1, T, S).

        Within collected_index_losses its loss is appended to the list.
        Raises: ValueError if the mask is of numbers, or not the same for all heads.
        """
        assert self.indexer is not None
        T, S = x.shape[1], tokens.shape[1]
        if mask is None:
            mask = wrap(causal_keys(xp_of(x.array), S - T, T))  # (T, S)
        if mask.dtype is not dtypes.bool_ or (mask.dim() == 4 and mask.shape[1] != 1):
            raise ValueError("LatentAttention with an indexer takes bool masks (B, 1, T, S) only")
        scores = self.indexer(x.detach(), narrow.detach(), keys=keys, positions=positions)
        seen = self.indexer.chosen(scores, mask)
        losses = collecting()
        if losses is not None:
            losses.append(index_loss(scores, self._weights(queries, tokens, seen), seen))
        return seen

    @no_grad()
    def _weights(self, queries: Tensor, tokens: Tensor, seen: Tensor) -> Tensor:
        """The weights of the keys that are seen, (B, H, T, S), without a graph."""
        H, R, D = self.n_heads, self.kv_rank, self.head_dim
        w_key = self.kv_up.weight.view(H, D + self.value_head_dim, R)[:, :D]  # (H, D, R)
        plain, turned = queries.split([D, self.rotary_dim], dim=-1)
        moved = cat([plain @ w_key, turned], -1) if self.rotary_dim else plain @ w_key
        scores = moved @ tokens.transpose(1, 2).unsqueeze(1) * self.scale  # (B, H, T, S)
        return F.softmax(scores.masked_fill(~seen, float("-inf")), dim=-1)

    def _absorbs(self, T: int, S: int) -> bool:
        """Whether the absorbed form is used for T new tokens among S keys."""
        if self.absorb is not None:
            return self.absorb
        R, D, P, W = self.kv_rank, self.head_dim, self.rotary_dim, self.value_head_dim
        expanded = S * R * (D + W) + T * S * (D + P + W)
        return T * R * (D + W) + T * S * (2 * R + P) < expanded

    def _expanded(self, queries: Tensor, tokens: Tensor, **options: Any) -> Tensor:
        """Keys and values of all heads: queries (B, H, T, D + P), [c, r] -> (B, H, T, W)."""
        B, S, _ = tokens.shape
        H, D, P, W = self.n_heads, self.head_dim, self.rotary_dim, self.value_head_dim
        c, r = tokens.split([self.kv_rank, P], dim=-1)  # (B, S, R), (B, S, P)
        both = self.kv_up(c).view(B, S, H, D + W).transpose(1, 2)  # (B, H, S, D + W)
        keys, values = both.split([D, W], dim=-1)
        if P:
            keys = cat([keys, r.unsqueeze(1).expand(B, H, S, P)], -1)  # (B, H, S, D + P)
        return F.scaled_dot_product_attention(queries, keys, values, **options)

    def _absorbed(self, queries: Tensor, tokens: Tensor, **options: Any) -> Tensor:
        """Attention to [c, r] itself: queries (B, H, T, D + P), [c, r] -> (B, H, T, W)."""
        H, R, D = self.n_heads, self.kv_rank, self.head_dim
        up = self.kv_up.weight.view(H, D + self.value_head_dim, R)
        w_key, w_value = up[:, :D], up[:, D:]  # (H, D, R), (H, W, R)
        plain, turned = queries.split([D, self.rotary_dim], dim=-1)
        moved = plain @ w_key  # (B, H, T, D) @ (H, D, R) -> (B, H, T, R)
        if self.rotary_dim:
            moved = cat([moved, turned], -1)  # (B, H, T, R + P)
        keys = tokens.unsqueeze(1)  # (B, 1, S, R + P): one key head for all
        context = F.scaled_dot_product_attention(moved, keys, keys[..., :R], **options)
        return context @ w_value.transpose(1, 2)  # (B, H, T, R) @ (H, R, W) -> (B, H, T, W)

    def new_cache(self, max_length: int) -> LatentCache:
        """An empty cache for `forward`, with room for max_length tokens."""
        return LatentCache(max_length)

    def cache_bytes_per_token(self, bytes_per_number: int = 4) -> int:
        """Bytes that the cache keeps per token and row of the batch: R + P numbers.

        With an indexer those of its key too.
        """
        own = 0 if self.indexer is None else self.indexer.head_dim
        return (self.kv_rank + self.rotary_dim + own) * bytes_per_number

    def flops_per_token(self, context_length: int) -> float:
        """Floating-point operations of scores and weighted sums per token, forward and backward.

        6·H·(D + P + W) for each key that a query sees, in the expanded form: a multiplication and
        an addition per channel, once forward and twice backward. On average a query sees T/2 keys
        in a text of T = context_length tokens, as in Attention.flops_per_token; with an indexer
        k − k²/2T, and the indexer's own scores, 6·(channels of all its heads) for T/2 keys.
        """
        T, channels = context_length, self.head_dim + self.rotary_dim + self.value_head_dim
        if self.indexer is None:
            return 6.0 * self.n_heads * channels * T / 2
        k, own = self.indexer.top_k, self.indexer.n_heads * self.indexer.head_dim
        seen = T / 2 if k >= T else k - k * k / (2 * T)
        return 6.0 * self.n_heads * channels * seen + 6.0 * own * T / 2

    def extra_repr(self) -> str:
        options = {
            "kv_rank": self.kv_rank, "q_rank": self.q_rank, "head_dim": self.head_dim,
            "value_head_dim": self.value_head_dim, "rotary": self.rotary, "absorb": self.absorb,
        }  # fmt: skip
        shown = [f"{name}={value}" for name, value in options.items() if value is not None]
        return ", ".join([f"n_heads={self.n_heads}", *shown])
