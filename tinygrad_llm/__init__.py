"""tinygrad_llm: reverse-mode autograd in NumPy (CuPy on a GPU) with PyTorch's names and numbers.

`import tinygrad_llm as torch` runs code that was written for PyTorch. Nothing is computed in this
file: it gathers the names. Packages such as nn, optim and utils are imported when first used.
"""

import importlib as _importlib
from math import e, inf, nan, pi

from . import autograd
from .autograd import enable_grad, inference_mode, no_grad, set_grad_enabled
from .autograd.grad_mode import is_grad_enabled
from .functions.activation import (
    log_softmax,
    logsumexp,
    relu,
    softmax,
)
from .functions.arrange import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block_diag,
    cartesian_prod,
    column_stack,
    combinations,
    diff,
    dsplit,
    dstack,
    fliplr,
    flipud,
    hsplit,
    rot90,
    row_stack,
    tensor_split,
    vsplit,
)
from .functions.autocast import autocast, is_autocast_enabled
from .functions.compare import (
    all,
    allclose,
    any,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    equal,
    ge,
    greater,
    greater_equal,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    isneginf,
    isposinf,
    le,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    nan_to_num,
    ne,
    not_equal,
)
from .functions.composed import (
    cosh,
    deg2rad,
    erfc,
    exp2,
    hypot,
    is_nonzero,
    logaddexp,
    logit,
    nanmean,
    nansum,
    quantile,
    rad2deg,
    sinh,
    xlogy,
)
from .functions.creation import (
    as_tensor,
    asarray,
    from_dlpack,
    from_numpy,
    tensor,
)
from .functions.dropout import (
    dropout,
)
from .functions.elementwise import (
    abs,
    add,
    addcdiv,
    addcmul,
    clamp,
    clamp_max,
    clamp_min,
    clone,
    cos,
    div,
    erf,
    exp,
    expm1,
    lerp,
    log,
    log1p,
    log2,
    log10,
    masked_fill,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    rsqrt,
    sigmoid,
    sin,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    where,
)
from .functions.embedding import (
    embedding,
)
from .functions.filled import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    logspace,
    meshgrid,
    ones,
    ones_like,
    scalar_tensor,
    zeros,
    zeros_like,
)
from .functions.find import (
    argwhere,
    bincount,
    bucketize,
    count_nonzero,
    isin,
    nonzero,
    searchsorted,
    unique,
)
from .functions.index import (
    diag,
    diagonal,
    index_add,
    index_select,
    masked_select,
    narrow,
    scatter,
    scatter_add,
    select,
    take,
    take_along_dim,
    trace,
)
from .functions.information import (
    compile,
    get_default_device,
    get_float32_matmul_precision,
    get_num_threads,
    is_floating_point,
    is_tensor,
    numel,
    set_default_device,
    set_float32_matmul_precision,
    set_num_threads,
)
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
from .functions.norm import (
    cosine_similarity,
    layer_norm,
    rms_norm,
)
from .functions.random import (
    Generator,
    bernoulli,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from .functions.reduce import (
    amax,
    amin,
    argmax,
    argmin,
    argsort,
    cumsum,
    gather,
    max,
    mean,
    median,
    min,
    norm,
    prod,
    sort,
    std,
    std_mean,
    sum,
    topk,
    var,
    var_mean,
)
from .functions.rounding import (
    ceil,
    fix,
    floor,
    floor_divide,
    fmod,
    frac,
    remainder,
    round,
    sgn,
    sign,
    signbit,
    trunc,
)
from .functions.shape import (
    broadcast_shapes,
    broadcast_tensors,
    broadcast_to,
    cat,
    chunk,
    concat,
    concatenate,
    flatten,
    flip,
    hstack,
    moveaxis,
    movedim,
    permute,
    ravel,
    repeat_interleave,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    swapdims,
    t,
    tile,
    transpose,
    tril,
    tril_indices,
    triu,
    triu_indices,
    unbind,
    unflatten,
    unsqueeze,
    vstack,
)
from .tensor import Size, Tensor, device
from .tensor.dtypes import (
    bfloat16,
    can_cast,
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
from .tensor.printing import set_printoptions

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
strided = "strided"
FloatTensor = Tensor
clip, negative, true_divide, divide = clamp, neg, div, div
multiply, subtract, absolute = mul, sub, abs

__version__ = "0.1.0"

_PACKAGES = (
    "amp arrays backends cuda data files finetune functions generation layers models nn ops optim "
    "serialization study testing text training utils weights"
).split()
_ELSEWHERE = {
    "save": "serialization",
    "load": "serialization",
    "gradcheck": "autograd.finite_differences",
}


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
    from .tensor.missing_names import missing

    raise missing("tinygrad_llm", name, __dir__())


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_ELSEWHERE})
