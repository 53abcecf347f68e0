"""For tests: assert_close, with PyTorch's tolerances and messages; strategies for Hypothesis.

`assert_gradients(fn, signature)` checks a custom op on inputs that Hypothesis draws; `tensors`,
`arrays` and `sizes` are the strategies that draw them (see strategies.py). They need
`pip install hypothesis`, which is imported when one of them is first used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.devices import to_numpy
from ..files.packages import MissingPackage
from ..functions.comparison import isclose
from ..tensor import Tensor, dtypes, wrap

__all__ = ["arrays", "assert_close", "assert_gradients", "sizes", "tensors"]  # noqa: F822

# dtype: the relative and the absolute difference allowed; numbers of other dtypes must be equal.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"tinygrad_llm.testing has no {name!r}")
    try:
        from . import strategies
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise MissingPackage(
            f"tinygrad_llm.testing.{name} needs Hypothesis: pip install hypothesis"
        ) from error
    return getattr(strategies, name)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
    allow_subclasses: bool = True,
    check_layout: bool = True,
) -> None:
    """Check that |actual − expected| ≤ atol + rtol·|expected| everywhere.

    actual, expected: two tensors, NumPy arrays, numbers, None, or sequences and mappings of them.
    Shapes must be equal, and dtypes and devices too unless check_dtype, check_device are False.
    rtol and atol (both or neither): by default 1.3e-6 and 1e-5 for float32, 1e-7 and 1e-7 for
    float64, 1e-3 and 1e-5 for float16, 1.6e-2 and 1e-5 for bfloat16, and 0 for integers. nan is
    close to nan only with equal_nan. msg replaces the message, or is a function of it.

    Raises: AssertionError, whose message says how many elements differ, by how much at most, and
    where; ValueError if only one of rtol and atol is given.
    """
    if (rtol is None) != (atol is None):
        missing = "atol" if atol is None else "rtol"
        raise ValueError(
            f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}."
        )
    options = {
        "tolerances": None if rtol is None else (rtol, atol),
        "equal_nan": equal_nan,
        "check_device": check_device,
        "check_dtype": check_dtype,
        "check_stride": check_stride,
    }
    message = _difference(actual, expected, "", **options)
    if message is not None:
        if msg is not None:
            message = msg(message) if callable(msg) else msg
        raise AssertionError(message)


def _difference(actual: Any, expected: Any, place: str, **options: Any) -> str | None:
    """What is wrong, or None; place: which item of a sequence or mapping this is, such as [1]."""
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        return _in_mapping(actual, expected, place, **options)
    if _is_list(actual) and _is_list(expected):
        if len(actual) != len(expected):
            lengths = f"{len(actual)} != {len(expected)}"
            return f"The length of the sequences mismatch: {lengths}" + _at(place)
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            message = _difference(a, e, f"{place}[{i}]", **options)
            if message is not None:
                return message
        return None
    message = _compare(actual, expected, **options)
    return None if message is None else message + _at(place)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _at(place: str) -> str:
    return f"\n\nThe failure occurred for item {place}" if place else ""


def _in_mapping(actual: Mapping, expected: Mapping, place: str, **options: Any) -> str | None:
    """What is wrong with two mappings, or None."""
    missing = [key for key in expected if key not in actual]
    additional = [key for key in actual if key not in expected]
    if missing or additional:
        lines = ["The keys of the mappings do not match:"]
        if missing:
            lines.append(f"Missing keys in the actual mapping: {_sorted(missing)}")
        if additional:
            lines.append(f"Additional keys in the actual mapping: {_sorted(additional)}")
        return "\n".join(lines) + _at(place)
    for key in actual:
        message = _difference(actual[key], expected[key], f"{place}[{key!r}]", **options)
        if message is not None:
            return message
    return None


def _sorted(keys: list[Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:  # keys of several types
        return keys


def _compare(
    actual: Any,
    expected: Any,
    tolerances: tuple[float, float] | None,
    equal_nan: bool,
    check_device: bool,
    check_dtype: bool,
    check_stride: bool,
) -> str | None:
    """What is wrong with two tensors, numbers, truth values or Nones."""
    if actual is None or expected is None:
        if actual is expected:
            return None
        return f"None mismatch: {actual} is not {expected}"
    if isinstance(actual, bool | np.bool_) and isinstance(expected, bool | np.bool_):
        return None if actual == expected else f"Booleans mismatch: {actual} is not {expected}"
    numbers = (int, float, np.number)
    if isinstance(actual, numbers) and isinstance(expected, numbers):
        a, e = (v.item() if isinstance(v, np.number) else v for v in (actual, expected))
        kinds = [dtypes.int64 if isinstance(v, int) else dtypes.float64 for v in (a, e)]
        return _numbers(a, e, *_allowed(kinds, tolerances), equal_nan)
    for kind in (Tensor, np.ndarray):
        if isinstance(actual, kind) and isinstance(expected, kind):
            break
    else:
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}."
        )
    x, y = (v if isinstance(v, Tensor) else wrap(v) for v in (actual, expected))
    if x.shape != y.shape:
        return _attribute("shape", x.shape, y.shape)
    if check_device and x.device != y.device:
        return _attribute("device", x.device, y.device)
    if check_dtype and x.dtype != y.dtype:
        return _attribute("dtype", x.dtype, y.dtype)
    if check_stride and x.stride() != y.stride():
        return _attribute("stride()", x.stride(), y.stride())
    rtol, atol = _allowed([x.dtype, y.dtype], tolerances)
    return _tensors(x, y, rtol, atol, equal_nan)


def _attribute(name: str, actual: Any, expected: Any) -> str:
    return f"The values for attribute '{name}' do not match: {actual} != {expected}."


def _allowed(
    kinds: list[dtypes.dtype], tolerances: tuple[float, float] | None
) -> tuple[float, float]:
    """(rtol, atol): the caller's, or the larger ones of the two dtypes."""
    if tolerances is not None:
        return tolerances
    both = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
    return max(r for r, _ in both), max(a for _, a in both)


