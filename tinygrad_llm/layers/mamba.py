"""Mamba: in place of attention, channels that each keep a few numbers of the text.

Shapes: B batch, T time (tokens), D inner_dim, N state_dim, R dt_rank.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.grad_mode import no_grad
from ..functions.creation.ranges import arange
from ..nn import functional as F
from ..nn import init
from ..nn.conv import Conv1d
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import new_parameter
from ..ops import selective_scan
from ..tensor import Tensor, dtypes
from .cache import RecurrentCache
from .short_convolution import short_convolution

__all__ = ["Mamba"]


class Mamba(Module):
    """y = W_o·((scan(x′) + D·x′)·silu(z)): x (B, T, dim) -> y (B, T, dim).

    x′ has passed a causal convolution over a few tokens, then silu. Each of its channels keeps N
    numbers h of the text: hₜ = exp(Δₜ·A)·hₜ₋₁ + Δₜ·x′ₜ·bₜ is read as cₜ·hₜ. Δ, b and c are
    computed from the token, so that it selects what is kept: the cost of a token does not grow with
    the text.

    inner_dim   D, channels of the scan; 2·dim if None
    state_dim   N, numbers that a channel keeps
    conv_size   tokens that the convolution sees, the own one included
    dt_rank     R, channels from which the D steps Δ are computed; ⌈dim/16⌉ if None
    bias        whether in_proj and out_proj have one; conv_bias: the same for `conv1d`

    `in_proj` computes x (D rows) and the gate z (D rows), `x_proj` the step's R numbers, b (N) and
    c (N); Δ = softplus(dt_proj of these R). A = −exp(A_log) (D, N), D (D) passes x′ on as it is.
    Raises: ValueError unless all sizes are integers of at least 1.
    Source: Gu and Dao (2023), "Mamba", section 3.
    """

    is_recurrent = True
    elementwise = ("A_log",)  # has a matrix's shape; see models.base.matrix_flops_per_token

    def __init__(
        self, dim: int, *, inner_dim: int | None = None, state_dim: int = 16, conv_size: int = 4,
        dt_rank: int | None = None, bias: bool = False, conv_bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        D, N = 2 * dim if inner_dim is None else inner_dim, state_dim
        R = -(-dim // 16) if dt_rank is None else dt_rank
        sizes = {"dim": dim, "inner_dim": D, "state_dim": N, "conv_size": conv_size, "dt_rank": R}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"Mamba: {name} must be an integer of at least 1, got {size!r}")
        self.inner_dim, self.state_dim, self.conv_size, self.dt_rank = D, N, conv_size, R
        self.in_proj = Linear(dim, 2 * D, bias=bias)
        self.conv1d = Conv1d(D, D, conv_size, groups=D, bias=conv_bias)
        self.x_proj = Linear(D, R + 2 * N, bias=False)
        self.dt_proj = Linear(R, D)
        self.A_log, self.D = new_parameter(D, N), new_parameter(D)
        self.out_proj = Linear(D, dim, bias=bias)
        self.reset_steps()

    def reset_steps(self) -> None:
        """A becomes −1 … −N in each channel, D one; Δ begins between 0.001 and 0.1.

        log Δ is drawn uniformly; dt_proj.bias is softplus⁻¹(Δ) = Δ + log(1 − exp(−Δ)).
        """
        init.ones_(self.D)
        bound = self.dt_rank**-0.5
        init.uniform_(self.dt_proj.weight, -bound, bound)
        init.uniform_(self.dt_proj.bias, math.log(0.001), math.log(0.1))
        if init.skipping:  # weights are loaded later
            return
        with no_grad():
            like: dict[str, Any] = {"dtype": self.A_log.dtype, "device": self.A_log.device}
            rates = arange(1, self.state_dim + 1, **like).log()  # (N)
            self.A_log.data = rates.expand(self.inner_dim, -1).contiguous()  # (N) -> (D, N)
            step = self.dt_proj.bias.exp().clamp(min=1e-4)
            self.dt_proj.bias.data = step + (-(-step).expm1()).log()

    def forward(
        self, x: Tensor, *, cache: RecurrentCache | None = None, mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, dim) -> (B, T, dim).

        cache: see `new_cache`; x are the tokens that follow those in it
        mask: bool (B, T), False for padding at the left, which writes nothing
        positions: not used: the order of the tokens says where they stand
        """
        hidden = None if mask is None else ~mask.unsqueeze(-1)  # (B, T) -> (B, T, 1)
        if hidden is not None:
            x = x.masked_fill(hidden, 0.0)
        inner, z = self.in_proj(x).chunk(2, dim=-1)  # (B, T, D) each
        if hidden is not None:
            inner = inner.masked_fill(hidden, 0.0)  # a bias is not part of the text either
        inner = short_convolution(self.conv1d, inner.transpose(1, 2), cache)  # (B, D, T)
        if hidden is not None:
            inner = inner.masked_fill(hidden.transpose(1, 2), 0.0)
        y = self._scanned(inner, cache).to(x.dtype) * F.silu(z)  # (B, T, D)
        return self.out_proj(y)  # (B, T, D) -> (B, T, dim)

    def _scanned(self, x: Tensor, cache: RecurrentCache | None) -> Tensor:
        """scan(x) + D·x, float32 at least: (B, D, T) -> (B, T, D)."""
        wide = dtypes.float32 if x.dtype in (dtypes.float16, dtypes.bfloat16) else x.dtype
        sizes = [self.dt_rank, self.state_dim, self.state_dim]
        dt, b, c = self.x_proj(x.transpose(1, 2)).split(sizes, dim=-1)  # (B, T, R), (B, T, N) twice
        delta = F.softplus(self.dt_proj(dt).to(wide)).transpose(1, 2)  # (B, T, D) -> (B, D, T)
        b, c = (a.transpose(1, 2).to(wide) for a in (b, c))  # (B, T, N) -> (B, N, T)
        x = x.to(wide)
        if cache is None:
            y = F.selective_scan(x, delta, -self.A_log.to(wide).exp(), b, c)
        else:
            y = cache.append(x, delta, b, c)
        return (y + self.D.to(wide).unsqueeze(-1) * x).transpose(1, 2)  # (B, D, T) -> (B, T, D)

    def new_cache(self, max_length: int) -> RecurrentCache:
        """An empty cache for `forward`, for max_length tokens."""

        def advance(tokens: tuple, state: Any) -> tuple[Any, Any]:
            with no_grad():
                a = -self.A_log.to(dtypes.of(tokens[0].dtype)).exp()
            return selective_scan.advanced(tokens, a.array, state)

        return RecurrentCache(max_length, self.conv_size, advance)

    def flops_per_token(self, context_length: int) -> float:
        """Floating-point operations of the scan per token, forward and backward: 21·D·N.

        Seven forward for each of the D·N numbers: Δ·A and its exponential, what is kept, what is
        written and their sum, what is read and the sum of that; twice that backward. The context
        does not matter.
        """
        return 21.0 * self.inner_dim * self.state_dim

    def cache_bytes(self, context_length: int, bytes_per_number: int = 4) -> int:
        """Bytes of the cache per text: D·N numbers and the convolution's last inputs.

        The context_length does not matter. The D·N numbers have float32 at least.
        """
        D, N = self.inner_dim, self.state_dim
        return D * N * max(bytes_per_number, 4) + D * (self.conv_size - 1) * bytes_per_number

    def extra_repr(self) -> str:
        return (
            f"inner_dim={self.inner_dim}, state_dim={self.state_dim}, "
            f"conv_size={self.conv_size}, dt_rank={self.dt_rank}"
        )
