"""The arrays underneath: NumPy on a CPU, CuPy on a GPU, and the few things that differ.

The type of an array is its device. Operators and methods (`a + b`, `a.sum(-1)`, `a @ b`) serve
both, so most code never comes here. Where a function is needed, `xp = xp_of(a)` gives the module
that made `a`; where the two libraries truly differ, there is a function below.
"""

from __future__ import annotations

import importlib
import math
import sys
import threading
import weakref
from typing import Any

import numpy as np

from .capture import capturing, not_now

__all__ = [
    "asarray",
    "device_of",
    "erf",
    "move",
    "ndarray",
    "scatter_add_rows",
    "storage_of",
    "to_numpy",
    "xp_of",
]

ndarray = np.ndarray
_NUMPY = (np.ndarray, np.generic)


# 1/0 is infinite and log(−1) is nan without a warning, as in PyTorch: a decorator for forward
quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")

FASTER: dict[str, Any] = {}  # functions of ops/cuda by name: empty until a GPU is used
when_gpu: list[Any] = []  # called once, when CuPy is first used


class settings:
    """What the user chose for GPUs."""

    tf32 = False  # float32 products with TF32's 10 bits of mantissa, on tensor cores
    gpu_dropout = False  # dropout's masks are drawn on the GPU, not from the CPU's stream


# ------------------------------------------------------------------------------------ devices
def cupy() -> Any:
    """The CuPy module; RuntimeError in one line where it is missing, or finds no driver or GPU."""
    module = sys.modules.get("cupy")
    if module is not None and not when_gpu:
        return module
    try:
        module = importlib.import_module("cupy")
    except ImportError as error:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which is not installed: pip install "
            "'tinygrad_llm[gpu-cuda13]' (or gpu-cuda12); nvidia-smi shows your CUDA version"
        ) from error
    gpu_count(module)
    if hasattr(module, "RawModule"):
        while when_gpu:
            when_gpu.pop()()
    return module


def gpu_count(module: Any) -> int:
    """How many GPUs CuPy sees; RuntimeError if none, or no driver."""
    try:
        count = int(module.cuda.runtime.getDeviceCount())
    except Exception as error:
        raise RuntimeError(
            f"device 'cuda': CuPy is installed but finds no usable NVIDIA driver or GPU ({error})"
        ) from error
    if count == 0:
        raise RuntimeError("device 'cuda': CuPy is installed, but the driver shows no GPU")
    return count


class _Chosen(threading.local):
    gpu = 0  # which GPU "cuda" stands for in this thread


_chosen = _Chosen()


def current_gpu() -> int:
    """The number of the GPU that "cuda" stands for."""
    return _chosen.gpu


def choose_gpu(index: int) -> None:
    """Let "cuda" stand for this GPU in this thread."""
    _chosen.gpu = index
    use_gpu(index)


def use_gpu(index: int) -> None:
    """Let CuPy work on this GPU from here on: `cuda.multi_gpu` asks for the one of each tensor."""
    xp = cupy()
    if xp.cuda.Device().id != index:
        xp.cuda.Device(index).use()


def check_gpu(index: int) -> int:
    """The number of a GPU itself; RuntimeError if there is none of that number."""
    count = gpu_count(cupy())
    if not 0 <= index < count:
        raise RuntimeError(f"device 'cuda:{index}' does not exist: this machine has {count} GPU(s)")
    return index


def gpu_to_use(index: int | None) -> int:
    """The number of the GPU that is meant; RuntimeError if there is none, or none such."""
    if index is not None:
        return check_gpu(index)
    gpu_count(cupy())
    return current_gpu()


