"""NF4, the 4-bit numbers of QLoRA: 16 quantiles of a normal distribution, a scale per 64 weights.

With double quantisation the scales are numbers of 8 bits too: 4.127 bits per weight in all.
Source: Dettmers et al. (2023), "QLoRA", sections 3 and appendix E; the 8-bit numbers of the scales
are those of Dettmers et al. (2022), "8-bit Optimizers via Block-wise Quantization", appendix F.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.devices import move
from ...arrays.stages import Weights
from .matrix import GROUP, QuantizedMatrix, encoded, picked, tiled

__all__ = ["BLOCK", "NF4", "NF4_VALUES", "dynamic_values"]

BLOCK = 64  # weights that share a scale
SCALES = 256  # scales that share an outer scale
# Appendix E of QLoRA, in float32 as bitsandbytes publishes them.
NF4_VALUES = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip


def dynamic_values() -> np.ndarray:
    """The 256 numbers of a dynamic 8-bit float in [−0.993, 1], sorted: float32.

    The number of leading zero bits is a power of ten, from 10⁻⁶ to 1; with i of 7 bits left there
    are 2^i fractions, the midpoints of equal parts of [0.1, 1]; 0 and 1 are added.
    """
    values = [0.0, 1.0]
    for i in range(7):
        edges = np.linspace(0.1, 1, 2**i + 1, dtype=np.float32)
        middles = (edges[:-1] + edges[1:]) / 2 * np.float32(10.0 ** (i - 6))
        values += [*middles.tolist(), *(-middles).tolist()]
    return np.sort(np.array(values, np.float32))


_DYNAMIC = dynamic_values()


def _nearest(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The index of the nearest number of a sorted table, the lower one of two as near: uint8."""
    middles = (table[:-1] + table[1:]) / 2
    return np.searchsorted(middles, values, side="left").astype(np.uint8)


class NF4(QuantizedMatrix):
    """w ≈ s·v[q]: v the 16 values, s the scale of 64 weights, itself 8 bits.

    codes (T, I/64, 32, C), two in a byte: weight j in the low half, j + 32 in the high half
    scales (O·I/64): numbers of the dynamic table, in the order of the rows; s = outer·number + mean
    outer (one for 256 scales), mean (1): float32
    """

    kind = "nf4"
    _wide: np.ndarray | None = None  # scales (G, I/64, 32) in float32, for the compiled loops
    _values: Any = NF4_VALUES  # the two tables, where the codes are
    _numbers: Any = _DYNAMIC

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, and of the scales in float32 once a loop has needed them."""
        return super().nbytes + (0 if self._wide is None else self._wide.nbytes)

    def on(self, kind: str, index: int | None = None) -> QuantizedMatrix:
        other = super().on(kind, index)
        if isinstance(other, NF4) and other is not self:
            other._wide = None
            other._values = move(self._values, kind, index)
            other._numbers = move(self._numbers, kind, index)
        return other

    def packed(self) -> list[Weights]:
        if not self.in_loops:
            return []
        if self._wide is None:
            self._wide = tiled(self._scales(0, self.shape[0]), GROUP)  # (O, I/64) -> (G, I/64, 32)
        codes = self.arrays["codes"]
        return [Weights("nf4", self.shape, codes, self._wide, block=BLOCK, table=NF4_VALUES)]

    @classmethod
    def of(cls, values: np.ndarray) -> NF4:
        """Quantise a matrix (O, I), of which I is a multiple of 64.

        Raises: ValueError if it is not.
        """
        scales: list[np.ndarray] = []

        def encode_rows(w: np.ndarray, C: int) -> dict[str, np.ndarray]:
            O, I = w.shape
            if I % BLOCK:
                raise ValueError(
                    f"rows of {I:,} weights cannot be nf4, which has blocks of {BLOCK}"
                )
            blocks = w.reshape(O, I // BLOCK, BLOCK)
            scale = np.abs(blocks).max(axis=2)  # (rows, I/64)
            scales.append(scale.reshape(-1))
            normed = blocks / np.where(scale == 0, np.float32(1), scale)[:, :, None]
            codes = _nearest(normed, NF4_VALUES)  # (rows, I/64, 64)
            packed = codes[:, :, :32] | (codes[:, :, 32:] << np.uint8(4))  # (rows, I/64, 32)
            return {"codes": tiled(packed, C)}

        arrays = encoded(values, encode_rows)
        return cls(values.shape, {**arrays, **_double(np.concatenate(scales))})

    def _scales(self, start: int, stop: int) -> Any:
        """The scales of rows start to stop: float32 (rows, I/64)."""
        nb = self.shape[1] // BLOCK
        places = self.xp.arange(start * nb, min(stop, self.shape[0]) * nb)
        return self._scales_at(places).reshape(-1, nb)

    def _scales_at(self, places: Any) -> Any:
        numbers = self._numbers[self.arrays["scales"][places]]
        return numbers * self.arrays["outer"][places // SCALES] + self.arrays["mean"]

    def tile(self, t: int) -> Any:
        codes = self._together("codes", t)  # (I/64, 32, rows)
        out = self.xp.empty((len(codes), BLOCK, codes.shape[-1]), np.float32)
        out[:, :32] = self._looked_up(codes & 15)
        out[:, 32:] = self._looked_up(codes >> 4)
        scales = self._scales(t * self.rows, (t + 1) * self.rows)  # (rows, I/64)
        out[:, :, : len(scales)] *= scales.T[:, None]  # (I/64, 1, rows)
        return out.reshape(self.shape[1], -1)  # (I/64, 64, rows) -> (I, rows)

    def _looked_up(self, codes: Any) -> Any:
        """The values of codes from 0 to 15, float32; NumPy is faster if it need not check them."""
        return self._values.take(codes, mode="clip") if self.on_cpu else self._values[codes]

    def take(self, ids: Any) -> Any:
        nb = self.shape[1] // BLOCK
        codes = picked(self.arrays["codes"], ids)  # (N, I/64, 32)
        values = [self._looked_up(codes & 15), self._looked_up(codes >> 4)]
        rows = self.xp.concatenate(values, axis=2)  # (N, I/64, 64)
        scales = self._scales_at(ids[:, None] * nb + self.xp.arange(nb))  # (N, I/64)
        return (rows * scales[:, :, None]).reshape(len(ids), self.shape[1])  # (N, I)


def _double(scale: np.ndarray) -> dict[str, np.ndarray]:
    """Scales (n) as 8-bit numbers: their mean is taken off, and each 256 share a scale."""
    mean = scale.mean(dtype=np.float32)
    rest = np.zeros(-(-len(scale) // SCALES) * SCALES, np.float32)
    rest[: len(scale)] = scale - mean
    groups = rest.reshape(-1, SCALES)  # (n) -> (n/256, 256)
    outer = np.abs(groups).max(axis=1)  # (n/256)
    normed = groups / np.where(outer == 0, np.float32(1), outer)[:, None]
    numbers = _nearest(normed, _DYNAMIC).reshape(-1)[: len(scale)]
    return {"scales": numbers, "outer": outer, "mean": np.array([mean], np.float32)}
