"""Arrays without numbers: the meta device. A shape and a dtype, and no memory.

A MetaArray is a NumPy array of that shape over a single zero, so views of it have NumPy's shapes.
What computes new numbers returns another MetaArray: the result's shape comes from the operands'
shapes where a rule is known (element by element, matrix products), else from computing with zeros.
Reading a number raises an error, and writing one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["MetaArray", "is_meta", "meta", "meta_like", "plain", "without_numbers"]


class meta:
    """Whether an array without numbers was ever made in this process."""

    used = False


def is_meta(array: Any) -> bool:
    """Whether it is an array without numbers."""
    return type(array) is MetaArray


def without_numbers(shape: tuple[int, ...], dtype: Any) -> MetaArray:
    """An array of the meta device."""
    meta.used = True
    zero = np.zeros((), dtype)
    return np.ndarray.__new__(MetaArray, shape, zero.dtype, zero, 0, (0,) * len(shape))


def meta_like(value: Any) -> Any:
    """Arrays, also those in tuples and lists, as arrays without numbers; other values as they are.

    NumPy's scalars become 0-d arrays without numbers.
    """
    if isinstance(value, np.ndarray | np.generic):
        return without_numbers(value.shape, value.dtype)
    if isinstance(value, tuple | list):
        return type(value)([meta_like(v) for v in value])
    return value


def plain(value: Any) -> Any:
    """Arrays without numbers as read-only zeros, also those in tuples, lists and dicts."""
    if isinstance(value, MetaArray):
        return np.broadcast_to(np.zeros((), value.dtype), value.shape)
    if isinstance(value, tuple | list):
        return type(value)([plain(v) for v in value])
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return value


_NEED_NUMBERS = frozenset(
    "nonzero flatnonzero argwhere unique array_equal allclose compress extract".split()
)


def _refuse(what: str) -> NotImplementedError:
    return NotImplementedError(
        f"{what}: attempted to run this operator with Meta tensors, which have no numbers, and its "
        "result depends on them"
    )


class MetaArray(np.ndarray):
    """An array of the meta device; see the top of the file."""

    def __array_finalize__(self, made_from: Any) -> None:
        return None

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        outs = options.pop("out", None)
        if method == "at":
            return None
        if method == "__call__" and ufunc.signature is None:
            arrays = [x for x in inputs if isinstance(x, np.ndarray)]
            shape = np.broadcast_shapes(*[a.shape for a in arrays])
            small = [np.zeros((1,) * x.ndim, x.dtype) if isinstance(x, np.ndarray) else x
                     for x in inputs]  # fmt: skip
            options.pop("where", None)
            with np.errstate(all="ignore"):
                result = ufunc(*small, **options)
            results = result if isinstance(result, tuple) else (result,)
            made: Any = tuple(without_numbers(shape, r.dtype) for r in results)
            result = made if isinstance(result, tuple) else made[0]
        elif ufunc is np.matmul and method == "__call__":
            result = _product(*inputs)
        else:
            with np.errstate(all="ignore"):
                result = meta_like(getattr(ufunc, method)(*plain(inputs), **plain(options)))
        if outs is None:
            return result
        return outs[0] if len(outs) == 1 else outs

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name in _NEED_NUMBERS or (name == "where" and len(args) + len(kwargs) == 1):
            raise _refuse(name)
        if name == "copyto":
            return None
        out = kwargs.pop("out", None)
        with np.errstate(all="ignore"):
            result = function(*plain(args), **plain(kwargs))
        return meta_like(result) if out is None else out

    # ------------------------------------------------------------------ new arrays of this kind
    def copy(self, order: Any = "C") -> MetaArray:
        """An array of the same shape and dtype."""
        return without_numbers(self.shape, self.dtype)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> MetaArray:
        """An array of the same shape and another dtype."""
        return without_numbers(self.shape, dtype)

    def __deepcopy__(self, memo: Any) -> MetaArray:
        return self.copy()

    # ----------------------------------------------------------------------- writing: nothing
    def __setitem__(self, key: Any, value: Any) -> None:
        return None

    def fill(self, value: Any) -> None:
        """Nothing: there is no memory."""

    def sort(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: there is no memory."""

    # -------------------------------------------------------------------- reading: an error
    def item(self, *args: Any) -> Any:
        """Raises: RuntimeError, because there is no number."""
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    def _no_number(self) -> Any:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    __bool__ = __int__ = __float__ = __index__ = _no_number

    def tolist(self) -> Any:
        """Raises: NotImplementedError, because there are no numbers."""
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    nonzero = tolist


def _product(a: Any, b: Any) -> MetaArray:
    """The product of two matrices, or of stacks of them."""
    left = a.shape if a.ndim > 1 else (1, *a.shape)
    right = b.shape if b.ndim > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise ValueError(f"matmul: {a.shape} and {b.shape} cannot be multiplied")
    shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
    shape = shape if a.ndim > 1 else (*shape[:-2], shape[-1])
    shape = shape if b.ndim > 1 else shape[:-1]
    return without_numbers(shape, np.result_type(a.dtype, b.dtype))


def _computed_with_zeros(name: str) -> Callable[..., Any]:
    """A method that runs on zeros, whose result is without numbers."""

    def method(self: MetaArray, *args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return meta_like(getattr(plain(self), name)(*plain(args), **plain(kwargs)))

    method.__name__ = name
    return method


for _name in (
    "argmax argmin argsort argpartition choose clip conj cumprod cumsum dot mean prod repeat round "
    "searchsorted std take trace var sum max min any all"
).split():
    setattr(MetaArray, _name, _computed_with_zeros(_name))
