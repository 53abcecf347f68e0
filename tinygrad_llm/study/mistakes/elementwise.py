"""Named mistakes of the element-wise ops."""

from __future__ import annotations

import math

import numpy as np

from ...arrays.special import sigmoid
from .base import (
    FIRST_COPY,
    MEAN_COPY,
    changed,
    cut,
    doubled,
    forgets_g,
    halved,
    negated,
    no_g,
    true,
    wrong,
)

# ------------------------------------------------------------------------------------ arithmetic
wrong(
    "add",
    FIRST_COPY,
    MEAN_COPY,
    ("shared out in halves", "Each input gets half of g here, as if it had to be shared: both "
     "reach z with derivative 1, and each gets all of g.", halved),
    ("second input forgotten", "y gets nothing here: like x it reaches z with derivative 1.",
     lambda op, g: (g, None)),
    ("sign of a difference", "y gets −g here, as for x − y; in a sum it gets g.",
     lambda op, g: (g, -g)),
)  # fmt: skip
wrong(
    "sub",
    FIRST_COPY,
    ("sign forgotten", "y gets g here: more y makes z smaller, so it gets −g.",
     lambda op, g: (g, g)),
    ("inputs swapped", "The signs are swapped: this is the gradient of y − x.",
     lambda op, g: (-g, g)),
    ("second input forgotten", "y gets nothing here: it reaches z with derivative −1.",
     lambda op, g: (g, None)),
)  # fmt: skip
wrong(
    "mul",
    ("inputs swapped", "Each input is multiplied by itself here: ∂(x·y)/∂x is y, the other one.",
     lambda op, g: (g * op.given[0], g * op.given[1])),
    ("one path forgotten", "y gets nothing here: the product rule has two halves.",
     lambda op, g: (g * op.given[1], None)),
    ("as if it were a sum", "g alone is the gradient of a sum: here it is scaled by the other "
     "factor.", lambda op, g: (g, g)),
    FIRST_COPY,
    no_g("∂z/∂x = y"),
)  # fmt: skip
wrong(
    "div",
    ("sign forgotten", "∂L/∂y has the wrong sign: a larger divisor makes z smaller.",
     changed(lambda a: -a, 1)),
    ("square forgotten", "∂L/∂y is −g·x / y here: it is −g·x / y², the power rule for y⁻¹.",
     lambda op, g: (g / op.given[1], -g * op.given[0])),
    ("multiplied for divided", "∂L/∂x is g·y here, as in a product: x is divided by y, so g is.",
     lambda op, g: (g * op.given[1], true(op, g)[1])),
    FIRST_COPY,
)  # fmt: skip
wrong(
    "neg",
    ("sign forgotten", "This is g: the derivative of −x is −1.", lambda op, g: g),
    ("g forgotten", "This is the derivative −1 alone: multiply it by g, what arrives.",
     forgets_g),
    ("no gradient", "This is 0, as if y were a constant: its derivative is −1.", cut),
)  # fmt: skip


def _pow(factor: bool = True, less: int = 1, log: bool = True):
    """g·p·xᵖ⁻¹ and g·xᵖ·ln x with a piece left out."""

    def backward(op, g):
        x, p = op.given
        gx = g * (p if factor else 1.0) * np.power(x, np.asarray(p, float) - less)
        z = np.power(x, np.asarray(p, float))
        with np.errstate(all="ignore"):
            gp = g * z * (np.log(np.where(z == 0, 1.0, x)) if log else 1.0)
        return gx, gp

    return backward


wrong(
    "pow",
    ("factor p forgotten", "This is g·xᵖ⁻¹: the power rule brings p down as a factor.",
     _pow(factor=False)),
    ("exponent not lowered", "This is g·p·xᵖ: the power rule lowers the exponent by one.",
     _pow(less=0)),
    ("exponential taken for a power", "∂L/∂p is g·z here, as for eᵖ: xᵖ = e^(p·ln x) brings down "
     "the factor ln x.", _pow(log=False)),
    ("factor 2 for every p", "This is 2·g·xᵖ⁻¹, right for squares alone: the factor is p.",
     lambda op, g: (_pow(factor=False)(op, 2.0 * g)[0], true(op, g)[1])),
)  # fmt: skip

