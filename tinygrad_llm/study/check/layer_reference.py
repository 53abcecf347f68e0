"""The slow twin of each layer of models: the same numbers by the definition.

A twin is made from a layer, `LAYER_TWINS["Attention"](layer)`, uses its parameters and is called as
the layer is. It has no blocks, no fused op and no cache memory: attention is a loop over heads and
queries, a rotation is a 2 × 2 matrix for each pair, and a cache keeps a list of all tokens. Its
parts are methods, and a planted mistake (study/mistakes/whole_layers.py) replaces one of them.

Shapes: B batch, T tokens of x, S tokens that it looks at, C channels, D head_dim, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...functions.creation.ranges import arange
from ...functions.selection import where
from ...functions.shape.join import cat, stack
from ...tensor import Tensor, wrap
from .slow_binary_passages import SlowBinaryPassageLoss
from .slow_caches import (
    SlowAttentionCache,
    SlowCache,
    SlowCrossCache,
    SlowDecoderCache,
    SlowStreamingCache,
)
from .slow_chains import SlowCRF
from .slow_contrastive import SlowContrastiveLoss
from .slow_experts import SlowExperts, SlowMixtureOfExperts
from .slow_policy import SlowDistillationLoss, SlowPolicyLoss, SlowValueLoss
from .slow_positions import (
    SameOmega,
    SlowAlibi,
    SlowRelativeBias,
    SlowRotary,
    SlowSinusoidalPositions,
    bias_twin,
)
from .slow_recurrent import (
    SlowGatedDeltaNet,
    SlowLinearAttention,
    SlowMamba,
    SlowRecurrentCache,
)
from .slow_variants import SlowIndexer, SlowLatentAttention, SlowLatentCache

__all__ = ["LAYER_TWINS"]


def product(x: Tensor, linear: Any) -> Tensor:
    """x·Wᵀ + b: (..., in) -> (..., out)."""
    y = x @ linear.weight.T  # (..., in) -> (..., out)
    return y if linear.bias is None else y + linear.bias


class SlowAttention:
    """A loop over heads and queries: a weight for each key that the query sees, then their sum."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def projected(self, x: Tensor, memory: Tensor | None) -> list[list[Tensor]]:
        """Queries (B, T, D), keys and values (B, S, D), each a list with one entry per head."""
        L = self.layer
        H, KV = L.n_heads, L.n_kv_heads
        if memory is not None:
            rows = [*self.heads(product(x, L.q), H), *self.heads(product(memory, L.kv), 2 * KV)]
        else:
            rows = self.heads(product(x, L.qkv), (2 * H if L.gate else H) + 2 * KV)
        keys = len(rows) - 2 * KV
        return [self.queries(rows[:keys]), rows[keys : keys + KV], rows[keys + KV :]]

    def queries(self, rows: list[Tensor]) -> list[Tensor]:
        """Of the rows before the keys: with a gate each query is followed by its gate."""
        return rows[::2] if self.layer.gate else rows

    def gated(self, y: Tensor, x: Tensor) -> Tensor:
        """y (B, T, H·D) times the sigmoid of its gate, if the layer has one."""
        if not self.layer.gate:
            return y
        n = 2 * self.layer.n_heads
        rows = self.heads(product(x, self.layer.qkv)[..., : n * self.layer.head_dim], n)
        return y * cat(rows[1::2], -1).sigmoid()

    def heads(self, x: Tensor, n: int) -> list[Tensor]:
        """Channels (B, T, n·D) cut into n heads of D neighbours, (B, T, D) each."""
        D = self.layer.head_dim
        return [x[..., h * D : (h + 1) * D] for h in range(n)]

    def key_head(self, h: int) -> int:
        """The key head that query head h reads: H/KV neighbours share one."""
        return h // (self.layer.n_heads // self.layer.n_kv_heads)

    def placed(self, x: Tensor, norm: Any, positions: Tensor) -> Tensor:
        """A query or key (B, T, D): first its norm, then its rotation."""
        return self.turned(self.normed(x, norm), positions)

    def normed(self, x: Tensor, norm: Any) -> Tensor:
        """x (B, T, D) through the qk_norm, if there is one."""
        return x if norm is None else norm(x)

    def normed_together(self, rows: list[Tensor], norm: Any) -> list[Tensor]:
        """All heads of queries or keys through one norm over all their channels."""
        return self.heads(norm(cat(rows, -1)), len(rows))

    def turned(self, x: Tensor, positions: Tensor) -> Tensor:
        """x (B, T, D) turned by its positions, if the layer has a rotary."""
        rotary = self.layer.rotary
        return x if rotary is None else SameOmega(rotary).turned(x, positions)

    def scale(self) -> float:
        """The factor of the scores, 1/√D unless given."""
        given = self.layer.scale
        return self.layer.head_dim**-0.5 if given is None else given

    def capped(self, scores: Tensor) -> Tensor:
        """c·tanh(scores/c), if there is a soft cap c."""
        cap = self.layer.softcap
        return scores if cap is None else (scores / cap).tanh() * cap

    def biased(self, scores: Tensor, h: int, i: int, keys: list[int]) -> Tensor:
        """The scores (B, keys) of head h and query i plus the position bias, if there is one."""
        if self.layer.position_bias is None:
            return scores
        twin = bias_twin(self.layer.position_bias)
        own, others = (wrap(np.array(n)) for n in ([i], keys))
        return scores + twin(own, others, scores.dtype)[h, 0]  # (H, 1, keys) -> (keys)

    def sees(self, i: int, j: int, with_mask: bool) -> bool:
        """Whether token i may look at token j, a mask aside."""
        L = self.layer
        near = L.window is None or self.near(i, j, L.window) or self.first(j)
        return near and (with_mask or not L.causal or j <= i)

    def near(self, i: int, j: int, window: int) -> bool:
        """Whether j is one of the `window` tokens i, i − d, i − 2d, … with the dilation d."""
        d = self.layer.dilation
        return abs(i - j) < window * d and (i - j) % d == 0

    def first(self, j: int) -> bool:
        """Whether j is one of the first tokens, which every query sees."""
        return j < self.layer.keep_first

    def with_sink(self, h: int, scores: Tensor) -> Tensor:
        """The scores (B, seen) of head h and, if it has one, its sink: (B, seen + 1)."""
        sinks = self.layer.sinks
        return scores if sinks is None else cat([scores, scores[:, :1] * 0.0 + sinks[h]], 1)

    def weights(self, scores: Tensor) -> Tensor:
        """softmax of the scores of one query, (B, keys that it sees)."""
        e = (scores - scores.detach().max(-1, keepdim=True)[0]).exp()
        return e / e.sum(-1, keepdim=True)

    def head(self, h: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """One head: q (B, T, D), k and v (B, S, D) -> (B, T, D). Every query sees some key."""
        B, T, S = q.shape[0], q.shape[1], k.shape[1]
        if mask is not None:
            mask = mask.expand(B, self.layer.n_heads, T, S)[:, h]  # (B, T, S)
        rows = []
        for i in range(T):
            seen = [j for j in range(S) if self.sees(i, j, mask is not None)]
            scores = (q[:, i : i + 1] * k[:, seen]).sum(-1) * self.scale()  # (B, seen)
            scores = self.biased(self.capped(scores), h, i, seen)
            if mask is not None:
                own = mask[:, i][:, seen]
                is_bool = own.numpy().dtype == bool
                scores = where(own, scores, -math.inf) if is_bool else scores + own
            weights = self.weights(self.with_sink(h, scores))[:, : len(seen)]
            rows.append((weights.unsqueeze(-1) * v[:, seen]).sum(1))  # (B, seen, D) -> (B, D)
        return stack(rows, 1)  # T times (B, D) -> (B, T, D)

    def __call__(
        self, x: Tensor, *, memory: Tensor | None = None, mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """As the layer: x (B, T, C) -> (B, T, C)."""
        L = self.layer
        queries, keys, values = self.projected(x, memory)
        if positions is None:
            positions = arange(0, x.shape[1])
        q_norm, k_norm = L.q_norm, L.k_norm
        if L.qk_norm_flat and q_norm is not None:
            queries, keys = (
                self.normed_together(rows, norm)
                for rows, norm in ((queries, q_norm), (keys, k_norm))
            )
            q_norm = k_norm = None
        queries = [self.placed(q, q_norm, positions) for q in queries]
        keys = [self.placed(k, k_norm, positions) for k in keys]
        outputs = [
            self.head(h, q, keys[self.key_head(h)], values[self.key_head(h)], mask)
            for h, q in enumerate(queries)
        ]
        y = self.gated(cat(outputs, -1), x)  # (B, T, H·D)
        return product(y, L.out_proj)  # (B, T, H·D) -> (B, T, C)


class SlowBlock:
    """x = x + f(x) for each part f, with the norms written where norm_place wants them."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def pre(self, x: Tensor, part: Callable[[Tensor], Tensor], norm: Any, after: Any) -> Tensor:
        """x + part(norm(x))."""
        return x + part(norm(x))

    def post(self, x: Tensor, part: Callable[[Tensor], Tensor], norm: Any, after: Any) -> Tensor:
        """norm(x + part(x))."""
        return norm(x + part(x))

    def sandwich(
        self, x: Tensor, part: Callable[[Tensor], Tensor], norm: Any, after: Any
    ) -> Tensor:
        """x + after(part(norm(x)))."""
        return x + after(part(norm(x)))

    def after(self, x: Tensor, part: Callable[[Tensor], Tensor], norm: Any, after: Any) -> Tensor:
        """x + norm(part(x))."""
        return x + norm(part(x))

    def parallel(self, x: Tensor, first: Any, second: Any, norm: Any) -> Tensor:
        """x + first(norm(x)) + second(norm(x))."""
        return x + first(norm(x)) + second(norm(x))

    def __call__(self, x: Tensor, *, memory: Tensor | None = None) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        L = self.layer
        if L.norm_place == "parallel":
            return self.parallel(x, L.att, L.ff, L.norm1)
        places = {
            "pre": self.pre, "post": self.post, "sandwich": self.sandwich, "after": self.after
        }  # fmt: skip
        add = places[L.norm_place]
        x = add(x, L.att, L.norm1, getattr(L, "norm1_after", None))
        if L.cross is not None:
            after = getattr(L, "norm_cross_after", None)
            x = add(x, lambda y: L.cross(y, memory=memory), L.norm_cross, after)
        return add(x, L.ff, L.norm2, getattr(L, "norm2_after", None))


class SlowFeedForward:
    """W₂·f(W₁·x + b₁) + b₂, one token after the other."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def token(self, x: Tensor) -> Tensor:
        """One token: (B, C) -> (B, C)."""
        first, f, second = self.layer.layers
        return product(f(product(x, first)), second)

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        return stack([self.token(x[:, t]) for t in range(x.shape[1])], 1)


class SlowGatedFeedForward(SlowFeedForward):
    """W_d·(f(W_g·x)·(W_u·x)), one token after the other."""

    def factors(self, gate: Tensor, up: Tensor) -> Tensor:
        """The product of the two: f of the gate, the other as it is."""
        return self.layer.activation(gate) * up

    def token(self, x: Tensor) -> Tensor:
        both = product(x, self.layer.gate_up)  # (B, C) -> (B, 2·F)
        F = both.shape[-1] // 2
        return product(self.factors(both[:, :F], both[:, F:]), self.layer.down)


class SlowOffsetRMSNorm:
    """(offset + w)·x/√(mean(x²) + eps)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def factor(self) -> Tensor:
        """offset + w, (C)."""
        return self.layer.weight + self.layer.offset

    def size(self, x: Tensor) -> Tensor:
        """√(mean(x²) + eps) of each row, (..., 1)."""
        return ((x * x).mean(-1, keepdim=True) + self.layer.eps).sqrt()

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: (..., C) -> (..., C)."""
        return self.factor() * (x / self.size(x))


class SlowQuantizedLinear:
    """x·Ŵᵀ + b, Ŵ the numbers that the codes stand for."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def rows(self) -> Tensor:
        """What the codes stand for, (O, I)."""
        return wrap(self.layer.matrix.dequantize())

    def weight(self) -> Tensor:
        """Ŵ, (O, I)."""
        return self.rows()

    def shift(self) -> Tensor | float:
        """b, (O), or 0."""
        return 0.0 if self.layer.bias is None else self.layer.bias

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: (..., I) -> (..., O)."""
        return x @ self.weight().to(x.dtype).T + self.shift()  # (..., I) @ (I, O)


class SlowQuantizedEmbedding:
    """The rows of Ŵ with the numbers in ids."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def rows(self) -> Tensor:
        """What the codes stand for, (V, C)."""
        return wrap(self.layer.matrix.dequantize())

    def weight(self) -> Tensor:
        """Ŵ, (V, C)."""
        return self.rows()

    def __call__(self, ids: Tensor) -> Tensor:
        """As the layer: ids (...) -> (..., C)."""
        return self.weight()[ids]


class SlowSoftCappedHead:
    """c·tanh(logits/c)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def capped(self, logits: Tensor, c: float) -> Tensor:
        """The logits between −c and c, tanh as (e²ᶻ − 1)/(e²ᶻ + 1)."""
        e = (logits * (2.0 / c)).exp()
        return (e - 1.0) / (e + 1.0) * c

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: (..., C) -> (..., V)."""
        return self.capped(product(x, self.layer.linear), self.layer.softcap)


class SlowHeadLoss:
    """The mean of −log softmax(logits)[target], all logits in memory; `layer` is the head."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def counts(self, targets: Tensor, ignore_index: int) -> Tensor:
        """Which targets count, (N)."""
        return targets != ignore_index

    def mean(self, losses: Tensor, n: int) -> Tensor:
        """The mean of the losses (N) that count; n targets were there."""
        return losses.sum() / len(losses)

    def pairs(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Which logits (N, V) belong to which targets (N)."""
        return logits, targets

    def __call__(self, hidden: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """As head_loss(head, ...): hidden (B, T, C), targets (B, T) -> ()."""
        logits = self.layer(hidden).flatten(0, -2)  # (B, T, C) -> (N, V)
        logits, targets = self.pairs(logits, targets.flatten())
        chosen = [n for n, counts in enumerate(self.counts(targets, ignore_index)) if counts]
        losses = []
        for n in chosen:
            row = logits[n]  # (V)
            biggest = row.detach().max()
            losses.append((row - biggest).exp().sum().log() + biggest - row[int(targets[n])])
        return self.mean(stack(losses), len(targets))


class SlowLoRALayer:
    """x·ΔWᵀ with the whole matrix ΔW = (α/r)·B·A."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def factor(self, lora: Any) -> float:
        """α/r."""
        return lora.alpha / lora.rank

    def delta(self, lora: Any) -> Tensor:
        """ΔW (out_features, in_features)."""
        return (lora.lora_B @ lora.lora_A) * self.factor(lora)

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: (..., in) -> (..., out)."""
        return x @ self.delta(self.layer).T


class SlowLinearWithLoRA(SlowLoRALayer):
    """x·(W + ΔW)ᵀ + b: one matrix."""

    def weight(self) -> Tensor:
        """W + ΔW (out_features, in_features)."""
        return self.layer.linear.weight + self.delta(self.layer.lora)

    def __call__(self, x: Tensor) -> Tensor:
        y, bias = x @ self.weight().T, self.layer.linear.bias
        return y if bias is None else y + bias


LAYER_TWINS: dict[str, Callable[[Any], Any]] = {
    "Alibi": SlowAlibi,
    "Attention": SlowAttention,
    "AttentionCache": SlowAttentionCache,
    "Block": SlowBlock,
    "CRF": SlowCRF,
    "Cache": SlowCache,
    "ContrastiveLoss": SlowContrastiveLoss,
    "BinaryPassageLoss": SlowBinaryPassageLoss,
    "CrossCache": SlowCrossCache,
    "DecoderCache": SlowDecoderCache,
    "DistillationLoss": SlowDistillationLoss,
    "Experts": SlowExperts,
    "FeedForward": SlowFeedForward,
    "GatedDeltaNet": SlowGatedDeltaNet,
    "GatedFeedForward": SlowGatedFeedForward,
    "Indexer": SlowIndexer,
    "LatentAttention": SlowLatentAttention,
    "LatentCache": SlowLatentCache,
    "LinearAttention": SlowLinearAttention,
    "LinearWithLoRA": SlowLinearWithLoRA,
    "LoRALayer": SlowLoRALayer,
    "Mamba": SlowMamba,
    "MixtureOfExperts": SlowMixtureOfExperts,
    "OffsetRMSNorm": SlowOffsetRMSNorm,
    "PolicyLoss": SlowPolicyLoss,
    "QuantizedEmbedding": SlowQuantizedEmbedding,
    "QuantizedLinear": SlowQuantizedLinear,
    "RecurrentCache": SlowRecurrentCache,
    "RelativeBias": SlowRelativeBias,
    "Rotary": SlowRotary,
    "SinusoidalPositions": SlowSinusoidalPositions,
    "SoftCappedHead": SlowSoftCappedHead,
    "StreamingCache": SlowStreamingCache,
    "ValueLoss": SlowValueLoss,
    "head_loss": SlowHeadLoss,
}
