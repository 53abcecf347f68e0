"""Questions about a tensor."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, attach
from .method import function, method


@method
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0.

    Raises: RuntimeError if there is not exactly one element.
    """
    return bool(input)


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


@function
def numel(input: Tensor) -> int:
    """How many elements the tensor has."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is a floating one."""
    return input.is_floating_point()


@method
def is_signed(input: Tensor) -> bool:
    """Whether the tensor's dtype has negative numbers."""
    return input.dtype.is_signed


@method
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return input.array.shape == other.array.shape


@method
def is_set_to(input: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors show the same memory in the same way."""
    return (
        input.data_ptr() == tensor.data_ptr()
        and input.array.shape == tensor.array.shape
        and input.array.strides == tensor.array.strides
        and input.dtype is tensor.dtype
    )


def _real(input: Tensor) -> Tensor:
    """The real parts, a view; a real tensor itself."""
    if not input.is_complex():
        return input
    from .complex_numbers import real

    return real(input)


def _imag(input: Tensor) -> Tensor:
    """The imaginary parts, a view.

    Raises: RuntimeError if the tensor is not complex.
    """
    from .complex_numbers import imag

    return imag(input)


attach("real", property(_real))
attach("imag", property(_imag))


@method
def conj(input: Tensor) -> Tensor:
    """a − bi of a + bi; a real tensor itself."""
    from .complex_numbers import conj

    return conj(input)


def is_complex(input: Tensor) -> bool:
    """Whether the tensor's dtype is a complex one."""
    return input.is_complex()


def _never(name: str, why: str) -> Any:
    def answer(input: Tensor) -> bool:
        return False

    answer.__name__ = answer.__qualname__ = name
    answer.__doc__ = f"False: {why}."
    return method(answer)


is_conj = _never("is_conj", "conjugates are computed when they are asked for")
is_neg = _never("is_neg", "negations are computed when they are asked for")
is_shared = _never("is_shared", "no memory is shared between processes")
is_pinned = _never("is_pinned", "memory is not pinned")
is_distributed = _never("is_distributed", "each tensor is on one device")


def detach(input: Tensor) -> Tensor:
    """The same memory outside the graph."""
    return input.detach()
