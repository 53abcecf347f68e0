"""Named mistakes of the activations."""

from __future__ import annotations

import math

import numpy as np

from ...arrays.special import erf, sigmoid
from .base import negated, no_g, wrong


def slope(f):
    """g·f(x), f the wrong slope."""
    return lambda op, g: g * f(op.given[0], **op.chosen)


wrong(
    "relu",
    ("mask forgotten", "This is g everywhere: where x < 0, y is constant.", lambda op, g: g),
    ("mask of g", "g passes where g > 0 here: it is x > 0 that counts.",
     lambda op, g: g * (g > 0)),
    ("mask inverted", "g passes where x < 0 here: there y is constant.",
     lambda op, g: g * (op.given[0] < 0)),
    ("the output for its slope", "This is g·y: where x > 0 the slope is 1.",
     slope(lambda x: np.maximum(x, 0.0))),
    no_g("∂y/∂x, 1 where x > 0,"),
)  # fmt: skip
wrong(
    "leaky_relu",
    ("relu's gradient", "This is 0 where x < 0: there the slope is negative_slope.",
     slope(lambda x, negative_slope=0.01: x > 0)),
    ("slopes swapped", "The slope is negative_slope where x > 0 here, and 1 where x < 0.",
     slope(lambda x, negative_slope=0.01: np.where(x > 0, negative_slope, 1.0))),
    ("slope with a minus", "The slope is −negative_slope where x < 0 here: y = a·x has slope a.",
     slope(lambda x, negative_slope=0.01: np.where(x > 0, 1.0, -negative_slope))),
    no_g("∂y/∂x"),
)  # fmt: skip
wrong(
    "elu",
    ("α forgotten", "The slope is eˣ where x < 0 here: it is α·eˣ.",
     slope(lambda x, alpha=1.0: np.where(x > 0, 1.0, np.exp(x)))),
    ("the output for its slope", "The slope is y = α·(eˣ − 1) where x < 0 here: it is y + α.",
     slope(lambda x, alpha=1.0: np.where(x > 0, 1.0, alpha * np.expm1(x)))),
    ("relu's gradient", "This is 0 where x < 0: there the slope is α·eˣ.",
     slope(lambda x, alpha=1.0: x > 0)),
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
    return slope(lambda x, **chosen: f(x, *_gelu_parts(x, **chosen)))


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
     slope(sigmoid)),
    ("first half of the product rule", "This is g·x·σ·(1 − σ): σ itself is missing.",
     slope(lambda x: x * sigmoid(x) * (1.0 - sigmoid(x)))),
    ("sigmoid's slope", "This is g·σ·(1 − σ), the slope of σ alone: y is x·σ.",
     slope(lambda x: sigmoid(x) * (1.0 - sigmoid(x)))),
    no_g("∂y/∂x"),
)  # fmt: skip
wrong(
    "softplus",
    ("factor β", "This is β·σ(βx): the inner derivative β and the 1/β before the logarithm cancel.",
     slope(lambda x, beta=1.0, threshold=20.0: np.where(beta * x > threshold, 1.0,
                                                        beta * sigmoid(beta * x)))),
    ("β forgotten", "This is σ(x): β stands inside too, σ(βx).",
     slope(lambda x, beta=1.0, threshold=20.0: np.where(beta * x > threshold, 1.0, sigmoid(x)))),
    ("mirrored", "This is σ(−βx): softplus rises towards slope 1 on the right.",
     slope(lambda x, beta=1.0, threshold=20.0: sigmoid(-beta * x))),
    no_g("∂y/∂x = σ(βx)"),
)  # fmt: skip
wrong(
    "logsigmoid",
    ("mirrored", "This is σ(x): the slope of log σ is 1 − σ(x) = σ(−x).", slope(sigmoid)),
    ("sigmoid's slope", "This is σ·(1 − σ): the logarithm divides by σ.",
     slope(lambda x: sigmoid(x) * (1.0 - sigmoid(x)))),
    ("wrong sign", "This has the wrong sign: log σ rises with x.", negated),
    no_g("∂y/∂x = σ(−x)"),
)  # fmt: skip
