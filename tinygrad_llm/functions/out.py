"""out=: the result of a function written into a tensor that the caller gives."""

from __future__ import annotations

import warnings
from typing import Any

from ..arrays.devices import xp_of
from ..arrays.meta import is_meta
from ..autograd.grad_mode import mode
from ..autograd.inplace_versions import mark_modified
from ..tensor import Tensor, dtypes

__all__ = ["into_out", "takes_out"]

_NAMES = frozenset(
    """
    digamma erfinv float_power heaviside lgamma mvlgamma polygamma sinc
    entr log_ndtr ndtr ndtri xlog1py
    abs acos acosh asin asinh atan atan2 atanh copysign logaddexp2
    add addcdiv addcmul addmm all amax amin aminmax any argmax argmin argsort baddbmm
    bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm cat
    ceil clamp clamp_max clamp_min column_stack cos cosh cummax cummin cumprod cumsum deg2rad diag
    diff div dot dstack eq erf erfc exp exp2 expm1 floor floor_divide fmax fmin fmod frac gather ge
    gt hstack hypot index_add index_select inner isneginf isposinf kthvalue le lerp log log10 log1p
    log2 log_softmax logaddexp logical_and logical_not logical_or logical_xor logit logsumexp lt
    masked_select matmul max maximum mean median min minimum mm msort mul mv nan_to_num nanmedian
    nanmean nansum narrow_copy ne neg nonzero norm outer pow prod quantile rad2deg reciprocal
    remainder round rsqrt scatter scatter_add scatter_reduce searchsorted sgn sigmoid sign signbit
    sin sinh softmax sort sqrt square stack std sub sum take take_along_dim tan tanh tensordot topk
    tril triu trunc var vdot vstack where xlogy
    """.split()
)


def takes_out(function: Any) -> bool:
    """Whether PyTorch's function of this name takes out=."""
    return function.__name__ in _NAMES


def into_out(call: Any, out: Any, args: tuple, kwargs: dict) -> Any:
    """call(*args, **kwargs), written into the tensor out, or the tensors of a tuple; returns out.

    Another shape is taken on, with a warning if out had elements. None is as no out=.
    Raises: TypeError if out is not a tensor, or not as many as there are results; RuntimeError if a
    gradient would be recorded or the result's dtype can't be cast to out's.
    """
    if out is None:
        return call(*args, **kwargs)
    name = call.__name__
    outs = tuple(out) if isinstance(out, tuple | list) else (out,)
    for each in outs:
        if not isinstance(each, Tensor):
            raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(each).__name__}")
    if mode.grad and any(x.requires_grad for x in _tensors((outs, args, tuple(kwargs.values())))):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    result = call(*args, **kwargs)
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(outs):
        raise TypeError(f"{name}(): out= must be {len(results)} tensors, got {len(outs)}")
    for each, new in zip(outs, results, strict=True):
        _fill(each, new)
    return type(result)(*outs) if isinstance(result, tuple) else outs[0]


def _tensors(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _fill(out: Tensor, new: Tensor) -> None:
    kinds = "buifVc"
    given, expected = new.array.dtype.kind, out.array.dtype.kind
    if kinds.find(given) > kinds.find(expected) and (given in "fVc" or expected == "b"):
        raise RuntimeError(
            f"result type {dtypes.title(new.dtype)} can't be cast to the desired output type "
            f"{dtypes.title(out.dtype)}"
        )
    shape = tuple(new.array.shape)
    if tuple(out.array.shape) != shape:
        if out.array.size:
            warnings.warn(
                "An output with one or more elements was resized since it had shape "
                f"{list(out.array.shape)}, which does not match the required output shape "
                f"{list(shape)}. To silence this warning, resize it to zero elements first.",
                UserWarning,
                stacklevel=4,
            )
        out.array = xp_of(new.array).empty(shape, out.array.dtype)
        out._view_of = None
    if is_meta(new.array) or is_meta(out.array):
        return
    try:
        out.array[...] = new.array
    except ValueError as error:
        raise RuntimeError(f"out=: this tensor's memory can't be written ({error})") from error
    mark_modified(out.array, "out=")
