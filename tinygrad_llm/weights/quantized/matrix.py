"""What every quantised matrix can do: be multiplied, row by row or in tiles, and be dequantised.

W (O, I) is cut into T tiles of C rows, and each tile is stored transposed: the C rows are the last
axis. A tile is widened into one buffer that stays in the cache, so that no float copy of W exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

__all__ = ["TILE", "QuantizedMatrix", "as_rows", "even_rows", "picked", "tiled"]

TILE = 256  # rows of a tile: with 1,000 columns its float32 copy has 1 MB


class QuantizedMatrix(ABC):
    """A matrix (O, I) in few bits, of which float32 parts are computed when they are needed.

    A format has `arrays` (name -> array, all that it stores), `tile` and `take`.
    """

    kind = ""  # as quantize() takes it
    rows: int  # of a tile

    def __init__(self, shape: tuple[int, int], arrays: dict[str, np.ndarray]) -> None:
        self.shape, self.arrays = shape, arrays

    @property
    def n_tiles(self) -> int:
        """How many tiles; the last may be cut short by the number of rows."""
        return -(-self.shape[0] // self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @abstractmethod
    def tile(self, t: int) -> np.ndarray:
        """Tile t, transposed: float32 (I, C)."""

    @abstractmethod
    def take(self, ids: np.ndarray) -> np.ndarray:
        """The rows with these numbers: ids (N) -> float32 (N, I)."""

    def dequantize(self) -> np.ndarray:
        """The whole matrix: float32 (O, I)."""
        out = np.empty(self.shape, np.float32)
        for t in range(self.n_tiles):
            part = out[t * self.rows : (t + 1) * self.rows]
            part[...] = self.tile(t).T[: len(part)]  # (I, C) -> (rows, I)
        return out

    def product(self, x: np.ndarray) -> np.ndarray:
        """y = x·Wᵀ: x (N, I) -> (N, O), in the dtype of x."""
        y = np.empty((len(x), self.shape[0]), x.dtype)
        for t in range(self.n_tiles):
            part = y[:, t * self.rows : (t + 1) * self.rows]
            part[...] = (x @ self.tile(t))[:, : part.shape[1]]  # (N, I) @ (I, C) -> (N, rows)
        return y

    def product_back(self, g: np.ndarray) -> np.ndarray:
        """∂L/∂x = g·W of `product`: g (N, O) -> (N, I)."""
        gx = np.zeros((len(g), self.shape[1]), g.dtype)
        for t in range(self.n_tiles):
            part = g[:, t * self.rows : (t + 1) * self.rows]
            gx += part @ self.tile(t)[:, : part.shape[1]].T  # (N, rows) @ (rows, I)
        return gx


def even_rows(n: int) -> int:
    """How many of n rows a tile has, at most TILE, so that the last tile is nearly full."""
    return -(-n // -(-n // TILE))


def tiled(rows: np.ndarray, C: int) -> np.ndarray:
    """(O, ...) -> (T, ..., C): tiles of C rows, the rows last; the last tile ends with zeros."""
    T = -(-len(rows) // C)
    if len(rows) % C:
        full = np.zeros((T * C, *rows.shape[1:]), rows.dtype)
        full[: len(rows)] = rows
        rows = full
    return np.ascontiguousarray(np.moveaxis(rows.reshape(T, C, *rows.shape[1:]), 1, -1))


def picked(tiles: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows by their numbers: tiles (T, ..., C), ids (N) -> (N, ...)."""
    t, c = np.divmod(ids, tiles.shape[-1])
    return np.moveaxis(tiles, -1, 1)[t, c]  # (T, C, ...) -> (N, ...)


def as_rows(values: Any) -> np.ndarray:
    """A matrix as float32 (O, I), contiguous.

    Raises: ValueError if it is not a matrix, or not all of it is finite.
    """
    w = np.ascontiguousarray(values, np.float32)
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(f"only a matrix can be quantised, got shape {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError("NaN or an infinite number cannot be quantised")
    return w
