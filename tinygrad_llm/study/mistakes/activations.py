"""Named mistakes of the activations."""

from __future__ import annotations

import math

import numpy as np

from ...arrays.special import erf, sigmoid
from .base import negated, no_g, wrong


def derivative(f):
    """The mistake g·f(x), with a wrong derivative f."""
    return lambda op, g: g * f(op.given[0], **op.chosen)


wrong(
    "relu",
    ("mask forgotten", "This is g everywhere: where x < 0, y is constant.", lambda op, g: g),
    ("mask of g", "g passes where g > 0 here: it is x > 0 that counts.",
     lambda op, g: g * (g > 0)),
    ("mask inverted", "g passes where x < 0 here: there y is constant.",
     lambda op, g: g * (op.given[0] < 0)),
    ("the output for its derivative", "This is g·y: where x > 0 the derivative is 1.",
     derivative(lambda x: np.maximum(x, 0.0))),
    no_g("∂y/∂x, 1 where x > 0,"),
)  # fmt: skip
wrong(
    "leaky_relu",
    ("relu's gradient", "This is 0 where x < 0: there the derivative is negative_slope.",
     derivative(lambda x, negative_slope=0.01: x > 0)),
    ("derivatives swapped", "The derivative is negative_slope where x > 0 here, and 1 where x < 0.",
     derivative(lambda x, negative_slope=0.01: np.where(x > 0, negative_slope, 1.0))),
    ("derivative with a minus", "The derivative is −negative_slope where x < 0 here: that "
     "of a·x is a.",
     derivative(lambda x, negative_slope=0.01: np.where(x > 0, 1.0, -negative_slope))),
    no_g("∂y/∂x"),
)  # fmt: skip
wrong(
    "elu",
    ("α forgotten", "The derivative is eˣ where x < 0 here: it is α·eˣ.",
     derivative(lambda x, alpha=1.0: np.where(x > 0, 1.0, np.exp(x)))),
    ("the output for its derivative", "The derivative is y = α·(eˣ − 1) where x < 0 here: "
     "it is y + α.",
     derivative(lambda x, alpha=1.0: np.where(x > 0, 1.0, alpha * np.expm1(x)))),
    ("relu's gradient", "This is 0 where x < 0: there the derivative is α·eˣ.",
     derivative(lambda x, alpha=1.0: x > 0)),
    no_g("∂y/∂x"),
)  # fmt: skip
_C, _A = math.sqrt(2.0 / math.pi), 0.044715


def _gelu_parts(x, approximate="none"):
    """Φ and Φ′."""
    if approximate == "tanh":
        cdf = (1.0 + np.tanh(_C * (x + _A * x**3))) / 2.0
        return cdf, 2.0 * cdf * (1.0 - cdf) * _C * (1.0 + 3.0 * _A * x * x)
    return (1.0 + erf(x / math.sqrt(2.0))) / 2.0, np.exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi)


def _gelu(f):
    return derivative(lambda x, **chosen: f(x, *_gelu_parts(x, **chosen)))


wrong(
    "gelu",
    ("second half of the product rule", "This is g·Φ(x): x is in Φ too, x·Φ′ is missing.",
     _gelu(lambda x, cdf, density: cdf)),
    ("first half of the product rule", "This is g·x·Φ′(x): Φ itself is missing.",
     _gelu(lambda x, cdf, density: x * density)),
    ("x forgotten", "This is g·(Φ + Φ′): Φ′ comes with the factor x.",
     _gelu(lambda x, cdf, density: cdf + density)),
    ("1/√2π forgotten", "The density lacks its factor 1/√(2π).",
     _gelu(lambda x, cdf, density: cdf + x * density * math.sqrt(2.0 * math.pi))),
    no_g("∂y/∂x"),
)  # fmt: skip
wrong(
    "silu",
    ("second half of the product rule", "This is g·σ(x): x is in σ too, x·σ·(1 − σ) is missing.",
     derivative(sigmoid)),
    ("first half of the product rule", "This is g·x·σ·(1 − σ): σ itself is missing.",
     derivative(lambda x: x * sigmoid(x) * (1.0 - sigmoid(x)))),
    ("sigmoid's derivative", "This is g·σ·(1 − σ), the derivative of σ alone: y is x·σ.",
     derivative(lambda x: sigmoid(x) * (1.0 - sigmoid(x)))),
    no_g("∂y/∂x"),
)  # fmt: skip


def _gate(activation="silu"):
    """The function f of a gate, and its derivative."""
    if activation == "silu":
        return lambda a: a * sigmoid(a), lambda a: sigmoid(a) * (1.0 + a * (1.0 - sigmoid(a)))
    kind = "tanh" if activation == "gelu_tanh" else "none"

    def df(a):
        cdf, density = _gelu_parts(a, kind)
        return cdf + a * density

    return lambda a: a * _gelu_parts(a, kind)[0], df


def _halves(function):
    """The mistake that a function of (g, a, b, f, f′) returns: ∂L/∂a and ∂L/∂b, joined."""

    def backward(op, g):
        a, b = np.split(op.given[0], 2, axis=-1)  # (..., 2F) -> (..., F) twice
        return np.concatenate(function(g, a, b, *_gate(**op.chosen)), axis=-1)

    return backward


wrong(
    "gated_activation",
    ("the halves exchanged", "∂L/∂a and ∂L/∂b have each other's place: a is the first half.",
     _halves(lambda g, a, b, f, df: (g * f(a), g * b * df(a)))),
    ("f for its derivative", "This is g·b·f(a) for the gate: f is differentiated, f′(a).",
     _halves(lambda g, a, b, f, df: (g * b * f(a), g * f(a)))),
    ("b forgotten", "This is g·f′(a) for the gate: the other factor b is missing.",
     _halves(lambda g, a, b, f, df: (g * df(a), g * f(a)))),
    ("the gate without f", "This is g·a for the second half: its factor is f(a).",
     _halves(lambda g, a, b, f, df: (g * b * df(a), g * a))),
    no_g("∂y/∂x"),
)  # fmt: skip
wrong(
    "softplus",
    ("factor β", "This is β·σ(βx): the inner derivative β and the 1/β before the logarithm cancel.",
     derivative(lambda x, beta=1.0, threshold=20.0: np.where(beta * x > threshold, 1.0,
                                                             beta * sigmoid(beta * x)))),
    ("β forgotten", "This is σ(x): β is inside too, σ(βx).",
     derivative(lambda x, beta=1.0, threshold=20.0: np.where(beta * x > threshold, 1.0,
                                                             sigmoid(x)))),
    ("mirrored", "This is σ(−βx): the derivative of softplus rises towards 1 on the right.",
     derivative(lambda x, beta=1.0, threshold=20.0: sigmoid(-beta * x))),
    no_g("∂y/∂x = σ(βx)"),
)  # fmt: skip
wrong(
    "logsigmoid",
    ("mirrored", "This is σ(x): the derivative of log σ is 1 − σ(x) = σ(−x).", derivative(sigmoid)),
    ("sigmoid's derivative", "This is σ·(1 − σ): the logarithm divides by σ.",
     derivative(lambda x: sigmoid(x) * (1.0 - sigmoid(x)))),
    ("wrong sign", "This has the wrong sign: log σ rises with x.", negated),
    no_g("∂y/∂x = σ(−x)"),
)  # fmt: skip
