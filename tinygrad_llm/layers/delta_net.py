"""Gated DeltaNet: in place of attention, a memory of fixed size for each head.

Shapes: B batch, T time (tokens), H heads of values, G heads of keys, K channels of a key, D of a
value.
"""

from __future__ import annotations

import math

from ..nn import functional as F
from ..nn import init
from ..nn.conv import Conv1d
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.norm import RMSNorm
from ..nn.parameter import new_parameter
from ..tensor import Tensor, dtypes
from .cache import RecurrentCache
from .short_convolution import short_convolution

__all__ = ["GatedDeltaNet"]


class GatedDeltaNet(Module):
    """y = W_o·(norm(S(x)ᵀ·q)·silu(z)): x (B, T, dim) -> y (B, T, dim).

    Queries, keys and values pass a causal convolution over a few tokens, then silu; queries and
    keys get length 1. The gated delta rule writes each value into a memory S under its key and
    reads it with the query: the cost of a token does not grow with the text.

    n_heads         H, heads of values; each has a memory (K, D)
    n_key_heads     G, heads of queries and keys, each shared by H/G neighbours; H if None
    head_dim        D, channels of a value
    key_head_dim    K, channels of a key; D if None
    conv_size       tokens that the convolution sees, the own one included
    norm_eps        ε of the norm over D channels

    One matrix `in_proj` computes all that x decides: queries (G·K rows), keys (G·K), values (H·D),
    the gate z (H·D), β before its sigmoid (H) and the decay's rate (H). A token keeps the share
    exp(−exp(A_log)·softplus(rate + dt_bias)) of the memory. `conv1d`, `norm` and `out_proj` follow.
    Raises: ValueError unless H is a multiple of G.
    Source: Yang et al. (2024), "Gated Delta Networks", section 3.
    """

    is_recurrent = True

    def __init__(
        self, dim: int, n_heads: int, *, n_key_heads: int | None = None, head_dim: int = 128,
        key_head_dim: int | None = None, conv_size: int = 4, norm_eps: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__()
        H, D = n_heads, head_dim
        G, K = n_key_heads or H, key_head_dim or D
        if H % G:
            raise ValueError(
                f"GatedDeltaNet: n_heads must be a multiple of n_key_heads, got {H} and {G}"
            )
        self.n_heads, self.n_key_heads, self.head_dim, self.key_head_dim = H, G, D, K
        self.conv_size = conv_size
        channels = 2 * G * K + H * D
        self.in_proj = Linear(dim, channels + H * D + 2 * H, bias=False)
        self.conv1d = Conv1d(channels, channels, conv_size, groups=channels, bias=False)
        self.dt_bias, self.A_log = new_parameter(H), new_parameter(H)
        self.norm = RMSNorm(D, norm_eps)
        self.out_proj = Linear(H * D, dim, bias=False)
        self.reset_decay()

    def reset_decay(self) -> None:
        """Draw A = exp(A_log) uniformly from [0.01, 16); dt_bias becomes one."""
        init.ones_(self.dt_bias)
        init.uniform_(self.A_log, 0.01, 16.0)
        if not init.skipping:  # otherwise weights are loaded later
            self.A_log.data = self.A_log.data.log()

    def forward(
        self, x: Tensor, *, cache: RecurrentCache | None = None, mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, dim) -> (B, T, dim).

        cache: see `new_cache`; x are the tokens that follow those in it
        mask: bool (B, T), False for padding at the left, which leaves the memory as it is
        positions: not used: the order of the tokens says where they stand
        """
        if mask is not None:
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # (B, T) -> (B, T, 1)
        H, D = self.n_heads, self.head_dim
        B, T, _ = x.shape
        sizes = [self.conv1d.weight.shape[0], H * D, H, H]
        mixed, z, b, rate = self.in_proj(x).split(sizes, dim=-1)
        mixed = short_convolution(self.conv1d, mixed.transpose(1, 2), cache)  # (B, channels, T)
        q, k, v = self._heads(mixed.transpose(1, 2))
        beta, decay = self._beta_and_decay(b, rate)  # (B, H, T) each
        q, k, v = (a.to(decay.dtype) for a in (q, k, v))
        rule = F.gated_delta_rule if cache is None else cache.append
        y = rule(q, k, v, decay, beta)  # (B, H, T, D)
        y = self.norm(y.transpose(1, 2).to(x.dtype))  # (B, H, T, D) -> (B, T, H, D)
        y = y * F.silu(z.view(B, T, H, D))
        return self.out_proj(y.reshape(B, T, H * D))  # (B, T, H·D) -> (B, T, dim)

    def _heads(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys (B, H, T, K) of length 1/√K and 1, values (B, H, T, D)."""
        H, G, D, K = self.n_heads, self.n_key_heads, self.head_dim, self.key_head_dim
        B, T, _ = mixed.shape
        q, k, v = mixed.split([G * K, G * K, H * D], dim=-1)
        # x/√(Σx² + ε) is an RMSNorm with ε/K, divided by √K
        q, k = (F.rms_norm(a.view(B, T, G, K), (K,), None, 1e-6 / K) for a in (q, k))
        q, k = q.transpose(1, 2) * (1.0 / K), k.transpose(1, 2) * (1.0 / math.sqrt(K))
        if G != H:
            q, k = (a.repeat_interleave(H // G, dim=1) for a in (q, k))  # (B, G, T, K) -> (B, H, …)
        return q, k, v.reshape(B, T, H, D).transpose(1, 2)

    def _beta_and_decay(self, b: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """β and log of what the memory keeps: (B, T, H) -> (B, H, T), float32 at least."""
        wide = dtypes.float32 if b.dtype in (dtypes.float16, dtypes.bfloat16) else b.dtype
        beta = b.sigmoid().to(wide)
        decay = -self.A_log.to(wide).exp() * F.softplus(rate.to(wide) + self.dt_bias.to(wide))
        return beta.transpose(1, 2), decay.transpose(1, 2)

    def new_cache(self, max_length: int) -> RecurrentCache:
        """An empty cache for `forward`, for max_length tokens."""
        return RecurrentCache(max_length, self.conv_size)

    def flops_per_token(self, context_length: int) -> float:
        """Floating-point operations of the memory per token, forward and backward: 18·H·K·D.

        What is predicted, what is written and what is read: three products of K·D multiplications
        and additions per head forward, twice that backward. The context does not matter.
        """
        return 18.0 * self.n_heads * self.key_head_dim * self.head_dim

    def cache_bytes(self, context_length: int, bytes_per_number: int = 4) -> int:
        """Bytes of the cache per text: H·K·D numbers and the convolution's last inputs.

        The context_length does not matter. The memory has float32 at least.
        """
        memory = self.n_heads * self.key_head_dim * self.head_dim
        inputs = self.conv1d.weight.shape[0] * (self.conv_size - 1)
        return memory * max(bytes_per_number, 4) + inputs * bytes_per_number

    def extra_repr(self) -> str:
        return (
            f"n_heads={self.n_heads}, n_key_heads={self.n_key_heads}, head_dim={self.head_dim}, "
            f"key_head_dim={self.key_head_dim}, conv_size={self.conv_size}"
        )
