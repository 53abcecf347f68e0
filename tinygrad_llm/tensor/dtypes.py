"""Element types with PyTorch's names, and PyTorch's rules for mixing them.

A `dtype` here represents a NumPy dtype: `float32.numpy` is `np.dtype("float32")`, and `of` returns
the dtype for a NumPy dtype. They print as PyTorch's do (`torch.float32`), so that the output of
programs can be compared.

`bfloat16` is stored through the package `ml_dtypes`, imported only when it is first needed. The
unsigned types above eight bits exist for storage (token files); as in PyTorch they mix with
nothing but themselves and floating-point types. The two complex types serve rotary embeddings that
are written with them (functions/complex_numbers.py). There are no quantized types.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class dtype:
    """One element type: compare with `is` or `==`, print to get PyTorch's name.

    Attributes: `name` ("float32"), `itemsize` (bytes), `is_floating_point`, `is_signed`,
    `is_complex` and `numpy`, the NumPy dtype that stores it.
    """

    __slots__ = ("__weakref__", "_numpy", "is_floating_point", "is_signed", "itemsize", "name")

    def __init__(self, name: str, itemsize: int, is_floating_point: bool, is_signed: bool) -> None:
        self.name = name
        self.itemsize = itemsize
        self.is_floating_point = is_floating_point
        self.is_signed = is_signed
        self._numpy = None if name == "bfloat16" else np.dtype(name)

    @property
    def is_complex(self) -> bool:
        """Whether its numbers have an imaginary part."""
        return self.name.startswith("complex")

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype that stores it.

        Raises: MissingPackage for bfloat16 without `ml_dtypes`.
        """
        if self._numpy is None:
            from ..files.packages import importing

            install = "pip install ml_dtypes, or use float32"
            with importing("bfloat16 arrays need the package ml_dtypes", install):
                import ml_dtypes
            self._numpy = np.dtype(ml_dtypes.bfloat16)
            _OF[self._numpy] = self
        return self._numpy

    def to_real(self) -> dtype:
        """The real type of the same precision: itself, unless it is complex."""
        return {complex64: float32, complex128: float64}.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type of the same precision: complex64 unless it is float64 or complex128."""
        return complex128 if self in (float64, complex128) else complex64

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> str:  # copy and deepcopy give the same object back
        return "bool_" if self.name == "bool" else self.name


# What an argument `dtype` may be; None is the default dtype, or that of the input.
DtypeLike = dtype | np.dtype | type[np.generic] | type[float] | type[int] | type[complex] | None


float64 = double = dtype("float64", 8, True, True)
float32 = dtype("float32", 4, True, True)
float16 = half = dtype("float16", 2, True, True)
bfloat16 = dtype("bfloat16", 2, True, True)
int64 = long = dtype("int64", 8, False, True)
int32 = dtype("int32", 4, False, True)
int16 = short = dtype("int16", 2, False, True)
int8 = dtype("int8", 1, False, True)
uint8 = dtype("uint8", 1, False, False)
uint16 = dtype("uint16", 2, False, False)
uint32 = dtype("uint32", 4, False, False)
uint64 = dtype("uint64", 8, False, False)
bool_ = dtype("bool", 1, False, False)
complex64 = cfloat = dtype("complex64", 8, False, True)
complex128 = cdouble = dtype("complex128", 16, False, True)

# Every real type, and PyTorch's second names (a dict, because builtins are among them).
ALL = (
    *(bool_, uint8, int8, int16, int32, int64, uint16, uint32, uint64),
    *(float16, bfloat16, float32, float64),
)
COMPLEX = (complex64, complex128)
BY_NAME: dict[str, dtype] = {d.name: d for d in (*ALL, *COMPLEX)}
ALIASES: dict[str, dtype] = {
    **{"float": float32, "double": float64, "half": float16},
    **{"int": int32, "long": int64, "short": int16, "bool": bool_},
}

_OF: dict[np.dtype, dtype] = {np.dtype(d.name): d for d in (*ALL, *COMPLEX) if d is not bfloat16}
_PYTHON: dict[type, dtype] = {float: float64, int: int64, bool: bool_, complex: complex128}
_default = float32


def of(numpy_type: np.dtype) -> dtype:
    """The dtype that represents a NumPy dtype.

    Raises: TypeError for a NumPy dtype without one (objects, text).
    """
    known = _OF.get(numpy_type)
    return known if known is not None else _of_slowly(numpy_type)


def _of_slowly(numpy_type: Any) -> dtype:
    numpy_type = np.dtype(numpy_type)
    if numpy_type.name == "bfloat16" and bfloat16.numpy == numpy_type:
        return bfloat16
    native = numpy_type.newbyteorder("=")
    if native in _OF:
        if native is numpy_type or native == numpy_type:
            return _OF[native]  # np.longlong and other spellings of the same bytes
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion "
            "between byte orders is currently not supported. "
            f"array.astype({native.name!r}) makes it native."
        )
    raise TypeError(
        f"can't convert np.ndarray of type numpy.{numpy_type.type.__name__}. The only supported "
        "types are: float64, float32, float16, bfloat16, complex64, complex128, int64, int32, "
        "int16, int8, uint64, uint32, uint16, uint8, and bool."
    )


def as_dtype(value: Any) -> dtype:
    """A dtype from a dtype, a NumPy dtype, Python's float, int, bool, or None (the default).

    Raises: TypeError if value is none of these.
    """
    if isinstance(value, dtype):
        return value
    if value is None:
        return _default
    if isinstance(value, type) and value in _PYTHON:
        return _PYTHON[value]
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return of(np.dtype(value))
    if getattr(value, "__name__", "") == "bfloat16":  # the scalar type of ml_dtypes
        return bfloat16
    raise TypeError(f"argument 'dtype' must be torch.dtype, not {type(value).__name__}")


def numpy_dtype(value: Any = None) -> np.dtype:
    """The NumPy dtype of anything that `as_dtype` takes; for None the default dtype's."""
    if value is None:
        value = _default
    if value.__class__ is dtype and value._numpy is not None:
        return value._numpy
    return as_dtype(value).numpy


