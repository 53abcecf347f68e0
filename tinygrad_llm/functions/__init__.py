"""PyTorch's functions over the ops: importing this package gives Tensor its methods.

Files without a method, such as attention and the losses, are imported where they are used, and so
are those whose methods not every program uses (`_LATER`): the first use of one imports its file.
"""

import contextlib as _contextlib
import importlib as _importlib

from ..arrays.devices import on_first_gpu_use as _on_first_gpu_use
from ..arrays.twins import twins as _twins
from ..tensor import attach_later as _attach_later
from . import (
    arithmetic,
    autocast,
    convert,
    index,
    inplace,
    linalg,
    next_functions,
    properties,
    reductions,
)
from .creation import filled, from_data
from .shape import reorder, views

# File: the methods that it attaches.
_LATER = {
    "activation": "hardshrink relu relu_",
    "comparison": (
        "__contains__ __eq__ __ge__ __gt__ __le__ __lt__ __ne__ allclose eq eq_ equal ge ge_ "
        "greater greater_ greater_equal greater_equal_ gt gt_ isclose isfinite isinf isnan "
        "isneginf isposinf le le_ less less_ less_equal less_equal_ lt lt_ ne ne_ not_equal "
        "not_equal_"
    ),
    "diagonal": "diag diagonal trace tril triu",
    "elementary": (
        "cos cos_ cosh deg2rad erf erf_ erfc exp exp2 exp_ expm1 expm1_ hypot log log10 log10_ "
        "log1p log1p_ log2 log2_ log_ logaddexp logit rad2deg rsqrt rsqrt_ sigmoid sigmoid_ sin "
        "sin_ sinh sqrt sqrt_ tan tan_ tanh tanh_ xlogy"
    ),
    "gather": (
        "gather scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ "
        "take_along_dim"
    ),
    "in_place_forms": (
        "absolute_ addmm_ addmv_ addr_ arccos_ arccosh_ arcsin_ arcsinh_ arctan2_ arctan_ arctanh_ "
        "atan2_ baddbmm_ copysign_ cosh_ cumprod_ cumsum_ deg2rad_ erfc_ exp2_ fix_ gcd_ "
        "heaviside_ hypot_ lcm_ logit_ mvlgamma_ nan_to_num_ negative_ rad2deg_ sgn_ sinh_ "
        "true_divide_ xlogy_"
    ),
    "index_along": (
        "index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_put index_put_ "
        "index_select masked_scatter masked_scatter_ masked_select put put_ "
        "take"
    ),
    "inverse": (
        "acos acos_ acosh acosh_ arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asin_ "
        "asinh asinh_ atan atan2 atan_ atanh atanh_ copysign logaddexp2"
    ),
    "linear_algebra": "det inverse logdet slogdet",
    "logic": (
        "__and__ __iand__ __ilshift__ __invert__ __ior__ __irshift__ __ixor__ __lshift__ __or__ "
        "__rand__ __ror__ __rshift__ __rxor__ __xor__ all any bitwise_and bitwise_and_ "
        "bitwise_left_shift bitwise_left_shift_ bitwise_not bitwise_not_ bitwise_or bitwise_or_ "
        "bitwise_right_shift bitwise_right_shift_ bitwise_xor bitwise_xor_ logical_and "
        "logical_and_ logical_not logical_not_ logical_or logical_or_ logical_xor logical_xor_"
    ),
    "order": "aminmax argsort kthvalue median msort nanmedian quantile sort topk",
    "rounding": (
        "__floordiv__ __ifloordiv__ __imod__ __mod__ __rfloordiv__ __rmod__ ceil ceil_ fix floor "
        "floor_ floor_divide floor_divide_ fmod fmod_ frac frac_ remainder remainder_ round round_ "
        "sgn sign sign_ signbit trunc trunc_"
    ),
    "running": "cummax cummin cumprod",
    "sampling": "bernoulli bernoulli_ exponential_ multinomial normal_ random_ uniform_",
    "search": "argwhere bincount count_nonzero histc histogram isin nonzero unique",
    "selection": (
        "clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clip clip_ fmax fmin masked_fill "
        "masked_fill_ maximum minimum nan_to_num where"
    ),
    "shape.broadcast": "broadcast_to expand expand_as",
    "shape.repeat": "repeat repeat_interleave tile",
    "shape.split": "chunk dsplit hsplit split tensor_split unbind unfold vsplit",
    "rare": (
        "addmv addr adjoint angle diag_embed diagflat gcd isreal lcm logcumsumexp "
        "matrix_power positive resolve_conj resolve_neg split_with_sizes unique_consecutive"
    ),
    "softmax": "log_softmax logsumexp softmax",
    "special": (
        "digamma digamma_ erfinv erfinv_ float_power float_power_ heaviside lgamma lgamma_ "
        "mvlgamma polygamma sinc sinc_"
    ),
    "statistics": "corrcoef cov mode nanquantile",
    "storage": "storage_offset untyped_storage",
}
for _file, _methods in _LATER.items():
    _attach_later(f"{__name__}.{_file}", _methods)


def load_all() -> None:
    """Import every file that has methods, for those who list the methods of Tensor."""
    for file in _LATER:
        _importlib.import_module(f".{file}", __name__)


def _install_cuda_ops() -> None:
    """The GPU's own kernels, if ops/cuda is there."""
    with _contextlib.suppress(ModuleNotFoundError):
        _importlib.import_module("tinygrad_llm.ops.cuda").install()


_on_first_gpu_use.append(_install_cuda_ops)


def _install_loops() -> str | None:
    """The compiled loops, if ops/loops is there; else why they are not."""
    try:
        loops = _importlib.import_module("tinygrad_llm.ops.loops")
    except ModuleNotFoundError:
        return "the folder ops/loops is not there"
    return loops.install()


_twins.load_cpu = _install_loops
