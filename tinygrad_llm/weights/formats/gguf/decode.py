"""From blocks of a GGUF file to float32: what each number format means, one function each.

In every function N is the number of blocks; scale and offset are widened from half precision first,
and the products are computed in float32, so that the results are those of ggml to the last bit.
`bits(q, width, group)` undoes the packing that all formats share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..numbers import widened
from .kinds import KINDS, Kind

__all__ = ["CODEBOOK", "bits", "decode", "decode_blocks", "integers"]

_CHUNK = 1 << 16  # weights decoded in one step: their temporaries stay in the cache
# The 16 values of a 4-bit code: of IQ4_NL (found by k-means, ggml), and of a 4-bit float, doubled
CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FLOAT4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


Integers = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]  # q, d, m of weights d·q + m


def bits(q: np.ndarray, width: int, group: int) -> np.ndarray:
    """Numbers of `width` bits from bytes (N, G·group): (N, G, 8/width, group).

    Each group of bytes holds first its lowest bits as `group` numbers, then the next bits.
    """
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    grouped = q.reshape(len(q), -1, 1, group)  # (N, G·group) -> (N, G, 1, group)
    return (grouped >> shifts[:, None]) & np.uint8((1 << width) - 1)  # (N, G, 8/width, group)


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _nibbles(q: np.ndarray, high: np.ndarray | None = None) -> np.ndarray:
    """Bytes (N, 16) -> numbers (N, 32): the low halves, then the high ones; a fifth bit if any."""
    numbers = bits(q, 4, 16).reshape(len(q), 32)  # (N, 1, 2, 16) -> (N, 32)
    if high is None:
        return numbers
    return numbers | (np.unpackbits(high, axis=1, bitorder="little") << np.uint8(4))  # (N, 32)


def _minus(numbers: np.ndarray, middle: int) -> np.ndarray:
    return numbers.view(np.int8) - np.int8(middle)


def _centred(numbers: np.ndarray, middle: int) -> np.ndarray:
    return _wide(_minus(numbers, middle))


def _scale_and_offset(b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of Q4_K and Q5_K: eight scales and eight offsets of 6 bits in 12 bytes, each (N, 8)."""
    scale, offset, rest = (b["scales"][:, 4 * i : 4 * i + 4] for i in range(3))  # (N, 4) each
    scales = np.concatenate([scale & 63, (rest & 15) | ((scale >> 2) & 48)], axis=1)  # (N, 8)
    offsets = np.concatenate([offset & 63, (rest >> 4) | ((offset >> 2) & 48)], axis=1)  # (N, 8)
    return _wide(b["d"]) * _wide(scales), -(_wide(b["m"]) * _wide(offsets))


# ------------------------------------------------------------------------------ 32 weights
def _q8_0(b: np.ndarray) -> np.ndarray:
    return _wide(b["q"]) * _wide(b["d"])


def _q4_0(b: np.ndarray) -> np.ndarray:
    return _wide(b["d"]) * _centred(_nibbles(b["q"]), 8)


def _q4_1(b: np.ndarray) -> np.ndarray:
    return _wide(b["d"]) * _wide(_nibbles(b["q"])) + _wide(b["m"])


def _q5_0(b: np.ndarray) -> Integers:
    return _minus(_nibbles(b["q"], b["high"]), 16)[:, None], b["d"], None  # (N, 1, 32)


def _q5_1(b: np.ndarray) -> Integers:
    return _nibbles(b["q"], b["high"])[:, None], b["d"], b["m"]  # (N, 1, 32)


def _iq4_nl(b: np.ndarray) -> np.ndarray:
    return _wide(b["d"]) * _looked_up(CODEBOOK, _nibbles(b["q"]))


def _looked_up(table: Sequence[int], codes: np.ndarray) -> np.ndarray:
    return np.array(table, np.float32)[codes]


def _mxfp4(b: np.ndarray) -> np.ndarray:
    """The scale is a power of two, half of 2^(e − 127), for the values of _FLOAT4 are doubled."""
    e = b["e"].astype(np.uint32)
    scale = np.where(e < 2, np.uint32(1 << 21) << e, (e - 1) << np.uint32(23)).view(np.float32)
    return scale * _looked_up(_FLOAT4, _nibbles(b["q"]))


