"""The slow twins of layers with a memory: one token after the other, by the definition.

Shapes: B batch, T tokens, C channels, H heads, K channels of a key, D of a value; in a Mamba D
channels of the scan, N numbers that each keeps.
"""

from __future__ import annotations

from typing import Any

from ...functions.selection import where
from ...functions.shape.join import cat, stack
from ...tensor import Tensor
from .slow_caches import picked

__all__ = ["SlowGatedDeltaNet", "SlowLinearAttention", "SlowMamba", "SlowRecurrentCache"]


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


class Convolving:
    """A causal convolution, tap by tap."""

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
            if self.layer.conv1d.bias is not None:
                row = row + self.layer.conv1d.bias
            rows.append(row * row.sigmoid())
        return stack(rows, 1)


class SlowGatedDeltaNet(Memory, Convolving):
    """The convolution as a loop over taps, the memory as a loop over tokens."""

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


class SlowLinearAttention:
    """Attention as a loop over queries and keys, with φ(q)·φ(k) for the softmax's exp(q·k)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def feature(self, x: Tensor) -> Tensor:
        """φ(x) = elu(x) + 1."""
        return where(x > 0, x + 1.0, x.exp())

    def sees(self, i: int, j: int) -> bool:
        """Whether query i sees key j."""
        return j <= i

    def mean(self, weights: Tensor, values: Tensor) -> Tensor:
        """The mean of values (n, B, D) with the weights (n, B, 1)."""
        return (weights * values).sum(0) / (weights.sum(0) + 1e-6)

    def head(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One head: (B, T, D) each -> (B, T, D)."""
        q, k, rows = self.feature(q), self.feature(k), []
        for i in range(q.shape[1]):
            seen = [j for j in range(q.shape[1]) if self.sees(i, j)]
            weights = stack([(q[:, i] * k[:, j]).sum(-1, keepdim=True) for j in seen])
            rows.append(self.mean(weights, stack([v[:, j] for j in seen])))
        return stack(rows, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        L = self.layer
        whole = x @ L.qkv.weight.T
        whole = whole if L.qkv.bias is None else whole + L.qkv.bias
        heads = whole.split(L.head_dim, dim=-1)  # H queries, H keys, H values, (B, T, D) each
        H = L.n_heads
        y = cat([self.head(heads[h], heads[H + h], heads[2 * H + h]) for h in range(H)], -1)
        y = y @ L.out_proj.weight.T
        return y if L.out_proj.bias is None else y + L.out_proj.bias


class SlowMamba(Convolving):
    """The convolution as a loop over taps, the scan as a loop over tokens."""

    def rates(self) -> Tensor:
        """A (D, N)."""
        return -self.layer.A_log.exp()

    def step(self, raw: Tensor) -> Tensor:
        """Δ of what dt_proj returns: softplus."""
        return (1.0 + raw.exp()).log()

    def kept(self, delta: Tensor) -> Tensor:
        """The share of h that a token keeps: Δ (B, D, 1) -> (B, D, N)."""
        return (delta * self.rates()).exp()

    def written(self, delta: Tensor, x: Tensor, b: Tensor) -> Tensor:
        """What a token adds to h: Δ and x (B, D, 1), b (B, 1, N) -> (B, D, N)."""
        return delta * x * b

    def passed_on(self, x: Tensor) -> Tensor:
        """What of x (B, D) reaches the output beside h."""
        return self.layer.D * x

    def gated(self, y: Tensor, z: Tensor) -> Tensor:
        """y·silu(z), (B, T, D) each."""
        return y * (z * z.sigmoid())

    def chosen(self, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """What is written with and what is read with, (B, T, N) each."""
        return b, c

    def scanned(self, x: Tensor) -> Tensor:
        """scan(x) + D·x, (B, T, D)."""
        L = self.layer
        dt, b, c = (x @ L.x_proj.weight.T).split([L.dt_rank, L.state_dim, L.state_dim], dim=-1)
        delta = self.step(dt @ L.dt_proj.weight.T + L.dt_proj.bias)
        (b, c), rows = self.chosen(b, c), []
        h = x[:, 0].unsqueeze(-1) * self.rates() * 0.0  # (B, D, N)
        for t in range(x.shape[1]):
            now, step = x[:, t], delta[:, t].unsqueeze(-1)  # (B, D), (B, D, 1)
            h = self.kept(step) * h + self.written(step, now.unsqueeze(-1), b[:, t].unsqueeze(1))
            rows.append((h * c[:, t].unsqueeze(1)).sum(-1) + self.passed_on(now))
        return stack(rows, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        L = self.layer
        whole = x @ L.in_proj.weight.T
        whole = whole if L.in_proj.bias is None else whole + L.in_proj.bias
        inner, z = whole.split(L.inner_dim, dim=-1)
        y = self.gated(self.scanned(self.convolved(inner)), z) @ L.out_proj.weight.T
        return y if L.out_proj.bias is None else y + L.out_proj.bias
