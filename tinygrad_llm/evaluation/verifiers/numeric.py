"""The second verifier: two formulas are equal if their values are, at points chosen once.

It is another method than symbolic equality, and it is wrong in other places: a difference smaller
than the tolerance is not seen. Where both agree, the verdict is hardly an accident.
"""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

__all__ = ["numerically_equal", "value"]

Tree = list[Any]
POINTS, TOLERANCE = 6, 1e-9
_NOT_DEFINED = (ArithmeticError, ValueError)

_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "cot": lambda z: 1.0 / cmath.tan(z),
    "sec": lambda z: 1.0 / cmath.cos(z), "csc": lambda z: 1.0 / cmath.sin(z),
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "ln": cmath.log,
    "exp": cmath.exp, "abs": lambda z: complex(abs(z)),
}  # fmt: skip


def numerically_equal(ours: Tree, theirs: Tree) -> bool | None:
    """Whether two formulas have the same values; None where neither has any.

    Letters get positive numbers from a fixed seed. One point with another value is a difference.
    """
    if ours[0] == theirs[0] == "ratio":
        return _constant_ratio(ours)
    names = sorted(_letters(ours) | _letters(theirs))
    compared = 0
    for point in _points(names):
        try:
            a, b = value(ours, point), value(theirs, point)
        except _NOT_DEFINED:
            continue
        if not _close(a, b):
            return False
        compared += 1
    return True if compared else None


def _constant_ratio(tree: Tree) -> bool | None:
    """Whether a/b of ["ratio", a, b] is the same number at all points, and not 0."""
    ratios = []
    for point in _points(sorted(_letters(tree))):
        try:
            ratios.append(value(tree[1], point) / value(tree[2], point))
        except _NOT_DEFINED:
            continue
    if len(ratios) < 2:
        return None
    return abs(ratios[0]) > TOLERANCE and all(_close(r, ratios[0]) for r in ratios)


def _points(names: list[str]) -> list[dict[str, complex]]:
    draw = random.Random(1234)
    n = POINTS if names else 1
    return [{name: complex(draw.uniform(0.3, 2.7)) for name in names} for _ in range(n)]


def _close(a: complex, b: complex) -> bool:
    if cmath.isinf(a) or cmath.isinf(b):
        return a == b
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) + 1e-12


def _letters(tree: Tree) -> set[str]:
    if tree[0] == "sym":
        return {tree[1]}
    return set().union(*(_letters(part) for part in tree[1:] if isinstance(part, list)))


def value(tree: Tree, point: dict[str, complex]) -> complex:
    """The value of a formula, with a number for each letter.

    Raises: ArithmeticError or ValueError where it has none.
    """
    kind = tree[0]
    if kind == "num":
        number = Fraction(tree[1])
        return complex(number.numerator / number.denominator)
    if kind == "sym":
        return point[tree[1]]
    if kind == "const":
        return {"pi": math.pi, "e": math.e, "i": 1j, "inf": complex(math.inf)}[tree[1]]
    if kind == "fn":
        return _function(tree, point)
    if kind not in ("add", "mul", "div", "neg", "pow"):
        raise ValueError(f"a {kind} has no number as its value")
    parts = [value(part, point) for part in tree[1:]]
    if kind == "add":
        return parts[0] + parts[1]
    if kind == "mul":
        return parts[0] * parts[1]
    if kind == "div":
        return parts[0] / parts[1]
    if kind == "neg":
        return 0.0 - parts[0]  # not -z, whose imaginary part would be -0.0 and change a root
    result: complex = parts[0] ** parts[1]
    return result


def _function(tree: Tree, point: dict[str, complex]) -> complex:
    name, x = tree[1], value(tree[2], point)
    more = [value(part, point) for part in tree[3:]]
    if name == "sqrt":
        if more and x.imag == 0.0 and x.real < 0.0 and more[0].real % 2 == 1:
            return complex(-((-x.real) ** (1.0 / more[0].real)))
        return x ** (1.0 / more[0]) if more else cmath.sqrt(x)
    if name == "log":
        return cmath.log(x) / cmath.log(more[0] if more else 10.0)
    if name in ("factorial", "binom"):
        whole = [z.real for z in (x, *more)]
        if any(z != int(z) or not 0 <= z <= 170 for z in whole):
            raise ValueError(f"{name} needs whole numbers from 0 to 170")
        numbers = [int(z) for z in whole]
        return complex(math.comb(*numbers) if more else math.factorial(numbers[0]))
    return _FUNCTIONS[name](x)
