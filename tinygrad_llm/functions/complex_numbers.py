"""Complex tensors, as far as rotary embeddings written with them need.

Made from pairs (view_as_complex, complex, polar), added, multiplied, divided, indexed and reshaped,
with gradients, and taken apart again (view_as_real, real, imag, abs, conj). Other functions compute
what NumPy computes, and refuse a complex result that needs a gradient.
"""

from __future__ import annotations

from ..ops.complex import ViewAsComplex, ViewAsReal
from ..tensor import Tensor, dtypes
from .arithmetic import neg
from .checks import need_tensor
from .elementary import cos, sin
from .shape.join import stack

__all__ = ["complex", "conj", "imag", "polar", "real", "view_as_complex", "view_as_real"]


def view_as_complex(input: Tensor) -> Tensor:
    """The pairs of the last dimension as complex numbers, a view: (..., 2) -> (...).

    Raises: RuntimeError unless it is float32 or float64, the last dimension has size 2, and the
    pairs lie next to each other in memory.
    """
    need_tensor("view_as_complex", input)
    a = input.array
    if a.dtype.kind != "f" or a.itemsize < 4:
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {dtypes.title(input.dtype)} (half is not offered here)"
        )
    if a.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if a.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if a.size and input.stride(-1) != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(step % 2 for step in input.stride()[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return ViewAsComplex.apply(input)


def view_as_real(input: Tensor) -> Tensor:
    """Real and imaginary parts along a new last dimension: (...) -> (..., 2), the same memory.

    Raises: RuntimeError if input is not complex.
    """
    need_tensor("view_as_real", input)
    if not input.is_complex():
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return ViewAsReal.apply(input)


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """real + i·imag, element by element; shapes broadcast.

    Raises: RuntimeError unless both are float32, or both float64.
    """
    for name, x in (("real", real), ("imag", imag)):
        need_tensor("complex", x, name)
        if x.array.dtype.kind != "f" or x.array.itemsize < 4:
            raise RuntimeError(
                "Expected both inputs to be Half, Float or Double tensors but got "
                f"{dtypes.title(real.dtype)} and {dtypes.title(imag.dtype)} (Half is not offered "
                "here)"
            )
    if real.dtype is not imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {dtypes.title(real.dtype)} but got scalar type "
            f"{dtypes.title(imag.dtype)} for second argument"
        )
    if real.array.shape != imag.array.shape:
        real, imag = real + imag * 0, imag + real * 0  # to one shape
    return view_as_complex(stack([real, imag], -1))  # (...) -> (..., 2) -> (...)


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs·(cos angle + i·sin angle), element by element.

    Raises: RuntimeError unless both are float32, or both float64.
    """
    for name, x in (("abs", abs), ("angle", angle)):
        need_tensor("polar", x, name)
        if x.array.dtype.kind != "f":
            raise RuntimeError(
                "Expected both inputs to be Half, Float or Double tensors but got "
                f"{dtypes.title(abs.dtype)} and {dtypes.title(angle.dtype)}"
            )
    return complex(abs * cos(angle), abs * sin(angle))


def real(input: Tensor) -> Tensor:
    """The real parts, a view; a real tensor itself."""
    return view_as_real(input)[..., 0] if input.is_complex() else input


def imag(input: Tensor) -> Tensor:
    """The imaginary parts, a view.

    Raises: RuntimeError if input is not complex.
    """
    if not input.is_complex():
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return view_as_real(input)[..., 1]


def conj(input: Tensor) -> Tensor:
    """a − bi of a + bi; a real tensor itself."""
    return complex(real(input), neg(imag(input))) if input.is_complex() else input
