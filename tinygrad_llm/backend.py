"""The arrays underneath: NumPy on a CPU, CuPy on a GPU, and the few things that differ.

The type of an array is its device. Operators and methods (`a + b`, `a.sum(-1)`, `a @ b`) serve
both, so most code never comes here. Where a function is needed, `xp = xp_of(a)` gives the module
that made `a`; where the two libraries truly differ, there is a function below.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import os
import sys
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

from . import blas
from .allocator import keep_memory
from .capture import capturing, not_now
from .workers import work_together

__all__ = [
    "IN_MEMORY",
    "asarray",
    "device_of",
    "erf",
    "move",
    "ndarray",
    "row_blocks",
    "row_sum",
    "scatter_add_rows",
    "storage_of",
    "to_numpy",
    "set_threads",
    "sum_over",
    "threads",
    "unbroadcast",
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
    """Let CuPy work on this GPU from here on: `several_gpus` asks for the one of each tensor."""
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


# ------------------------------------------------------------------------- sums over many rows
def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of an input of `shape` that was broadcast to g.shape: g summed over the copies.

    Where broadcasting repeated a value n times, that value reaches the loss by n roads, and the
    gradient is the sum over them.
    """
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    if extra:
        g = sum_over(g, tuple(range(extra)))  # (copies, *shape) -> (*shape)
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if repeated:
        g = sum_over(g, repeated, keepdim=True)
    return asarray(g, g)


_ROWS = 1024


def row_sum(g: Any, keep: int = 1) -> Any:
    """Sum over every axis but the last `keep`: (..., C) -> (C).

    NumPy adds rows one after the other, so that the sum of 2e7 ones in float32 stops at 16,777,216.
    Here rows are added in groups, and then the groups: the error grows like the square root of it.
    """
    tail = g.shape[g.ndim - keep :]
    rows = g.reshape(-1, math.prod(tail)) if g.size else g.reshape(0, math.prod(tail))  # (N, C)
    n = len(rows)
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "f" and rows.dtype.itemsize > 2:
        if blas.one_thread.inside:
            return _row_sum_by_products(rows).reshape(tail)
        with blas.one_thread:
            return _row_sum_by_products(rows).reshape(tail)
    if FASTER and not isinstance(rows, np.ndarray) and FASTER["takes_rows"](rows):
        return FASTER["sum_rows"](rows).reshape(tail)
    if n > _ROWS:
        whole = n - n % _ROWS
        groups = rows[:whole].reshape(-1, _ROWS, rows.shape[1]).sum(1)  # (N / 1024, C)
        total = row_sum(groups)
        if whole < n:
            total = total + rows[whole:].sum(0)
    else:
        total = rows.sum(0)  # (C)
    return total.reshape(tail)


def _row_sum_by_products(rows: np.ndarray) -> np.ndarray:
    """Σ over the rows as 1ᵀ·rows, 1,024 rows at a time: BLAS reads memory faster than sum does."""
    n = len(rows)
    whole = n - n % _ROWS
    total = np.ones(n - whole, rows.dtype) @ rows[whole:]  # (C)
    if whole:
        groups = np.ones(_ROWS, rows.dtype) @ rows[:whole].reshape(-1, _ROWS, rows.shape[1])
        total += groups[0] if whole == _ROWS else _row_sum_by_products(groups)  # (C)
    return total


def max_along(x: Any, dim: int = -1) -> Any:
    """The largest element along dim, which stays with size 1. A row with a NaN may give another.

    NumPy's max is slow on short rows; fmax, which passes over NaN, is up to four times as fast.
    """
    if dim == -1 and isinstance(x, np.ndarray):
        return np.fmax.reduce(x, axis=-1, keepdims=True)
    return x.max(dim, keepdims=True)


def sum_along(x: Any, dim: int = -1) -> Any:
    """Σ x along dim, which stays with size 1: rows that lie side by side as a product with ones."""
    if dim == -1 and x.dtype.itemsize > 2:
        if isinstance(x, np.ndarray) and x.flags.c_contiguous:
            return (x @ np.ones(x.shape[-1], x.dtype))[..., None]  # BLAS reads the fastest
        return xp_of(x).einsum("...c->...", x)[..., None]
    return x.sum(dim, keepdims=True)


