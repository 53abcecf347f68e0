"""Rows of several quantised matrices as one: queries, keys and values that a file holds apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.stages import Weights
from .matrix import QuantizedMatrix

__all__ = ["Stacked"]


class Stacked(QuantizedMatrix):
    """The rows of `parts` below each other; each keeps its own format.

    Raises: ValueError if they differ in columns.
    """

    def __init__(self, parts: list[QuantizedMatrix]) -> None:
        columns = {part.shape[1] for part in parts}
        if len(columns) != 1:
            raise ValueError(f"matrices of {sorted(columns)} columns cannot be stacked")
        arrays = {f"{i}.{k}": a for i, part in enumerate(parts) for k, a in part.arrays.items()}
        super().__init__((sum(part.shape[0] for part in parts), columns.pop()), arrays)
        self.parts = parts
        self.kind = " and ".join(dict.fromkeys(part.kind for part in parts))
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)]).tolist()

    def on(self, kind: str, index: int | None = None) -> QuantizedMatrix:
        parts = [part.on(kind, index) for part in self.parts]
        same = all(new is old for new, old in zip(parts, self.parts, strict=True))
        return self if same else Stacked(parts)

    def packed(self) -> list[Weights]:
        parts = [part.packed() for part in self.parts]
        return [w for part in parts for w in part] if all(parts) else []

    def tile(self, t: int) -> Any:
        """Raises: TypeError: the parts have tiles of different sizes."""
        raise TypeError("rows of several formats have no tiles in common")

    def dequantize(self) -> Any:
        return self.xp.concatenate([part.dequantize() for part in self.parts])  # (O, I)

    def product(self, x: Any) -> Any:
        return self.xp.concatenate([part.product(x) for part in self.parts], axis=1)  # (N, O)

    def product_back(self, g: Any) -> Any:
        gx = self.xp.zeros((len(g), self.shape[1]), g.dtype)
        for part, start, stop in self._placed():
            gx += part.product_back(g[:, start:stop])  # (N, rows) -> (N, I)
        return gx

    def take(self, ids: Any) -> Any:
        out = self.xp.empty((len(ids), self.shape[1]), np.float32)
        for part, start, stop in self._placed():
            own = (ids >= start) & (ids < stop)
            out[own] = part.take(ids[own] - start)
        return out

    def _placed(self) -> list[tuple[QuantizedMatrix, int, int]]:
        return list(zip(self.parts, self._starts, self._starts[1:], strict=False))
