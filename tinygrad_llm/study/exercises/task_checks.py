"""The checks of exercises that build parts of the engine, and what all checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .evidence import seen

ENDS = "does the function or method end with `return ...`?"
CHECKS: dict[str, list[tuple[str, Callable[[Any], None]]]] = {}


class Wrong(Exception):
    """Something that a learner's code does wrong; the message is for the learner."""


def check(name: str, aspect: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Enter a check of an exercise, which receives the learner's module and raises Wrong."""

    def enter(f: Callable[[Any], None]) -> Callable[[Any], None]:
        CHECKS.setdefault(name, []).append((aspect, f))
        return f

    return enter


def same(got: Any, expected: Any, what: str, hint: str = "") -> None:
    """Raises: Wrong, with both values, unless they are equal except for rounding."""
    got = seen(got)
    if got is None:
        raise Wrong(f"{what}: None was returned: {ENDS}")
    a, b = (np.asarray(getattr(x, "array", x), dtype=np.float64) for x in (got, expected))
    if a.shape != b.shape:
        raise Wrong(f"{what}: shape {a.shape}, should be {b.shape}{_hint(hint)}")
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=1.0))  # a sum that cancels keeps noise
    if not np.allclose(a, b, rtol=1e-4, atol=1e-5 * largest, equal_nan=True):
        at = np.unravel_index(int(np.nan_to_num(abs(a - b), nan=np.inf).argmax()), a.shape)
        place = f" at [{', '.join(map(str, map(int, at)))}]" if at else ""
        raise Wrong(f"{what}{place}: {a[at]:.6g}, should be {b[at]:.6g}{_hint(hint)}")


def _hint(hint: str) -> str:
    return f": {hint}" if hint else ""


# ----------------------------------------------------------------------------------- the engine
def _order(module: Any, inputs: list[tuple[int, ...]]) -> None:
    """Check the order of a graph whose node i was made from the nodes inputs[i], all before it."""
    nodes: list[Any] = []
    for numbers in inputs:
        nodes.append(module.itself("Node")(*(nodes[n] for n in numbers)))
    number = {id(node): i for i, node in enumerate(nodes)}
    returned = module.topological_order(nodes[-1])
    if returned is None:
        raise Wrong(f"None was returned: {ENDS}")
    order = seen(np.array([number.get(id(node), -1) for node in returned], np.int64)).tolist()
    place = {n: i for i, n in enumerate(order)}
    if len(place) < len(order):
        raise Wrong(f"{len(order)} entries for {len(place)} nodes: a shared node must come once")
    if len(order) != len(nodes) or -1 in place:
        raise Wrong(
            f"{len(order)} nodes, should be {len(nodes)}: all that root was made from, and root"
        )
    if any(place[x] > place[n] for n in order for x in inputs[n]):
        raise Wrong("a node stands before one of its inputs")


@check("topological_order", "a node that is shared")
def _(m):
    _order(m, [(), (0, 0), (1, 1)])


@check("topological_order", "paths of different lengths")
def _(m):
    _order(m, [(), (), (0,), (2, 0), (3, 1), (0, 4, 2)])


@check("topological_order", "every node visited once")
def _(m):
    _order(m, [(), *((n, n) for n in range(60))])  # 2⁶⁰ paths to the first


@check("topological_order", "a chain of 100,000 nodes")
def _(m):
    try:
        _order(m, [(), *((n,) for n in range(100_000))])
    except RecursionError:
        raise Wrong("too deep for recursion: use a list as a stack") from None


@check("accumulation", "used twice")
def _(m):
    x = m.Number(3.0)
    m.backward(x + x)
    same(x.grad, 2.0, "x + x", "two gradients arrive at x: add them")


@check("accumulation", "a number in the middle")
def _(m):
    a, c = m.Number(2.0), m.Number(5.0)
    b = a * c
    m.backward((b + b) * b)  # 2b²
    same(
        a.grad,
        4 * 10 * 5,
        "∂(2·(a·c)²)/∂a",
        "b must wait for both gradients, then pass their sum on once",
    )
    same(c.grad, 4 * 10 * 2, "∂(2·(a·c)²)/∂c")


@check("accumulation", "a second backward adds")
def _(m):
    a, b = m.Number(2.0), m.Number(3.0)
    m.backward(a * b)
    m.backward(a * a)
    same(a.grad, 3.0 + 4.0, "a.grad after two backwards", "+=, not =")


@check("accumulation", "many paths")
def _(m):
    x = m.Number(1.0)
    y = x
    for _ in range(40):
        y = y + y
    m.backward(y)
    same(x.grad, 2.0**40, "forty doublings")


@check("unbroadcast", "dimensions in front")
def _(m):
    g = np.arange(24.0).reshape(2, 3, 4)
    same(m.unbroadcast(g, (4,)), g.sum((0, 1)), "(2, 3, 4) to (4)")
    same(m.unbroadcast(g, ()), g.sum(), "(2, 3, 4) to ()")


@check("unbroadcast", "dimensions of size 1")
def _(m):
    g = np.arange(24.0).reshape(2, 3, 4)
    same(m.unbroadcast(g, (2, 1, 4)), g.sum(1, keepdims=True), "(2, 3, 4) to (2, 1, 4)")
    same(m.unbroadcast(g, (3, 1)), g.sum((0, 2))[:, None], "(2, 3, 4) to (3, 1)")


@check("unbroadcast", "nothing to do")
def _(m):
    g = np.arange(6.0).reshape(2, 3)
    same(m.unbroadcast(g, (2, 3)), g, "(2, 3) to (2, 3)")
    same(m.unbroadcast(g[:1], (1, 3)), g[:1], "(1, 3) to (1, 3)")


@check("no_grad", "nothing is recorded within")
def _(m):
    m.tape.clear()
    m.record(1)
    with m.no_grad():
        m.record(2)
    m.record(3)
    if (tape := seen(m.tape)) != [1, 3]:
        raise Wrong(f"the tape holds {tape}, should be [1, 3]")


@check("no_grad", "one within another")
def _(m):
    m.tape.clear()
    with m.no_grad():
        with m.no_grad():
            m.record(1)
        m.record(2)
    if tape := seen(m.tape):
        raise Wrong(f"the tape holds {tape}: leaving the inner context turned recording on")


@check("no_grad", "an error passes, and recording is on again")
def _(m):
    m.tape.clear()
    passed = False
    try:
        with m.no_grad():
            raise KeyError("on purpose")
    except KeyError:
        passed = True
    if not seen(passed):
        raise Wrong("the error did not pass: __exit__ must not return True")
    m.record(1)
    if seen(m.tape) != [1]:
        raise Wrong("after an error recording stays off")