def _nvfp4(b: np.ndarray) -> np.ndarray:
    """Four scales, each an unsigned float of 8 bits (4 of exponent, 3 of mantissa), for 16 each."""
    e = b["e"]
    exponent, mantissa = _wide((e >> 3) & 15), _wide(e & 7)
    normal = (1.0 + mantissa / 8.0) * np.exp2(exponent - 7)
    scale = np.where(exponent == 0, mantissa * 2.0**-9, normal) * 0.5
    scale = np.where((e == 0) | (e == 0x7F), np.float32(0), scale)[:, :, None]  # (N, 4, 1)
    codes = bits(b["q"], 4, 8).reshape(len(b), 4, 16)  # (N, 4, 2, 8) -> (N, 4, 16)
    return scale * _looked_up(_FLOAT4, codes)


# ------------------------------------------------------------------------- 256 weights ("K")
def _q2_k(b: np.ndarray) -> Integers:
    scale = _wide(b["d"]) * _wide(b["scales"] & 15)  # (N, 16)
    offset = -(_wide(b["m"]) * _wide(b["scales"] >> 4))  # (N, 16)
    q = bits(b["q"], 2, 32).reshape(len(b), 16, 16)  # (N, 2, 4, 32) -> (N, 16, 16)
    return q, scale, offset


def _q3_k(b: np.ndarray) -> Integers:
    """16 scales of 6 bits: the low four of 8 bytes twice, the high two of 4 bytes four times."""
    low = bits(b["scales"][:, :8], 4, 8).reshape(len(b), 16)  # (N, 1, 2, 8) -> (N, 16)
    high = bits(b["scales"][:, 8:], 2, 4).reshape(len(b), 16)  # (N, 1, 4, 4) -> (N, 16)
    scale = _wide(b["d"]) * _centred(low | (high << np.uint8(4)), 32)  # (N, 16)
    q = bits(b["q"], 2, 32).reshape(len(b), 16, 16)  # (N, 2, 4, 32) -> (N, 16, 16)
    third = bits(b["high"], 1, 32).reshape(len(b), 16, 16)  # (N, 1, 8, 32) -> (N, 16, 16)
    return _minus(q | (third << np.uint8(2)), 4), scale, None


def _q4_k(b: np.ndarray) -> Integers:
    return bits(b["q"], 4, 32).reshape(len(b), 8, 32), *_scale_and_offset(b)  # (N, 8, 32)


def _q5_k(b: np.ndarray) -> Integers:
    q = bits(b["q"], 4, 32).reshape(len(b), 8, 32)  # (N, 4, 2, 32) -> (N, 8, 32)
    fifth = bits(b["high"], 1, 32).reshape(len(b), 8, 32)  # (N, 1, 8, 32) -> (N, 8, 32)
    return q | (fifth << np.uint8(4)), *_scale_and_offset(b)


def _q6_k(b: np.ndarray) -> Integers:
    scale = _wide(b["d"]) * _wide(b["scales"])  # (N, 16)
    low = bits(b["q"], 4, 64).reshape(len(b), 16, 16)  # (N, 2, 2, 64) -> (N, 16, 16)
    high = bits(b["high"], 2, 32).reshape(len(b), 16, 16)  # (N, 2, 4, 32) -> (N, 16, 16)
    return _minus(low | (high << np.uint8(4)), 32), scale, None


def _iq4_xs(b: np.ndarray) -> np.ndarray:
    """Eight scales of 6 bits: the low four in `low`, the high two in the 16 bits of `high`."""
    low = np.stack([b["low"] & 15, b["low"] >> 4], axis=2).reshape(len(b), 8)  # (N, 4, 2) -> (N, 8)
    high = ((b["high"] >> np.arange(0, 16, 2, dtype=np.uint16)) & 3).astype(np.uint8)  # (N, 8)
    scale = (_wide(b["d"]) * _centred(low | (high << np.uint8(4)), 32))[:, :, None]  # (N, 8, 1)
    return scale * _looked_up(CODEBOOK, bits(b["q"], 4, 16).reshape(len(b), 8, 32))


