"""Gradients against finite differences: is ∂L/∂x what a small change of x does to L?

For every element of every input, L is computed a little to the right and a little to the left:

    ∂L/∂xᵢ ≈ (L(xᵢ + ε) − L(xᵢ − ε)) / 2ε,        L = Σ u·fn(x), u random, one number per output

The error is of order ε² from the curve and δ·|L|/ε from rounding, δ the precision: in float64 about
1e-10 at ε = 1e-6. In float32 no ε gives more than three digits, so float32 is refused. u is random
because a sum of all outputs hides mistakes: Σ softmax(x) is 1 for every x, so its gradient is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.devices import to_numpy, xp_of
from ..arrays.memory import is_array
from ..tensor import Tensor, wrap
from ..tensor.nested import tensors_in
from .engine import backward_steps
from .grad_mode import enable_grad, no_grad

__all__ = ["Comparison", "Element", "GradcheckError", "compare_gradients", "gradcheck"]


class GradcheckError(AssertionError, RuntimeError):
    """A gradient that finite differences contradict; `worst` is the Element that is furthest off.

    A RuntimeError, as in PyTorch, and an AssertionError, as tests like it.
    """

    worst: Element | None = None


@dataclass(frozen=True)
class Element:
    """One element of one input: what backward says, and what finite differences say."""

    name: str  # the input's name
    index: tuple[int, ...]  # where in the input; () where a whole direction was compared
    analytic: float  # from backward
    numeric: float  # from finite differences
    excess: float  # |analytic − numeric| in units of what is allowed: above 1 is an error

    @property
    def ratio(self) -> float:
        """analytic / numeric: 2 for a gradient twice too large, −1 for a wrong sign, 0 for none."""
        if self.numeric:
            return self.analytic / self.numeric
        return math.nan if not self.analytic else math.copysign(math.inf, self.analytic)

    def __str__(self) -> str:
        return (
            f"{self.name}[{', '.join(map(str, self.index))}]: backward says {self.analytic:.10g}, "
            f"finite differences say {self.numeric:.10g} (ratio {self.ratio:.6g})"
        )


@dataclass(frozen=True)
class Comparison:
    """One input's gradient from backward and from finite differences, with the tolerances."""

    name: str
    analytic: np.ndarray
    numeric: np.ndarray
    atol: float
    rtol: float

    @property
    def excess(self) -> np.ndarray:
        """|analytic − numeric| / (atol + rtol·|numeric|), element by element; NaN counts as ∞."""
        with np.errstate(all="ignore"):
            off = np.abs(self.analytic - self.numeric) / (
                self.atol + self.rtol * np.abs(self.numeric)
            )
        return np.where(np.isnan(off), math.inf, off)

    @property
    def wrong(self) -> int:
        """How many elements are further off than allowed."""
        return int((self.excess > 1.0).sum())

    def worst(self) -> Element | None:
        """The element that is furthest off; None for an input without elements."""
        if not self.analytic.size:
            return None
        excess = self.excess
        index = tuple(int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
        return Element(
            self.name,
            index,
            float(self.analytic[index]),
            float(self.numeric[index]),
            float(excess[index]),
        )


def gradcheck(
    fn: Callable[..., Any],
    *inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-6,
    directions: int = 0,
    parameters: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    raise_exception: bool = True,
) -> bool:
    """Whether backward agrees with finite differences for every element of every input.

    fn          a function of tensors, or a Module (then all its parameters are checked too); it may
                return a tensor, or several in a tuple, list or dict, of which those that require
                grad count; for options write a lambda
    inputs      tensors and other arguments of fn. The float64 tensors that require grad and the
                float64 NumPy arrays are checked; the others are passed as they are
    eps         half the distance of the two points
    atol, rtol  |analytic − numeric| <= atol + rtol·|numeric| is allowed
    directions  0 compares every element, which takes two forwards per element; n > 0 compares
                the derivative along n random directions of each input, 2n forwards per input,
                which suits big models (it names the input, but no element)
    parameters  further leaves by name that fn uses, such as dict(model.named_parameters())
    seed        of the upstream gradient u and of the directions

    Returns True if they agree, and False if they do not and raise_exception is False.
    Raises: GradcheckError if they do not agree, which names the element that is furthest off with
    both values. ValueError if there is nothing to check, if an input, a parameter or an output is
    not float64, or if fn returns another result when it is called again.

    >>> gradcheck(lambda x, y: (x * y).sum(), np.ones((2, 3)), np.ones(3))
    True
    """
    comparisons = compare_gradients(
        fn,
        *inputs,
        eps=eps,
        atol=atol,
        rtol=rtol,
        directions=directions,
        parameters=parameters,
        seed=seed,
    )
    elements = [e for e in (c.worst() for c in comparisons) if e is not None]
    worst = max(elements, key=lambda e: e.excess, default=None)
    if worst is None or worst.excess <= 1.0:
        return True
    if not raise_exception:
        return False
    wrong = [f"{c.name}: {c.wrong} of {c.analytic.size}" for c in comparisons if c.wrong]
    error = GradcheckError(
        f"{_name_of(fn)}: the gradient is wrong. Worst at {worst}. Elements that are off by more "
        f"than atol={atol:g} + rtol={rtol:g}·|numeric|: {'; '.join(wrong)}. If the function has a "
        "kink or a step there (relu at 0, equal values under max), move the input away from it."
    )
    error.worst = worst
    raise error


def compare_gradients(
    fn: Callable[..., Any],
    *inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-6,
    directions: int = 0,
    parameters: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> list[Comparison]:
    """Both gradients of every input and parameter, as gradcheck compares them, without a verdict.

    With directions=n each Comparison holds n derivatives along random directions.
    Raises: ValueError if fn returns different values for the same inputs.
    """
    args, leaves = _leaves(fn, inputs, parameters)
    rng = np.random.default_rng(seed)

    def outputs() -> list[Tensor]:
        floating = [y for y in tensors_in(fn(*args)) if y.dtype.is_floating_point]
        if not floating:
            raise ValueError(f"{_name_of(fn)} returned no floating tensor: nothing to check")
        for y in floating:
            _check_float64("an output", y)
        return floating

    with enable_grad():
        ys = outputs()
    chosen = [y.requires_grad for y in ys]
    if not any(chosen):  # no gradient at all: then the outputs must not depend on the inputs
        chosen = [True] * len(ys)
    upstream = [_upstream(rng, y) if c else None for y, c in zip(ys, chosen, strict=True)]
    analytic = _analytic(ys, upstream, leaves)

    def loss() -> float:
        with no_grad():
            pairs = zip(outputs(), upstream, strict=True)
            return sum(float((y.array * u).sum()) for y, u in pairs if u is not None)

    first, again = loss(), loss()
    if first != again and not (math.isnan(first) and math.isnan(again)):
        raise ValueError(
            f"{_name_of(fn)} gave {first!r} and then {again!r} for the same inputs: it draws "
            "random numbers (dropout?) or keeps something between calls; model.eval() or a fixed "
            "seed helps"
        )

    comparisons = []
    for name, leaf in leaves.items():
        g = analytic[name]
        if directions:
            pairs = list(_along(leaf, g, loss, eps, directions, rng))
            along = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
            comparisons.append(Comparison(name, *along, atol=atol, rtol=rtol))
        else:
            comparisons.append(Comparison(name, g, _numeric(leaf, loss, eps), atol=atol, rtol=rtol))
    return comparisons


# ---------------------------------------------------------------------------- what is checked
def _leaves(
    fn: Any, inputs: Sequence[Any], parameters: Mapping[str, Tensor] | None
) -> tuple[list[Any], dict[str, Tensor]]:
    """The arguments for fn, with copies that require grad as inputs; and these copies by name."""
    if len(inputs) == 1 and isinstance(inputs[0], tuple):
        inputs = inputs[0]  # gradcheck(fn, (x, y)), as PyTorch writes it
    args: list[Any] = []
    leaves: dict[str, Tensor] = {}
    for i, x in enumerate(inputs):
        is_checked = (isinstance(x, Tensor) and x.requires_grad) or (
            is_array(x) and x.dtype.kind in "fV"
        )
        if not is_checked:
            args.append(x)
            continue
        array = x.array if isinstance(x, Tensor) else x
        leaf = wrap(array.copy())
        _check_float64(f"input {i}", leaf)
        leaf.requires_grad = True
        args.append(leaf)
        leaves[f"input {i}"] = leaf
    named = dict(fn.named_parameters()) if hasattr(fn, "named_parameters") else {}
    for name, parameter in {**named, **(parameters or {})}.items():
        if not parameter.requires_grad:
            continue
        _check_float64(name, parameter)
        leaves[name] = parameter
    if not leaves:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient: give a float64 "
            "tensor with requires_grad=True, a float64 NumPy array, or a Module with parameters"
        )
    return args, leaves


def _check_float64(what: str, x: Tensor) -> None:
    if x.array.dtype != np.float64:
        raise ValueError(
            f"gradcheck needs float64, {what} is {x.dtype}. Finite differences of float32 are "
            "wrong in the third digit at best and by 180% at eps=1e-5, so a right gradient would "
            "fail and a wrong one could pass: use x.double(), model.double()"
        )


def _name_of(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


# --------------------------------------------------------------------- from backward, by steps
def _upstream(rng: np.random.Generator, y: Tensor) -> Any:
    """∂L/∂y: random, between ½ and 1½ in size, of both signs."""
    u = rng.uniform(0.5, 1.5, y.array.shape) * rng.choice([-1.0, 1.0], y.array.shape)
    return xp_of(y.array).asarray(u)


def _analytic(
    ys: Sequence[Tensor], upstream: Sequence[Any], leaves: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
    """∂L/∂leaf from backward, 0 where the leaf was not used; no .grad changes."""
    sums = {id(leaf): np.zeros(leaf.array.shape) for leaf in leaves.values()}

    def collect(leaf: Tensor, g: Any, owned: bool) -> None:
        if id(leaf) in sums:
            sums[id(leaf)] += to_numpy(g)

    roots = [(y, u) for y, u in zip(ys, upstream, strict=True) if y.requires_grad]
    if roots:
        for _ in backward_steps(
            [y for y, _ in roots], [wrap(u) for _, u in roots], deliver=collect
        ):
            pass
    return {name: sums[id(leaf)] for name, leaf in leaves.items()}


# ---------------------------------------------------------------------- from finite differences
def _numeric(leaf: Tensor, loss: Callable[[], float], eps: float) -> np.ndarray:
    """∂L/∂leaf, element by element; afterwards the leaf has its old values."""
    numeric = np.zeros(leaf.array.shape)
    array = leaf.array
    for index in np.ndindex(*array.shape):
        before = float(array[index])
        right, left = before + eps, before - eps
        try:
            array[index] = right
            up = loss()
            array[index] = left
            down = loss()
        finally:
            array[index] = before
        numeric[index] = (up - down) / (right - left)
    return numeric


def _along(
    leaf: Tensor,
    g: np.ndarray,
    loss: Callable[[], float],
    eps: float,
    directions: int,
    rng: np.random.Generator,
) -> Iterator[tuple[float, float]]:
    """Σ g·d from backward and from finite differences, for random directions d of length 1."""
    array = leaf.array
    before = array.copy()
    for _ in range(directions):
        d = rng.standard_normal(array.shape)
        d /= max(math.sqrt(float((d * d).sum())), 1e-300)
        step = xp_of(array).asarray(d) * eps
        try:
            array[...] = before + step
            up = loss()
            array[...] = before - step
            down = loss()
        finally:
            array[...] = before
        yield float((g * d).sum()), (up - down) / (2.0 * eps)
