"""Linear attention: without the softmax, the past is one matrix for each head.

Shapes: B batch, H heads, T time (tokens), D head_dim, N chunks of L tokens.
"""

from __future__ import annotations

from typing import Any

from ..autograd.grad_mode import no_grad
from ..functions.creation.filled import ones_like, zeros_like
from ..functions.shape.join import cat
from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module
from ..tensor import Tensor, dtypes, wrap
from .cache import RecurrentCache

__all__ = ["LinearAttention"]

EPSILON = 1e-6  # so that a query before any key is 0/ε
CHUNK = 64  # tokens that are compared with each other; what came before them is a matrix


class LinearAttention(Module):
    """yₜ = Σₛ≤ₜ (φ(qₜ)·φ(kₛ))·vₛ / Σₛ≤ₜ φ(qₜ)·φ(kₛ),   φ(x) = elu(x) + 1, and W_o of the heads.

    The softmax's exp(q·k) is replaced by φ(q)·φ(k), positive too, so that the sums over s can be
    taken first: with vₛ' = (vₛ, 1) and the memory Sₜ = Σₛ≤ₜ φ(kₛ)·vₛ'ᵀ (D, D + 1) both sums are
    nₜ = Sₜᵀ·φ(qₜ), and yₜ is its first D numbers by its last. The cost of a token does not grow
    with the text. All tokens of a chunk are computed together, Y' = φ(Q)·S + tril(φ(Q)·φ(K)ᵀ)·V'
    with S before the chunk; the recurrent form, one token after the other, returns the same.

    dim       channels of x; n_heads: H; head_dim: D, dim/H if None
    bias      whether `qkv` (queries, keys and values, H·D rows each) and `out_proj` have one

    Backward, here by the ops that the layer is made of, is a second memory from the last token on.
    With g = ∂L/∂y, the gradient of nₜ is Gₜ = (g, −g·yₜ)/(its last number), and with
    Rₜ = Σₛ≥ₜ φ(qₛ)·Gₛᵀ:
        ∂L/∂φ(qₜ) = Sₜ·Gₜ        ∂L/∂φ(kₜ) = Rₜ·vₜ'        ∂L/∂vₜ' = Rₜᵀ·φ(kₜ)
    φ′(x) is 1 for x > 0 and exp(x) below.
    Raises: ValueError if the sizes are not positive, or dim is not a multiple of n_heads.
    Source: Katharopoulos et al. (2020), "Transformers are RNNs", equations 7 to 20.
    """

    is_recurrent = True

    def __init__(
        self, dim: int, n_heads: int, *, head_dim: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        sizes = {"dim": dim, "n_heads": n_heads, "head_dim": head_dim}
        for name, size in sizes.items():
            if size is not None and (
                isinstance(size, bool) or not isinstance(size, int) or size < 1
            ):
                raise ValueError(
                    f"LinearAttention: {name} must be an integer of at least 1, got {size!r}"
                )
        if head_dim is None and dim % n_heads:
            raise ValueError(
                f"LinearAttention: dim must be a multiple of n_heads, got {dim} and {n_heads}"
            )
        self.n_heads = n_heads
        self.head_dim = dim // n_heads if head_dim is None else head_dim
        self.qkv = Linear(dim, 3 * n_heads * self.head_dim, bias=bias)
        self.out_proj = Linear(n_heads * self.head_dim, dim, bias=bias)

    def forward(
        self, x: Tensor, *, cache: RecurrentCache | None = None, mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, dim) -> (B, T, dim).

        cache: see `new_cache`; x are the tokens that follow those in it
        mask: bool (B, T), False for padding at the left, which is not written into the memory
        positions: not used: later tokens do not see more of a key than earlier ones
        """
        H, D = self.n_heads, self.head_dim
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        wide = dtypes.float32 if x.dtype in (dtypes.float16, dtypes.bfloat16) else qkv.dtype
        q, k, v = (a.to(wide) for a in qkv.unbind(0))  # (B, H, T, D) each
        q, k = F.elu(q) + 1.0, F.elu(k) + 1.0
        if mask is not None:
            k = k.masked_fill(~mask[:, None, :, None], 0.0)  # (B, T) -> (B, 1, T, 1)
        v = cat([v, ones_like(v[..., :1])], -1)  # (B, H, T, D + 1)
        y = causal_sums(q, k, v, None)[0] if cache is None else cache.append(q, k, v)
        y = y[..., :D] / (y[..., D:] + EPSILON)  # (B, H, T, D + 1) -> (B, H, T, D)
        y = y.to(x.dtype).transpose(1, 2).reshape(B, T, H * D)  # (B, H, T, D) -> (B, T, H·D)
        return self.out_proj(y)  # (B, T, H·D) -> (B, T, dim)

    def new_cache(self, max_length: int) -> RecurrentCache:
        """An empty cache for `forward`, for max_length tokens: S and no tokens."""
        return RecurrentCache(max_length, 1, advanced)

    def flops_per_token(self, context_length: int) -> float:
        """Floating-point operations of the memory per token, forward and backward: 12·H·D·(D + 1).

        What is written and what is read: two products of D·(D + 1) multiplications and additions
        per head forward, twice that backward. The context does not matter.
        """
        return 12.0 * self.n_heads * self.head_dim * (self.head_dim + 1)

    def cache_bytes(self, context_length: int, bytes_per_number: int = 4) -> int:
        """Bytes of the cache per text: H·D·(D + 1) numbers of float32 at least.

        The context_length does not matter.
        """
        D = self.head_dim
        return self.n_heads * D * (D + 1) * max(bytes_per_number, 4)

    def extra_repr(self) -> str:
        return f"n_heads={self.n_heads}, head_dim={self.head_dim}"


def causal_sums(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor | None, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """(Σₛ≤ₜ (qₜ·kₛ)·vₛ for each token (B, H, T, M), Σ kₛ·vₛᵀ of all tokens (B, H, D, M)).

    q, k (B, H, T, D), v (B, H, T, M); state: the second of the tokens before them, or None
    """
    T = q.shape[2]
    chunk = min(chunk, T)
    q, k, v = (_chunked(a, chunk) for a in (q, k, v))  # (B, H, N, L, ...)
    sums = (k.transpose(-1, -2) @ v).cumsum(2)  # Σ kₛ·vₛᵀ up to each chunk's end (B, H, N, D, M)
    if state is not None:
        sums = sums + state.unsqueeze(2)  # (B, H, D, M) -> (B, H, 1, D, M)
    first = zeros_like(sums[:, :, :1]) if state is None else state.unsqueeze(2)
    past = cat([first, sums[:, :, :-1]], 2)  # … and up to its start
    y = q @ past + (q @ k.transpose(-1, -2)).tril() @ v  # (B, H, N, L, M)
    return y.flatten(2, 3)[:, :, :T], sums[:, :, -1]  # (B, H, N·L, M) -> (B, H, T, M)


def _chunked(x: Tensor, chunk: int) -> Tensor:
    """(B, H, T, D) -> (B, H, N, L, D), with zeros after the last token."""
    x = F.pad(x, (0, 0, 0, -x.shape[2] % chunk))  # (B, H, N·L, D)
    return x.unflatten(2, (-1, chunk))


def advanced(tokens: tuple, state: Any) -> tuple[Any, Any]:
    """(sums (B, H, T, M), memory (B, H, D, M)) of tokens q, k, v after a memory: arrays."""
    with no_grad():
        q, k, v = (wrap(a) for a in tokens)
        y, memory = causal_sums(q, k, v, None if state is None else wrap(state))
    return y.array, memory.array
