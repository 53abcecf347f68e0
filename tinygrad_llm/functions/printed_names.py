"""Functions made of several ops here that are one step in PyTorch: what grad_fn prints for them.

`named` marks the last op of such a function, `printed_as` of one whose name depends on the call.
tensor/grad_fn_names.py has the names of single ops.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor

__all__ = ["named", "passed_off_as", "printed_as"]

_NAMES = {
    "digamma": "Digamma", "entr": "SpecialEntr", "erfinv": "Erfinv", "lgamma": "Lgamma",
    "log_ndtr": "SpecialLogNdtr", "mvlgamma": "Mvlgamma", "ndtri": "SpecialNdtri",
    "polygamma": "Polygamma", "sinc": "Sinc", "xlog1py": "SpecialXlog1Py",
    "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atan2": "Atan2", "atanh": "Atanh", "logaddexp2": "Logaddexp2",
    "addbmm": "Addbmm", "addcdiv": "Addcdiv", "addcmul": "Addcmul", "addmm": "Addmm",
    "baddbmm": "Baddbmm", "block_diag": "BlockDiag", "bmm": "Bmm", "cdist": "Cdist", "celu": "Celu",
    "column_stack": "Cat", "cosh": "Cosh", "deg2rad": "Deg2Rad", "det": "LinalgDet",
    "diagonal": "Diagonal", "dstack": "Cat", "erfc": "Erfc", "exp2": "Exp2", "frac": "Frac",
    "glu": "Glu", "hardsigmoid": "Hardsigmoid", "hardswish": "Hardswish", "hardtanh": "Hardtanh",
    "huber_loss": "HuberLoss", "hypot": "Hypot", "index_add": "IndexAdd", "index_add_": "IndexAdd",
    "index_copy": "IndexCopy", "index_copy_": "IndexCopy", "index_fill": "IndexFill",
    "index_fill_": "IndexFill", "index_put": "IndexPut", "index_put_": "IndexPut",
    "index_select": "IndexSelect", "inner": "ViewBackward0", "inv": "LinalgInvEx",
    "logaddexp": "Logaddexp", "logit": "Logit", "masked_scatter": "MaskedScatter",
    "masked_scatter_": "MaskedScatter", "masked_select": "MaskedSelect", "mish": "Mish",
    "nan_to_num": "NanToNum", "nansum": "Nansum", "quantile": "SqueezeBackward4",
    "rad2deg": "Rad2Deg", "relu6": "Hardtanh", "repeat": "Repeat", "rot90": "Rot90Backward0",
    "row_stack": "Cat", "scatter_add": "ScatterAdd", "scatter_add_": "ScatterAdd",
    "scatter_reduce": "ScatterReduce", "scatter_reduce_": "ScatterReduce", "selu": "Elu",
    "sinh": "Sinh", "slogdet": "LinalgSlogdet", "smooth_l1_loss": "SmoothL1Loss",
    "solve": "LinalgSolveEx", "std_mean": "StdMean", "take": "Take", "tan": "Tan",
    "tensor_split": "Slice", "tensordot": "ViewBackward0", "tile": "Repeat", "trace": "Trace",
    "trapezoid": "MulBackward1", "var_mean": "VarMean", "vdot": "Vdot", "vstack": "Cat",
    "xlogy": "Xlogy",
}  # fmt: skip


def named(function: Any) -> Any:
    """The function; if it is one step in PyTorch, its results print that step's name."""
    name = _NAMES.get(function.__name__)
    if name is None:
        return function
    printed = name if "Backward" in name else f"{name}Backward0"
    in_place = function.__name__.endswith("_") or "inplace" in function.__annotations__

    def call(*args: Any, **kwargs: Any) -> Any:
        before = [x._op for x in args if isinstance(x, Tensor)] if in_place else None
        result = function(*args, **kwargs)
        if type(result) is Tensor and result._op is None:
            return result
        if before is None:
            before = [x._op for x in args if isinstance(x, Tensor)]
        for y in result if isinstance(result, tuple) else (result,):
            if isinstance(y, Tensor) and all(y._op is not op for op in (None, *before)):
                y._op.printed = printed
        return result

    return passed_off_as(function, call)


def printed_as(name: str, result: Tensor) -> Tensor:
    """The result, whose grad_fn prints as name from now on."""
    if result._op is not None:
        result._op.printed = name
    return result


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
