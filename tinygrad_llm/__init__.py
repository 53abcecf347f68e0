"""tinygrad_llm: reverse-mode autograd in NumPy (CuPy on a GPU) with PyTorch's names and numbers.

`import tinygrad_llm as torch` runs code that was written for PyTorch. Nothing is computed in this
file: it gathers the names. Packages such as nn, optim and utils are imported when first used.
`__init__.pyi` lists all names for editors; tests/package_stub.py writes it.
"""

import importlib as _importlib
from math import e, inf, nan, pi

from . import autograd
from .autograd import enable_grad, inference_mode, no_grad, set_grad_enabled
from .autograd.grad_mode import is_grad_enabled
from .functions.arithmetic import (
    abs,
    add,
    addcdiv,
    addcmul,
    div,
    lerp,
    mul,
    neg,
    pow,
    reciprocal,
    square,
    sub,
)
from .functions.autocast import autocast, is_autocast_enabled
from .functions.convert import clone
from .functions.creation.filled import (
    empty,
    empty_like,
    eye,
    full,
    full_like,
    ones,
    ones_like,
    scalar_tensor,
    zeros,
    zeros_like,
)
from .functions.creation.from_data import (
    as_tensor,
    asarray,
    from_dlpack,
    from_numpy,
    frombuffer,
    tensor,
)
from .functions.index import narrow, narrow_copy, select
from .functions.linalg import (
    addmm,
    baddbmm,
    bmm,
    dot,
    einsum,
    inner,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
    vdot,
)
from .functions.properties import is_complex, is_floating_point, is_nonzero, is_tensor, numel
from .functions.reductions import (
    amax,
    amin,
    argmax,
    argmin,
    cumsum,
    diff,
    dist,
    max,
    mean,
    min,
    nanmean,
    nansum,
    norm,
    prod,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from .functions.shape.reorder import (
    flip,
    fliplr,
    flipud,
    moveaxis,
    movedim,
    permute,
    roll,
    rot90,
    swapaxes,
    swapdims,
    t,
    transpose,
)
from .functions.shape.views import flatten, ravel, reshape, squeeze, unflatten, unsqueeze
from .tensor import Size, Tensor, device
from .tensor.dtypes import (
    bfloat16,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    result_type,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .tensor.dtypes import bool_ as bool
from .tensor.formats import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    memory_format,
    preserve_format,
)
from .tensor.layout import layout, strided
from .tensor.missing_modules import install as _install_missing_modules

_install_missing_modules()
half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
newaxis = None
negative, true_divide, divide = neg, div, div
multiply, subtract, absolute = mul, sub, abs

_PACKAGES = (
    "_dynamo _inductor amp arrays backends client compiler cuda data distributed distributions "
    "evaluation files finetune functions generation jit layers linalg models multiprocessing nn "
    "ops optim overrides profiler random retrieval serialization serve special study testing text "
    "training types utils version weights"
).split()
# Names that are imported when they are first used: the file, and what it has.
_LATER = {
    "amp": "GradScaler",
    "autograd.finite_differences": "gradcheck",
    "backends.elsewhere": "accelerator mps mtia xpu",
    "cuda": "Event OutOfMemoryError Stream",
    "functions.activation": "celu hardshrink prelu relu relu_ selu threshold",
    "functions.comparison": (
        "allclose eq equal ge greater greater_equal gt isclose isfinite isinf isnan isneginf "
        "isposinf le less less_equal lt ne not_equal"
    ),
    "functions.complex_numbers": "complex conj imag polar real view_as_complex view_as_real",
    "functions.conv": "conv1d",
    "functions.creation.grids": "cartesian_prod combinations meshgrid",
    "functions.creation.ranges": "arange linspace logspace",
    "functions.creation.typed": (
        "FloatTensor DoubleTensor HalfTensor BFloat16Tensor LongTensor IntTensor ShortTensor "
        "CharTensor ByteTensor BoolTensor set_default_tensor_type"
    ),
    "functions.diagonal": "diag diagonal trace tril tril_indices triu triu_indices",
    "functions.distances": "cdist",
    "functions.dropout": "dropout",
    "functions.elementary": (
        "cos cosh deg2rad erf erfc exp exp2 expm1 hypot log log10 log1p log2 logaddexp logit "
        "rad2deg rsqrt sigmoid sin sinh sqrt tan tanh xlogy"
    ),
    "functions.embedding": "embedding",
    "functions.gather": "gather scatter scatter_add scatter_reduce take_along_dim",
    "functions.index_along": (
        "index_add index_copy index_fill index_put index_select masked_scatter masked_select take"
    ),
    "functions.inverse": (
        "acos acosh arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 "
        "atanh copysign logaddexp2"
    ),
    "functions.linear_algebra": "det inverse logdet slogdet",
    "functions.logic": (
        "all any bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
        "bitwise_xor logical_and logical_not logical_or logical_xor"
    ),
    "functions.norm": "cosine_similarity layer_norm rms_norm",
    "functions.order": "aminmax argsort kthvalue median msort nanmedian quantile sort topk",
    "functions.properties": "detach is_conj is_neg is_same_size is_signed",
    "functions.random": (
        "Generator bernoulli default_generator get_rng_state initial_seed manual_seed multinomial "
        "normal rand rand_like randint randint_like randn randn_like randperm seed set_rng_state"
    ),
    "functions.rounding": (
        "ceil fix floor floor_divide fmod frac remainder round sgn sign signbit trunc"
    ),
    "functions.running": "cummax cummin cumprod cumulative_trapezoid trapezoid trapz",
    "functions.search": (
        "argwhere bincount bucketize count_nonzero histc histogram isin nonzero searchsorted unique"
    ),
    "functions.rare": (
        "addmv addr adjoint angle diag_embed diagflat gcd ger isreal lcm logcumsumexp matrix_power "
        "positive resolve_conj resolve_neg rsub split_with_sizes unique_consecutive"
    ),
    "functions.selection": (
        "clamp clamp_max clamp_min clip fmax fmin masked_fill maximum minimum nan_to_num where"
    ),
    "functions.settings": (
        "are_deterministic_algorithms_enabled compile get_default_device "
        "get_float32_matmul_precision get_num_interop_threads get_num_threads "
        "is_deterministic_algorithms_warn_only_enabled set_default_device set_flush_denormal "
        "set_float32_matmul_precision set_num_interop_threads set_num_threads typename "
        "use_deterministic_algorithms"
    ),
    "functions.shape.broadcast": "broadcast_shapes broadcast_tensors broadcast_to",
    "functions.shape.join": (
        "atleast_1d atleast_2d atleast_3d block_diag cat column_stack concat concatenate dstack "
        "hstack row_stack stack vstack"
    ),
    "functions.shape.repeat": "repeat_interleave tile",
    "functions.shape.split": "chunk dsplit hsplit split tensor_split unbind vsplit",
    "functions.softmax": "log_softmax logsumexp softmax",
    "functions.special": ("digamma erfinv float_power heaviside lgamma mvlgamma polygamma sinc"),
    "functions.statistics": "corrcoef cov mode nanquantile",
    "functions.storage": "UntypedStorage",
    "serialization": "load save",
    "tensor.printing": "set_printoptions",
    "version": "__version__",
}
_ELSEWHERE = {name: file for file, names in _LATER.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        try:
            return _importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    if name in _ELSEWHERE:
        value = getattr(_importlib.import_module(f".{_ELSEWHERE[name]}", __name__), name)
        globals()[name] = value
        return value
    if name.endswith("_") and not name.startswith("_"):
        forms = _importlib.import_module(".functions.in_place_forms", __name__)
        if name in forms.FUNCTIONS:
            globals()[name] = forms.in_place_function(name)
            return globals()[name]
    if name == "__all__":  # what `from tinygrad_llm import *` takes
        return [n for n in __dir__() if n not in _PACKAGES and not n.startswith("_")]
    from .tensor.missing_names import missing

    raise missing("tinygrad_llm", name, __dir__())


_ENGINE_ROOM = {"arrays", "files", "functions"}  # packages that a program does not need


def __dir__() -> list[str]:
    names = {*globals(), *_PACKAGES, *_ELSEWHERE} - _ENGINE_ROOM
    return sorted(n for n in names if n.startswith("__") or not n.startswith("_"))
