"""The number formats of a GGUF file: their numbers, the layout of a block, its weights and bytes.

A row of a tensor is cut into blocks of 32 (or 64, 256) weights; a block holds a scale, perhaps an
offset, and a few bits per weight. Each layout here is a NumPy record, in the order of the bytes.
Source: ggml, ggml-common.h (the blocks) and ggml.h (the numbers of the types).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["KINDS", "PLAIN", "Kind", "kind_of"]

# A type that is one number per weight: NumPy's dtype. bfloat16 is read as its bits.
PLAIN = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F64": "<f8",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
}


@dataclass(frozen=True)
class Kind:
    """One number format.

    name     as ggml spells it: "F32", "Q4_1", "Q6_K"
    number   in the file
    weights  per block; 1 for plain numbers
    dtype    of a block: a record, or the dtype of a plain number
    """

    name: str
    number: int
    weights: int
    dtype: np.dtype

    @property
    def n_bytes(self) -> int:
        """Bytes of a block."""
        return self.dtype.itemsize

    @property
    def bits(self) -> float:
        """Bits per weight, scales included."""
        return 8 * self.n_bytes / self.weights

    @property
    def is_plain(self) -> bool:
        """Whether each weight is a separate number, without blocks."""
        return self.name in PLAIN

    def row_bytes(self, n: int) -> int:
        """Bytes of a row of n weights.

        Raises: ValueError if n is not a multiple of the weights of a block.
        """
        if n % self.weights:
            raise ValueError(
                f"rows of {n:,} weights cannot be {self.name}, which has blocks of {self.weights}"
            )
        return n // self.weights * self.n_bytes


def _block(name: str, number: int, weights: int, *fields: tuple[str, str, int]) -> Kind:
    """fields: (name, dtype, how many), in the order of the bytes."""
    return Kind(name, number, weights, np.dtype([(n, d, (count,)) for n, d, count in fields]))


def _plain(name: str, number: int) -> Kind:
    return Kind(name, number, 1, np.dtype(PLAIN[name]))


_D, _M = ("d", "<f2", 1), ("m", "<f2", 1)  # scale and offset: half precision, one each

_ALL = (
    _plain("F32", 0),
    _plain("F16", 1),
    _block("Q4_0", 2, 32, _D, ("q", "u1", 16)),
    _block("Q4_1", 3, 32, _D, _M, ("q", "u1", 16)),
    _block("Q5_0", 6, 32, _D, ("high", "u1", 4), ("q", "u1", 16)),
    _block("Q5_1", 7, 32, _D, _M, ("high", "u1", 4), ("q", "u1", 16)),
    _block("Q8_0", 8, 32, _D, ("q", "i1", 32)),
    _block("Q2_K", 10, 256, ("scales", "u1", 16), ("q", "u1", 64), _D, _M),
    _block("Q3_K", 11, 256, ("high", "u1", 32), ("q", "u1", 64), ("scales", "u1", 12), _D),
    _block("Q4_K", 12, 256, _D, _M, ("scales", "u1", 12), ("q", "u1", 128)),
    _block("Q5_K", 13, 256, _D, _M, ("scales", "u1", 12), ("high", "u1", 32), ("q", "u1", 128)),
    _block("Q6_K", 14, 256, ("q", "u1", 128), ("high", "u1", 64), ("scales", "i1", 16), _D),
    _block("IQ2_XXS", 16, 256, ("all", "u1", 66)),
    _block("IQ2_XS", 17, 256, ("all", "u1", 74)),
    _block("IQ3_XXS", 18, 256, ("all", "u1", 98)),
    _block("IQ1_S", 19, 256, ("all", "u1", 50)),
    _block("IQ4_NL", 20, 32, _D, ("q", "u1", 16)),
    _block("IQ3_S", 21, 256, ("all", "u1", 110)),
    _block("IQ2_S", 22, 256, ("all", "u1", 82)),
    _block("IQ4_XS", 23, 256, _D, ("high", "<u2", 1), ("low", "u1", 4), ("q", "u1", 128)),
    _plain("I8", 24),
    _plain("I16", 25),
    _plain("I32", 26),
    _plain("I64", 27),
    _plain("F64", 28),
    _block("IQ1_M", 29, 256, ("all", "u1", 56)),
    _plain("BF16", 30),
    _block("TQ1_0", 34, 256, ("q", "u1", 48), ("high", "u1", 4), _D),
    _block("TQ2_0", 35, 256, ("q", "u1", 64), _D),
    _block("MXFP4", 39, 32, ("e", "u1", 1), ("q", "u1", 16)),
    _block("NVFP4", 40, 64, ("e", "u1", 4), ("q", "u1", 32)),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
_BY_NUMBER = {kind.number: kind for kind in _ALL}


def kind_of(number: int) -> Kind:
    """The format with this number.

    Raises: ValueError if there is none that can be read.
    """
    if number not in _BY_NUMBER:
        raise ValueError(f"the number format {number} is unknown; there are {', '.join(KINDS)}")
    return _BY_NUMBER[number]