def _from_gpu(array: Any) -> Any:
    """An array of a GPU on the GPU in use: itself, or a copy that both GPUs wait for."""
    xp = cupy()
    here, there = xp.cuda.Device(), array.device
    if here.id == there.id:
        return array
    not_now("a tensor's way from one GPU to another")
    with there:
        array = xp.ascontiguousarray(array).reshape(array.shape)  # which would make 0-d 1-d
        there.synchronize()
    copy = xp.empty(array.shape, array.dtype)
    copy.data.copy_from_device(array.data, array.nbytes)
    here.synchronize()
    return copy


def xp_of(array: Any) -> Any:
    """The module that made `array`: numpy, or cupy for an array that lives on a GPU."""
    if isinstance(array, _NUMPY):
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def is_array(value: Any) -> bool:
    """Whether `value` is an array of either library (0-d arrays included, scalars not)."""
    return isinstance(value, np.ndarray) or hasattr(type(value), "__cuda_array_interface__")


def on_gpu(arrays: Any) -> bool:
    """Whether one of these is an array on a GPU."""
    return any([hasattr(type(a), "__cuda_array_interface__") for a in arrays])


def device_of(array: Any) -> tuple[str, int]:
    """Where the array lives: ("cpu", 0) or ("cuda", index)."""
    if isinstance(array, _NUMPY):
        return "cpu", 0
    return "cuda", int(array.device.id)


def move(array: Any, kind: str, index: int | None = None) -> Any:
    """The array on the device named; the array itself if it is there already."""
    if kind == "cpu":
        return array if isinstance(array, np.ndarray) else to_numpy(array)
    if kind != "cuda":
        raise RuntimeError(f"no device is called {kind!r}: expected 'cpu', 'cuda' or 'cuda:0'")
    xp = cupy()
    if isinstance(array, np.ndarray):
        not_now("a tensor's way from the CPU to the GPU")
    use_gpu(gpu_to_use(index))
    moved = xp.asarray(array) if isinstance(array, _NUMPY) else _from_gpu(array)
    if moved.dtype.kind in "iu" and isinstance(array, np.ndarray) and array.size:
        remember_ids(moved, array)
    return moved


def to_numpy(array: Any) -> np.ndarray:
    """The array as a NumPy array: itself if it is one, else a copy brought from the GPU."""
    if isinstance(array, np.ndarray):
        return array
    if isinstance(array, np.generic):
        return np.asarray(array)
    not_now("a tensor's way to the CPU")
    return array.get()


def asarray(value: Any, like: Any) -> Any:
    """`value` (a scalar that a reduction returned, a list, an array) as an array beside `like`."""
    return np.asarray(value) if isinstance(value, np.generic) else xp_of(like).asarray(value)


def storage_of(array: Any) -> Any:
    """The array that owns the memory: `array` itself, or the one it is a view of."""
    while True:
        base = getattr(array, "base", None)
        if base is None or not is_array(base):
            return array
        array = base


def address(array: Any) -> int:
    """Where the array's first element lies in memory."""
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return array.data.ptr


# ---------------------------------------------------------------------------------------- ids


id_ranges: dict[int, tuple] = {}  # id of a GPU array: the ids below 0, the largest, a weakref


def remember_ids(array: Any, host: np.ndarray) -> None:
    """Note which numbers a GPU array holds, so that checking ids need not wait for the GPU."""
    key, negative = id(array), np.unique(host[host < 0]) if host.dtype.kind == "i" else ()
    if len(negative) <= 4:
        ref = weakref.ref(array, lambda _: id_ranges.pop(key, None))
        id_ranges[key] = {int(i) for i in negative}, int(host.max()), ref


def filled_on_gpu(shape: tuple[int, ...], value: Any, dtype: Any, index: int | None) -> Any:
    """An array of one number, made on a GPU."""
    use_gpu(gpu_to_use(index))
    return cupy().full(shape, value, dtype)


