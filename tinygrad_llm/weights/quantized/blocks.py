"""Weights of 8 and 4 bits: one scale per row, or per block of 32 weights as GGUF has them."""

from __future__ import annotations

import numpy as np

from ...arrays.twins import twins
from ..formats.gguf import KINDS, Kind, encode
from ..formats.gguf.decode import decode
from .matrix import TILE, QuantizedMatrix, as_rows, picked, tiled

__all__ = ["Blocks4", "Blocks8", "GGUFRows", "Int8Rows"]

FEW = 8  # rows of x up to which the scale is multiplied into the sums, not into the weights
GROUP = 32  # rows of a tile for the compiled loop, which vectorises over them


class Int8Rows(QuantizedMatrix):
    """w ≈ d·q, q of −127 to 127, one d = max|w| / 127 for each row.

    Source: Dettmers et al. (2022), "LLM.int8()", section 2.1 (row-wise, absolute maximum).
    """

    kind = "int8"

    def __init__(self, shape: tuple[int, int], arrays: dict[str, np.ndarray]) -> None:
        super().__init__(shape, arrays)
        self.rows = arrays["codes"].shape[-1]

    @classmethod
    def of(cls, values: np.ndarray) -> Int8Rows:
        """Quantise a matrix (O, I)."""
        w = as_rows(values)
        scale = np.abs(w).max(axis=1) / 127  # (O, I) -> (O)
        codes = np.rint(w / np.where(scale == 0, np.float32(1), scale)[:, None]).astype(np.int8)
        C = min(TILE, len(w))
        return cls(w.shape, {"codes": tiled(codes, C), "scales": tiled(scale, C)})

    def tile(self, t: int) -> np.ndarray:
        wide = self.arrays["codes"][t].astype(np.float32)
        wide *= self.arrays["scales"][t]  # (I, C) * (C)
        return wide

    def product(self, x: np.ndarray) -> np.ndarray:
        codes, scales = self.arrays["codes"], self.arrays["scales"]
        if len(x) > FEW:
            return super().product(x)
        wide = np.empty(codes.shape[1:], np.float32)
        y = np.empty((len(x), len(codes) * self.rows), x.dtype)
        for t in range(len(codes)):
            np.copyto(wide, codes[t])
            y[:, t * self.rows : (t + 1) * self.rows] = (x @ wide) * scales[t]  # (N, C)
        return y[:, : self.shape[0]]

    def take(self, ids: np.ndarray) -> np.ndarray:
        scales = picked(self.arrays["scales"], ids)[:, None]  # (N, 1)
        return picked(self.arrays["codes"], ids).astype(np.float32) * scales


