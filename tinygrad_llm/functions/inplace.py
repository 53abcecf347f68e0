"""Changes in place: x.add_(1), x += 1, x[0] = 1, and how they change the graph.

The new values are computed by an op and copied into the tensor's memory, and the tensor takes that
op as its history. If it is a view of another tensor, that one's memory has changed too, so it gets
a history as well: "as before, except in this region". An op that had saved the old values can no
longer compute its backward; inplace_versions.py remembers the change, and backward raises an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.capture import refuse_in_capture
from ..arrays.devices import device_of, move, no_data, to_numpy, use_gpu_of, xp_of
from ..arrays.ids import remember_ids
from ..arrays.memory import is_array, ndarray, storage_of
from ..arrays.meta import is_meta, meta
from ..arrays.silence import silently
from ..arrays.twins import LEAST
from ..autograd.grad_mode import enable_grad, mode
from ..autograd.inplace_versions import clock, mark_modified, modified_at
from ..tensor import Tensor, attach, dtypes, wrap
from ..tensor.numbers import filling
from .method import method
from .operands import as_operand, cast
from .printed_names import passed_off_as, printed_as
from .unrecorded import recorded


def change_in_place(x: Tensor, by: str, op: Any, *others: Any, **options: Any) -> Tensor:
    """x becomes op(x, others) in its own memory and graph; returns x."""
    refuse_leaf(x)
    return write(x, op.apply(x, *others, **options), by)


def refuse_leaf(x: Tensor) -> None:
    """Raises: RuntimeError if x is a leaf that requires grad, or its view, and ops are recorded."""
    if not mode.grad:
        return
    if x._needs and x._op is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation. Do it "
            "within torch.no_grad(), or on a copy: x = x + 1 instead of x += 1"
        )
    base = x._view_of
    if base is not None and base._needs and base._op is None:
        raise RuntimeError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation. "
            "Do it within torch.no_grad(), or on a clone"
        )


def write(x: Tensor, new: Tensor, by: str) -> Tensor:
    """Copy new's values into x's memory, with new's history; returns x.

    Raises: RuntimeError if the shapes differ, new's dtype cannot be cast to x's, or x's memory is
    read-only or shared by several of its elements; NotImplementedError if new has no numbers.
    """
    if new.array.shape != x.array.shape:
        raise RuntimeError(
            f"output with shape {list(x.array.shape)} doesn't match the broadcast shape "
            f"{list(new.array.shape)}: {by} can't change the shape of a tensor in place"
        )
    kinds = "buifVc"
    same = new.array.dtype is x.array.dtype
    if (
        not same
        and kinds.find(new.array.dtype.kind) > kinds.find(x.array.dtype.kind)
        and (new.array.dtype.kind in "fVc" or x.array.dtype.kind == "b")
    ):
        raise RuntimeError(
            f"result type {dtypes.title(new.dtype)} can't be cast to the desired output type "
            f"{dtypes.title(x.dtype)}"
        )
    if meta.used and (is_meta(x.array) or is_meta(new.array)):
        if not is_meta(x.array):
            raise no_data()
        _take_history(x, new)
        return x
    refuse_repeats(x.array)
    new = new if same else cast(new, x.array.dtype)
    if new._view_of is not None:
        new._up_to_date()
    if mode.grad and x._needs and not new._needs:
        new = _overwritten(x, new, by)
    if new._needs and new._op is None and mode.grad:
        new = ops.Clone.apply(new)  # a leaf's place in the graph is its own
        if by == "copy_":
            new._op.printed = "CopyBackwards"
    if new._op is not None and modified_at(x.array) < new._op.order:
        memory = storage_of(x.array)
        old = [is_array(a) and storage_of(a) is memory for a in new._op.saved]
        if any(old):  # x.mul_(y) needs the old x for y's gradient
            pairs = zip(new._op.saved, old, strict=True)
            new._op.saved = tuple(a.copy() if is_old else a for a, is_old in pairs)
    try:
        x.array[...] = new.array
    except ValueError as error:
        raise RuntimeError(
            f"{by}: this tensor's memory is read-only ({error}): clone() it first"
        ) from error
    mark_modified(x.array, by)
    if not mode.grad:
        return x
    base = x._view_of
    if base is not None and (new._needs or base._needs):
        whole = ops.WriteView.apply(base, new, view=x.array)
        _take_history(base, whole)
        base._tick = x._tick = next(clock)
    elif new._needs or x._needs:
        x._tick = next(clock)
    if new._op is not None or x._op is not None:
        _take_history(x, new)
    return x


# What grad_fn prints for a write of new values that have no gradient.
_PRINTED = {
    "bernoulli_": "BernoulliBackward2", "copy_": "CopyBackwards", "fill_": "FillBackward2",
    "exponential_": "ExponentialBackward0", "normal_": "NormalBackward0",
    "random_": "RandomBackward2", "uniform_": "UniformBackward0", "zero_": "ZeroBackward0",
    "eq_": "EqBackward0", "ne_": "NeBackward0", "not_equal_": "NeBackward0", "lt_": "LtBackward0",
    "less_": "LtBackward0", "le_": "LeBackward0", "less_equal_": "LeBackward0",
    "gt_": "GtBackward0", "greater_": "GtBackward0", "ge_": "GeBackward0",
    "greater_equal_": "GeBackward0",
}  # fmt: skip


def _overwritten(x: Tensor, new: Tensor, by: str) -> Tensor:
    """new's values, as a function of x that does not depend on x: its gradient is 0, not absent."""
    y = ops.Where.apply(wrap(xp_of(x.array).zeros((), bool)), x, new)
    y._op.printed = _PRINTED.get(by, "CopySlices")
    return y


