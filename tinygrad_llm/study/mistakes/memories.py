"""Wrong backward passes of ops with a memory: the gated delta rule and the selective scan."""

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
