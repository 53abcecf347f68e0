"""BFGS for many small problems together: every row is a start, and all rows step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["minimise"]

# (points (S, P), their rows in `starts` (S)) -> (values (S), gradients (S, P))
Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_ARMIJO, _HALVINGS = 1e-4, 30


def minimise(
    objective: Objective, starts: np.ndarray, steps: int = 300, tolerance: float = 1e-9
) -> tuple[np.ndarray, np.ndarray]:
    """(where each start ends (S, P), the values there (S)).

    objective: see Objective; starts: shape (S, P), float64; tolerance: a row ends at a step that
    lowers its value by a smaller share

    Nocedal and Wright, Numerical Optimization, algorithm 6.1, with a step that is halved until the
    value falls enough. A pair with y·s <= 0 leaves the matrix as it is, so that it stays positive.
    """
    ends = np.array(starts, np.float64)
    S, P = ends.shape
    rows = np.arange(S)  # those that still move
    values, gradient = objective(ends, rows)
    x, value = ends, values
    inverse = np.broadcast_to(np.eye(P), (S, P, P)).copy()  # (S, P, P)
    fresh = np.ones(S, bool)  # no pair yet: the first one scales the matrix
    ends, values = ends.copy(), values.copy()
    for _ in range(steps):
        direction = -np.einsum("spq,sq->sp", inverse, gradient)
        fall = (direction * gradient).sum(1)  # (S)
        bad = ~(fall < 0)
        direction[bad], fall[bad] = -gradient[bad], -(gradient[bad] ** 2).sum(1)
        new, new_value, new_gradient = _search(objective, rows, x, value, gradient, direction, fall)
        _update(inverse, new - x, new_gradient - gradient, fresh)
        moving = value - new_value > tolerance * np.abs(new_value)
        x, value, gradient = new, new_value, new_gradient
        ends[rows], values[rows] = x, value
        if not moving.any():
            break
        if not moving.all():
            rows, x, value, gradient = rows[moving], x[moving], value[moving], gradient[moving]
            inverse, fresh = inverse[moving], fresh[moving]
    return ends, values


def _search(
    objective: Objective, rows: np.ndarray, x: np.ndarray, value: np.ndarray, gradient: np.ndarray,
    direction: np.ndarray, fall: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """(points, values, gradients) after a step of each row; those where none is lower stay."""
    best, best_value, best_gradient = x.copy(), value.copy(), gradient.copy()
    length = np.sqrt((direction**2).sum(1))
    share = np.minimum(1.0, 2.0 / np.maximum(length, 1e-300))  # (S): no step is longer than 2
    left = np.arange(len(x))  # rows whose step is still too long
    for _ in range(_HALVINGS):
        new = x[left] + share[left, None] * direction[left]
        new_value, new_gradient = objective(new, rows[left])
        right = new_value <= value[left] + _ARMIJO * share[left] * fall[left]
        done = left[right]
        best[done], best_value[done] = new[right], new_value[right]
        best_gradient[done] = new_gradient[right]
        left = left[~right]
        if not len(left):
            break
        share[left] /= 2.0
    return best, best_value, best_gradient


def _update(inverse: np.ndarray, s: np.ndarray, y: np.ndarray, fresh: np.ndarray) -> None:
    """H <- (I − ρ·s·yᵀ)·H·(I − ρ·y·sᵀ) + ρ·s·sᵀ, ρ = 1/(y·s), in place."""
    product = (y * s).sum(1)  # (S)
    good = product > 1e-14 * np.sqrt((s**2).sum(1) * (y**2).sum(1)) + 1e-300
    if not good.any():
        return
    first = good & fresh
    scale = product[first] / (y[first] ** 2).sum(1)
    inverse[first] *= scale[:, None, None]
    fresh &= ~good
    s, y, rho = s[good], y[good], 1.0 / product[good]
    left = np.eye(s.shape[1]) - rho[:, None, None] * s[:, :, None] * y[:, None, :]  # (S, P, P)
    H = left @ inverse[good] @ left.transpose(0, 2, 1)  # (S, P, P)
    inverse[good] = H + rho[:, None, None] * s[:, :, None] * s[:, None, :]
