"""The selective scan: channels that each keep a few numbers of the text, and forget them at will.

Shapes: B batch, D channels, T time, N numbers that a channel keeps, L tokens of a chunk.
"""

from typing import Any

from ..arrays.devices import xp_of
from ..autograd.engine import Op


class SelectiveScan(Op):
    """yₜ[d] = Σₙ cₜ[n]·hₜ[d, n],   hₜ[d, n] = exp(Δₜ[d]·A[d, n])·hₜ₋₁[d, n] + Δₜ[d]·xₜ[d]·bₜ[n].

    Channel d keeps N numbers h (D, N), h₀ = 0. Δₜ, bₜ and cₜ come from the token: it selects how
    much is forgotten (a large Δ with A < 0), what is written and what is read. Computed in chunks
    of L tokens: all factors of a chunk together, then h token by token, or, with parallel, all
    tokens in log₂ L steps: see `scan`. Only h at each chunk's start is kept.
    Backward, chunk by chunk from the last, with aₜ = exp(Δₜ·A) and λₜ = ∂L/∂hₜ. hₜ reaches the
    loss by yₜ and by hₜ₊₁, so λ is a scan from the other end:
        λₜ = gₜ·cₜᵀ + aₜ₊₁·λₜ₊₁                    uₜ = λₜ·hₜ₋₁·aₜ = ∂L/∂(Δₜ·A)
        ∂L/∂xₜ = Δₜ·Σₙ λₜ·bₜ                       ∂L/∂Δₜ = Σₙ uₜ·A + xₜ·Σₙ λₜ·bₜ
        ∂L/∂bₜ[n] = Σ_d λₜ·Δₜ·xₜ                   ∂L/∂cₜ[n] = Σ_d gₜ·hₜ
        ∂L/∂A = Σₜ uₜ·Δₜ                           (over the batch too)
    Saves its inputs and h at each chunk's start, N numbers for L tokens of a channel; a and h of
    the tokens are computed again, because they are N times as large as x.
    Source: Gu and Dao (2023), "Mamba", section 3 and algorithm 2.
    """

    signature = "x(B,D,T) delta(B,D,T) a(D,N) b(B,N,T) c(B,N,T) -> y(B,D,T)"
    in_rows = True
    in_float32 = True

    def forward(self, x, delta, a, b, c, chunk=16, parallel=False):
        self.chunk, self.parallel = chunk, parallel
        y, _, starts = in_chunks(x, delta, a, b, c, None, chunk, parallel)
        self.saved = x, delta, a, b, c, starts
        return y

    def backward(self, g):
        x, delta, a, b, c, starts = self.saved
        xp = xp_of(g)
        gx, g_delta, gb, gc = (xp.empty_like(v) for v in (x, delta, b, c))
        ga, later = xp.zeros_like(a), xp.zeros_like(starts[:, :, 0])  # later: aₜ₊₁·λₜ₊₁ (B, D, N)
        for n in reversed(range(starts.shape[2])):
            now = slice(n * self.chunk, (n + 1) * self.chunk)
            dt, xs, g_now = delta[:, :, now], x[:, :, now], g[:, :, now]  # (B, D, L)
            start, seen = starts[:, :, n], b[:, None, :, now].swapaxes(2, 3)  # (B, 1, L, N)
            keep, h = states(dt, xs, a, seen, start, self.parallel)  # (B, D, L, N)
            lam = g_now[..., None] * c[:, None, :, now].swapaxes(2, 3)  # (B, D, L, N)
            lam[:, :, -1] += later
            scan(ahead(keep), lam[:, :, ::-1], self.parallel)
            later = keep[:, :, 0] * lam[:, :, 0]
            u = lam * keep
            u[:, :, 0] *= start
            u[:, :, 1:] *= h[:, :, :-1]
            written = (lam * seen).sum(-1)  # (B, D, L, N) -> (B, D, L)
            gx[:, :, now] = dt * written
            g_delta[:, :, now] = (u * a[:, None]).sum(-1) + xs * written
            ga += xp.einsum("bdln,bdl->dn", u, dt)
            gb[:, :, now] = xp.einsum("bdln,bdl->bnl", lam, dt * xs)
            gc[:, :, now] = xp.einsum("bdln,bdl->bnl", h, g_now)
        return gx, g_delta, ga, gb, gc


def in_chunks(
    x: Any, delta: Any, a: Any, b: Any, c: Any, state: Any, chunk: int = 16, parallel: bool = False
) -> tuple[Any, Any, Any]:
    """(y (B, D, T), h after the last token (B, D, N), h at each chunk's start (B, D, chunks, N)).

    state: h before the first token, (B, D, N); None for zeros. chunk=1 is the definition.
    """
    xp, (B, D, T) = xp_of(x), x.shape
    if state is None:
        state = xp.zeros((B, D, a.shape[1]), x.dtype)
    y, starts = xp.empty_like(x), xp.empty((B, D, -(-T // chunk), a.shape[1]), x.dtype)
    for n in range(starts.shape[2]):
        now = slice(n * chunk, (n + 1) * chunk)
        starts[:, :, n] = state
        seen = b[:, None, :, now].swapaxes(2, 3)  # (B, 1, L, N)
        _, h = states(delta[:, :, now], x[:, :, now], a, seen, state, parallel)
        y[:, :, now] = xp.einsum("bdln,bnl->bdl", h, c[:, :, now])
        state = h[:, :, -1].copy()  # the chunk's other states are not kept
    return y, state, starts


def states(delta: Any, x: Any, a: Any, b: Any, start: Any, parallel: bool) -> tuple[Any, Any]:
    """(exp(Δ·A), h) of a chunk's tokens, (B, D, L, N) each.

    delta, x (B, D, L), a (D, N), b (B, 1, L, N), start (B, D, N): h before the chunk
    """
    keep = xp_of(x).exp(delta[..., None] * a[:, None])  # (B, D, L, 1) · (D, 1, N)
    h = (delta * x)[..., None] * b  # (B, D, L, N)
    h[:, :, 0] += keep[:, :, 0] * start
    scan(keep, h, parallel)
    return keep, h


def scan(keep: Any, h: Any, parallel: bool) -> None:
    """hₜ += keepₜ·hₜ₋₁ for t = 1, 2, …, along dimension 2 of h (B, D, L, N), in place.

    parallel: in log₂ L steps, each for all tokens: after the step of n tokens, hₜ sums up the 2n
    tokens that end with t, and keep is the product of their factors. More products, fewer steps:
    for a GPU. Hillis and Steele (1986), "Data parallel algorithms".
    """
    if not parallel:
        for t in range(1, h.shape[2]):
            h[:, :, t] += keep[:, :, t] * h[:, :, t - 1]
        return
    n = 1
    while n < h.shape[2]:
        h[:, :, n:] += keep[:, :, n:] * h[:, :, :-n]
        together = keep[:, :, n:] * keep[:, :, :-n]
        keep = xp_of(h).concatenate([keep[:, :, :n], together], 2)
        n *= 2


def ahead(keep: Any) -> Any:
    """The factor of the token after each, from the last token on: (B, D, L, N); first 1, unused."""
    factors = xp_of(keep).ones_like(keep)
    factors[:, :, 1:] = keep[:, :, :0:-1]
    return factors


def advanced(tokens: tuple, a: Any, state: Any) -> tuple[Any, Any]:
    """(y (B, D, T), h afterwards (B, D, N)) of tokens x, Δ (B, D, T), b, c (B, N, T)."""
    x, delta, b, c = tokens
    y, state, _ = in_chunks(x, delta, a, b, c, state)
    return y, state
