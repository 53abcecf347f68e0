"""Functions made of several ops here that are one step in PyTorch: what grad_fn prints for them.

`named` marks the last op of such a function. tensor/grad_fn_names.py has the names of single ops.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor

__all__ = ["named", "passed_off_as"]

_NAMES = {
    "addbmm": "Addbmm", "addcdiv": "Addcdiv", "addcmul": "Addcmul", "addmm": "Addmm",
    "baddbmm": "Baddbmm", "bmm": "Bmm", "celu": "Celu", "clamp_min": "ClampMin",
    "clamp_max": "ClampMax", "cosh": "Cosh", "deg2rad": "Deg2Rad", "diagonal": "Diagonal",
    "erfc": "Erfc", "exp2": "Exp2", "frac": "Frac", "glu": "Glu", "hardsigmoid": "Hardsigmoid",
    "hardswish": "Hardswish", "hardtanh": "Hardtanh", "huber_loss": "HuberLoss", "hypot": "Hypot",
    "index_add": "IndexAdd", "index_select": "IndexSelect", "lerp": "Lerp",
    "logaddexp": "Logaddexp", "logit": "Logit", "masked_select": "MaskedSelect", "mish": "Mish",
    "nan_to_num": "NanToNum", "nansum": "Nansum", "rad2deg": "Rad2Deg", "relu6": "Hardtanh",
    "repeat": "Repeat", "scatter_add": "ScatterAdd", "selu": "Elu", "sinh": "Sinh",
    "smooth_l1_loss": "SmoothL1Loss", "take": "Take", "tan": "Tan", "tile": "Repeat",
    "trace": "Trace", "vdot": "Vdot", "xlogy": "Xlogy",
}  # fmt: skip


def named(function: Any) -> Any:
    """The function; if it is one step in PyTorch, its results print that step's name."""
    name = _NAMES.get(function.__name__)
    if name is None:
        return function
    printed = f"{name}Backward0"

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and result._op is not None:
            if not any(result is value for value in args):
                result._op.printed = printed
        return result

    return passed_off_as(function, call)


def passed_off_as(function: Any, call: Any) -> Any:
    """`call` with the name, text and annotations of the function that it calls; returns call.

    What functools.wraps does, in a third of its time: an import does it 500 times.
    """
    call.__module__ = function.__module__
    call.__name__ = function.__name__
    call.__qualname__ = function.__qualname__
    call.__doc__ = function.__doc__
    call.__annotations__ = function.__annotations__
    call.__dict__.update(function.__dict__)
    call.__wrapped__ = function
    return call