def _take_history(x: Tensor, new: Tensor) -> None:
    """Give x the place in the graph that `new` has; retain_grad() stays in force."""
    kept = (x._op.retained if x._op is not None else None) or {}
    retained = x._out in kept and kept[x._out]() is x
    if retained:
        del kept[x._out]
    x._op, x._out, x._needs = new._op, new._out, new._needs
    if retained and x._op is not None:
        x.retain_grad()


@method("_refresh_history")
def refresh_history(view: Tensor) -> Tensor:
    """Give a view that was taken before its base changed the history that it has now.

    Raises: RuntimeError if the view is a leaf that requires grad.
    """
    base = view._view_of
    assert base is not None  # only views have a base whose history can change
    if view._op is None and view._needs:
        raise RuntimeError(
            f"a leaf of shape {tuple(view.array.shape)} is a view of a tensor that an inplace "
            "operation has modified since: take the view again after it"
        )
    view._tick = base._tick
    with enable_grad():
        current = ops.ReadView.apply(base, view=view.array)
    _take_history(view, current)
    return view


def refuse_repeats(array: Any) -> None:
    """Raises: RuntimeError if several elements of an array to write lie in one place."""
    if 0 in array.strides and array.size > 1:
        if any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True)):
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to "
                "a single memory location. Please clone() the tensor before performing the "
                "operation."
            )


def in_place(
    function: Any, *names: str, saves_input: bool = False, ufunc: np.ufunc | None = None
) -> None:
    """Attach the in-place form of a function to Tensor: x.exp_() is exp(x), written into x.

    names: of the method, then of its alias or of its operator ("add_", "__iadd__").
    saves_input: an op within the function saves x, so the function gets a copy of it.
    ufunc: NumPy's function of two operands that computes the same; it writes where it can.
    """
    for name in names:
        by = names[0] if name.startswith("__") else name
        attach(name, _in_place_form(function, by, saves_input, ufunc))


def _in_place_form(
    function: Any, name: str, saves_input: bool, ufunc: np.ufunc | None = None
) -> Any:
    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if ufunc is not None and len(args) == 1 and not kwargs:
            if _computed_in_place(ufunc, self, args[0], name):
                return self
        refuse_leaf(self)
        x = self.clone() if saves_input and mode.grad else self
        new = function(x, *args, **kwargs)
        return new if new is NotImplemented else write(self, new, name)

    passed_off_as(function, change)
    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"{name.strip('_')} in place: the result is written into this tensor."
    return change