# ----------------------------------------------------------------- exponentials, logarithms, roots
wrong(
    "exp",
    ("derivative forgotten", "This is g alone: the derivative of eˣ is eˣ, which is saved as y.",
     lambda op, g: g),
    ("output taken for the input", "This is g·e^y: saved is y = eˣ already, not x.",
     lambda op, g: g * np.exp(op.saved[0])),
    ("power rule", "This is g·x·eˣ⁻¹: the power rule is for xᵖ, where the base varies.",
     lambda op, g: g * op.given[0] * np.exp(op.given[0] - 1.0)),
    no_g("∂y/∂x = eˣ"),
)  # fmt: skip
wrong(
    "expm1",
    ("the 1 forgotten", "This is g·y: y is eˣ − 1 here, and the derivative is eˣ = y + 1.",
     lambda op, g: g * op.saved[0]),
    ("the 1 with the wrong sign", "This is g·(y − 1): y is eˣ − 1, so eˣ is y + 1.",
     lambda op, g: g * (op.saved[0] - 1.0)),
    no_g("∂y/∂x = eˣ"),
)  # fmt: skip
wrong(
    "log",
    ("multiplied for divided", "This is g·x: the derivative of ln x is 1/x.",
     lambda op, g: g * op.given[0]),
    ("differentiated twice", "This is −g/x², the second derivative: the first is 1/x.",
     lambda op, g: -g / op.given[0] ** 2),
    ("divided by the output", "This is g / ln x: the divisor is x, the input.",
     lambda op, g: g / (np.log(op.given[0]) + 1e-300)),
    no_g("∂y/∂x = 1/x"),
)  # fmt: skip
wrong(
    "log1p",
    ("the 1 forgotten", "This is g/x, the gradient of ln x: here it is ln(1 + x).",
     lambda op, g: g / op.given[0]),
    ("square too many", "This is g/(1 + x)²: the derivative of a logarithm is the first power.",
     lambda op, g: g / (1.0 + op.given[0]) ** 2),
    no_g("∂y/∂x = 1/(1 + x)"),
)  # fmt: skip


def _factor(c):
    """g·c/x."""
    return lambda op, g: g * c / op.given[0]


for _op, _base, _other in ("log2", 2.0, 10.0), ("log10", 10.0, 2.0):
    wrong(
        _op,
        ("ln of the base forgotten", f"This is g/x, the natural logarithm's: divide by "
         f"ln {_base:g} as well.", lambda op, g: g / op.given[0]),
        ("ln of the base multiplied", f"ln {_base:g} is a factor here: log x = "
         f"ln x / ln {_base:g}, so it divides.",
         _factor(math.log(_base))),
        ("another base", f"This is divided by ln {_other:g}, the base {_other:g}'s.",
         _factor(1.0 / math.log(_other))),
        no_g(f"∂y/∂x = 1/(x·ln {_base:g})"),
    )  # fmt: skip
wrong(
    "sqrt",
    ("factor ½ forgotten", "This is g/y: x^½ brings down the factor ½.",
     lambda op, g: g / op.saved[0]),
    ("input for the output", "This is g/(2x): the divisor is 2√x, and √x is the saved y.",
     lambda op, g: g / (2.0 * op.given[0])),
    ("root taken twice", "This is g/(2√y): what is saved is √x already.",
     lambda op, g: g / (2.0 * np.sqrt(op.saved[0]))),
)  # fmt: skip
wrong(
    "rsqrt",
    ("sign forgotten", "This has the wrong sign: 1/√x falls as x grows.", negated),
    ("factor ½ forgotten", "This is −g·y³: the exponent −½ comes down as a factor.", doubled),
    ("one power missing", "This is −½·g·y²: x^(−3/2) is y³.",
     lambda op, g: -0.5 * g * op.saved[0] ** 2),
)  # fmt: skip
wrong(
    "reciprocal",
    ("sign forgotten", "This has the wrong sign: 1/x falls as x grows.", negated),
    ("square forgotten", "This is −g·y: the derivative of 1/x is −1/x² = −y².",
     lambda op, g: -g * op.saved[0]),
    ("output taken for the input", "This is −g/y²: saved is y = 1/x, so −1/x² is −y².",
     lambda op, g: -g / op.saved[0] ** 2),
)  # fmt: skip

