"""Quantised matrices as arrays and a description, from which the same matrices come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...files.untrusted import describe
from ..formats.gguf import KINDS
from .blocks import Blocks4, Blocks8, GGUFRows, Int8Rows
from .matrix import QuantizedMatrix
from .nf4 import BLOCK, NF4, SCALES
from .stacked import Stacked

__all__ = ["described", "restored"]

_CLASSES: dict[str, Any] = {c.__name__: c for c in (Blocks4, Blocks8, GGUFRows, Int8Rows, NF4)}
_LARGEST = 1 << 31  # rows or columns


def described(matrix: QuantizedMatrix) -> dict[str, Any]:
    """What JSON can hold of a matrix; with its `arrays` it is all of it."""
    if isinstance(matrix, Stacked):
        return {"class": "Stacked", "parts": [described(part) for part in matrix.parts]}
    about: dict[str, Any] = {
        "class": type(matrix).__name__,
        "kind": matrix.kind,
        "shape": list(matrix.shape),
    }
    if isinstance(matrix, Blocks4):
        about["middle"] = matrix.middle
    return about


def restored(about: Any, arrays: Mapping[str, np.ndarray]) -> QuantizedMatrix:
    """The matrix of a description and its arrays, which may come from a file.

    Raises: ValueError if they do not fit together.
    """
    if not isinstance(about, dict):
        raise ValueError(f"a matrix is described by an object, not by {describe(about)}")
    if about.get("class") == "Stacked":
        return _stacked(about.get("parts"), arrays)
    made: Any = _CLASSES.get(str(about.get("class")))
    shape = about.get("shape")
    if made is None:
        raise ValueError(f"there is no kind of matrix {describe(about.get('class'))}")
    if not (isinstance(shape, list) and len(shape) == 2 and all(map(_is_size, shape))):
        raise ValueError(f"the shape of a matrix is two sizes, not {describe(shape)}")
    size = (shape[0], shape[1])
    kind = str(about.get("kind"))
    _check(made, kind, size, arrays)
    if made is GGUFRows:
        return GGUFRows(size, dict(arrays), KINDS[kind.upper()])
    matrix: QuantizedMatrix = made(size, dict(arrays))
    matrix.kind = kind
    if isinstance(matrix, Blocks4):
        if about.get("middle") not in (0, 8):
            raise ValueError(f"the middle of codes is 0 or 8, not {describe(about.get('middle'))}")
        matrix.middle = about["middle"]
    return matrix


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < _LARGEST


def _stacked(parts: Any, arrays: Mapping[str, np.ndarray]) -> Stacked:
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"parts should be a list of matrices, not {describe(parts)}")
    if any(isinstance(part, dict) and part.get("class") == "Stacked" for part in parts):
        raise ValueError("rows of several formats hold no others of that kind")
    made = []
    for i, part in enumerate(parts):
        start = f"{i}."
        own = {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}
        made.append(restored(part, own))
    return Stacked(made)


_NAMES = {  # the kinds of each class, without those of GGUFRows
    Int8Rows: ("int8",), Blocks8: ("q8_0", "q5_0", "q5_1", "q3_k", "q5_k", "q6_k"),
    Blocks4: ("q4_0", "q4_1", "q2_k", "q4_k"), NF4: ("nf4",),
}  # fmt: skip


def _check(made: Any, kind: str, shape: tuple[int, int], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises: ValueError if the arrays of a matrix are missing, or have another dtype or shape."""
    if kind not in _NAMES.get(made, (kind,)) or made is GGUFRows and kind.upper() not in KINDS:
        raise ValueError(f"{made.__name__} has no format {describe(kind)}")
    O, I = shape
    if made is GGUFRows:
        about = KINDS[kind.upper()]
        n_bytes = I // about.weights * about.n_bytes
        _fits(arrays, {"raw": ("u1", (O, n_bytes))})
        return
    codes = arrays.get("codes")
    C = 0 if codes is None or codes.ndim < 3 else int(codes.shape[-1])
    if not C:
        raise ValueError("the codes of a matrix are missing or empty")
    G = -(-O // C)
    if made is Int8Rows:
        _fits(arrays, {"codes": ("i1", (G, I, C)), "scales": ("f4", (G, C))})
    elif made is NF4:
        n = O * I // BLOCK
        _fits(arrays, {
            "codes": ("u1", (G, I // BLOCK, BLOCK // 2, C)), "scales": ("u1", (n,)),
            "outer": ("f4", (-(-n // SCALES),)), "mean": ("f4", (1,)),
        })  # fmt: skip
    else:
        block = 16 if kind in ("q2_k", "q3_k", "q6_k") else 32
        width, code = (block, "i1") if made is Blocks8 else (block // 2, "u1")
        each = (G, I // block, C)
        expected = {"codes": (code, (G, I // block, width, C)), "scales": ("f2f4", each)}
        if "offsets" in arrays:
            expected["offsets"] = ("f2f4", each)
        elif kind in ("q4_1", "q5_1", "q2_k", "q4_k", "q5_k"):
            raise ValueError("the offsets of a matrix are missing")
        _fits(arrays, expected)


def _fits(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    if set(arrays) != set(expected):
        raise ValueError(
            f"a matrix should have {', '.join(expected)}, it has {describe(sorted(arrays))}"
        )
    for name, (dtypes, shape) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.str[1:] not in dtypes:
            raise ValueError(
                f"{name} is {array.dtype} of shape {array.shape}, expected shape {shape}"
            )
