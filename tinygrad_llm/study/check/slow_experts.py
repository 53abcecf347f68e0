"""The slow twins of experts and of a DeltaNet: one token after the other, by the definition.

Shapes: B batch, T tokens, C channels, F channels within an expert, E experts, H heads, K channels
of a key, D of a value.
"""

from __future__ import annotations

from typing import Any

from ...functions.shape.join import cat, stack
from ...tensor import Tensor
from .slow_caches import picked

__all__ = ["SlowExperts", "SlowGatedDeltaNet", "SlowMixtureOfExperts", "SlowRecurrentCache"]


class SlowExperts:
    """Each row alone, through its own expert."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def owner(self, n: int, ends: list[int]) -> int:
        """The expert of row n."""
        return sum(end <= n for end in ends)

    def factors(self, gate: Tensor, up: Tensor) -> Tensor:
        """The product of the two: f of the gate, the other as it is."""
        return self.layer.activation(gate) * up

    def expert(self, e: int, x: Tensor) -> Tensor:
        """Expert e of one token: (C) -> (C)."""
        both = (self.layer.gate_up[e] * x).sum(-1)  # (2F, C) -> (2F)
        F = both.shape[0] // 2
        return (self.layer.down[e] * self.factors(both[:F], both[F:])).sum(-1)  # (C, F) -> (C)

    def __call__(self, x: Tensor, ends: Tensor) -> Tensor:
        """As the layer: x (N, C), ends (E) -> (N, C)."""
        owners = [self.owner(n, ends.tolist()) for n in range(x.shape[0])]
        return stack([self.expert(e, x[n]) for n, e in enumerate(owners)])


class SlowMixtureOfExperts:
    """For each token the sum over its experts."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.experts = layer, SlowExperts(layer.experts)

    def softmax(self, scores: Tensor) -> Tensor:
        """exp(s) / Σ exp(s) of a row of scores."""
        e = (scores - scores.detach().max()).exp()
        return e / e.sum()

    def chosen(self, scores: Tensor) -> list[int]:
        """The k experts with the largest scores (E)."""
        order = sorted(range(len(scores)), key=lambda e: -float(scores[e].item()))
        return order[: self.layer.n_experts_per_token]

    def weights(self, scores: Tensor, chosen: list[int]) -> Tensor:
        """The weights of the chosen experts, (k)."""
        if not self.layer.softmax_first:
            return self.softmax(scores[chosen])
        p = self.softmax(scores)[chosen]
        return p / p.sum() if self.layer.norm_topk_prob else p

    def token(self, x: Tensor) -> Tensor:
        """One token: (C) -> (C)."""
        scores = (self.layer.router.weight * x).sum(-1)  # (E, C) -> (E)
        chosen = self.chosen(scores)
        weights = self.weights(scores, chosen)
        parts = [self.experts.expert(e, x) * weights[i] for i, e in enumerate(chosen)]
        return stack(parts).sum(0)  # (k, C) -> (C)

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        rows = x.reshape(-1, x.shape[-1])  # (B, T, C) -> (N, C)
        return stack([self.token(row) for row in rows]).view(x.shape)


class Memory:
    """The gated delta rule, one token after the other."""

    def predicted(self, state: Tensor, k: Tensor) -> Tensor:
        """What the memory (B, H, K, D) holds for a key (B, H, K): (B, H, D)."""
        return (state * k.unsqueeze(-1)).sum(-2)

    def kept(self, decay: Tensor) -> Tensor:
        """The share of the memory that a token keeps, (B, H)."""
        return decay.exp()

    def written(self, missing: Tensor, beta: Tensor) -> Tensor:
        """What is written of what is missing: (B, H, D) times (B, H)."""
        return missing * beta.unsqueeze(-1)

    def read(self, tokens: list[tuple[Tensor, ...]]) -> list[Tensor]:
        """What each token (q, k, v, decay, beta) reads, (B, H, D) each."""
        q, k, v, _, _ = tokens[0]
        state = k.unsqueeze(-1) * v.unsqueeze(-2) * 0.0  # (B, H, K, D)
        rows = []
        for q, k, v, decay, beta in tokens:
            state = state * self.kept(decay).unsqueeze(-1).unsqueeze(-1)
            delta = self.written(v - self.predicted(state, k), beta)
            state = state + k.unsqueeze(-1) * delta.unsqueeze(-2)
            rows.append(self.predicted(state, q))
        return rows


