"""A stand-in for CuPy that is stricter than CuPy: its arrays refuse to meet NumPy's.

`strict_array.array` wraps a NumPy array and shows CuPy's surface: operators, methods, `.get()`,
`.device`, `__cuda_array_interface__`. What CuPy does not have is missing; a NumPy array or NumPy
scalar in any place is a TypeError: in an operator, as an index, as an argument of a function of
this module, or when a NumPy function is given one of these arrays. So a stray `np.` in an op fails
here, on a machine without a GPU, and what passes here meets CuPy's own rules later.

As in CuPy, reductions and x[0] give 0-d arrays, never scalars; only `int()`, `float()`, `bool()`,
`.item()`, `.tolist()` and `.get()` bring numbers out; only `asarray` and `array` bring NumPy in.
`stand_in()` gives the modules to put in sys.modules as "cupy" and "cupyx.scipy.special".
"""

from __future__ import annotations

import builtins
import math
import sys
import types
import weakref
from typing import Any

import numpy as np

_owners: Any = weakref.WeakValueDictionary()  # id of a NumPy array that owns memory: its wrapper


class Pointer:
    """The address of an array's first element, with CuPy's `.ptr` and arithmetic."""

    device_id = 0

    def __init__(self, owner: ndarray, offset: int) -> None:
        self.owner, self.offset = owner, offset

    @property
    def ptr(self) -> int:
        return self.owner._a.__array_interface__["data"][0] + self.offset

    def __add__(self, n: int) -> Pointer:
        return Pointer(self.owner, self.offset + n)


class Device:
    """CuPy's cuda.Device: there is one, number 0."""

    def __init__(self, id: int = 0) -> None:  # noqa: A002
        self.id = id

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