def id_range(first: int, last: int, step: int, dtype: Any, index: int | None) -> Any:
    """arange(first, last, step) of integers, made on a GPU, which knows then what it holds."""
    use_gpu(gpu_to_use(index))
    ids = cupy().arange(first, last, step).astype(dtype, copy=False)
    largest = last - 1 if step > 0 else first
    if ids.size and min(first, last + 1) >= 0 and largest <= np.iinfo(dtype).max:
        key = id(ids)
        ref = weakref.ref(ids, lambda _: id_ranges.pop(key, None))
        id_ranges[key] = set(), largest, ref
    return ids


def ids_in_range(ids: Any, n: int, ignored: int | None = None, name: str = "target") -> bool:
    """Whether all ids of a GPU array are known to be in [0, n), or `ignored`, without asking it.

    A CUDA graph asks again before each replay.
    """
    owner = storage_of(ids)
    known = id_ranges.get(id(owner))
    fine = known is not None and known[1] < n and known[0] <= {ignored}
    if fine and capturing.graph is not None:
        capturing.graph.check(owner, n, ignored, name)
    return fine


def check_ids(ids: Any, n: int, name: str) -> None:
    """IndexError unless 0 <= id < n for every id: libraries read other rows without a word."""
    if id_ranges and ids_in_range(ids, n, None, name):
        return
    if not isinstance(ids, np.ndarray):
        not_now(f"{name}: a check of ids that came from no tensor on the CPU")
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= n):
        wrong = int(ids[(ids < 0) | (ids >= n)][0])
        raise IndexError(f"{name}: index out of range: {wrong}, wants 0 <= index < {n}")


def scatter_add_rows(out: Any, ids: Any, rows: Any) -> None:
    """out[ids[i]] += rows[i] for every i, in place, where ids may repeat.

    out (V, C), ids (N) integers in [0, V), rows (N, C). `out[ids] += rows` would keep one row of
    each repeated id and lose the others.
    """
    if not isinstance(out, np.ndarray):
        if FASTER and FASTER["takes_scatter"](out, ids, rows):
            FASTER["scatter_add_rows"](out, ids, rows)
        else:
            xp_of(out).add.at(out, ids, rows)
        return
    n = len(ids)
    if n == 0 or out.size == 0:
        return
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # (number of distinct ids)
    if len(starts) == n:  # no id repeats
        out[ids] += rows
        return
    out[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)


# ---------------------------------------------------------------------------------- functions
# erf(x) = tanh(x·(q₀ + q₁x² + … + q₆x¹²)) on float32: fitted here to atanh(erf(x)) for |x| ≤ 4 by
# weighted least squares, the weights raised where the error in erf was largest. Further out the
# polynomial only grows, and tanh is ±1 to the last bit.
_ERF_Q = (
    1.12837971,
    0.102765481,
    -0.000184383734,
    -0.000625719532,
    8.97125694e-05,
    -5.9856874e-06,
    1.5896002e-07,
)
_CDF_Q = [q * 0.5 ** (i + 0.5) for i, q in enumerate(_ERF_Q)]  # the same of x/√2
_erf64 = np.frompyfunc(math.erf, 1, 1)


@quiet
def _tanh_of(q: Any, x: Any, square: Any) -> Any:
    """tanh(x·(q₀ + q₁x² + …)), given x²."""
    u = square * q[-1]
    for coefficient in q[-2:0:-1]:
        u += coefficient
        u *= square
    u += q[0]
    u *= x
    return np.tanh(u, out=u)


def erf(x: Any) -> Any:
    """erf(x) = 2/√π · ∫₀ˣ exp(−t²) dt, element by element, in x's dtype.

    float64 is exact to rounding. float32 and smaller take tanh of an odd polynomial, fitted to erf
    so that the error stays below 3e-7: tanh is NumPy's fastest function of this kind.
    """
    if not isinstance(x, _NUMPY):
        return importlib.import_module("cupyx.scipy.special").erf(x)
    if x.ndim == 0:  # NumPy's functions would return a scalar, which takes no out=
        return erf(np.asarray(x).reshape(1)).reshape(())
    if x.dtype == np.float64:
        return np.asarray(_erf64(x), dtype=np.float64).reshape(x.shape)
    if x.dtype != np.float32:
        return erf(x.astype(np.float32)).astype(x.dtype)
    return _tanh_of(_ERF_Q, x, quiet(np.square)(x))


