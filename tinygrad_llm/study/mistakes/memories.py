"""Wrong backward passes of ops that go token by token: delta rule, selective scan, CRF."""

from __future__ import annotations

import numpy as np

from .base import no_g, true, wrong


# -------------------------------------------------------------------------------- the delta rule
def _delta_rule(i, f):
    """The true gradients, that of input i replaced by f(it, q, k, v, g, β)."""

    def backward(op, g):
        grads = true(op, g)
        grads[i] = None if grads[i] is None else f(grads[i], *op.given)
        return tuple(grads)

    return backward


def _without_later(a, *given):
    return a - np.concatenate([a[:, :, 1:], 0.0 * a[:, :, :1]], 2)


wrong(
    "gated_delta_rule",
    ("later tokens forgotten", "∂L/∂g has the token's own part alone: what the memory loses at one "
     "token is missing at all that follow, so their parts add up.",
     _delta_rule(3, _without_later)),
    ("times a once more", "∂L/∂g is multiplied by exp(g) twice: the derivative of a = exp(g) is a.",
     _delta_rule(3, lambda a, q, k, v, g, beta: a * np.exp(g))),
    ("β forgotten", "∂L/∂v is r here: only the share β of v is written, so it is β·r.",
     _delta_rule(2, lambda a, q, k, v, g, beta: a / beta[..., None])),
    ("the decay forgotten", "g gets nothing here: it says what the memory keeps.",
     _delta_rule(3, lambda a, *given: None)),
    ("sign of ∂L/∂β", "∂L/∂β has the wrong sign: it grows with what was missing, v − S·k.",
     _delta_rule(4, lambda a, *given: -a)),
    no_g("of the sum of Y"),
)  # fmt: skip


# ---------------------------------------------------------------------------- the selective scan
def _decay_alone(op, g):
    grads = true(op, g)
    x, delta = op.given[:2]
    return grads[0], grads[1] - x * grads[0] / delta, *grads[2:]


wrong(
    "selective_scan",
    ("Δ of the decay alone", "∂L/∂Δ has the part of exp(Δ·A) alone: Δ also multiplies x·b.",
     _decay_alone),
    ("Δ forgotten", "∂L/∂x is Σ λ·b here: Δ·x·b is what a token writes, so it is Δ times that.",
     _delta_rule(0, lambda a, x, delta, *given: a / delta)),
    ("sign of ∂L/∂A", "∂L/∂A has the wrong sign: A is in the exponent as it is.",
     _delta_rule(2, lambda a, *given: -a)),
    ("A forgotten", "A gets nothing here: it says how fast each number fades.",
     _delta_rule(2, lambda a, *given: None)),
    ("b and c exchanged", "∂L/∂b and ∂L/∂c are exchanged: b writes into h, and c reads it.",
     lambda op, g: (*true(op, g)[:3], *true(op, g)[:2:-1])),
    no_g("of the sum of Y"),
)  # fmt: skip


# ------------------------------------------------------------------------------- the chain of tags
def _greedy(op, g):
    """Each token's own softmax in place of the marginals."""
    e = op.given[0]
    p = np.exp(e - e.max(-1, keepdims=True))
    grads = true(op, g)
    p *= g[:, None, None] / p.sum(-1, keepdims=True)
    return np.where(grads[0] != 0.0, p, 0.0), *grads[1:]


def _padding_counted(op, g):
    """The gradients as if there were no mask."""
    again = type(op)()
    again.forward(*op.given[:4])
    return *true(again, g)[:4], None


def _alone(op, g):
    """Pairs as if two neighbours did not depend on each other: pₜ₋₁[i]·pₜ[j]."""
    grads = true(op, g)
    p = grads[0] / np.where(g == 0.0, 1.0, g)[:, None, None]
    grads[1] = np.einsum("bti,btj,b->ij", p[:, :-1], p[:, 1:], g)
    return tuple(grads)


wrong(
    "crf_log_partition",
    ("each token alone", "∂L/∂e is the softmax of each token's own scores: the marginals also know "
     "what the neighbours say, through the transitions.", _greedy),
    ("pairs as if independent", "∂L/∂A has the product of two marginals: neighbours depend on each "
     "other, so it is the marginal of the pair.", _alone),
    ("pairs transposed", "∂L/∂A is transposed: A[i, j] goes from the tag i to the tag j after it.",
     _delta_rule(1, lambda a, *given: a.T)),
    ("padding counted", "The mask is ignored: what stands behind a text has no gradient, and a "
     "text's last tag is the one at its own end.", _padding_counted),
    ("start and end exchanged", "∂L/∂b and ∂L/∂c are exchanged: b belongs to the first tag, c to "
     "the last.", lambda op, g: (*true(op, g)[:2], *true(op, g)[3:1:-1], None)),
    no_g("of the sum of log Z"),
)  # fmt: skip
