"""Weights that stay quantised in memory: 8-bit rows, blocks of 8 and 4 bits, NF4.

matrix.py   what they share: products in tiles     blocks.py   int8, q8_0, q4_0, q4_1, GGUF's others
nf4.py      QLoRA's numbers                        stacked.py  rows of several formats
stored.py   a matrix as arrays and a description, for files
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...files.untrusted import translated
from ..formats.gguf import GGUFError, Kind
from ..formats.gguf.decode import decode, integers
from .blocks import Blocks4, Blocks8, GGUFRows, Int8Rows, of_integers
from .matrix import GROUP, QuantizedMatrix, group_rows
from .nf4 import NF4
from .stacked import Stacked
from .stored import described, restored

__all__ = [
    "FORMATS",
    "GGUFMatrix",
    "QuantizedMatrix",
    "check_format",
    "described",
    "fits",
    "from_gguf",
    "quantize",
    "restored",
    "stack",
]

FORMATS: dict[str, tuple[int, Callable[[Any], QuantizedMatrix]]] = {  # name: (block, function)
    "int8": (1, Int8Rows.of),
    "q8_0": (32, lambda w: Blocks8.of(w, "Q8_0")),
    "q4_0": (32, lambda w: Blocks4.of(w, "Q4_0")),
    "q4_1": (32, lambda w: Blocks4.of(w, "Q4_1")),
    "nf4": (64, NF4.of),
}


def check_format(name: Any) -> str:
    """Raises: ValueError if there is no such format."""
    if not isinstance(name, str) or name not in FORMATS:
        raise ValueError(f"the format of weights must be {', '.join(FORMATS)}, got {name!r}")
    return name


def fits(n: int, name: str) -> bool:
    """Whether rows of n weights can be cut into the blocks of a format."""
    return n % FORMATS[check_format(name)][0] == 0


def quantize(values: Any, name: str) -> QuantizedMatrix:
    """A matrix (O, I) of floats in a format of FORMATS: "int8", "q8_0", "q4_0", "q4_1" or "nf4".

    values: an array, or a GGUFMatrix; some of its rows at a time become float32
    Raises: ValueError for another format, rows that do not fill its blocks, or numbers that are not
    finite.
    """
    return FORMATS[check_format(name)][1](values)


class GGUFMatrix:
    """A matrix (O, I) in the bytes of a GGUF tensor, decoded where it is looked at: m[i:j] (rows).

    raw: uint8, (O, bytes of a row), perhaps in a mapped file; kind: not a plain number; where: what
        messages call it
    Raises: GGUFError, when it is looked at, if the format needs a package that is not installed.
    """

    def __init__(self, raw: np.ndarray, kind: Kind, where: str) -> None:
        self.raw, self.kind, self.where = raw, kind, where
        self.shape = len(raw), raw.shape[1] // kind.n_bytes * kind.weights

    def __getitem__(self, rows: slice) -> np.ndarray:
        """These rows: float32 (n, I)."""
        raw = np.ascontiguousarray(self.raw[rows])
        out = np.empty((len(raw), self.shape[1]), np.float32)
        with translated(self.where, GGUFError, ""):
            return decode(raw.reshape(-1), self.kind, out)


def from_gguf(raw: np.ndarray, kind: Kind, shape: tuple[int, int]) -> QuantizedMatrix:
    """A matrix from the bytes of a GGUF tensor, in the format that they have.

    Formats of 2 to 6 bits with integers (Q5_0, Q4_K, Q6_K and their kin) become groups of rows with
    the same numbers where there are compiled loops: Q2_K and Q4_K of 4 bits, others of 8.
    raw: uint8, the rows one after another; kind: not a plain number
    """
    if kind.name == "Q8_0":
        return Blocks8.of_gguf(raw, kind, shape)
    if kind.name in ("Q4_0", "Q4_1"):
        return Blocks4.of_gguf(raw, kind, shape)
    if group_rows(shape[0], raw) == GROUP:  # there are compiled loops
        parts = integers(raw.reshape(-1).view(kind.dtype), kind)
        if parts is not None:
            return of_integers(*parts, shape, kind.name.lower())
    rows = np.array(raw).reshape(shape[0], -1)  # a copy: the file can be closed
    return GGUFRows(shape, {"raw": rows}, kind)


def stack(parts: list[QuantizedMatrix]) -> QuantizedMatrix:
    """Matrices with the same columns as one, their rows below each other."""
    return parts[0] if len(parts) == 1 else Stacked(parts)