class SlowGatedDeltaNet(Memory):
    """The convolution as a loop over taps, the memory as a loop over tokens."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def tap(self, k: int) -> int:
        """How many tokens back tap k of the convolution looks."""
        return self.layer.conv_size - 1 - k

    def convolved(self, mixed: Tensor) -> Tensor:
        """silu of the causal convolution: (B, T, channels) -> (B, T, channels)."""
        weight, rows = self.layer.conv1d.weight[:, 0], []  # (channels, taps)
        for t in range(mixed.shape[1]):
            seen = [(t - self.tap(k), k) for k in range(self.layer.conv_size)]
            row = mixed[:, t] * 0.0
            for s, k in seen:
                if 0 <= s < mixed.shape[1]:
                    row = row + mixed[:, s] * weight[:, k]
            rows.append(row * row.sigmoid())
        return stack(rows, 1)

    def unit(self, x: Tensor) -> Tensor:
        """x with the length 1 over its channels: (B, T, K)."""
        return x / ((x * x).sum(-1, keepdim=True) + 1e-6).sqrt()

    def key_head(self, h: int) -> int:
        """The head of queries and keys that head h of values uses."""
        return h // (self.layer.n_heads // self.layer.n_key_heads)

    def gated(self, y: Tensor, z: Tensor) -> Tensor:
        """norm(y)·silu(z), (B, T, D) each."""
        return self.layer.norm(y) * (z * z.sigmoid())

    def head(self, h: int, parts: list[Tensor]) -> Tensor:
        """What head h passes to out_proj: (B, T, D); parts: mixed, z, b and rate, (B, T, ...)."""
        L = self.layer
        K, D, G = L.key_head_dim, L.head_dim, L.n_key_heads
        mixed, z, b, rate = parts
        g, values = self.key_head(h), 2 * G * K + h * D
        q = self.unit(mixed[..., g * K : (g + 1) * K]) * K**-0.5
        k = self.unit(mixed[..., (G + g) * K : (G + g + 1) * K])
        v = mixed[..., values : values + D]
        beta = b[..., h].sigmoid()  # (B, T)
        decay = -L.A_log[h].exp() * (1.0 + (rate[..., h] + L.dt_bias[h]).exp()).log()
        tokens = [
            tuple(a[:, t].unsqueeze(1) for a in (q, k, v, decay, beta)) for t in range(q.shape[1])
        ]
        y = stack([row[:, 0] for row in self.read(tokens)], 1)  # (B, T, D)
        return self.gated(y, z[..., h * D : (h + 1) * D])

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        L = self.layer
        H, D, channels = L.n_heads, L.head_dim, L.conv1d.weight.shape[0]
        whole = x @ L.in_proj.weight.T
        mixed, z, b, rate = whole.split([channels, H * D, H, H], dim=-1)
        parts = [self.convolved(mixed), z, b, rate]
        return cat([self.head(h, parts) for h in range(H)], -1) @ L.out_proj.weight.T


class SlowRecurrentCache(Memory):
    """A list of all tokens; the memory is computed from the first one again in each call."""

    def __init__(self, layer: Any) -> None:
        self.conv_size: int = layer.conv_size
        self.inputs: list[Tensor] = []  # (B, channels, 1) each
        self.tokens: list[tuple[Tensor, ...]] = []

    @property
    def length(self) -> int:
        """Tokens in it."""
        return len(self.tokens)

    def before(self, x: Tensor) -> list[Tensor]:
        """The conv_size − 1 inputs before x, zeros where the text begins."""
        n = self.conv_size - 1
        zeros = [x[:, :, :1] * 0.0] * n
        return [*zeros, *self.inputs][len(self.inputs) : len(self.inputs) + n]

    def convolved(self, x: Tensor) -> Tensor:
        """x (B, channels, T) with the inputs before it."""
        whole = cat([*self.before(x), x], 2)
        self.inputs += list(x.split(1, 2))
        return whole

    def append(self, *parts: Tensor) -> Tensor:
        """What the new tokens read: (B, H, T, D)."""
        T = parts[0].shape[2]
        self.tokens += [tuple(a[:, :, t] for a in parts) for t in range(T)]
        return stack(self.read(self.tokens)[-T:], 2)

    def can_truncate(self, length: int) -> bool:
        """Whether there are so many tokens: nothing is forgotten."""
        return 0 <= length <= self.length

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`."""
        self.tokens, self.inputs = self.tokens[:length], self.inputs[:length]

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        self.inputs = [picked(x, indices) for x in self.inputs]
        self.tokens = [tuple(picked(a, indices) for a in one) for one in self.tokens]
