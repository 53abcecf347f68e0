"""A chain of tags: the sum over every path through it, and how likely each tag is.

Shapes: B batch, T time (tokens), K tags.
"""

from typing import Any

from ..arrays.devices import xp_of
from ..autograd.engine import Op


class CrfLogPartition(Op):
    """log Z = log Σ exp(s(y)) over all Kᵀ paths, s(y) = b[y₁] + Σ eₜ[yₜ] + Σ A[yₜ₋₁, yₜ] + c[y_T].

    The forward algorithm takes one token at a time, K² additions each, in place of Kᵀ paths:
        α₁[j] = b[j] + e₁[j]        αₜ[j] = eₜ[j] + log Σᵢ exp(αₜ₋₁[i] + A[i, j])
        log Z = log Σⱼ exp(α_T[j] + c[j])
    αₜ is stored without its maximum, and the maxima are added up: its differences stay exact in
    long texts. A token whose mask is False is passed over: α stays as it was.
    Backward, where pₜ[j] = ∂log Z/∂αₜ[j] is the marginal, the share of the paths' weight that has
    tag j at t. With w the posterior of the tag before, from the end to the beginning,
        p_T = softmax(α_T + c)      wₜ[i, j] = exp(αₜ₋₁[i] + A[i, j])/Σᵢ exp(αₜ₋₁[i] + A[i, j])
        πₜ[i, j] = wₜ[i, j]·pₜ[j], the marginal of the pair      pₜ₋₁[i] = Σⱼ πₜ[i, j]
        ∂L/∂eₜ = g·pₜ      ∂L/∂A = Σ g·πₜ      ∂L/∂b = Σ g·p₁      ∂L/∂c = Σ g·p_T
    summed over the batch, and for A over time. This equals exp(αₜ + βₜ − log Z) of the
    forward-backward algorithm, and each pₜ sums to 1 to the last digits, in any length.
    Saves α (as big as the emissions), A, c and the mask. A score may be −∞: that path is closed.
    Sources: Rabiner (1989), "A tutorial on hidden Markov models", section III; Lafferty et al.
    (2001), "Conditional random fields".
    """

    signature = "emissions(B,T,K) transitions(K,K) start(K) end(K) mask(B,T)? -> log_z(B)"
    in_rows = True
    in_float32 = True

    def forward(self, emissions, transitions, start, end, mask=None):
        xp, (B, T, K) = xp_of(emissions), emissions.shape
        alphas = xp.empty((B, T, K), emissions.dtype)
        log_z = xp.zeros(B, emissions.dtype)
        for t in range(T):
            if t == 0:
                alpha = start + emissions[:, 0]  # (K) + (B, K)
            else:
                before = alphas[:, t - 1]  # (B, K)
                alpha = log_sum(before[:, :, None] + transitions) + emissions[:, t]
                if mask is not None:
                    alpha = xp.where(mask[:, t, None], alpha, before)
            top = highest(alpha)  # (B, K) -> (B, 1)
            log_z += top[:, 0]
            alphas[:, t] = alpha - top
        log_z += log_sum((alphas[:, -1] + end)[:, :, None])[:, 0]  # (B, K, 1) -> (B, 1) -> (B)
        self.saved = alphas, transitions, end, mask
        return log_z

    def backward(self, g):
        alphas, transitions, end, mask = self.saved
        xp, T = xp_of(g), alphas.shape[1]
        ge, ga = xp.zeros_like(alphas), xp.zeros_like(transitions)
        p = shares((alphas[:, -1] + end)[:, :, None])[:, :, 0] * g[:, None]  # (B, K)
        g_end = p.sum(0)  # (B, K) -> (K)
        for t in range(T - 1, 0, -1):
            pair = shares(alphas[:, t - 1, :, None] + transitions)  # (B, K, K)
            pair *= p[:, None, :]
            before = pair.sum(2)  # (B, K, K) -> (B, K)
            if mask is None:
                ge[:, t], p = p, before
            else:
                real = mask[:, t, None]  # (B, 1)
                ge[:, t] = xp.where(real, p, 0.0)
                pair = xp.where(real[:, :, None], pair, 0.0)
                p = xp.where(real, before, p)
            ga += pair.sum(0)  # (B, K, K) -> (K, K)
        ge[:, 0] = p
        return ge, ga, p.sum(0), g_end, None


def highest(x: Any) -> Any:
    """The maximum over dimension 1, which stays with size 1; 0 where it is infinite."""
    top = x.max(1, keepdims=True)
    top[xp_of(x).isinf(top)] = 0.0
    return top


def log_sum(x: Any) -> Any:
    """log Σᵢ exp(x[:, i]): (B, I, J) -> (B, J)."""
    top, xp = highest(x), xp_of(x)
    return xp.log(xp.exp(x - top).sum(1)) + top[:, 0]


def shares(x: Any) -> Any:
    """softmax over dimension 1: (B, I, J) -> (B, I, J); zeros where all of it is −∞."""
    e = xp_of(x).exp(x - highest(x))
    total = e.sum(1, keepdims=True)  # (B, 1, J)
    total[total == 0.0] = 1.0
    e /= total
    return e