def _computed_in_place(ufunc: np.ufunc, x: Tensor, other: Any, by: str) -> bool:
    """x = ufunc(x, other) by NumPy in x's own memory, for few numbers of one dtype that nobody
    records; whether it was possible. False changes nothing."""
    a = x.array
    if type(a) is not ndarray or a.size >= LEAST or recorded(x, other):
        return False
    kind = a.dtype.kind
    if not (a.itemsize > 2 if kind == "f" else kind == "i" and ufunc is not np.divide):
        return False
    if isinstance(other, Tensor):
        b = other.array
        if type(b) is not ndarray or b.dtype is not a.dtype:
            return False
    elif type(other) is float and kind == "f" or type(other) is int and -128 <= other < 128:
        b = other
    else:
        return False
    refuse_repeats(a)
    try:
        silently(ufunc, a, b, a)
    except ValueError:  # shapes that do not fit, or memory that is read-only: words for it follow
        return False
    mark_modified(a, by)
    return True


@method
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Overwrite with src's values, which broadcast and are cast to this dtype and device."""
    refuse_leaf(self)
    src = as_operand(src)
    if not isinstance(src, Tensor):
        return self.fill_(src)
    host = None
    if xp_of(src.array) is not xp_of(self.array):
        host = to_numpy(src.array)
        refuse_in_capture("a tensor's copy from the CPU to the GPU")
        src = wrap(xp_of(self.array).asarray(host))
    elif self.is_cuda and device_of(src.array) != device_of(self.array):
        src = wrap(move(src.array, *device_of(self.array)))
    src = cast(src, self.array.dtype)
    if src.array.shape != self.array.shape:
        src = src.expand(self.array.shape)
    if storage_of(src.array) is storage_of(self.array):
        src = src.clone()
    write(self, src, "copy_")
    if host is not None and host.size and host.dtype == self.array.dtype:
        if host.dtype.kind in "iu" and storage_of(self.array) is self.array:
            remember_ids(self.array, host)
    return self


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to value, a number or a 0-d tensor."""
    return _filled(self, value, "fill_")


def _filled(self: Tensor, value: Any, by: str) -> Tensor:
    refuse_leaf(self)
    if is_meta(self.array):
        return self
    if isinstance(value, Tensor):
        write(self, cast(value, self.array.dtype).expand(self.array.shape), by)
        return printed_as("FillBackward3", self)
    use_gpu_of(self)
    dtype = self.array.dtype
    array = xp_of(self.array).full(self.array.shape, filling(value, dtype, self.array.size), dtype)
    return write(self, wrap(array), by)


@method
def zero_(self: Tensor) -> Tensor:
    """Set every element to 0."""
    return _filled(self, 0, "zero_")


@method
def detach_(self: Tensor) -> Tensor:
    """Take this tensor out of the graph: it becomes a leaf without a gradient."""
    self._op, self._out, self._needs, self._view_of = None, 0, False, None
    return self


@method
def squeeze_(self: Tensor, dim: Any = None) -> Tensor:
    """squeeze in place: the same memory under another shape."""
    _reshaped(self, self.squeeze() if dim is None else self.squeeze(dim))
    kind = 3 if dim is None else 4 if isinstance(dim, int) else 5
    return printed_as(f"SqueezeBackward{kind}", self)


@method
def unsqueeze_(self: Tensor, dim: int) -> Tensor:
    """unsqueeze in place: the same memory under another shape."""
    return _reshaped(self, self.unsqueeze(dim))


@method
def t_(self: Tensor) -> Tensor:
    """t in place: the same memory under another shape."""
    return _reshaped(self, self.t())


@method("transpose_", "swapaxes_", "swapdims_")
def transpose_(self: Tensor, dim0: int, dim1: int) -> Tensor:
    """transpose in place: the same memory under another shape."""
    return _reshaped(self, self.transpose(dim0, dim1))


def _reshaped(self: Tensor, new: Tensor) -> Tensor:
    refuse_leaf(self)
    self.array, self._op, self._out, self._needs = new.array, new._op, new._out, new._needs
    return self


@method
def tril_(self: Tensor, diagonal: int = 0) -> Tensor:
    """tril in place."""
    return change_in_place(self, "tril_", ops.Tril, diagonal=diagonal)


@method
def triu_(self: Tensor, diagonal: int = 0) -> Tensor:
    """triu in place."""
    return change_in_place(self, "triu_", ops.Triu, diagonal=diagonal)