def _tq1_0(b: np.ndarray) -> np.ndarray:
    """Five weights of −1, 0, 1 in a byte: the byte is a fraction of 256, written in base 3."""
    powers = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    parts = [
        b["q"][:, None, :32] * powers,  # (N, 5, 32)
        b["q"][:, None, 32:] * powers,  # (N, 5, 16)
        b["high"][:, None] * powers[:4],  # (N, 4, 4)
    ]
    digits = np.concatenate([part.reshape(len(b), -1) for part in parts], axis=1)  # (N, 256)
    return _wide(b["d"]) * _centred(((digits.astype(np.uint16) * 3) >> 8).astype(np.uint8), 1)


def _tq2_0(b: np.ndarray) -> np.ndarray:
    return _wide(b["d"]) * _centred(bits(b["q"], 2, 32).reshape(len(b), 256), 1)  # (N, 256)


def _from_package(kind: Kind) -> Callable[[np.ndarray], np.ndarray]:
    """Formats that need a trained table of vectors: the package gguf has it.

    Raises: ValueError (when called) if the package is not installed.
    """

    def call(b: np.ndarray) -> np.ndarray:
        try:
            from gguf import GGMLQuantizationType, quants
        except ImportError:
            raise ValueError(
                f"{kind.name} needs the tables of the package gguf: pip install gguf"
            ) from None
        return quants.dequantize(b["all"], GGMLQuantizationType(kind.number))

    return call


# Formats whose weights are d·q + m with integers q of at most 8 bits.
_INTEGERS: dict[str, Callable[[np.ndarray], Integers]] = {
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}


def integers(blocks: np.ndarray, kind: Kind) -> Integers | None:
    """Records (N,) of a block format as integers, scales and offsets; None if it has no integers.

    Returns q, (N, parts, weights of a part) int8 or uint8, d and m, (N, parts) float16 or float32:
    weights are d·q + m, or d·q if m is None.
    """
    function = _INTEGERS.get(kind.name)
    return None if function is None else function(blocks)


def _from_integers(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def call(b: np.ndarray) -> np.ndarray:
        q, d, m = _INTEGERS[name](b)
        values = _wide(d)[:, :, None] * _wide(q)  # (N, parts, 1) * (N, parts, weights)
        return values if m is None else values + _wide(m)[:, :, None]

    return call


_DECODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "MXFP4": _mxfp4,
    "NVFP4": _nvfp4,
    **{name: _from_integers(name) for name in _INTEGERS},
    **{
        name: _from_package(KINDS[name])
        for name in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
    },
}


def decode_blocks(blocks: np.ndarray, kind: Kind) -> np.ndarray:
    """Records (N,) of a block format -> float32 (N, weights of a block)."""
    with np.errstate(invalid="ignore", over="ignore"):  # scales of a damaged file can be ±inf
        return _DECODERS[kind.name](blocks).reshape(len(blocks), kind.weights)


def decode(raw: np.ndarray, kind: Kind, out: np.ndarray) -> np.ndarray:
    """The numbers in `raw` written into `out`, chunk by chunk, and rounded to its dtype.

    raw: uint8, contiguous, as many bytes as out.size weights take
    out: contiguous, float32 or another dtype of NumPy; returned
    """
    flat = out.reshape(-1)  # a view: out is contiguous
    if kind.is_plain:
        numbers = raw.view(kind.dtype)
        for i in range(0, len(numbers), _CHUNK):
            part = numbers[i : i + _CHUNK]
            flat[i : i + _CHUNK] = widened(part) if kind.name == "BF16" else part
        return out
    blocks = raw.view(kind.dtype)  # (bytes) -> (N)
    step = _CHUNK // kind.weights
    for i in range(0, len(blocks), step):
        values = decode_blocks(blocks[i : i + step], kind)
        flat[i * kind.weights : i * kind.weights + values.size] = values.reshape(-1)
    return out