# -------------------------------------------------------------------- curves and their derivatives
wrong(
    "tanh",
    ("square forgotten", "This is g·(1 − y): the derivative is 1 − y².",
     lambda op, g: g * (1.0 - op.saved[0])),
    ("output taken for the input", "This is g·(1 − tanh²y): saved is y = tanh x already.",
     lambda op, g: g * (1.0 - np.tanh(op.saved[0]) ** 2)),
    ("sigmoid's derivative", "This is g·y·(1 − y), the derivative of the sigmoid.",
     lambda op, g: g * op.saved[0] * (1.0 - op.saved[0])),
    no_g("∂y/∂x = 1 − y²"),
)  # fmt: skip
wrong(
    "sigmoid",
    ("second factor forgotten", "This is g·y, as for eˣ: the derivative is y·(1 − y).",
     lambda op, g: g * op.saved[0]),
    ("output taken for the input", "This is σ(y)·(1 − σ(y)): saved is y = σ(x) already.",
     lambda op, g: g * sigmoid(op.saved[0]) * (1.0 - sigmoid(op.saved[0]))),
    ("tanh's derivative", "This is g·(1 − y²), the derivative of tanh.",
     lambda op, g: g * (1.0 - op.saved[0] ** 2)),
    no_g("∂y/∂x = y·(1 − y)"),
)  # fmt: skip


wrong(
    "sin",
    ("wrong sign", "This is −g·cos x: the sign turns for cos, not for sin.", negated),
    ("sin for cos", "This is g·sin x: the derivative of sin is cos.",
     lambda op, g: g * np.sin(op.given[0])),
    no_g("∂y/∂x = cos x"),
)  # fmt: skip
wrong(
    "cos",
    ("sign forgotten", "This is g·sin x: the derivative of cos is −sin.", negated),
    ("cos for sin", "This is −g·cos x: the derivative of cos is −sin.",
     lambda op, g: -g * np.cos(op.given[0])),
    no_g("∂y/∂x = −sin x"),
)  # fmt: skip
wrong(
    "erf",
    ("factor forgotten", "2/√π is missing: it stands before the integral.",
     lambda op, g: g * np.exp(-op.given[0] ** 2)),
    ("the normal density", "This is g·e^(−x²/2)/√(2π), the derivative of Φ: erf x = 2Φ(√2·x) − 1.",
     lambda op, g: g * np.exp(-op.given[0] ** 2 / 2.0) / math.sqrt(2.0 * math.pi)),
    ("√π for its inverse", "√π is a factor here: 2/√π divides by it.",
     lambda op, g: g * np.exp(-op.given[0] ** 2) * 2.0 * math.sqrt(math.pi)),
)  # fmt: skip
wrong(
    "abs",
    ("sign of x forgotten", "This is g: left of 0 the derivative is −1.", lambda op, g: g),
    ("x for its sign", "This is g·x, as for ½x²: the derivative of |x| is the sign alone.",
     lambda op, g: g * op.given[0]),
    ("|x| itself", "This is g·|x|: the derivative of |x| is −1 or 1.",
     lambda op, g: g * abs(op.given[0])),
)  # fmt: skip

