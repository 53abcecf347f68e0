"""float16 and bfloat16: an op computes in float32 and rounds each of its results once.

PyTorch's kernels do the same ("opmath"). A Python number or a 0-d tensor beside a half-precision
tensor is never rounded to half precision, an op made of several steps rounds after the last one,
and a sum over thousands of elements keeps its digits. Backward is an op like forward: g and what
was saved become float32, and each gradient is rounded once.

The engine calls `half_op` for every op with `in_float32 = True`. It takes a subclass of the op
whose forward and backward convert; the op itself knows nothing of half precisions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.devices import on_gpu
from ..arrays.memory import is_array
from ..arrays.silence import quiet
from ..arrays.twins import twins

__all__ = ["half_op", "is_half"]

_FLOAT32 = np.dtype("float32")


def is_half(dtype: np.dtype) -> bool:
    """Whether a dtype is float16 or bfloat16."""
    return dtype.itemsize == 2 and dtype.kind in "fV"


def half_op(cls: type, arrays: list[Any], options: dict[str, Any]) -> type:
    """The class that computes `cls` of arrays of which some have two bytes per element.

    A kernel for a GPU that takes bfloat16 as it is adds up in float32 inside, and is left alone.
    """
    if not any(is_array(a) and is_half(a.dtype) for a in arrays):
        return cls  # int16 and uint16
    if twins.gpu is not None and on_gpu(arrays):
        if twins.gpu.narrow(cls, arrays, options):
            return cls
        cls = twins.gpu.ops.get(cls, cls)
    if cls not in _in_float32:
        members = {"__doc__": cls.__doc__, "__module__": cls.__module__, "name": cls.name}  # type: ignore[attr-defined]
        _in_float32[cls] = type(cls.__name__, (_InFloat32, cls), members, listed=False)
    return _in_float32[cls]


_in_float32: dict[type, type] = {}  # an op's class -> the subclass that converts


class _InFloat32:
    """Placed before an op's class: forward and backward in float32, results in half precision.

    Saves in half precision what the op saves of its inputs and outputs, as PyTorch does: backward
    of exp sees the rounded y. What the op computed in between stays float32.
    """

    saved: tuple
    half: np.dtype
    as_stored: tuple[int, ...]

    @quiet
    def forward(self, *arrays: Any, **options: Any) -> Any:
        """The op's result, rounded to the inputs' dtype; integers and masks as they are."""
        self.half = next(a.dtype for a in arrays if is_array(a) and is_half(a.dtype))
        wide = [
            a if i in self.as_stored and type(a) is np.ndarray else _wide(a)
            for i, a in enumerate(arrays)
        ]
        out = super().forward(*wide, **options)  # type: ignore[misc]
        several = isinstance(out, tuple)
        outs = out if several else (out,)
        rounded = tuple([self._rounded(a) for a in outs])
        known = {id(w): a for w, a in zip(wide, arrays, strict=True) if w is not a}
        known.update((id(w), a) for w, a in zip(outs, rounded, strict=True) if w is not a)
        self.saved = tuple([known.get(id(a), a) for a in self.saved])
        return rounded if several else rounded[0]

    @quiet
    def backward(self, g: Any) -> Any:
        """The op's gradients, each rounded once."""
        saved, wide = self.saved, tuple(map(_wide, g)) if isinstance(g, tuple) else _wide(g)
        self.saved = tuple(map(_wide, saved))
        try:
            grads = super().backward(wide)  # type: ignore[misc]
        finally:
            self.saved = saved
        if isinstance(grads, tuple):
            return tuple([g if a is wide else self._rounded(a) for a in grads])
        return g if grads is wide else self._rounded(grads)

    def stored(self, a: Any, only: str = "") -> Any:
        """A float32 array or scalar rounded to half precision and back; see Op.stored."""
        if a is None or only not in ("", self.half.name):
            return a
        return a.astype(self.half).astype(_FLOAT32)

    def precise(self, function: Any, x: Any) -> Any:
        """function(x) computed in float64 and rounded to float32; see Op.precise."""
        return function(x.astype("float64")).astype(_FLOAT32)

    def _rounded(self, a: Any) -> Any:
        """A float32 array in half precision; anything else as it is."""
        if isinstance(a, np.float32):  # NumPy's sums over everything are scalars
            return np.asarray(a, self.half)
        return a.astype(self.half) if is_array(a) and a.dtype == _FLOAT32 else a


def _wide(a: Any) -> Any:
    """A floating array as float32; anything else as it is."""
    floating = is_array(a) and a.dtype.kind in "fV" and a.dtype != _FLOAT32
    return a.astype(_FLOAT32) if floating else a