def get_default_dtype() -> dtype:
    """The floating-point type of tensors made from Python floats: float32 unless it was changed."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Change the default dtype.

    Raises: TypeError unless `d` is a floating-point dtype.
    """
    global _default
    if not isinstance(d, dtype):
        raise TypeError(
            "invalid dtype object: only floating-point types are supported as the default type"
        )
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    assert d.numpy is not None  # bfloat16 without ml_dtypes fails here, not at the next tensor
    _default = d


# ---------------------------------------------------------------------------------- promotion

_RANK = {d: rank for rank, d in enumerate((bool_, uint8, int8, int16, int32, int64))}
LONE_UNSIGNED = (uint16, uint32, uint64)
TITLES = {d: d.name.replace("uint", "UInt").replace("i", "I", 1) for d in LONE_UNSIGNED} | {
    **{bool_: "Bool", uint8: "Byte", int8: "Char", int16: "Short", int32: "Int", int64: "Long"},
    **{float16: "Half", bfloat16: "BFloat16", float32: "Float", float64: "Double"},
    **{complex64: "ComplexFloat", complex128: "ComplexDouble"},
}


def title(d: dtype) -> str:
    """The type's name in PyTorch's older errors: Float, Long, Byte ..."""
    return TITLES[d]


def of_type_name(name: str) -> tuple[str, dtype]:
    """(device type, dtype) of "torch.LongTensor", "torch.cuda.FloatTensor" and the like.

    Raises: ValueError if it is not such a name.
    """
    *module, last = name.split(".")
    place = {("torch",): "cpu", ("torch", "cuda"): "cuda"}.get(tuple(module))
    for d, title in TITLES.items():
        if place is not None and last == f"{title}Tensor":
            return place, d
    raise ValueError(f"invalid type: {name!r}")


def _promote(a: dtype, b: dtype) -> dtype | None:
    """The rule of promote_types; None where PyTorch refuses."""
    if a is b:
        return a
    if a.is_complex or b.is_complex:
        return complex128 if {a, b} & {float64, complex128} else complex64
    if a.is_floating_point and b.is_floating_point:
        if a.itemsize == b.itemsize:  # float16 with bfloat16: neither holds the other
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.is_floating_point or b.is_floating_point:
        return a if a.is_floating_point else b
    if a in LONE_UNSIGNED or b in LONE_UNSIGNED:
        return None
    if {a, b} == {uint8, int8}:
        return int16
    return a if _RANK[a] > _RANK[b] else b


