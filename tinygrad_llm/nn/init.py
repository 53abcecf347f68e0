"""Ways to fill a tensor before training: `nn.init.xavier_uniform_(layer.weight)`.

Each function fills the tensor in place and returns it, outside the graph, from the default
generator or from `generator`, with PyTorch's numbers for the same seed. For a weight of shape
(out, in, ...) fan_in and fan_out are the inputs and the outputs of one unit: in·r and out·r, where
r is the product of the dimensions behind them.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np

from .. import random
from ..arrays.devices import device_of, move, to_numpy
from ..arrays.meta import is_meta
from ..autograd.inplace_versions import mark_modified
from ..tensor import Tensor
from ..tensor.missing_names import missing

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _write(tensor: Tensor, values: Any, by: str) -> Tensor:
    """Write values (an array or a number) into the tensor's memory."""
    if isinstance(values, np.ndarray):
        values = move(values, *device_of(tensor.array))
    tensor.array[...] = values
    mark_modified(tensor.array, by)
    return tensor


def _normals(tensor: Tensor, mean: float, std: float, generator: Any) -> Any:
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    draw, a = generator or random.default_generator, tensor.array
    in_rows = bool(a.flags.c_contiguous)
    return random.in_memory_order(lambda s: draw.normal(s, mean, std, a.dtype, in_rows), a)


def _uniforms(tensor: Tensor, a: float, b: float, generator: Any) -> Any:
    if a > b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found {a=} > {b=}")
    draw, dtype = generator or random.default_generator, tensor.array.dtype
    return random.in_memory_order(lambda s: draw.uniform(s, a, b, dtype), tensor.array)


skipping = False  # set by nn.utils.skip_init: nothing is drawn


