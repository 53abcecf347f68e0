"""Loops that are not ops: a step of Adam, and rows added to rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel, shared
from .twin import dense, in_rows

__all__ = ["adam", "scatter_add_rows", "takes_scatter", "takes_update"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@kernel
def adam_loop(p, g, m, v, keep, decay, beta1, beta2, eps, rate, start, stop):
    """m ← m + (1 − β₁)·(g − m),   v ← β₂·v + (1 − β₂)·g²,   p ← keep·p − rate·m/(√v + ε).

    g has decay·p added first, unless decay is 0.
    """
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    for i in range(p.size):
        gi = g[i]
        if decay != 0.0:
            gi += f(decay) * p[i]
        mi = m[i] + f(1.0 - beta1) * (gi - m[i])
        vi = v[i] * f(beta2) + f(1.0 - beta2) * gi * gi
        m[i] = mi
        v[i] = vi
        p[i] = p[i] * f(keep) - f(rate) * (mi / (np.sqrt(vi) + f(eps)))


def takes_update(p: Any, g: Any, *state: Any) -> bool:
    """Whether the loops serve a step on these arrays; the gradient may lie in any order."""
    return type(g) is np.ndarray and g.dtype == p.dtype and dense(p, *state)


def adam(p: Any, g: Any, m: Any, v: Any, *numbers: float) -> None:
    """One step of Adam, in place. numbers: those of adam_loop, from `keep` to `rate`."""
    arrays = [a.reshape(-1) for a in (p, in_rows(g), m, v)]
    shared(adam_loop, p.size, p.size, *arrays, *map(float, numbers))


@kernel
def scatter_loop(out, rows, ids, start, stop):
    """out[ids[i]] += rows[i] in the columns start to stop: no two cores write into one number."""
    for i in range(ids.size):
        to, row = out[ids[i], start:stop], rows[i, start:stop]
        for j in range(row.size):
            to[j] += row[j]


def takes_scatter(out: Any, ids: Any, rows: Any) -> bool:
    """Whether scatter_add_rows serves these arrays."""
    return out.ndim == 2 and out.size > 0 and dense(out, rows) and type(ids) is np.ndarray


def scatter_add_rows(out: Any, ids: Any, rows: Any) -> None:
    """out[ids[i]] += rows[i] for every i, in place, in the order of i."""
    ids = np.array(ids, np.int64).reshape(-1)
    if ids.size:
        shared(scatter_loop, out.shape[1], rows.size, out, rows, ids)
