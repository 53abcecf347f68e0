"""Weights of 8 and 4 bits: one scale per row, or per block of 32 weights as GGUF has them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from ...arrays.stages import Weights
from ..formats.gguf import KINDS, Kind, encode
from ..formats.gguf.decode import decode, integers
from .matrix import FEW, GROUP, TILE, QuantizedMatrix, encoded, group_rows, picked, tiled

__all__ = ["Blocks4", "Blocks8", "GGUFRows", "Int8Rows", "of_integers"]


class Int8Rows(QuantizedMatrix):
    """w ≈ d·q, q of −127 to 127, one d = max|w| / 127 for each row.

    Source: Dettmers et al. (2022), "LLM.int8()", section 2.1 (row-wise, absolute maximum).
    """

    kind = "int8"

    @classmethod
    def of(cls, values: np.ndarray) -> Int8Rows:
        """Quantise a matrix (O, I)."""

        def encode_rows(w: np.ndarray, C: int) -> dict[str, np.ndarray]:
            scale = np.abs(w).max(axis=1) / 127  # (rows, I) -> (rows)
            w = w / np.where(scale == 0, np.float32(1), scale)[:, None]
            codes = np.rint(w, out=w).astype(np.int8)
            return {"codes": tiled(codes, C), "scales": tiled(scale, C)}

        return cls(values.shape, encoded(values, encode_rows))

    def tile(self, t: int) -> Any:
        wide = self._together("codes", t).astype(np.float32)
        wide *= self._together("scales", t)  # (I, rows) * (rows)
        return wide

    def packed(self) -> list[Weights]:
        if not self.in_loops:
            return []
        codes, scales = self.arrays["codes"], self.arrays["scales"]
        return [Weights("bits8", self.shape, codes, scales, block=self.shape[1])]

    def product(self, x: Any) -> Any:
        codes, scales = self.arrays["codes"], self.arrays["scales"]
        if len(x) > FEW or x.dtype != np.float32 or self.group == GROUP or not self.on_cpu:
            return super().product(x)
        wide, C = np.empty(codes.shape[1:], np.float32), self.group
        y = np.empty((len(x), len(codes) * C), x.dtype)
        for t in range(len(codes)):
            np.copyto(wide, codes[t])
            y[:, t * C : (t + 1) * C] = (x @ wide) * scales[t]  # (N, C)
        return y[:, : self.shape[0]]

    def take(self, ids: Any) -> Any:
        scales = picked(self.arrays["scales"], ids)[:, None]  # (N, 1)
        return picked(self.arrays["codes"], ids).astype(np.float32) * scales


class _Blocks(QuantizedMatrix):
    """Blocks of weights along a row, 32 in most formats: codes, scales d, and offsets m if any.

    codes (G, I/32, 32 or 16 bytes, C), scales and offsets (G, I/32, C): G groups of C rows, 32 for
    the compiled loops and more without them.
    """

    @property
    def block(self) -> int:
        """Weights that share a scale."""
        return int(self.shape[1] // self.arrays["scales"].shape[1])

    bits = ""  # as arrays.stages.Weights calls it
    middle = 0  # what is taken off the codes

    @classmethod
    def of_gguf(cls, raw: np.ndarray, kind: Kind, shape: tuple[int, int]) -> _Blocks:
        """From the bytes of a GGUF tensor (or rows of it): nothing is rounded."""
        return cls._made(shape, _grouped(raw, kind, shape[0], group_rows(shape[0], raw)), kind)

    @classmethod
    def _made(cls, shape: tuple[int, int], arrays: dict[str, np.ndarray], kind: Kind) -> _Blocks:
        made = cls(shape, arrays)
        made.kind, made.middle = kind.name.lower(), 8 if kind.name == "Q4_0" else 0
        return made

    @classmethod
    def of(cls, values: np.ndarray, kind: str) -> _Blocks:
        """Quantise a matrix (O, I), of which I is a multiple of 32."""
        known = KINDS[kind]

        def encode_rows(w: np.ndarray, C: int) -> dict[str, np.ndarray]:
            return _grouped(encode(w, kind), known, len(w), C)

        return cls._made(values.shape, encoded(values, encode_rows), known)

    def packed(self) -> list[Weights]:
        if not self.in_loops:
            return []
        arrays, middle = self.arrays, float(self.middle)
        scales, offsets = arrays["scales"], arrays.get("offsets")
        codes = arrays["codes"]
        return [Weights(self.bits, self.shape, codes, scales, offsets, self.block, middle)]

    @abstractmethod
    def widened(self, t: int) -> Any:
        """The codes of tile t as floats: (I/32, 32, rows)."""

    def scale(self, name: str, t: int) -> Any:
        """Scales or offsets of tile t: float32 (I/32, 1, rows)."""
        return self._together(name, t).astype(np.float32)[:, None]

    def tile(self, t: int) -> Any:
        out = self.widened(t)
        out *= self.scale("scales", t)
        if "offsets" in self.arrays:
            out += self.scale("offsets", t)
        return out.reshape(self.shape[1], -1)  # (I/32, 32, rows) -> (I, rows)

    def take(self, ids: Any) -> Any:
        codes = self.wide_rows(picked(self.arrays["codes"], ids))  # (N, I/32, 32)
        codes *= picked(self.arrays["scales"], ids).astype(np.float32)[:, :, None]
        if "offsets" in self.arrays:
            codes += picked(self.arrays["offsets"], ids).astype(np.float32)[:, :, None]
        return codes.reshape(len(ids), self.shape[1])  # (N, I/32, 32) -> (N, I)

    @abstractmethod
    def wide_rows(self, codes: Any) -> Any:
        """Codes (N, I/32, bytes of a block) as floats (N, I/32, 32)."""

    def product(self, x: Any) -> Any:
        """For few rows of x a block's scale multiplies its partial sum: one number, not 32."""
        N, nb = len(x), self.shape[1] // 32
        if N > FEW or x.dtype != np.float32 or self.group == GROUP or not self.on_cpu:
            return super().product(x)
        blocks = np.ascontiguousarray(
            x.reshape(N, nb, 32).swapaxes(0, 1)
        )  # (N, I) -> (I/32, N, 32)
        sums = np.ascontiguousarray(blocks.sum(axis=2).T)  # (I/32, N) -> (N, I/32), for offsets
        y = np.empty((N, len(self.arrays["codes"]) * self.group), x.dtype)
        for t in range(self.n_tiles):
            part = (blocks @ self.widened(t)) * self.scale("scales", t)  # (I/32, N, rows)
            total = part.sum(axis=0)  # (N, rows)
            if "offsets" in self.arrays:
                total += sums @ self.scale("offsets", t)[:, 0]  # (N, I/32) @ (I/32, rows)
            y[:, t * self.rows : (t + 1) * self.rows] = total
        return y[:, : self.shape[0]]