_promoted: dict[tuple[dtype, dtype], dtype] = {}  # the results so far


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type that PyTorch lets both become: integers widen, any float beats any integer.

    Raises: RuntimeError for uint16, uint32 or uint64 with another integer type.
    """
    result = _promoted.get((type1, type2))
    if result is not None:
        return result
    for position, value in enumerate((type1, type2), 1):
        if not isinstance(value, dtype):
            raise TypeError(
                f"promote_types(): argument 'type{position}' (position {position}) must be "
                f"torch.dtype, not {type(value).__name__}"
            )
    result = _promote(type1, type2)
    if result is not None:
        _promoted[type1, type2] = result
        return result
    raise RuntimeError(
        "Promotion for uint16, uint32, uint64 types is not supported, "
        f"attempted to promote {TITLES[type1]} and {TITLES[type2]}"
    )


def _combine(higher: dtype | None, lower: dtype | None) -> dtype | None:
    """A category outranks the next unless that is of a higher kind (bool < int < float)."""
    if higher is None or lower is None:
        return higher or lower
    if higher.is_floating_point or higher.is_complex:
        return higher.to_complex() if lower.is_complex else higher
    if higher is bool_ or lower.is_complex or lower.is_floating_point:
        return promote_types(higher, lower)
    return higher


def result_type(*operands: Any) -> dtype:
    """The type in which an element-wise operation computes, by PyTorch's three categories.

    Operands are tensors, arrays or Python numbers. Tensors with dimensions decide; 0-d tensors,
    and after them Python numbers, matter only when they are of a higher kind (bool < integer <
    floating point). So `int8 tensor + 300` stays int8, `int8 tensor + 1.0` is the default dtype,
    and a float64 0-d tensor does not widen a float32 matrix.
    Raises: TypeError if there are no operands or one is neither a tensor nor a number.
    """
    dims: dtype | None = None
    zeros: dtype | None = None
    numbers: dtype | None = None
    for operand in operands:
        kind = operand.__class__
        if kind is float:
            numbers = _default if numbers is None else promote_types(numbers, _default)
        elif kind is int:
            numbers = int64 if numbers is None else promote_types(numbers, int64)
        elif kind is bool:
            numbers = numbers or bool_
        elif kind is complex:
            numbers = _default.to_complex()
        else:
            try:
                d, ndim = operand.dtype, operand.ndim
            except AttributeError:
                raise TypeError(
                    "result_type(): every operand must be a Tensor or a Number, "
                    f"not {kind.__name__}"
                ) from None
            if d.__class__ is not dtype:
                d = of(d)
            if ndim:
                dims = d if dims is None else promote_types(dims, d)
            else:
                zeros = d if zeros is None else promote_types(zeros, d)
    result = _combine(dims, _combine(zeros, numbers))
    if result is None:
        raise TypeError("result_type() needs at least one operand")
    return result


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether an in-place result may be cast: never float to integer, nor a number to bool.

    Raises: TypeError if an argument is not a dtype.
    """
    for position, value in enumerate((from_, to), 1):
        if not isinstance(value, dtype):
            raise TypeError(
                f"can_cast(): argument '{('from_', 'to')[position - 1]}' (position {position}) "
                f"must be torch.dtype, not {type(value).__name__}"
            )
    if from_.is_complex and not to.is_complex:
        return False
    if from_.is_floating_point and not (to.is_floating_point or to.is_complex):
        return False
    return to is not bool_ or from_ is bool_


# ----------------------------------------------------------------------------- numeric limits


class finfo:
    """Limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, dtype: Any = None) -> None:
        d = as_dtype(dtype)
        if not d.is_floating_point:
            raise TypeError(
                "torch.finfo() requires a floating point input type. "
                "Use torch.iinfo to handle 'torch.finfo'"
            )
        mantissa, exponent = {
            **{float64: (52, 1023), float32: (23, 127)},
            **{float16: (10, 15), bfloat16: (7, 127)},
        }[d]
        self.dtype = d.name
        self.bits = d.itemsize * 8
        self.eps = 2.0**-mantissa
        self.max = (2.0 - self.eps) * 2.0**exponent
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - exponent)
        self.resolution = 10.0 ** -int(mantissa * 0.30103)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, min, max."""

    def __init__(self, dtype: Any) -> None:
        d = as_dtype(dtype)
        if d.is_floating_point:
            raise TypeError(
                "torch.iinfo() requires an integer input type. "
                "Use torch.finfo to handle 'torch.iinfo'"
            )
        if d is bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        self.dtype = d.name
        self.bits = d.itemsize * 8
        self.min = -(2 ** (self.bits - 1)) if d.is_signed else 0
        self.max = 2 ** (self.bits - d.is_signed) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