def _limit(tolerance: float, exact: bool) -> str:
    return "" if exact else f" (up to {tolerance} allowed)"


def _numbers(a: Any, e: Any, rtol: float, atol: float, equal_nan: bool) -> str | None:
    """What is wrong with two Python numbers."""
    close = a == e or (equal_nan and a != a and e != e)
    difference = abs(a - e)
    if close or (math.isfinite(difference) and difference <= atol + rtol * abs(e)):
        return None
    exact = rtol == atol == 0
    relative = math.inf if e == 0 else difference / abs(e)
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\n"
        f"Expected {e} but got {a}.\n"
        f"Absolute difference: {difference}{_limit(atol, exact)}\n"
        f"Relative difference: {relative}{_limit(rtol, exact)}"
    )


def _tensors(x: Tensor, y: Tensor, rtol: float, atol: float, equal_nan: bool) -> str | None:
    """What is wrong with two tensors of one shape."""
    common = dtypes.promote_types(x.dtype, y.dtype)
    if not common.is_floating_point:
        common = dtypes.int64  # differences of unsigned numbers stay right
    a, e = (wrap(to_numpy(v.array).astype(common.numpy, copy=False)) for v in (x, y))
    close = isclose(a, e, rtol, atol, equal_nan).array
    if close.all():
        return None
    exact = rtol == atol == 0
    if a.ndim == 0:
        message = _numbers(a.item(), e.item(), rtol, atol, equal_nan)
        if message is not None:
            return message
    with np.errstate(all="ignore"):
        difference = np.abs(a.array - e.array)
        size = np.abs(e.array)
        relative = (difference / size).astype(
            common.numpy if common.is_floating_point else dtypes.numpy_dtype(None)
        )
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n",
        f"Mismatched elements: {int((~close).sum())} / {close.size} "
        f"({100 * float((~close).mean()):.1f}%)",
    ]
    for name, values, tolerance in (
        ("absolute", difference, atol),
        ("relative", relative, rtol),
    ):
        values = np.where(close, values.dtype.type(0), values)
        place = np.unravel_index(int(_argmax(values)), values.shape)
        index = tuple(int(i) for i in place)
        lines.append(
            f"Greatest {name} difference: {values[index].item()} at index {index}"
            f"{_limit(tolerance, exact)}"
        )
    return "\n".join(lines)


def _argmax(values: np.ndarray) -> int:
    """The position of the greatest value in row order; nan is greater than everything."""
    values = values.astype(np.float64) if values.dtype.kind == "V" else values
    return int(values.argmax())