def row_mean(x: Any, w: Any = None) -> Any:
    """The mean of x, or of x·w, over the last axis: (..., C) -> (..., 1)."""
    if w is None:
        return sum_along(x) / max(x.shape[-1], 1)
    return (x @ w)[..., None] / max(x.shape[-1], 1)


@quiet
def exp_total(x: Any, out: Any, dim: int = -1, largest: float = 1e30) -> tuple[Any, Any]:
    """out = exp(z), with z = x or x − max x along dim; z, and Σ exp(z) along dim.

    z = x where Σ exp(x) shows that nothing overflowed and nothing that counts was lost: most logits
    need no maximum, two passes fewer. `largest` is the sum from which on its logarithm would be too
    coarse. A GPU is not asked: the answer would have to be waited for. A row of −∞ gives NaN.
    """
    if isinstance(x, np.ndarray) and x.dtype.itemsize > 2 and x.size:
        total = sum_along(np.exp(x, out=out), dim)
        if total.min() > 1e-3 and total.max() < largest:
            return x, total
    z = x - max_along(x, dim)
    return z, sum_along(xp_of(x).exp(z, out=out), dim)


def row_dot(a: Any, b: Any, dim: int = -1) -> Any:
    """Σ a·b along dim, which stays with size 1: a call of BLAS a row, or for short rows a product
    with ones."""
    if dim != -1:
        return (a * b).sum(dim, keepdims=True)
    if isinstance(a, np.ndarray) and a.dtype.itemsize > 2:
        short = a.shape[-1] < 64
        return ((a * b) @ np.ones(a.shape[-1], a.dtype) if short else np.vecdot(a, b))[..., None]
    return xp_of(a).einsum("...c,...c->...", a, b)[..., None]


def bounded(a: Any, b: Any, scale: float) -> bool:
    """Whether exp(aᵢ·bⱼ·scale) is in range for all rows without subtracting a maximum.

    |aᵢ·bⱼ| ≤ |aᵢ|·|bⱼ| (Cauchy and Schwarz): 40 leaves room for a long sum. A GPU is not asked, for
    the answer would have to be waited for.
    """
    if not isinstance(a, np.ndarray) or a.dtype.itemsize < 4 or not a.size or not b.size:
        return False
    return float(row_dot(a, a).max() * row_dot(b, b).max()) * scale**2 < 1600.0


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


