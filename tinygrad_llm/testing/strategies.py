"""Hypothesis strategies for property tests of custom ops, and assert_gradients.

`tinygrad_llm.testing` exports them too; they need `pip install hypothesis`. Shapes come from a
signature (see tensor/shapes.py), so that every dimension gets the sizes 0, 1, 2, ..., with and
without leading dimensions:

    from tinygrad_llm.testing import assert_gradients

    def my_norm(x, w):                  # a custom op as a function of tensors
        return MyNorm.apply(x, w)

    def test_my_norm():
        assert_gradients(my_norm, "x(...,C) w(C) -> y(...,C)", smallest={"C": 1})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..autograd.engine import Op
from ..autograd.finite_differences import gradcheck
from ..tensor import Tensor, shapes, wrap
from ..tensor.dtypes import float32

__all__ = ["DOMAINS", "arrays", "assert_gradients", "sizes", "tensors"]

Shape = tuple[int, ...]


# ------------------------------------------------------------------------------------- numbers
def _normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def _positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.asarray(rng.uniform(0.3, 3.0, shape))


def _unit(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.asarray(rng.uniform(0.05, 0.95, shape))


def _nonzero(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.asarray(rng.uniform(0.3, 2.0, shape) * rng.choice([-1.0, 1.0], shape))


def _distinct(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    n = int(np.prod(shape))
    steps = (np.arange(n) - (n - 1) / 2.0 + rng.uniform(-0.2, 0.2, n)) * 0.2 + 0.05
    return rng.permutation(steps).reshape(shape)


DOMAINS: dict[str, Callable[[np.random.Generator, Shape], np.ndarray]] = {
    "normal": _normal,  # of both signs, sometimes near 0
    "positive": _positive,  # 0.3 to 3, for logarithms and roots
    "unit": _unit,  # 0.05 to 0.95, for probabilities
    "nonzero": _nonzero,  # 0.3 to 2 in size, of both signs: away from a kink or pole at 0
    "distinct": _distinct,  # no two closer than 0.1, none closer to 0 than 0.01: for max and sort
}


def arrays(shape: Shape, domain: str = "normal", dtype: Any = "float64") -> Any:
    """A strategy for NumPy arrays of a shape, with values from one of DOMAINS.

    Hypothesis draws a seed, not every number, so that drawing is fast.
    Raises: ValueError if the domain is unknown.
    """
    if domain not in DOMAINS:
        raise ValueError(f"no domain is called {domain!r}: there are {', '.join(DOMAINS)}")
    return st.integers(0, 2**16 - 1).map(
        lambda seed: DOMAINS[domain](np.random.default_rng(seed), tuple(shape)).astype(dtype)
    )


# -------------------------------------------------------------------------------------- shapes
@st.composite
def sizes(
    draw: Any,
    signature: str,
    *,
    broadcasts: bool = False,
    max_size: int = 4,
    max_leading: int = 2,
    smallest: Mapping[str, int] | None = None,
) -> list[Shape]:
    """A strategy for the shapes of a signature's inputs.

    broadcasts: the leading dimensions ("...") of the inputs differ, but broadcast together.
    smallest: the smallest size of a dimension by its letter, 0 if not given.
    """
    at_least = smallest or {}
    named = {
        letter: draw(st.integers(at_least.get(letter, 0), max_size))
        for letter in shapes.dimensions(signature)
    }
    leading = tuple(draw(st.lists(st.integers(0, max_size), max_size=max_leading)))
    filled = []
    for shape, spec in zip(
        shapes.fill(signature, named, leading), shapes.parse(signature)[0], strict=True
    ):
        if broadcasts and "..." in spec.dims:
            ones = [1 if draw(st.booleans()) else n for n in leading]
            own = tuple(ones[draw(st.integers(0, len(ones))) :])
            shape = shapes.fill(f"x({','.join(spec.dims)}) -> y()", named, own)[0]
        filled.append(shape)
    return filled


@st.composite
def tensors(
    draw: Any,
    signature: str,
    *,
    domains: Mapping[str, str] | None = None,
    dtype: Any = "float64",
    requires_grad: bool = True,
    broadcasts: bool = False,
    max_size: int = 4,
    max_leading: int = 2,
    smallest: Mapping[str, int] | None = None,
) -> list[Tensor | None]:
    """A strategy for a list of tensors, one for each input of a signature.

    >>> from hypothesis import given
    >>> @given(tensors("x(...,C) w(C)? -> y(...,C)", domains={"x": "positive"}))
    ... def test_mine(inputs):
    ...     x, w = inputs  # w is sometimes None, because of the `?`

    domains: an input's values by its name, one of DOMAINS, "normal" if not given. The other
    arguments are those of `sizes`.
    """
    inputs: list[Tensor | None] = []
    drawn = draw(
        sizes(
            signature,
            broadcasts=broadcasts,
            max_size=max_size,
            max_leading=max_leading,
            smallest=smallest,
        )
    )
    for shape, spec in zip(drawn, shapes.parse(signature)[0], strict=True):
        if spec.optional and draw(st.booleans()):
            inputs.append(None)
            continue
        x = wrap(draw(arrays(shape, (domains or {}).get(spec.name, "normal"), dtype)))
        x.requires_grad = requires_grad
        inputs.append(x)
    return inputs


# -------------------------------------------------------------------------------------- checks
def assert_gradients(
    fn: Callable[..., Any] | type[Op],
    signature: str = "",
    *,
    domains: Mapping[str, str] | None = None,
    broadcasts: bool = False,
    smallest: Mapping[str, int] | None = None,
    max_size: int = 4,
    max_examples: int = 50,
    atol: float = 1e-6,
    rtol: float = 1e-6,
) -> None:
    """Check a function's gradients on inputs that Hypothesis draws from its signature.

    fn         a function of tensors, or an Op class (whose own signature is used if none is given)
    signature  such as "x(...,C) w(C) b(C)? -> y(...,C)"; each input that is there gets a gradient

    For each of max_examples draws: backward agrees with finite differences in float64; float32
    inputs have float32 outputs and float32 gradients; and no input changes. The other arguments
    are those of `tensors` and `gradcheck`.
    Raises: AssertionError that names what failed, and Hypothesis shows the smallest inputs for
    which it does; ValueError without a signature.
    """
    function = fn.apply if isinstance(fn, type) and issubclass(fn, Op) else fn
    signature = signature or getattr(fn, "signature", "")
    if not signature:
        raise ValueError('assert_gradients needs a signature, such as "x(...,C) w(C) -> y(...,C)"')
    if isinstance(fn, type) and issubclass(fn, Op):
        broadcasts = broadcasts or fn.broadcasts
    names = [spec.name for spec in shapes.parse(signature)[0]]
    drawn = tensors(
        signature,
        domains=domains,
        broadcasts=broadcasts,
        smallest=smallest,
        max_size=max_size,
    )

    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs=drawn)
    def check(inputs: list[Tensor | None]) -> None:
        before = [None if x is None else x.array.copy() for x in inputs]
        gradcheck(function, *inputs, atol=atol, rtol=rtol)
        for name, x, old in zip(names, inputs, before, strict=True):
            if x is not None and old is not None:
                assert np.array_equal(x.array, old), f"{name} was changed in place"
        _assert_float32(function, names, before)

    check()


def _assert_float32(
    function: Callable[..., Any], names: Sequence[str], arrays_: Sequence[np.ndarray | None]
) -> None:
    """Check that float32 inputs have float32 outputs and float32 gradients."""
    inputs = [None if a is None else wrap(a.astype("float32")) for a in arrays_]
    for x in inputs:
        if x is not None:
            x.requires_grad = True
    y = function(*inputs)
    for out in y if isinstance(y, tuple | list) else [y]:
        assert not out.is_floating_point() or out.dtype is float32, f"float32 in, {out.dtype} out"
        if out.requires_grad:
            out.backward(wrap(np.ones(out.shape, "float32")), retain_graph=True)
    for name, x in zip(names, inputs, strict=True):
        if x is not None and x.grad is not None:
            assert x.grad.dtype is float32, f"float32 in, but {name}'s gradient is {x.grad.dtype}"
