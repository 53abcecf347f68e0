"""The gated delta rule: a memory of fixed size that forgets, and corrects what it predicts wrongly.

Shapes: B batch, H heads, T time, K channels of a key, D channels of a value, N chunks of C tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..arrays.devices import xp_of
from ..autograd.engine import Op


class GatedDeltaRule(Op):
    """yₜ = Sₜᵀ·qₜ,   Sₜ = aₜ·Sₜ₋₁ + kₜ·δₜᵀ,   δₜ = βₜ·(vₜ − aₜ·Sₜ₋₁ᵀ·kₜ),   aₜ = exp(gₜ).

    S (K, D) is a memory: aₜ·Sₜ₋₁ᵀ·kₜ is what it predicts for key kₜ, and the share βₜ of what is
    missing is written. S₀ = 0. Computed in chunks of C tokens, all tokens of a chunk together.
    With bᵢ = g₁ + … + gᵢ from the chunk's first token on, Γᵢⱼ = exp(bᵢ − bⱼ) for j ≤ i, the memory
    S at the chunk's start, and rows of Q, K, V, Δ for its tokens:
        A = β·(K·Kᵀ∘Γ) below the diagonal        Δ = (1 + A)⁻¹·β·(V − exp(b)·K·S)
        P = Q·Kᵀ∘Γ                               Y = exp(b)·Q·S + P·Δ
        S′ = exp(b_C)·S + Lᵀ·Δ,                  L = exp(b_C − b)·K
    Backward, chunk by chunk from the last, with G = ∂L/∂S′ and g = ∂L/∂Y:
        ∂L/∂Δ = Pᵀ·g + L·G         r = (1 + A)⁻ᵀ·∂L/∂Δ        ∂L/∂V = β·r
        ∂L/∂P = g·Δᵀ               ∂L/∂A = −r·Δᵀ              (on and below the diagonal; below it)
        ∂L/∂S = exp(b_C)·G + (exp(b)·Q)ᵀ·g − (exp(b)·K)ᵀ·β·r
        ∂L/∂Q = exp(b)·g·Sᵀ + (∂L/∂P∘Γ)·K
        ∂L/∂K = (∂L/∂P∘Γ)ᵀ·Q + X·K + Xᵀ·K + exp(b_C − b)·Δ·Gᵀ − exp(b)·β·r·Sᵀ,  X = ∂L/∂A∘Γ·β
        ∂L/∂β = r·(V − exp(b)·K·S) + ∂L/∂A·(K·Kᵀ∘Γ)           (sums over each row)
    gᵢ is in the exponent of all that passes from before i to i or later: of Γⱼₗ for l < i ≤ j, of
    exp(bⱼ) for j ≥ i, of Lₗ for l < i, and of exp(b_C). ∂L/∂gᵢ is the sum of their gradients times
    themselves; as differences of ∂L/∂b it would be rounding where the memory is soon forgotten.
    Saves its inputs, Δ, (1 + A)⁻¹ and the memory at each chunk's start: K·D numbers for C tokens.
    Source: Yang et al. (2024), "Gated Delta Networks", equations 8 to 10.
    """

    signature = "q(B,H,T,K) k(B,H,T,K) v(B,H,T,D) g(B,H,T) beta(B,H,T) -> y(B,H,T,D)"
    in_rows = True
    in_float32 = True

    def forward(self, q, k, v, g, beta, chunk=64):
        y, _, self.saved = in_chunks(q, k, v, g, beta, None, chunk)
        return y

    def backward(self, g):
        *parts, inverse, delta, states = self.saved
        q, k, v, _, beta = parts
        T, g = g.shape[2], chunked(g, k.shape[3])  # (B, H, N, C, D)
        f = factors(parts)
        xp = xp_of(g)
        back, after = xp.empty_like(delta), xp.empty_like(states)  # r, G
        G = xp.zeros_like(states[:, :, 0])  # (B, H, K, D)
        for n in reversed(range(g.shape[2])):
            g_delta = swap(f.P[:, :, n]) @ g[:, :, n] + f.late[:, :, n] @ G  # (B, H, C, D)
            r = swap(inverse[:, :, n]) @ g_delta
            after[:, :, n], back[:, :, n] = G, r
            G = f.end[:, :, n] * G + swap(f.early_q[:, :, n]) @ g[:, :, n]
            G -= swap(f.early_k[:, :, n]) @ (beta[:, :, n, :, None] * r)
        g_v = beta[..., None] * back  # (B, H, N, C, D)
        g_p = xp.tril(g @ swap(delta))  # (B, H, N, C, C)
        g_a = xp.tril(back @ swap(delta), -1)
        xp.negative(g_a, out=g_a)
        x, p = g_a * f.decay * beta[..., None], g_p * f.decay
        read = f.early_q * (g @ swap(states))  # (B, H, N, C, K)
        wrong = f.early_k * (g_v @ swap(states))
        kept = f.late * (delta @ swap(after))
        g_q = f.early * (g @ swap(states)) + p @ k
        g_k = swap(p) @ q + (x + swap(x)) @ k - f.early * (g_v @ swap(states))
        g_k += f.left * (delta @ swap(after))
        g_beta = (back * (v - f.early_k @ states)).sum(-1) + (g_a * f.kk).sum(-1)
        across = g_p * f.P + g_a * f.kk * beta[..., None]  # of Γⱼₗ (B, H, N, C, C)
        g_g = xp.tril(before(across)).sum(-2)  # Σ over l < i, then over j ≥ i: (B, H, N, C)
        g_g += xp.flip(xp.cumsum(xp.flip((read - wrong).sum(-1), -1), -1), -1)
        g_g += before(kept.sum(-1)) + (f.end * after * states).sum((-1, -2))[..., None]
        return tuple(joined(a, T) for a in (g_q, g_k, g_v, g_g, g_beta))


class Factors(NamedTuple):
    """The matrices of each chunk that backward computes again: (B, H, N, C, ...)."""

    decay: Any  # Γ, zero above the diagonal (C, C)
    kk: Any  # K·Kᵀ∘Γ (C, C)
    P: Any  # Q·Kᵀ∘Γ (C, C)
    early: Any  # exp(b) (C, 1)
    left: Any  # exp(b_C − b) (C, 1)
    early_q: Any  # exp(b)·Q (C, K)
    early_k: Any  # exp(b)·K (C, K)
    late: Any  # exp(b_C − b)·K (C, K)
    end: Any  # exp(b_C) (1, 1)


def swap(a: Any) -> Any:
    """The transpose of each matrix: (..., n, m) -> (..., m, n)."""
    return a.swapaxes(-1, -2)


def before(a: Any) -> Any:
    """The sum of the elements before each along the last dimension, which begins with zero."""
    total = xp_of(a).zeros_like(a)
    total[..., 1:] = xp_of(a).cumsum(a[..., :-1], -1)
    return total


def factors(parts: Sequence[Any]) -> Factors:
    """The factors of chunks (q, k, v, g, β), each (B, H, N, C, ...).

    bᵢ − bⱼ is the sum of g after j up to i, and is added up as that: as a difference of sums from
    the chunk's first token on it would lose its digits where one token forgets all.
    """
    q, k, _, g, _ = parts
    xp, C = xp_of(k), k.shape[3]
    after = xp.tril(xp.ones((C, C), bool), -1)
    apart = xp.cumsum(xp.where(after, g[..., None], xp.zeros_like(g)[..., None]), -2)
    decay = xp.tril(xp.exp(apart, out=apart))  # (B, H, N, C, C)
    early = xp.exp(xp.cumsum(g, -1))[..., None]  # (B, H, N, C, 1)
    left, end = decay[..., -1, :, None], early[..., -1:, :]  # (…, C, 1), (…, 1, 1)
    kk, P = k @ swap(k) * decay, q @ swap(k) * decay
    return Factors(decay, kk, P, early, left, early * q, early * k, left * k, end)


def in_chunks(
    q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any, chunk: int = 64
) -> tuple[Any, Any, tuple]:
    """(y (B, H, T, D), the memory after the last token (B, H, K, D), what backward needs).

    state: the memory before the first token, (B, H, K, D); None for an empty one
    """
    xp, T = xp_of(k), k.shape[2]
    chunk = min(chunk, 1 << max(T - 1, 0).bit_length())  # a power of two
    q, k, v, g, beta = (chunked(a, chunk) for a in (q, k, v, g, beta))  # (B, H, N, C, ...)
    parts = q, k, v, g, beta
    f = factors(parts)
    inverse = inverse_of_one_plus(xp.tril(f.kk * beta[..., None], -1))
    own = inverse @ (v * beta[..., None])  # (B, H, N, C, D)
    known = inverse @ (f.early_k * beta[..., None])  # (B, H, N, C, K)
    if state is None:
        state = xp.zeros((*k.shape[:2], k.shape[-1], v.shape[-1]), v.dtype)
    states = xp.empty((*k.shape[:3], *state.shape[2:]), v.dtype)  # (B, H, N, K, D)
    delta, y = own, xp.empty_like(v)
    for n in range(k.shape[2]):
        states[:, :, n] = state
        delta[:, :, n] -= known[:, :, n] @ state
        y[:, :, n] = f.early_q[:, :, n] @ state + f.P[:, :, n] @ delta[:, :, n]
        state = f.end[:, :, n] * state + swap(f.late[:, :, n]) @ delta[:, :, n]
    return joined(y, T), state, (*parts, inverse, delta, states)


def step(q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any) -> tuple[Any, Any]:
    """(y (B, H, D), the memory afterwards (B, H, K, D)) of one token: the definition.

    q, k (B, H, K), v (B, H, D), g and beta (B, H), state (B, H, K, D): the memory before it
    """
    state = xp_of(g).exp(g)[..., None, None] * state
    predicted = (k[..., None, :] @ state)[..., 0, :]  # (B, H, 1, K) @ (B, H, K, D) -> (B, H, D)
    state += k[..., None] * (beta[..., None] * (v - predicted))[..., None, :]
    return (q[..., None, :] @ state)[..., 0, :], state


def advanced(tokens: tuple, state: Any) -> tuple[Any, Any]:
    """(y (B, H, T, D), S after the tokens q, k, v, g, β); one token alone by the definition."""
    q, k, v, g, beta = tokens
    if k.shape[2] == 1 and state is not None:
        y, state = step(q[:, :, 0], k[:, :, 0], v[:, :, 0], g[:, :, 0], beta[:, :, 0], state)
        return y[:, :, None], state  # (B, H, D) -> (B, H, 1, D)
    y, state, _ = in_chunks(q, k, v, g, beta, state)
    return y, state


def inverse_of_one_plus(a: Any) -> Any:
    """(1 + a)⁻¹ of matrices a (..., n, n) that are zero on and above the diagonal; n = 2ᵐ.

    Blocks on the diagonal are inverted, then joined by two: the corner of
    [[L, 0], [C, M]]⁻¹ is −M⁻¹·C·L⁻¹. As exact as substitution, and made of products only.
    """
    xp, n = xp_of(a), a.shape[-1]
    y = xp.zeros_like(a)
    y[...] = xp.eye(n, dtype=a.dtype)
    size = 1
    while size < n:
        pair = xp.arange(n // (2 * size))
        grid = (*a.shape[:-2], n // (2 * size), 2 * size, n // (2 * size), 2 * size)
        blocks, inverse = a.reshape(grid), y.reshape(grid)
        upper = inverse[..., pair, :size, pair, :size]  # (pairs, ..., size, size)
        lower = inverse[..., pair, size:, pair, size:]
        corner = blocks[..., pair, size:, pair, :size]
        inverse[..., pair, size:, pair, :size] = -(lower @ (corner @ upper))
        size *= 2
    return y


def chunked(a: Any, chunk: int) -> Any:
    """(B, H, T, ...) -> (B, H, N, C, ...), with zeros after the last token."""
    xp, (B, H, T, *rest) = xp_of(a), a.shape
    n = -(-T // chunk)
    if n * chunk != T:
        whole = xp.zeros((B, H, n * chunk, *rest), a.dtype)
        whole[:, :, :T] = a
        a = whole
    return a.reshape(B, H, n, chunk, *rest)


def joined(a: Any, T: int) -> Any:
    """(B, H, N, C, ...) -> (B, H, T, ...), without what was added."""
    B, H, n, chunk, *rest = a.shape
    return a.reshape(B, H, n * chunk, *rest)[:, :, :T]