class _Blocks(QuantizedMatrix):
    """Blocks of 32 weights along a row: codes, scales d and perhaps offsets m (float16).

    codes (T, I/32, 32 or 16 bytes, C), scales and offsets (T, I/32, C)
    """

    middle = 0  # what is taken off the codes

    def __init__(self, shape: tuple[int, int], arrays: dict[str, np.ndarray]) -> None:
        super().__init__(shape, arrays)
        self.rows = arrays["codes"].shape[-1]

    @classmethod
    def of_gguf(cls, raw: np.ndarray, kind: Kind, shape: tuple[int, int]) -> _Blocks:
        """From the bytes of a GGUF tensor (or rows of it): nothing is rounded."""
        blocks = raw.reshape(-1).view(kind.dtype).reshape(shape[0], -1)  # (O, I/32)
        C = GROUP if twins.cpu.product4 is not None else min(TILE, shape[0])
        names = {"q": "codes", "d": "scales", "m": "offsets"}
        fields = kind.dtype.names or ()
        arrays = {names[field]: tiled(blocks[field], C) for field in fields}
        arrays = {
            name: array if name == "codes" else np.ascontiguousarray(array[:, :, 0])
            for name, array in arrays.items()
        }  # (T, I/32, 1, C) -> (T, I/32, C)
        made = cls(shape, arrays)
        made.kind = kind.name.lower()
        made.middle = 8 if kind.name == "Q4_0" else 0
        return made

    @classmethod
    def of(cls, values: np.ndarray, kind: str) -> _Blocks:
        """Quantise a matrix (O, I), of which I is a multiple of 32."""
        w = as_rows(values)
        return cls.of_gguf(encode(w, kind), KINDS[kind], w.shape)

    def widened(self, t: int, out: np.ndarray) -> None:
        """The codes of tile t as floats, into out (I/32, 32, C)."""
        raise NotImplementedError

    def scale(self, name: str, t: int) -> np.ndarray:
        """Scales or offsets of tile t: float32 (I/32, 1, C)."""
        return self.arrays[name][t].astype(np.float32)[:, None]

    def _buffer(self) -> np.ndarray:
        return np.empty((self.shape[1] // 32, 32, self.rows), np.float32)

    def tile(self, t: int) -> np.ndarray:
        out = self._buffer()
        self.widened(t, out)
        out *= self.scale("scales", t)
        if "offsets" in self.arrays:
            out += self.scale("offsets", t)
        return out.reshape(self.shape[1], self.rows)  # (I/32, 32, C) -> (I, C)

    def take(self, ids: np.ndarray) -> np.ndarray:
        N = len(ids)
        codes = self._wide_rows(picked(self.arrays["codes"], ids))  # (N, I/32, 32)
        codes *= picked(self.arrays["scales"], ids).astype(np.float32)[:, :, None]
        if "offsets" in self.arrays:
            codes += picked(self.arrays["offsets"], ids).astype(np.float32)[:, :, None]
        return codes.reshape(N, self.shape[1])  # (N, I/32, 32) -> (N, I)

    def _wide_rows(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, I/32, bytes of a block) as floats (N, I/32, 32)."""
        raise NotImplementedError

    def product(self, x: np.ndarray) -> np.ndarray:
        """For few rows of x a block's scale multiplies its partial sum: one number, not 32."""
        N, nb = len(x), self.shape[1] // 32
        if N > FEW:
            return super().product(x)
        blocks = np.ascontiguousarray(x.reshape(N, nb, 32).swapaxes(0, 1))  # (N, I) -> (I/32, N, 32)
        sums = blocks.sum(axis=2).T  # (I/32, N) -> (N, I/32), for the offsets
        fast = twins.cpu.product4
        if fast is not None and isinstance(self, Blocks4) and x.dtype == np.float32:
            return self._compiled(fast, x, sums)
        wide = self._buffer()
        y = np.empty((N, self.n_tiles * self.rows), x.dtype)
        for t in range(self.n_tiles):
            self.widened(t, wide)
            part = (blocks @ wide) * self.scale("scales", t)  # (I/32, N, C)
            total = part.sum(axis=0)  # (N, C)
            if "offsets" in self.arrays:
                total += sums @ self.scale("offsets", t)[:, 0]  # (N, I/32) @ (I/32, C)
            y[:, t * self.rows : (t + 1) * self.rows] = total
        return y[:, : self.shape[0]]

    def _compiled(self, fast: object, x: np.ndarray, sums: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Blocks8(_Blocks):
    """Q8_0: w ≈ d·q, q of −127 to 127; 8.5 bits per weight."""

    kind = "q8_0"

    def widened(self, t: int, out: np.ndarray) -> None:
        np.copyto(out, self.arrays["codes"][t])

    def _wide_rows(self, codes: np.ndarray) -> np.ndarray:
        return codes.astype(np.float32)


class Blocks4(_Blocks):
    """Q4_0: w ≈ d·(q − 8), 4.5 bits per weight. Q4_1: w ≈ d·q + m, 5 bits. q of 0 to 15.

    Byte j of a block holds weight j in its low half, and weight j + 16 in its high half.
    """

    kind = "q4_1"

    def widened(self, t: int, out: np.ndarray) -> None:
        codes = self.arrays["codes"][t]  # (I/32, 16, C)
        np.copyto(out[:, :16], codes & np.uint8(15))
        np.copyto(out[:, 16:], codes >> np.uint8(4))
        if self.middle:
            out -= np.float32(self.middle)

    def _wide_rows(self, codes: np.ndarray) -> np.ndarray:
        halves = [codes & np.uint8(15), codes >> np.uint8(4)]
        wide = np.concatenate(halves, axis=2).astype(np.float32)  # (N, I/32, 16) twice -> 32
        wide -= np.float32(self.middle)
        return wide


class GGUFRows(QuantizedMatrix):
    """Any format of GGUF, as its bytes, a row after the other; decoded when it is needed."""

    def __init__(self, shape: tuple[int, int], arrays: dict[str, np.ndarray], kind: Kind) -> None:
        super().__init__(shape, arrays)
        self.format, self.kind, self.rows = kind, kind.name.lower(), min(TILE, shape[0])

    def tile(self, t: int) -> np.ndarray:
        raw = self.arrays["raw"][t * self.rows : (t + 1) * self.rows]
        return self._decoded(raw).T  # (rows, I) -> (I, rows)

    def take(self, ids: np.ndarray) -> np.ndarray:
        return self._decoded(self.arrays["raw"][ids])

    def _decoded(self, raw: np.ndarray) -> np.ndarray:
        out = np.empty((len(raw), self.shape[1]), np.float32)
        return decode(np.ascontiguousarray(raw).reshape(-1), self.format, out)