def _inner(value: Any, where: str) -> Any:
    """A strict array's NumPy array; other values as they are; TypeError for NumPy's own."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"{where}: a NumPy {type(value).__name__} of shape {value.shape} meets a device array"
        )
    if isinstance(value, tuple | list):
        return type(value)(_inner(v, where) for v in value)
    if isinstance(value, dict):
        return {k: _inner(v, where) for k, v in value.items()}
    return value


def _outer(value: Any) -> Any:
    """NumPy's result as a strict array, or several; views know their owner."""
    if isinstance(value, tuple | list):
        items = [_outer(v) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    known = _owners.get(id(value))
    if known is not None:
        return known
    x = object.__new__(ndarray)
    x._a, x._base = value, None
    if isinstance(value.base, np.ndarray):
        owner = value.base
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        x._base = _outer(owner)
    else:
        _owners[id(value)] = x
    return x


class ndarray:  # noqa: N801  CuPy's name
    """A device array that is really on the CPU."""

    __array_ufunc__ = None  # np.ndarray + this gives this class's __radd__ the word
    _a: np.ndarray
    _base: ndarray | None

    def __new__(
        cls, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None
    ) -> Any:
        if memptr is None:
            return _outer(np.empty(shape, dtype))
        memory = memptr.owner._a
        memory = memory.transpose(sorted(range(memory.ndim), key=lambda d: -memory.strides[d]))
        return _outer(np.ndarray(shape, dtype, memory, memptr.offset, strides))

    # what NumPy asks of foreign arrays: nothing is given
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion of a device array to a NumPy array is not allowed")

    def __array_function__(self, function: Any, *rest: Any) -> Any:
        raise TypeError(f"np.{function.__name__} was called with a device array")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        place = self._a.__array_interface__
        return {
            **{key: place[key] for key in ("shape", "typestr", "strides", "data")},
            "version": 3,
        }

    # attributes
    @property
    def shape(self) -> tuple[int, ...]:
        return self._a.shape

    @shape.setter
    def shape(self, sizes: tuple[int, ...]) -> None:
        self._a.shape = sizes

    @property
    def dtype(self) -> Any:
        return self._a.dtype

    @property
    def ndim(self) -> int:
        return self._a.ndim

    @property
    def size(self) -> int:
        return self._a.size

    @property
    def itemsize(self) -> int:
        return self._a.itemsize

    @property
    def nbytes(self) -> int:
        return self._a.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        return self._a.strides

    @property
    def flags(self) -> Any:
        flags = self._a.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata
        )

    @property
    def base(self) -> ndarray | None:
        return self._base

    @property
    def data(self) -> Pointer:
        owner = self if self._base is None else self._base
        start = owner._a.__array_interface__["data"][0]
        return Pointer(owner, self._a.__array_interface__["data"][0] - start)

    @property
    def device(self) -> Device:
        return Device(0)

    @property
    def T(self) -> ndarray:  # noqa: N802
        return _outer(self._a.T)

    @property
    def real(self) -> ndarray:
        return _outer(self._a.real)

    @property
    def imag(self) -> ndarray:
        return _outer(self._a.imag)

    # bringing numbers out
    def get(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._a.copy()

    def item(self, *args: Any) -> Any:
        return self._a.item(*args)

    def tolist(self) -> Any:
        return self._a.tolist()

    def __int__(self) -> int:
        return int(self._a)

    def __float__(self) -> float:
        return float(self._a)

    def __bool__(self) -> bool:
        return builtins.bool(self._a)

    def __index__(self) -> int:
        return self._a.__index__()

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"strict_{self._a!r}"

    def __hash__(self) -> int:
        return id(self)

    # indexing
    def __getitem__(self, index: Any) -> ndarray:
        if isinstance(index, list):
            raise TypeError("CuPy arrays are not indexed by lists")
        inner = _inner(index, "x[...]")
        y = self._a[inner]
        if isinstance(y, np.generic):  # in CuPy a view: an Ellipsis makes it one here
            y = self._a[(*inner, ...) if isinstance(inner, tuple) else (inner, ...)]
        return _outer(y)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._a[_inner(index, "x[...] = v")] = _inner(value, "x[...] = v")


def _operator(name: str) -> Any:
    def call(self: ndarray, *others: Any) -> Any:
        for other in others:
            if isinstance(other, tuple | list):
                return NotImplemented
        got = getattr(self._a, name)(*(_inner(o, name) for o in others))
        if got is NotImplemented:
            return got
        return self if name.startswith("__i") and got is self._a else _outer(got)

    call.__name__ = name
    return call


_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod".split()
for _name in _BINARY:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
for _name in "add sub mul truediv floordiv mod pow and or xor".split():
    setattr(ndarray, f"__i{_name}__", _operator(f"__i{_name}__"))
for _name in "neg pos abs invert eq ne lt le gt ge".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def _method(name: str) -> Any:
    def call(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        if "initial" in kwargs or "where" in kwargs:
            raise TypeError(f"{name}() of a CuPy array has neither initial= nor where=")
        kwargs = _inner(kwargs, name)
        return _outer(getattr(self._a, name)(*_inner(args, name), **kwargs))

    call.__name__ = name
    return call


for _name in (
    "all any argmax argmin argpartition argsort astype clip copy cumprod cumsum diagonal dot fill "
    "flatten max mean min nonzero partition prod ptp put ravel repeat reshape round sort squeeze "
    "std sum swapaxes take trace transpose var view"
).split():
    setattr(ndarray, _name, _method(_name))


# -------------------------------------------------------------------------- the module's functions
def _function(name: str, original: Any = None) -> Any:
    original = original or getattr(np, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = _inner(args, f"cupy.{name}")
        options = _inner(kwargs, f"cupy.{name}")
        out = kwargs.get("out")
        got = original(*given, **options)
        return out if isinstance(out, ndarray) else _outer(got)

    call.__name__ = name
    return call


class _Ufunc:
    """A ufunc: strict about its operands, which may not be lists, and with `at` where CuPy has."""

    def __init__(self, name: str) -> None:
        self.name, self.ufunc = name, getattr(np, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for a in args:
            if isinstance(a, tuple | list):
                raise TypeError(f"Unsupported type {type(a)}: cupy.{self.name} refuses lists")
        if not builtins.any(isinstance(a, ndarray) for a in args):
            raise TypeError(f"cupy.{self.name} was called without a device array")
        return _function(self.name, self.ufunc)(*args, **kwargs)

    def at(self, a: ndarray, indices: Any, b: Any) -> None:
        if self.name not in ("add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or"):
            raise NotImplementedError(f"cupy.{self.name}.at")
        if a.dtype.char not in "ilqILQefd":
            raise TypeError(f"cupy.{self.name}.at only supports some dtypes, not {a.dtype}")
        self.ufunc.at(a._a, _inner(indices, "at"), _inner(b, "at"))


_UFUNCS = (
    "abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh logaddexp2 "
    "bitwise_and bitwise_or bitwise_xor ceil "
    "copysign cos cosh divide equal exp exp2 expm1 floor floor_divide fmax fmin fmod greater "
    "greater_equal hypot invert isfinite isinf isnan less less_equal log log10 log1p log2 "
    "logaddexp logical_and logical_not logical_or logical_xor maximum minimum mod multiply "
    "negative not_equal power reciprocal remainder rint sign signbit sin sinh sqrt square "
    "subtract tan tanh true_divide trunc"
)
_FUNCTIONS = (
    "all allclose amax amin any append arange argmax argmin argpartition argsort argwhere "
    "array_equal array_split atleast_1d atleast_2d atleast_3d bincount broadcast_arrays "
    "broadcast_to clip column_stack compress concatenate count_nonzero cumprod cumsum diag "
    "diagonal diff digitize dot einsum empty empty_like expand_dims extract eye flatnonzero flip "
    "full full_like hstack identity indices inner isclose isin isnan kron lexsort linspace matmul "
    "max mean median meshgrid min moveaxis nan_to_num nanmax nanmin nansum nonzero ones ones_like "
    "outer pad partition prod ravel repeat reshape roll rollaxis rot90 round searchsorted sort "
    "split squeeze stack std sum swapaxes take take_along_axis tensordot tile transpose tri tril "
    "triu tril_indices triu_indices unique unravel_index vdot vstack where zeros zeros_like"
)
_module = sys.modules[__name__]
for _name in _FUNCTIONS.split():
    setattr(_module, _name, _function(_name))
for _name in _UFUNCS.split():
    setattr(_module, _name, _Ufunc(_name))
for _name in (
    "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 dtype finfo "
    "iinfo inf nan pi e newaxis result_type promote_types issubdtype integer floating"
).split():
    setattr(_module, _name, getattr(np, _name))


def array(value: Any, dtype: Any = None, copy: bool = True, order: Any = "K") -> ndarray:
    """The one way in, with asarray: NumPy arrays, lists and scalars are copied to the device."""
    if isinstance(value, ndarray):
        return _outer(np.array(value._a, dtype, copy=copy or None, order=order))
    if isinstance(value, list | tuple):
        value = [v._a if isinstance(v, ndarray) else v for v in value]
    return _outer(np.array(value, dtype, copy=True))


def asarray(value: Any, dtype: Any = None, order: Any = None) -> ndarray:
    """The array itself if it is one of the dtype, else a copy on the device."""
    if isinstance(value, ndarray):
        return value if dtype in (None, value.dtype) else value.astype(dtype)
    return array(value, dtype)


def ascontiguousarray(value: ndarray, dtype: Any = None) -> ndarray:
    """The array itself if its elements lie in row order, else a copy that does."""
    if value.ndim and value.flags.c_contiguous and dtype in (None, value.dtype):
        return value
    return _outer(np.array(value._a, dtype, order="C"))


def asnumpy(value: ndarray) -> np.ndarray:
    """A copy in NumPy."""
    return value.get()


def get_array_module(*args: Any) -> Any:
    """This module if any argument is one of its arrays, else numpy."""
    return _module if builtins.any(isinstance(a, ndarray) for a in args) else np


linalg = types.SimpleNamespace(
    LinAlgError=np.linalg.LinAlgError,
    **{name: _function(name, getattr(np.linalg, name))
       for name in ("det", "eigh", "inv", "qr", "slogdet", "solve", "svd")},
)  # fmt: skip

_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: ndarray) -> ndarray:
    """cupyx.scipy.special.erf."""
    y = _erf(x._a) if x.size else x._a
    return _outer(np.asarray(y).astype(x.dtype).reshape(x.shape))


cuda = types.SimpleNamespace(
    runtime=types.SimpleNamespace(
        getDeviceCount=lambda: 1, deviceSynchronize=lambda: None, getDevice=lambda: 0
    ),
    Device=Device,
    is_available=lambda: True,
)


_pool = types.SimpleNamespace(used_bytes=lambda: 0, total_bytes=lambda: 0)  # arrays are NumPy's


def get_default_memory_pool() -> Any:
    return _pool


def stand_in() -> dict[str, Any]:
    """What to put in sys.modules, so that device="cuda" means these arrays."""
    special: Any = types.ModuleType("cupyx.scipy.special")
    special.erf = erf
    scipy: Any = types.ModuleType("cupyx.scipy")
    scipy.special = special
    cupyx: Any = types.ModuleType("cupyx")
    cupyx.scipy = scipy
    return {
        "cupy": _module,
        "cupyx": cupyx,
        "cupyx.scipy": scipy,
        "cupyx.scipy.special": special,
    }