def _draws(fill: Any) -> Any:
    """The function, which leaves meta tensors as they are, and all while `skipping` is set."""

    @functools.wraps(fill)
    def fill_unless_skipping(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return tensor if skipping or is_meta(tensor.array) else fill(tensor, *args, **kwargs)

    return fill_unless_skipping


# --------------------------------------------------------------------------- without any layer
@_draws
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform numbers in [a, b)."""
    return _write(tensor, _uniforms(tensor, a, b, generator), "uniform_")


@_draws
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal numbers of the mean and standard deviation given."""
    return _write(tensor, _normals(tensor, mean, std, generator), "normal_")


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One value everywhere."""
    return _write(tensor, val, "constant_")


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return _write(tensor, 1, "ones_")


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return _write(tensor, 0, "zeros_")


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix, cut or padded with zeros.

    Raises: ValueError unless the tensor has 2 dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _write(tensor, np.eye(*tensor.array.shape, dtype=tensor.array.dtype), "eye_")


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution weights (out, in, ...) that pass each input channel on unchanged.

    Raises: ValueError unless the tensor has 3 to 5 dimensions and groups divides out.
    """
    shape = tensor.array.shape
    if len(shape) not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    values = np.zeros(shape, tensor.array.dtype)
    centre = tuple(size // 2 for size in shape[2:])
    each = shape[0] // groups
    for group in range(groups):
        for channel in range(min(each, shape[1])):
            place = (group * each + channel, channel, *centre)
            values[place] = 1
    return _write(tensor, values, "dirac_")


@_draws
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Normal numbers, drawn again until they lie in [a, b].

    Where less than 0.3 of the normal distribution lies in [a, b], uniform candidates are accepted
    with the probability exp(-(x - mean)² / 2 std² - peak), peak being its largest exponent there.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_: "
            "the values may not be distributed as intended",
            stacklevel=2,
        )
    inside = (math.erf((b - mean) / std / math.sqrt(2.0)) + 1) / 2
    inside -= (math.erf((a - mean) / std / math.sqrt(2.0)) + 1) / 2
    dtype = tensor.array.dtype
    if inside > 0.3:
        low, high = dtype.type(a), dtype.type(b)
        values = _normals(tensor, mean, std, generator)
        while (outside := (values < low) | (values > high)).any():
            values = np.where(outside, _normals(tensor, mean, std, generator), values)
        return _write(tensor, values, "trunc_normal_")

    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    values = np.empty(tensor.array.shape, dtype)
    pending = np.ones(tensor.array.shape, bool)
    while pending.any():
        candidates = _uniforms(tensor, a, b, generator)
        values = np.where(pending, candidates, values)
        z = (candidates - mean) / std
        with np.errstate(divide="ignore"):  # log(0) = -inf accepts the candidate
            log_chance = np.log(_uniforms(tensor, 0.0, 1.0, generator))
        pending &= log_chance > z * z * -0.5 - peak
    return _write(tensor, values, "trunc_normal_")


# ------------------------------------------------------------- scaled to the layer's fan
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on weights in front of a nonlinearity that keeps the variance.

    1 for linear, conv and sigmoid, 5/3 for tanh, √2 for relu, √(2 / (1 + param²)) for leaky_relu
    (param is its negative_slope, 0.01 if not given), 3/4 for selu.
    Raises: ValueError for any other name.
    """
    if nonlinearity in ("linear", "sigmoid") or nonlinearity.startswith("conv"):
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity == "leaky_relu":
        negative_slope = 0.01 if param is None else param
        if isinstance(negative_slope, bool) or not isinstance(negative_slope, int | float):
            raise ValueError(f"negative_slope {negative_slope} not a valid number")
        return math.sqrt(2.0 / (1 + negative_slope**2))
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _fans(tensor: Tensor) -> tuple[int, int]:
    shape = tensor.array.shape
    if len(shape) < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


_calculate_fan_in_and_fan_out = _fans


def _fan(tensor: Tensor, mode: str) -> int:
    modes = ["fan_in", "fan_out"]
    if mode.lower() not in modes:
        raise ValueError(f"Mode {mode} not supported, please use one of {modes}")
    return _fans(tensor)[modes.index(mode.lower())]


def _xavier_std(tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = _fans(tensor)
    return gain * math.sqrt(2.0 / float(fan_in + fan_out))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in ±gain·√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with the deviation gain·√(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    """gain / √fan; None, with a warning, for a tensor without elements."""
    if 0 in tensor.array.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Uniform in ±gain·√(3 / fan) (He et al., 2015); a is leaky_relu's negative_slope."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Normal with the deviation gain / √fan (He et al., 2015); a as in kaiming_uniform_."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0.0, std, generator)


@_draws
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Rows (or columns, if there are fewer) orthogonal to each other and of length gain.

    Q of the QR factorisation of a normal matrix, with the signs that make it uniform (Saxe et al.,
    2013; Mezzadri, 2007). Dimensions after the first are taken together.
    Raises: ValueError for fewer than 2 dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.array.size == 0:
        return tensor
    normals = to_numpy(_normals(tensor, 0.0, 1.0, generator))
    matrix = normals.reshape(tensor.array.shape[0], -1)  # (rows, columns)
    wide = matrix.shape[0] < matrix.shape[1]
    q, r = np.linalg.qr(matrix.T if wide else matrix)  # (long, short), (short, short)
    q = q * np.sign(np.diag(r))
    q = (q.T if wide else q).astype(tensor.array.dtype) * gain
    return _write(tensor, np.ascontiguousarray(q).reshape(tensor.array.shape), "orthogonal_")


@_draws
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal numbers with the part `sparsity` of every column set to zero (Martens, 2010).

    Raises: ValueError unless the tensor has 2 dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.array.shape
    zeros = math.ceil(sparsity * rows)
    values = _normals(tensor, 0.0, std, generator)
    for column in range(columns):
        values[random.default_generator.randperm(rows)[:zeros], column] = 0
    return _write(tensor, values, "sparse_")


# ------------------------------------------------------------------------------- the old names
_OLD = (
    "uniform normal constant eye dirac xavier_uniform xavier_normal kaiming_uniform kaiming_normal "
    "orthogonal sparse"
).split()


def _old_name(name: str) -> Any:
    """PyTorch's name of before 2018, without the underscore at its end, with its warning."""
    new = globals()[f"{name}_"]

    @functools.wraps(new)
    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`.",
            FutureWarning,
            stacklevel=2,
        )
        return new(*args, **kwargs)

    old.__name__ = old.__qualname__ = name
    return old


def __getattr__(name: str) -> object:
    if name in _OLD:
        return _old_name(name)
    raise missing(__name__, name, __all__)