# ------------------------------------------------------------------------ sums and positions
def sum_over(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Any:
    """Σ x over dims; float16 adds up in float32, many rows in groups (see row_sum)."""
    n = len(dims)
    if x.dtype.kind in "iub":
        return x.sum(dims, keepdims=keepdim, dtype="int64")
    if x.dtype.itemsize == 2:
        return x.sum(dims, keepdims=keepdim, dtype="float32").astype(x.dtype)
    if 0 < n < x.ndim and dims == tuple(range(n)) and x.size:
        total = row_sum(x, x.ndim - n)
        return total.reshape((1,) * n + total.shape) if keepdim else total
    return x.sum(dims, keepdims=keepdim)


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


# ------------------------------------------------------------------------------------ threads
_threads = 0


def threads() -> int:
    """How many threads work on big arrays: the cores this process may use, unless set_threads."""
    global _threads
    if not _threads:
        affinity = getattr(os, "sched_getaffinity", None)
        _threads = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    return _threads


def set_threads(n: int) -> None:
    """Let n threads work on big arrays, and on matrix products where threadpoolctl is installed."""
    global _threads
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    _threads = n
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits
    except ImportError:
        return
    limits(limits=n, user_api="blas")


# ------------------------------------------------------------------------- rows in blocks
IN_CACHE, IN_MEMORY = 1 << 20, 1 << 26  # bytes: for element-wise passes, for matrix products


def row_blocks(x: Any, n_bytes: int = IN_CACHE) -> list[slice]:
    """Slices of x's rows (its first axis) of about n_bytes each, and at least one row.

    A GPU gets IN_MEMORY bytes at least: there every block is a launch, and few is fast.
    """
    if not isinstance(x, _NUMPY):
        n_bytes = max(n_bytes, IN_MEMORY)
    step = max(1, n_bytes // max(1, x.itemsize * math.prod(x.shape[1:])))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


_BLOCK = 1536 * 1024  # bytes of one array in a block; smaller ones cost more in handing over


@quiet
def by_rows(kernel: Any, *arrays: Any) -> Any:
    """Run kernel(*blocks) over blocks of rows, on every core; the sum of what it returns.

    Each array is seen as rows, its last axis being a row: (..., C) -> (N, C), all with the same N.
    The kernel gets the same rows of each, writes into those that are results, and may return sums
    over its rows (an array, a tuple of them, or None), which are added up in the rows' order. A
    block stays in the cache, so that a chain of operations meets memory once. On a GPU the kernel
    runs once, on everything.
    """
    rows = [a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) for a in arrays]
    n = len(rows[0])
    if not isinstance(rows[0], np.ndarray):
        return kernel(*rows)
    widest = max(a.strides[0] if a.shape[1] else 0 for a in rows)
    step = max(1, min(n, _BLOCK // max(abs(widest), 1)))
    if n <= step:
        with blas.one_thread:
            return kernel(*rows)
    cores = threads()
    blocks = -(-n // step)
    if blocks % cores:  # every core gets equally many
        blocks += cores - blocks % cores
        step = -(-n // blocks)
    parts = [slice(i, i + step) for i in range(0, n, step)]
    return functools.reduce(_add_up, each(lambda part: kernel(*[a[part] for a in rows]), parts))


def by_elements(f: Any, *inputs: Any, outputs: int = 1) -> list:
    """The arrays that f(*inputs, *outputs) writes, like the inputs; in blocks, on every core."""
    outs = [xp_of(inputs[0]).empty(inputs[0].shape, inputs[0].dtype) for _ in range(outputs)]
    by_rows(f, *(a if a.ndim > 1 else a.reshape(-1, 1) for a in (*inputs, *outs)))
    return outs


def times(a: Any, b: Any) -> Any:
    """a·b, element by element, on every core."""

    def f(a: Any, b: Any, y: Any) -> None:
        xp_of(a).multiply(a, b, out=y)

    return by_elements(f, a, b)[0]


def along(f: Any, dim: int, *inputs: Any) -> Any:
    """What f(*inputs, y, dim) writes into y, an array like the inputs; by rows if dim is last."""
    y = xp_of(inputs[0]).empty(inputs[0].shape, inputs[0].dtype)
    if not y.size:
        return y
    if dim in (-1, y.ndim - 1):
        by_rows(functools.partial(f, dim=-1), *inputs, y)
    else:
        f(*inputs, y, dim=dim)
    return y


def each(work: Any, parts: Any, like: Any = None) -> list:
    """[work(part) for part in parts], on every core: NumPy lets go of the interpreter meanwhile.

    Which core does what differs from run to run; the order of the results does not. One after the
    other if `like` is an array of a GPU.
    """
    if len(parts) < 2 or threads() == 1 or not isinstance(like, _NUMPY + (type(None),)):
        with blas.one_thread:
            return [work(part) for part in parts]
    keep_memory()
    results: list = [None] * len(parts)
    n = min(threads(), len(parts))
    cuts = [len(parts) * i // n for i in range(n + 1)]
    todo = [deque(range(i, j)) for i, j in itertools.pairwise(cuts)]  # what each core begins with
    numbers, here = itertools.count(1), threading.get_ident()

    def take_turns() -> None:
        me = 0 if threading.get_ident() == here else next(numbers)
        for queue in todo[me:] + todo[:me]:  # its own part, so that a core meets the same memory
            take = queue.popleft if queue is todo[me] else queue.pop
            while True:
                try:
                    i = take()
                except IndexError:  # empty
                    break
                results[i] = work(parts[i])

    work_together(take_turns, n)
    return results


def _add_up(total: Any, more: Any) -> Any:
    """total += more, for arrays and for tuples of them; None stays None."""
    if isinstance(total, tuple):
        for t, m in zip(total, more, strict=True):
            _add_up(t, m)
    elif total is not None:
        total += more
    return total


def on_every_core(work: Any) -> None:
    """Call work() on each core, this thread among them; work takes turns until nothing is left."""
    if threads() == 1:
        work()
    else:
        work_together(work, threads())
