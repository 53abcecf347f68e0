"""How the op cases draw their inputs: shapes and options by Hypothesis, numbers from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_llm.testing.strategies import DOMAINS

Shape = tuple[int, ...]


class Draw:
    """What a case asks for its inputs. Everything is drawn by Hypothesis, so that it shrinks."""

    def __init__(self, draw: Any) -> None:
        self.any = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16 - 1)))

    # ------------------------------------------------------------------------- shapes, options
    def size(self, low: int = 0, high: int = 4) -> int:
        return self.any(st.integers(low, high))

    def bool(self) -> bool:
        return self.any(st.booleans())

    def one_of(self, *values: Any) -> Any:
        return self.any(st.sampled_from(values))

    def shape(self, least: int = 0, most: int = 3, low: int = 0, high: int = 4) -> Shape:
        """A shape of `least` to `most` dimensions of sizes `low` to `high`."""
        return tuple(self.any(st.lists(st.integers(low, high), min_size=least, max_size=most)))

    def broadcast(self, shape: Shape) -> Shape:
        """A shape that broadcasts to `shape`: some dimensions 1, leading ones missing."""
        ones = [1 if self.any(st.booleans()) else n for n in shape]
        return tuple(ones[self.size(0, len(ones)) :])

    def two_shapes(self) -> tuple[Shape, Shape]:
        """Two shapes that broadcast together."""
        whole = self.shape()
        a, b = self.broadcast(whole), self.broadcast(whole)
        return (whole, b) if self.bool() else (a, b) if self.bool() else (a, whole)

    def dims(self, ndim: int, least: int = 0) -> tuple[int, ...]:
        """Some dimensions, sorted; all of them if none was drawn, as the functions pass them."""
        if not ndim:
            return ()
        chosen = self.any(st.sets(st.integers(0, ndim - 1), min_size=least, max_size=ndim))
        return tuple(sorted(chosen)) or tuple(range(ndim))

    # ---------------------------------------------------------------------------------- values
    def real(self, shape: Shape, domain: str = "normal") -> np.ndarray:
        return DOMAINS[domain](self.rng, tuple(shape))

    def whole(self, shape: Shape, low: int, high: int) -> np.ndarray:
        """Integers low <= i < high."""
        return np.asarray(self.rng.integers(low, max(high, low + 1), shape))

    def mask(self, shape: Shape, share: float = 0.5) -> np.ndarray:
        return np.asarray(self.rng.random(shape) < share)

    def away(self, shape: Shape, *points: float, gap: float = 0.02) -> np.ndarray:
        """Normal numbers, none of them within `gap` of the points: away from kinks and steps."""
        x = 1.5 * self.rng.standard_normal(shape)
        for p in sorted(points):
            x = np.where((x > p - gap) & (x < p + gap), p + 2.0 * gap, x)
        return np.asarray(x)

    def even(self, shape: Shape) -> np.ndarray:
        """Multiples of 0.2, and `odd` the numbers halfway between: never equal, never close."""
        return np.asarray(self.rng.integers(-8, 9, shape) * 0.2)

    def odd(self, shape: Shape) -> np.ndarray:
        return np.asarray(self.even(shape) + 0.1)

    # ----------------------------------------------------------------------------------- index
    def index(self, shape: Shape) -> Any:
        """An index of any kind that x[index] accepts, for an array of this shape."""
        if not shape or self.one_of(*range(8)) == 0:
            return self.one_of(None, ..., (), (None, ...)) if self.bool() or not shape else (
                self.mask(shape)
            )  # fmt: skip
        parts: list[Any] = []
        n_used = self.size(1, len(shape))
        together: Shape | None = None  # index arrays broadcast with each other
        for n in shape[:n_used]:
            kind = self.one_of("slice", "slice", "int", "array")
            if kind == "int" and n and together is None:
                parts.append(self.any(st.integers(-n, n - 1)))
            elif kind == "array" and n:
                if together is None:
                    together = self.shape(1, 2, 0, 3)
                parts.append(self.whole(together, -n, n))
            else:
                parts.append(
                    slice(
                        self.one_of(None, 0, 1, -2), self.one_of(None, 2, -1), self.one_of(None, 2)
                    )
                )
        if n_used < len(shape) and self.bool():
            parts.append(...)
        if together is None and self.bool():
            parts.insert(self.size(0, len(parts)), None)
        return parts[0] if len(parts) == 1 and self.bool() else tuple(parts)


def subsets(items: Sequence[int]) -> list[tuple[int, ...]]:
    """Every non-empty subset, the whole one first; the single ones alone if there are many."""
    if len(items) > 3:
        return [tuple(items), *((i,) for i in items)]
    return [s for n in range(len(items), 0, -1) for s in itertools.combinations(items, n)]