class Blocks8(_Blocks):
    """Q8_0: w ≈ d·q, q of −127 to 127; 8.5 bits per weight."""

    kind = "q8_0"
    bits = "bits8"

    def widened(self, t: int) -> Any:
        return self._together("codes", t).astype(np.float32)

    def wide_rows(self, codes: Any) -> Any:
        return codes.astype(np.float32)


class Blocks4(_Blocks):
    """Q4_0: w ≈ d·(q − 8), 4.5 bits per weight. Q4_1: w ≈ d·q + m, 5 bits. q of 0 to 15.

    Byte j of a block holds weight j in its low half, and weight j + 16 in its high half.
    """

    kind = "q4_1"
    bits = "bits4"

    def widened(self, t: int) -> Any:
        codes = self._together("codes", t)  # (I/32, 16, rows)
        half = codes.shape[1]
        out = self.xp.empty((len(codes), 2 * half, codes.shape[-1]), np.float32)
        out[:, :half] = codes & 15
        out[:, half:] = codes >> 4
        if self.middle:
            out -= float(self.middle)
        return out

    def wide_rows(self, codes: Any) -> Any:
        wide = self.xp.concatenate([codes & 15, codes >> 4], axis=2)  # (N, I/32, 16) twice -> 32
        wide = wide.astype(np.float32)
        wide -= float(self.middle)
        return wide


def _grouped(raw: np.ndarray, kind: Kind, n: int, C: int) -> dict[str, np.ndarray]:
    """The codes, scales and offsets in the bytes of n rows, in groups of C."""
    blocks = raw.reshape(-1).view(kind.dtype).reshape(n, -1)  # (n, I/32)
    arrays = {"codes": tiled(blocks["q"], C)}
    for field, name in (("d", "scales"), ("m", "offsets")):
        if field in (kind.dtype.names or ()):
            arrays[name] = tiled(blocks[field][:, :, 0], C)  # (n, I/32, 1) -> (G, I/32, C)
    return arrays


def of_integers(
    q: np.ndarray, d: np.ndarray, m: np.ndarray | None, shape: tuple[int, int], kind: str
) -> Blocks4 | Blocks8:
    """Weights d·q + m as groups of 32 rows, for the compiled loops: nothing is rounded.

    q (N, parts, weights) integers of at most 8 bits, d and m (N, parts), rows one after another;
    kind: what the format is called
    """
    O, block, C = shape[0], q.shape[2], GROUP
    codes = q.reshape(O, -1, block)  # (N, parts, block) -> (O, I/block, block)
    made: Any = Blocks8
    if q.dtype == np.uint8 and kind in ("q4_k", "q2_k"):
        made, half = Blocks4, block // 2
        codes = codes[:, :, :half] | (codes[:, :, half:] << np.uint8(4))  # (O, I/block, block/2)
    arrays = {"codes": tiled(codes if made is Blocks4 else codes.view(np.int8), C)}
    for name, numbers in (("scales", d), ("offsets", m)):
        if numbers is not None:
            arrays[name] = tiled(numbers.reshape(O, -1), C)  # (N, parts) -> (G, I/block, C)
    matrix: Blocks4 | Blocks8 = made(shape, arrays)
    matrix.kind = kind
    return matrix


class GGUFRows(QuantizedMatrix):
    """Any format of GGUF, as its bytes, a row after the other; decoded when it is needed."""

    def __init__(self, shape: tuple[int, int], arrays: dict[str, np.ndarray], kind: Kind) -> None:
        super().__init__(shape, arrays)
        self.format, self.kind, self.rows = kind, kind.name.lower(), min(TILE, shape[0])

    def on(self, kind: str, index: int | None = None) -> QuantizedMatrix:
        """Also raises: NotImplementedError for a GPU if the format has no integers."""
        if kind != "cuda":
            return self
        parts = integers(self.arrays["raw"].reshape(-1).view(self.format.dtype), self.format)
        if parts is None:
            raise NotImplementedError(
                f"weights in {self.kind} are computed on a CPU only: take another format for a "
                "GPU, such as q8_0"
            )
        return of_integers(*parts, self.shape, self.kind).on(kind, index)

    def tile(self, t: int) -> Any:
        raw = self.arrays["raw"][t * self.rows : (t + 1) * self.rows]
        return self._decoded(raw).T  # (rows, I) -> (I, rows)

    def take(self, ids: Any) -> Any:
        return self._decoded(self.arrays["raw"][ids])

    def _decoded(self, raw: np.ndarray) -> np.ndarray:
        out = np.empty((len(raw), self.shape[1]), np.float32)
        return decode(np.ascontiguousarray(raw).reshape(-1), self.format, out)
