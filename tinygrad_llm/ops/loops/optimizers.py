"""Steps of the optimizers: the formulas of optim/, in one pass over the parameter and its state.

Also the sum of squares and the factor that gradient clipping needs.

A state that is not kept is an array without elements, so that a kernel has one signature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import exact_kernel, helper, kernel, shared
from .twin import dense, in_rows

__all__ = ["adagrad", "adam", "rmsprop", "scale", "sgd", "square_sum", "takes_update"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
BLOCK = 1 << 13  # numbers that are squared and added in their own dtype, as in nn.utils


@helper
def descent(g, p, sign, decay):
    """sign·g + decay·p: the gradient to descend along. Without decay p does not matter."""
    return sign * g + decay * p if decay != f(0.0) else sign * g


@kernel
def adam_loop(p, g, m, v, top, keep, sign, decay, beta1, beta2, eps, rate, start, stop):
    """m ← m + (1 − β₁)·(g − m),   v ← β₂·v + (1 − β₂)·g²,   p ← keep·p − rate·m/(√v + ε).

    With `top` (amsgrad) it is the largest v so far, and takes v's place in the last formula.
    """
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    amsgrad = top.size > 0
    top = top[start:stop]
    for i in range(p.size):
        gi = descent(g[i], p[i], f(sign), f(decay))
        mi = m[i] + f(1.0 - beta1) * (gi - m[i])
        vi = v[i] * f(beta2) + f(1.0 - beta2) * gi * gi
        m[i] = mi
        v[i] = vi
        if amsgrad:
            t = top[i]
            vi = t if vi <= t or t != t else vi
            top[i] = vi
        p[i] = p[i] * f(keep) - f(rate) * (mi / (np.sqrt(vi) + f(eps)))


@kernel
def sgd_loop(p, g, sign, decay, lr, start, stop):
    """p ← p − lr·g."""
    p, g = p[start:stop], g[start:stop]
    for i in range(p.size):
        p[i] -= f(lr) * descent(g[i], p[i], f(sign), f(decay))


@kernel
def momentum_loop(p, g, b, sign, decay, momentum, share, nesterov, lr, start, stop):
    """b ← momentum·b + share·g,   p ← p − lr·b, or with Nesterov p − lr·(g + momentum·b)."""
    p, g, b = p[start:stop], g[start:stop], b[start:stop]
    for i in range(p.size):
        gi = descent(g[i], p[i], f(sign), f(decay))
        bi = f(momentum) * b[i] + f(share) * gi
        b[i] = bi
        p[i] -= f(lr) * (gi + f(momentum) * bi if nesterov else bi)


@kernel
def rmsprop_loop(p, g, v, b, mean, sign, decay, alpha, momentum, eps, lr, start, stop):
    """v ← α·v + (1 − α)·g²,   p ← p − lr·g/(√v + ε).

    With `mean`: mean ← mean + (1 − α)·(g − mean), and v − mean² in v's place. With b:
    b ← momentum·b + g/(√v + ε),   p ← p − lr·b.
    """
    centered, moving = mean.size > 0, b.size > 0
    p, g, v, b, mean = (
        p[start:stop], g[start:stop], v[start:stop], b[start:stop], mean[start:stop],
    )  # fmt: skip
    for i in range(p.size):
        gi = descent(g[i], p[i], f(sign), f(decay))
        vi = f(alpha) * v[i] + f(1.0 - alpha) * gi * gi
        v[i] = vi
        if centered:
            mi = mean[i] + f(1.0 - alpha) * (gi - mean[i])
            mean[i] = mi
            vi -= mi * mi
        step = gi / (np.sqrt(vi) + f(eps))
        if moving:
            step += f(momentum) * b[i]
            b[i] = step
        p[i] -= f(lr) * step


@kernel
def adagrad_loop(p, g, total, sign, decay, eps, rate, start, stop):
    """total ← total + g²,   p ← p − rate·g/(√total + ε)."""
    p, g, total = p[start:stop], g[start:stop], total[start:stop]
    for i in range(p.size):
        gi = descent(g[i], p[i], f(sign), f(decay))
        ti = total[i] + gi * gi
        total[i] = ti
        p[i] -= f(rate) * (gi / (np.sqrt(ti) + f(eps)))


@kernel
def squares(x, sums, start, stop):
    """Σ x² of each block."""
    for i in range(start, stop):
        block = x[i * BLOCK : min(i * BLOCK + BLOCK, x.size)]
        total = f(0.0)
        for j in range(block.size):
            total += block[j] * block[j]
        sums[i] = total


@exact_kernel
def scale_loop(x, factor, start, stop):
    """x ← factor·x."""
    x = x[start:stop]
    for i in range(x.size):
        x[i] *= f(factor)


def takes_update(p: Any, g: Any, *state: Any) -> bool:
    """Whether the loops serve a step on these arrays; the gradient may lie in any order."""
    return type(g) is np.ndarray and g.dtype == p.dtype and dense(p, *state)


def _step(loop: Any, p: Any, g: Any, state: tuple, *numbers: float) -> None:
    """One step in place. numbers: the loop's; a state that is None is not kept."""
    none = np.empty(0, p.dtype)
    arrays = [none if a is None else a.reshape(-1) for a in (p, in_rows(g), *state)]
    shared(loop, p.size, p.size, *arrays, *map(float, numbers))


def adam(p: Any, g: Any, m: Any, v: Any, top: Any, *numbers: float) -> None:
    """One step of Adam, in place. numbers: those of adam_loop, from `keep` to `rate`."""
    _step(adam_loop, p, g, (m, v, top), *numbers)


def sgd(
    p: Any, g: Any, b: Any, sign: float, decay: float, momentum: float, share: float,
    nesterov: bool, lr: float,
) -> None:  # fmt: skip
    """One step of SGD, in place; b is None without momentum. Numbers: those of momentum_loop."""
    if b is None:
        _step(sgd_loop, p, g, (), sign, decay, lr)
    else:
        _step(momentum_loop, p, g, (b,), sign, decay, momentum, share, nesterov, lr)


def rmsprop(p: Any, g: Any, v: Any, b: Any, mean: Any, *numbers: float) -> None:
    """One step of RMSprop, in place. numbers: those of rmsprop_loop, from `sign` to `lr`."""
    _step(rmsprop_loop, p, g, (v, b, mean), *numbers)


def adagrad(p: Any, g: Any, total: Any, *numbers: float) -> None:
    """One step of Adagrad, in place. numbers: those of adagrad_loop, from `sign` to `rate`."""
    _step(adagrad_loop, p, g, (total,), *numbers)


def square_sum(x: Any) -> float:
    """Σ x², in x's dtype within blocks and in float64 between them."""
    sums = np.empty(-(-x.size // BLOCK), np.float64)
    shared(squares, sums.size, x.size, x.reshape(-1), sums)
    return float(sums.sum())


def scale(x: Any, factor: float) -> None:
    """x ← factor·x, in place."""
    shared(scale_loop, x.size, x.size, x.reshape(-1), float(factor))