def normal_cdf(x: Any, square: Any) -> Any:
    """Φ(x) = (1 + erf(x/√2))/2, how much of a normal distribution lies below x, given x²."""
    fast = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.ndim
    cdf = _tanh_of(_CDF_Q, x, square) if fast else erf(x * math.sqrt(0.5))
    cdf += 1.0
    cdf *= 0.5
    return cdf


def sigmoid(x: Any) -> Any:
    """σ(x) = 1/(1 + exp(−x)); −x stops at 88, below which float32's exp has no infinity."""
    xp = xp_of(x)
    s = xp.maximum(x, -88.0, out=xp.empty_like(x))
    xp.negative(s, out=s)
    xp.exp(s, out=s)
    s += 1.0
    return xp.divide(1.0, s, out=s)


def sigmoid_by_tanh(x: Any) -> Any:
    """σ(x) = 1/2 + tanh(x/2)/2: faster, to 1e-7 of 1 and not of σ(x), which may come out as 0."""
    s = x * 0.5
    xp_of(x).tanh(s, out=s)
    s *= 0.5
    s += 0.5
    return s


# ------------------------------------------------------------------------ positions


def is_basic(index: Any) -> bool:
    """Whether an index has integers, slices, None and ... alone, and so picks nothing twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, int | slice) for p in parts)


def index_add(out: Any, index: Any, values: Any) -> None:
    """out[index] += values in place, where the index may pick an element more than once."""
    first = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    if is_basic(index):
        out[index] = values  # `out` is fresh zeros wherever this is called
    elif is_array(first) and first.dtype.kind in "iu" and out.ndim > 1:
        rows, width = len(out), math.prod(out.shape[1:])
        ids = first.reshape(-1)
        scatter_add_rows(
            out.reshape(rows, width), ids % rows if rows else ids, values.reshape(ids.size, width)
        )
    elif is_array(first) and first.dtype.kind == "b":
        out[first] = values
    else:
        xp_of(out).add.at(out, index, values)


def take_along(x: Any, ids: Any, dim: int) -> tuple:
    """The index tuple with which x[...] looks up ids along dim; ids may be smaller elsewhere."""
    xp = xp_of(x)
    grid = [
        xp.arange(n).reshape([-1 if i == d else 1 for i in range(ids.ndim)])
        for d, n in enumerate(ids.shape)
    ]
    grid[dim] = ids
    return tuple(grid)


def region_of(base: Any, view: Any) -> tuple[Any, ...]:
    """Where in base's memory a view lies: base's order of dimensions in memory, and the view's
    distance in bytes, shape (1 where it repeats an element) and strides."""
    layout = sorted(range(base.ndim), key=lambda d: -base.strides[d])
    if not base.transpose(layout).flags.c_contiguous:
        raise RuntimeError(
            "an in-place change of a view whose base has gaps in its memory can't go backward: "
            "call .contiguous() on the base first"
        )
    offset = address(view) - address(base)
    strides = view.strides
    shape = tuple(
        1 if s == 0 and n > 1 and view.size else n for n, s in zip(view.shape, strides, strict=True)
    )
    return layout, offset, shape, strides


def in_region(array: Any, region: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of an array of the base's shape, and the part of it that region_of found."""
    layout, offset, shape, strides = region
    copy = xp_of(array).array(array.transpose(layout), order="C")
    whole = copy.transpose(sorted(range(copy.ndim), key=layout.__getitem__))
    if isinstance(copy, np.ndarray):
        return whole, np.ndarray(shape, copy.dtype, copy, offset, strides)
    return whole, xp_of(copy).ndarray(shape, copy.dtype, copy.data + offset, strides)
