"""From float32 to the blocks of a GGUF file, rounded as llama.cpp rounds them.

In every function w is (N, weights of a block). The scale is computed in float32, the codes with
this scale, and only then is the scale rounded to half precision, as ggml does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .kinds import KINDS

__all__ = ["WRITABLE", "encode"]

_CHUNK = 1 << 16  # weights encoded in one step


def _inverse(d: np.ndarray) -> np.ndarray:
    """1/d, and 0 where d is 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(d == 0, np.float32(0), 1 / d)


def _packed(codes: np.ndarray) -> np.ndarray:
    """Numbers below 16 (N, 32) -> bytes (N, 16): first half in the low bits."""
    return codes[:, :16] | (codes[:, 16:] << np.uint8(4))  # (N, 32) -> (N, 16)


def _codes(scaled: np.ndarray, most: int) -> np.ndarray:
    """Numbers of at least 0, already shifted by a half, cut to whole ones of at most `most`."""
    return np.clip(np.trunc(scaled), 0, most).astype(np.uint8)


def _q8_0(w: np.ndarray, b: np.ndarray) -> None:
    """d = max|w| / 127, codes round(w/d) with halves away from zero."""
    d = np.abs(w).max(axis=1, keepdims=True) / 127  # (N, 32) -> (N, 1)
    scaled = w * _inverse(d)
    size = np.abs(scaled)
    whole = np.floor(size)
    b["q"] = np.sign(scaled) * (whole + np.floor(2 * (size - whole)))
    b["d"] = d


def _q4_0(w: np.ndarray, b: np.ndarray) -> None:
    """d = (the weight of largest size, with its sign) / −8, codes w/d + 8."""
    largest = np.abs(w).argmax(axis=1)[:, None]  # (N, 1)
    d = np.take_along_axis(w, largest, axis=1) / -8
    b["q"] = _packed(_codes(w * _inverse(d) + np.float32(8.5), 15))
    b["d"] = d


def _q4_1(w: np.ndarray, b: np.ndarray) -> None:
    """m = min w, d = (max w − min w) / 15, codes (w − m)/d."""
    least = w.min(axis=1, keepdims=True)  # (N, 32) -> (N, 1)
    d = (w.max(axis=1, keepdims=True) - least) / 15
    b["q"] = _packed(_codes((w - least) * _inverse(d) + np.float32(0.5), 15))
    b["d"], b["m"] = d, least


def _bf16(w: np.ndarray) -> np.ndarray:
    """The upper 16 bits, rounded to the nearest, ties to even; NaN stays NaN."""
    n = np.ascontiguousarray(w, np.float32).view(np.uint32)
    rounded = (n.astype(np.uint64) + (0x7FFF + ((n >> 16) & 1))) >> 16
    quiet = (n >> 16) | 64
    return np.where((n & 0x7FFFFFFF) > 0x7F800000, quiet, rounded).astype(np.uint16)


_ENCODERS: dict[str, Callable[[np.ndarray, np.ndarray], None]] = {
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
}
WRITABLE = ("F32", "F16", "BF16", *_ENCODERS)


def encode(values: np.ndarray, name: str) -> np.ndarray:
    """The bytes (uint8, one dimension) of an array in one of the formats of WRITABLE.

    values: floating-point, (..., row); a row must be a multiple of 32 for the quantised formats.
    Raises: ValueError for another format, rows that cannot be cut into blocks, or numbers that are
    not finite in a format with scales.
    """
    if name not in WRITABLE:
        raise ValueError(f"{name} cannot be written; there are {', '.join(WRITABLE)}")
    kind = KINDS[name]
    if name in ("F32", "F16"):
        return np.ascontiguousarray(values, kind.dtype).reshape(-1).view(np.uint8)
    if name == "BF16":
        return _bf16(values).reshape(-1).view(np.uint8)
    kind.row_bytes(values.shape[-1] if values.ndim else 1)
    rows = values.reshape(-1, kind.weights)  # (..., row) -> (N, 32)
    blocks = np.zeros(len(rows), kind.dtype)
    step = _CHUNK // kind.weights
    for i in range(0, len(rows), step):
        part = np.asarray(rows[i : i + step], np.float32)
        if not np.isfinite(part).all():
            raise ValueError(f"NaN or an infinite number cannot be written as {name}")
        _ENCODERS[name](part, blocks[i : i + step])
    return blocks.view(np.uint8)
