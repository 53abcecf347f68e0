"""Sparse attention: a small, cheap attention chooses which keys each query of the large one reads.

Shapes: B batch, T tokens of x, S keys, H heads of the indexer, D their channels, k top_k.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..arrays.devices import xp_of
from ..functions.creation.ranges import arange
from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.norm import LayerNorm
from ..tensor import Tensor, wrap
from .rotary import Rotary

__all__ = ["Indexer", "collected_index_losses", "index_loss"]

_lists = threading.local()  # .current: the list that collects losses, or None


@contextmanager
def collected_index_losses() -> Iterator[list[Tensor]]:
    """Within it each LatentAttention with an indexer appends its `index_loss`, with its graph.

    with collected_index_losses() as losses:
        loss = model.loss(ids, targets)
    (loss + sum(losses)).backward()
    """
    before = getattr(_lists, "current", None)
    collected: list[Tensor] = []
    _lists.current = collected
    try:
        yield collected
    finally:
        _lists.current = before


def collecting() -> list[Tensor] | None:
    """The list of the innermost collected_index_losses, or None outside of it."""
    return getattr(_lists, "current", None)


class Indexer(Module):
    """I_ts = Σⱼ w_tj·relu(q_tj·k_s)/√(D·H), how much query t wants key s: (B, T, dim) -> (B, T, S).

    dim        channels of x
    n_heads    H, few; head_dim: D, small
    top_k      k, how many keys a query of the large attention reads
    q_dim      channels of what queries are computed from, such as q_rank; dim if None
    rotary     a Rotary that turns queries and keys by their positions, or None

    One key per token for all heads, so that the scores cost little: `q` (H·D rows), `k` (D rows)
    with `k_norm`, and `weights` (H rows) are all it has. The choice of the k largest has no
    gradient; the indexer learns from `index_loss`, apart from the model.
    Raises: ValueError if the numbers do not fit each other.
    Source: DeepSeek-AI (2025), "DeepSeek-V3.2", section 2.1, "lightning indexer".
    """

    def __init__(
        self, dim: int, n_heads: int, head_dim: int, *, top_k: int, q_dim: int | None = None,
        rotary: Rotary | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"Indexer: top_k must be an integer of at least 1, got {top_k!r}")
        if rotary is not None and rotary.head_dim != head_dim:
            raise ValueError(
                f"Indexer: rotary is for a head_dim of {rotary.head_dim}, not {head_dim}"
            )
        self.n_heads, self.head_dim, self.top_k, self.rotary = n_heads, head_dim, top_k, rotary
        self.q = Linear(q_dim or dim, n_heads * head_dim, bias=False)
        self.k = Linear(dim, head_dim, bias=False)
        self.k_norm = LayerNorm(head_dim, eps=1e-6)
        self.weights = Linear(dim, n_heads, bias=False)

    def keys(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """The key of each token, turned: (B, T, dim) -> (B, T, D); a cache keeps them."""
        k = self.k_norm(self.k(x))
        if self.rotary is None:
            return k
        places = arange(x.shape[1], device=x.device) if positions is None else positions
        return self.rotary(k.unsqueeze(1), positions=places)[0].squeeze(1)

    def forward(
        self, x: Tensor, q_input: Tensor | None = None, *, keys: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The scores (B, T, S) of all keys, future ones too: x (B, T, dim).

        q_input: (B, T, q_dim), what queries are computed from; x if None
        keys: (B, S, D), those of all tokens; those of x if None
        positions: integers (T) or (B, T) for rotary; 0, 1, … if None
        """
        B, T, _ = x.shape
        H, D = self.n_heads, self.head_dim
        q = self.q(x if q_input is None else q_input).view(B, T, H, D).transpose(1, 2)
        if self.rotary is not None:
            places = arange(T, device=x.device) if positions is None else positions
            (q,) = self.rotary(q, positions=places)
        keys = self.keys(x, positions) if keys is None else keys
        agreement = F.relu(q @ keys.transpose(1, 2).unsqueeze(1))  # (B, H, T, D) -> (B, H, T, S)
        w = self.weights(x).transpose(1, 2).unsqueeze(-1)  # (B, T, H) -> (B, H, T, 1)
        return (w * agreement).sum(1) * (H * D) ** -0.5  # (B, H, T, S) -> (B, T, S)

    def chosen(self, scores: Tensor, seen: Tensor) -> Tensor:
        """The k keys with the largest scores among those that a query may see: bool (B, 1, T, S).

        scores: (B, T, S); seen: bool, broadcasts to (B, 1, T, S)
        """
        B, T, S = scores.shape
        hidden = scores.detach().masked_fill(~seen.expand(B, 1, T, S)[:, 0], float("-inf"))
        best = hidden.topk(min(self.top_k, S), dim=-1)[1].array  # (B, T, k)
        xp = xp_of(best)
        taken = xp.zeros((B * T, S), bool)
        taken[xp.arange(B * T)[:, None], best.reshape(B * T, -1)] = True
        return wrap(taken.reshape(B, 1, T, S)) & seen  # few keys are there for the first queries

    def extra_repr(self) -> str:
        return f"n_heads={self.n_heads}, head_dim={self.head_dim}, top_k={self.top_k}"


def index_loss(scores: Tensor, weights: Tensor, seen: Tensor) -> Tensor:
    """KL(p ‖ softmax(scores)), the mean over queries; p = the weights' mean over heads; 0-d.

    scores: (B, T, S), an indexer's; weights: (B, H, T, S), of the attention that it chooses for,
    without their graph; seen: bool, broadcasts to (B, 1, T, S), the keys that attention read
    Source: DeepSeek-AI (2025), "DeepSeek-V3.2", section 2.1.1, equations 3 and 4.
    """
    B, T, S = scores.shape
    p = weights.detach().mean(1)  # (B, H, T, S) -> (B, T, S)
    hidden = ~seen.expand(B, 1, T, S)[:, 0]  # (B, T, S)
    log_q = F.log_softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)
    log_q = log_q.masked_fill(hidden, 0.0)  # p is 0 there
    log_p = p.masked_fill(p == 0.0, 1.0).log()
    return (p * (log_p - log_q)).sum() * (1.0 / (B * T))