# ------------------------------------------------------------------------------------- choices
wrong(
    "clamp",
    ("bounds ignored", "This is g everywhere: outside the bounds y does not move with x.",
     lambda op, g: g),
    ("outside for inside", "g passes outside the bounds here and stops inside: it must be the "
     "other way round.",
     lambda op, g: g * ~op.saved[0]),
    no_g("∂y/∂x, 1 inside and 0 outside,"),
)  # fmt: skip
for _op, _word, _opposite in ("maximum", "larger", "smaller"), ("minimum", "smaller", "larger"):
    wrong(
        _op,
        ("g to both", f"Both inputs get g here: only the {_word} one reached z.",
         lambda op, g: (g, g)),
        ("to the wrong one", f"g goes to the {_opposite} input here: the {_word} one reached z.",
         lambda op, g: tuple(reversed(true(op, g)))),
        ("shared out in halves", "Each input gets ½·g here: that is right for a tie alone.",
         lambda op, g: (0.5 * g, 0.5 * g)),
        FIRST_COPY,
    )  # fmt: skip
wrong(
    "where",
    ("condition ignored", "Both inputs get all of g here: each gets it only where it was chosen.",
     lambda op, g: (None, g, g)),
    ("inputs swapped", "x gets g where y was chosen, and the other way round.",
     lambda op, g: (None, g * ~op.given[0], g * op.given[0])),
    ("second input forgotten", "y gets nothing here: it reached z where the condition fails.",
     lambda op, g: (None, g * op.given[0], None)),
    ("only the first copy", FIRST_COPY[1], lambda op, g: (None, *FIRST_COPY[2](op, g)[1:])),
)  # fmt: skip
wrong(
    "masked_fill",
    ("mask ignored", "x gets g everywhere here: where the mask holds it was overwritten.",
     lambda op, g: (g, None, true(op, g)[2])),
    ("mask inverted", "x gets g where it was overwritten, and 0 where it shows.",
     lambda op, g: (g * op.given[1], None, true(op, g)[2])),
    ("g forgotten", "This is 1 where x shows and 0 elsewhere: multiply it by g.",
     forgets_g),
)  # fmt: skip

# -------------------------------------------------------------------------------- passing it on
for _op, _what in ("clone", "a copy"), ("cast", "a change of dtype"), ("move", "a move"):
    wrong(
        _op,
        ("the graph is cut", f"This is 0, as after detach(): {_what} passes the gradient on.", cut),
        ("g forgotten", f"This is 1 everywhere: {_what} passes on g itself.",
         lambda op, g: forgets_g(op, g)),
        ("counted twice", f"This is 2·g, as if {_what} and the original both reached the loss: "
         "where both do, the engine adds.", doubled),
    )  # fmt: skip
wrong(
    "step",
    ("straight through", "This is g: between its steps the function is constant, so the gradient "
     "is 0. (g is a trick, the straight-through estimator, and not the derivative.)",
     lambda op, g: g),
    ("the function of g", "This rounds g as forward rounds x: the derivative is another function, "
     "here 0.", lambda op, g: getattr(np, op.function)(g)),
    ("no value", "This is NaN: at its steps the function has no derivative, but almost everywhere "
     "it is 0.", lambda op, g: g * math.nan),
)  # fmt: skip


def _quotient(op):
    x, y = op.given
    return (x - (np.remainder if op.chosen["rounding"] == "floor" else np.fmod)(x, y)) / y


wrong(
    "remainder",
    ("second input forgotten", "y gets nothing here: the derivative of z = x − q·y by y is −q.",
     lambda op, g: (g, None)),
    ("sign forgotten", "∂L/∂y is g·q here: q·y is subtracted.",
     lambda op, g: (g, g * _quotient(op))),
    ("quotient not rounded", "∂L/∂y is −g·x/y here: q is the whole number.",
     lambda op, g: (g, -g * op.given[0] / op.given[1])),
    ("first input forgotten", "x gets nothing here: between the jumps ∂z/∂x is 1.",
     lambda op, g: (None, true(op, g)[1])),
)  # fmt: skip
