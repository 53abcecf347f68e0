"""Functions of several ops that PyTorch computes in one kernel round half precisions once.

Their derivatives are often several kernels there, each of which rounds: half_gradients.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..arrays.meta import is_meta
from ..autograd.engine import Op
from ..autograd.grad_mode import mode
from ..autograd.half_precision import is_half
from ..tensor import Tensor, dtypes, wrap
from . import operands
from .inplace import write

F = TypeVar("F", bound=Callable[..., Any])


@overload
def rounded_once(function: F) -> F: ...
@overload
def rounded_once(*, gradient: str) -> Callable[[F], F]: ...
def rounded_once(function: Any = None, *, gradient: str = "") -> Any:
    """Compute a function of half-precision tensors in float32, and round its result once.

    A single op does so by itself (Op.in_float32). A function that is composed of several, such as
    lerp, would round after each. The gradients are rounded once as well, where they leave it. A
    function that changes its first argument in place (inplace=True) changes the half one.
    gradient: the name in half_gradients.py of the derivative of a function which PyTorch rounds in
    between: f(r, g, y, *args), with r that rounds, the upstream gradient g, the result y and all
    arguments of the function in their order, arrays for tensors; it returns the gradients of the
    tensors among them. Where there is an f_value(r, *args), it rounds forward in between as well.
    """
    if function is None:
        return functools.partial(rounded_once, gradient=gradient)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for x in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(x, Tensor) and x.array.itemsize == 2 and is_half(x.array.dtype):
                break
        else:  # as nearly always
            return function(*args, **kwargs)
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        dtype = dtypes.numpy_dtype(dtypes.result_type(*tensors))
        if not is_half(dtype):
            return function(*args, **kwargs)
        if gradient:
            from . import half_gradients  # imported when first needed

            # a 0-d float32 tensor beside half ones is rounded first
            args = tuple([operands.cast(x, dtype) for x in args])
            kwargs = {name: operands.cast(x, dtype) for name, x in kwargs.items()}
            value = getattr(half_gradients, f"{gradient}_value", None)
            recorded = value is not None or (mode.grad and any([x.requires_grad for x in tensors]))
            if recorded and not any([is_meta(x.array) for x in tensors]):
                derivative = getattr(half_gradients, gradient)
                return _in_kernels(function, derivative, value, args, kwargs)
        wide = [_wide(x) for x in args]
        result = function(*wide, **{name: _wide(x) for name, x in kwargs.items()})
        new = operands.rounded(operands.cast(result, dtype))
        if result is wide[0]:  # changed in place: so is the tensor that was given
            return write(args[0], new, f"{function.__name__}_")
        return new

    return call


class _Kernels(Op, listed=False):
    """A function computed kernel by kernel, as PyTorch does it: see rounded_once."""

    name = "kernels"
    broadcasts = True
    in_float32 = True

    def forward(self, *arrays, value, gradient):
        y = value(self.stored, arrays)
        self.saved, self.gradient = (y, *arrays), gradient
        return y

    def backward(self, g):
        y, *arrays = self.saved
        return self.gradient(self.stored, g, y, arrays)


def _in_kernels(function: Any, gradient: Any, value: Any, args: tuple, kwargs: dict) -> Tensor:
    """function(*args), rounded once or where `value` rounds it; its backward is `gradient`."""
    bound = _signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    given = [*bound.arguments.values()]
    places = [i for i, x in enumerate(given) if isinstance(x, Tensor)]
    tensors = [given[i] for i in places]
    options = [None if isinstance(x, Tensor) else x for x in given]

    def with_arrays(arrays: Any) -> list[Any]:
        every = options.copy()
        for i, a in zip(places, arrays, strict=True):
            every[i] = a
        return every

    def values(r: Any, arrays: Any) -> Any:
        if value is not None:
            return value(r, *with_arrays(arrays))
        names = dict(zip(bound.arguments, with_arrays(map(wrap, arrays)), strict=True))
        return function(**names).array

    def gradients(r: Any, g: Any, y: Any, arrays: Any) -> Any:
        grads = gradient(r, g, y, *with_arrays(arrays))
        return grads if isinstance(grads, tuple) else (grads,)

    return _Kernels.apply(*tensors, value=values, gradient=gradients)


@functools.cache
def _signature(function: Any) -> Any:
    import inspect  # imported when first needed

    return inspect.signature(function)


def _wide(x: Any) -> Any:
    """A half-precision tensor as float32; anything else as it is."""
    half = isinstance(x, Tensor) and is_half(x.array.dtype)
    return operands.cast(x, "float32") if half else x
