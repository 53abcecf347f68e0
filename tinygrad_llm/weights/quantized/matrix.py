"""What every quantised matrix can do: be multiplied, row by row or in tiles, and be dequantised.

W (O, I) is cut into groups of C rows, and each is stored transposed: the C rows are the last axis.
A tile of one or more groups is widened into a buffer that stays in the cache, so that no float copy
of W exists. Few rows of x are multiplied by a compiled loop where there is one (`packed`).
On a GPU the codes stay as they are, and a tile is most often the whole matrix: it is widened at
every use, by a few operations of the array module.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import matmul
from ...arrays.devices import device_of, move, xp_of
from ...arrays.stages import Weights
from ...arrays.twins import cpu_twins

__all__ = ["TILE", "QuantizedMatrix", "encoded", "group_rows", "picked", "tiled"]

TILE = 256  # rows of a tile: with 1,000 columns its float32 copy has 1 MB
GPU_TILE = 1 << 26  # weights of a tile on a GPU: its float32 copy has 268 MB
GROUP = 32  # rows of a group for the compiled loops, which vectorise over them
# Rows of x (float32) up to which a scale meets the sums and not the weights. In float64 the product
# is that of the float32 numbers which the codes stand for, to the last digits.
FEW = 8
AT_A_TIME = 1 << 22  # weights that are rounded to a format at a time
FEW_BY_LOOP = 64  # rows of x up to which the compiled loop is faster than a product of BLAS


class QuantizedMatrix(ABC):
    """A matrix (O, I) in few bits, of which float32 parts are computed when they are needed.

    A format has `arrays` (name -> array, all that it stores), `tile` and `take`. `codes` among them
    have C rows in the last axis.
    """

    kind = ""  # as quantize() takes it
    rows: int  # of a tile

    def __init__(self, shape: tuple[int, int], arrays: dict[str, Any]) -> None:
        self.shape, self.arrays = shape, arrays
        self.group = arrays["codes"].shape[-1] if "codes" in arrays else 1
        most = TILE if self.on_cpu else max(TILE, GPU_TILE // shape[1])
        self.per = max(1, most // self.group)  # groups of a tile
        self.rows = self.group * self.per

    @property
    def device(self) -> tuple[str, int]:
        """Where the arrays are: ("cpu", 0) or ("cuda", the GPU's number)."""
        return device_of(next(iter(self.arrays.values())))

    @property
    def on_cpu(self) -> bool:
        """Whether the arrays are NumPy's."""
        return isinstance(next(iter(self.arrays.values())), np.ndarray)

    @property
    def xp(self) -> Any:
        """The module of the arrays: numpy, or cupy."""
        return xp_of(next(iter(self.arrays.values())))

    @property
    def in_loops(self) -> bool:
        """Whether compiled loops can read it: on a CPU, in groups of GROUP rows."""
        return self.group == GROUP and self.on_cpu

    def on(self, kind: str, index: int | None = None) -> QuantizedMatrix:
        """The matrix on a device, "cpu" or "cuda" and the GPU's number; itself if it is there.

        Raises: RuntimeError if there is no such device.
        """
        arrays = {name: _moved(array, kind, index) for name, array in self.arrays.items()}
        if all(arrays[name] is array for name, array in self.arrays.items()):
            return self
        other = copy.copy(self)
        QuantizedMatrix.__init__(other, self.shape, arrays)
        return other

    def packed(self) -> list[Weights]:
        """How the compiled loops read it, parts below each other; [] if they do not know it."""
        return []

    def _together(self, name: str, t: int) -> Any:
        """The groups of tile t side by side: (..., rows of the tile)."""
        groups = self.arrays[name][t * self.per : (t + 1) * self.per]
        if len(groups) == 1:
            return groups[0]
        moved = self.xp.moveaxis(groups, 0, -2)  # (groups, ..., C) -> (..., groups, C)
        return moved.reshape(*moved.shape[:-2], -1)  # (..., groups·C)

    @property
    def n_tiles(self) -> int:
        """How many tiles; the last may be cut short by the number of rows."""
        return -(-self.shape[0] // self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @abstractmethod
    def tile(self, t: int) -> Any:
        """Tile t, transposed: float32 (I, C)."""

    @abstractmethod
    def take(self, ids: Any) -> Any:
        """The rows with these numbers: ids (N) -> float32 (N, I)."""

    def dequantize(self) -> Any:
        """The whole matrix: float32 (O, I)."""
        out = self.xp.empty(self.shape, np.float32)
        for t in range(self.n_tiles):
            part = out[t * self.rows : (t + 1) * self.rows]
            part[...] = self._tile(t).T[: len(part)]  # (I, C) -> (rows, I)
        return out

    def product(self, x: Any) -> Any:
        """y = x·Wᵀ: x (N, I) -> (N, O), in the dtype of x; half precisions multiply in float32."""
        if 0 < len(x) <= FEW_BY_LOOP and x.dtype == np.float32 and self.on_cpu:
            y = self._by_loop(np.ascontiguousarray(x))
            if y is not None:
                return y
        y, wide = self.xp.empty((len(x), self.shape[0]), x.dtype), _at_least_float32(x)
        for t in range(self.n_tiles):
            part = y[:, t * self.rows : (t + 1) * self.rows]
            rows = matmul.product(wide, self._tile(t))  # (N, I) @ (I, C) -> (N, C)
            part[...] = rows[:, : part.shape[1]].astype(x.dtype, copy=False)
        return y

    def _by_loop(self, x: np.ndarray) -> np.ndarray | None:
        """`product` for few rows by the compiled loop; None without one."""
        loops = self._loops()
        if loops is None or not x.flags.writeable:
            return None
        (weights,) = self.packed()
        y: np.ndarray = loops.packed_product(x, weights)
        return y

    def _loops(self) -> Any:
        """The compiled loops, if they know this matrix; else None."""
        loops = cpu_twins(self.arrays["codes"]) if self.in_loops else None
        return None if loops is None or loops.packed_product is None else loops

    def _tile(self, t: int) -> Any:
        """Tile t as `tile` returns it, by the compiled loop if there is one."""
        loops = self._loops()
        if loops is None:
            return self.tile(t)
        (weights,) = self.packed()
        n_groups = len(self.arrays["codes"])
        first = t * self.per
        tile: np.ndarray = loops.packed_tile(weights, first, min(self.per, n_groups - first))
        return tile

    def product_back(self, g: Any) -> Any:
        """∂L/∂x = g·W of `product`: g (N, O) -> (N, I), in the dtype of g."""
        wide = _at_least_float32(g)
        gx = self.xp.zeros((len(g), self.shape[1]), wide.dtype)
        for t in range(self.n_tiles):
            part = wide[:, t * self.rows : (t + 1) * self.rows]
            gx += matmul.product(part, self._tile(t)[:, : part.shape[1]].T)  # (N, rows) @ (rows, I)
        return gx.astype(g.dtype, copy=False)


def _at_least_float32(x: Any) -> Any:
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _moved(array: Any, kind: str, index: int | None) -> Any:
    """An array on a device. Codes below 0 travel as bytes: `move` would sort them, as ids."""
    if array.dtype != np.int8:
        return move(array, kind, index)
    plain = array.view(np.uint8)
    moved = move(plain, kind, index)
    return array if moved is plain else moved.view(np.int8)


def encoded(
    values: Any, encode: Callable[[np.ndarray, int], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of a matrix, made of some groups of its rows at a time, so that no copy is whole.

    values: floats (O, I), or what has a shape and returns rows for a slice, as a file's weight
    encode: (float32 rows, rows of a group) -> arrays (groups, ...)
    Raises: ValueError if it is not a matrix, or not all of it is finite.
    """
    shape = tuple(values.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"only a matrix can be quantised, got shape {shape}")
    O, I = shape
    C = group_rows(O, np.broadcast_to(np.float32(0), shape))
    step = max(1, AT_A_TIME // (I * C)) * C
    arrays: dict[str, np.ndarray] = {}
    for start in range(0, O, step):
        rows = np.ascontiguousarray(values[start : start + step], np.float32)
        if not np.isfinite(rows).all():
            raise ValueError("NaN or an infinite number cannot be quantised")
        for name, part in encode(rows, C).items():
            if name not in arrays:
                arrays[name] = np.empty((-(-O // C), *part.shape[1:]), part.dtype)
            arrays[name][start // C : start // C + len(part)] = part  # (groups, ...)
    return arrays


def group_rows(n: int, like: np.ndarray) -> int:
    """How many of n rows a group has: GROUP if `like` is large and there are compiled loops.

    Otherwise a group is a tile, of at most TILE rows, so that the last is nearly full.
    """
    loops = cpu_twins(like)
    if loops is not None and loops.packed_product is not None:
        return GROUP
    return -(-n // -(-n // TILE))


def tiled(rows: np.ndarray, C: int) -> np.ndarray:
    """(O, ...) -> (T, ..., C): tiles of C rows, the rows last; the last tile ends with zeros."""
    T = -(-len(rows) // C)
    if len(rows) % C:
        full = np.zeros((T * C, *rows.shape[1:]), rows.dtype)
        full[: len(rows)] = rows
        rows = full
    return np.ascontiguousarray(np.moveaxis(rows.reshape(T, C, *rows.shape[1:]), 1, -1))


def picked(tiles: Any, ids: Any) -> Any:
    """Rows by their numbers: tiles (T, ..., C), ids (N) -> (N, ...)."""
    C = tiles.shape[-1]
    return xp_of(tiles).moveaxis(tiles, -1, 1)[ids // C, ids % C]  # (T, C, ...) -> (N, ...)
