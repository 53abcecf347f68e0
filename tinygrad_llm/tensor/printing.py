"""Tensors as text, character for character as PyTorch prints them.

The rules, for a tensor of floating-point numbers, from its finite numbers that are not zero:

- All whole numbers: print `3.`; otherwise a fixed count of decimals (`precision`, 4).
- Scientific notation where the greatest is above 1e8, the least below 1e-4, or their ratio above
  1000 (unless `sci_mode` is set).
- One column width for the whole tensor, that of the longest of those numbers.
- More than `threshold` elements: the first and last `edgeitems` of each dimension, the width taken
  from those alone.

After the numbers follow the device, the size of an empty tensor, the dtype unless it is the
default, int64 or bool, and `grad_fn=<...>` or `requires_grad=True`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..arrays import devices
from . import dtypes
from .grad_fn_names import grad_fn_name

_options = SimpleNamespace(precision=4, threshold=1000, edgeitems=3, linewidth=80, sci_mode=None)
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors print; None leaves an option as it is, except sci_mode: automatic again.

    precision: decimals (4). threshold: elements above which the middle is left out (1000).
    edgeitems: elements kept at both ends of each dimension then (3). linewidth: characters per line
    (80). profile: "default", "short" or "full", set before the others.
    """
    changes = dict(_PROFILES.get(profile or "", {}))
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    changes.update({name: value for name, value in given.items() if value is not None})
    for name, value in changes.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options now in force, as keyword arguments of `set_printoptions`."""
    return dict(vars(_options))


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """`set_printoptions` for the length of a `with` block."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


# ---------------------------------------------------------------------------------- the numbers


def _columns(array: np.ndarray) -> tuple[int, Callable[[Any], str]]:
    """The column width for these elements, and the function that writes one of them."""
    if array.dtype.kind in "biu":
        width = max(len(str(value)) for value in array.ravel().tolist())
        return width, str

    numbers = array.ravel()
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    if not numbers.size:
        return 1, _whole
    sizes = np.abs(numbers)
    least, greatest = sizes.min().item(), sizes.max().item()
    scientific = _options.sci_mode
    if scientific is None:
        scientific = greatest / least > 1000.0 or greatest > 1.0e8 or least < 1.0e-4
    if scientific:
        write: Callable[[float], str] = f"{{:.{_options.precision}e}}".format
    elif (numbers == np.ceil(numbers)).all():
        write = _whole
    else:
        write = f"{{:.{_options.precision}f}}".format
    return max(len(write(value)) for value in numbers.tolist()), write


def _complex_columns(array: np.ndarray) -> tuple[int, Callable[[Any], str]]:
    """The same for complex numbers: real and imaginary parts have a width each."""
    real_width, real = _columns(array.real.astype(np.float64))
    imag_width, imag = _columns(array.imag.astype(np.float64))

    def write(value: complex) -> str:
        text = imag(value.imag) + "j"
        sign = "" if text[0] in "+-" else "+"
        return real(value.real).rjust(real_width) + sign + text

    return real_width + imag_width + 1, write


def _whole(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


def _row(cells: list[str], indent: int, width: int) -> str:
    """One row of cells in brackets, broken into lines; `indent` is the column of the bracket."""
    per_line = max(1, math.floor((_options.linewidth - indent) / (width + 2)))
    lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def numbers_str(array: np.ndarray, indent: int = 0) -> str:
    """The elements of a NumPy array in nested brackets, as PyTorch prints them.

    `indent` is the column where the text begins; it counts against the line width.
    """
    if not array.size:
        return "[]"
    edge = _options.edgeitems
    summarize = array.size > _options.threshold
    if summarize and array.ndim and not edge:
        return "[...]"
    cut = tuple(summarize and size > 2 * edge for size in array.shape)
    for axis, size in enumerate(array.shape):
        if cut[axis]:
            array = array.take(np.r_[0:edge, size - edge : size], axis)  # (n, ...) -> (2 edge, ...)
    if array.dtype.kind == "c":
        width, write = _complex_columns(array)
        padded = 0  # the parts are padded
    else:
        if array.dtype.kind not in "biu":
            array = array.astype(np.float64)
        width, write = _columns(array)
        padded = width

    def nested(part: np.ndarray, indent: int) -> str:
        axis = array.ndim - part.ndim
        if part.ndim == 0:
            return write(part.item()).rjust(padded)
        if part.ndim == 1:
            cells = [write(value).rjust(padded) for value in part.tolist()]
            if cut[axis]:
                cells.insert(edge, " ...")
            return _row(cells, indent, width)
        rows = [nested(row, indent + 1) for row in part]
        if cut[axis]:
            rows.insert(edge, "...")
        return "[" + ("," + "\n" * (part.ndim - 1) + " " * (indent + 1)).join(rows) + "]"

    return nested(array, indent)


# ----------------------------------------------------------------------------------- the tensor


def array_repr(
    array: np.ndarray,
    *,
    name: str = "tensor",
    device: str | None = None,
    grad_fn: str | None = None,
    requires_grad: bool = False,
    numbers: bool = True,
) -> str:
    """The text of a tensor that holds `array` (NumPy, any shape, any dtype that `dtypes` knows).

    device: shown when it is given (for a tensor that is not on the CPU). grad_fn: the name shown
    in `grad_fn=<...>`; where it is None, `requires_grad=True` is shown if `requires_grad`. numbers
    False: `...` stands for them, as for a tensor of the meta device.
    """
    d = dtypes.of(array.dtype)
    usual: tuple[dtypes.dtype, ...] = (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_)
    if d.is_complex and array.size:
        usual = (usual[0].to_complex(),)
    suffixes = []
    if device is not None:
        suffixes.append(f"device='{device}'")
    if not numbers:
        suffixes.append(f"size={tuple(array.shape)}")
        usual = usual[:1]
    elif not array.size:
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
        usual = usual[:1]  # nothing shows whether an empty tensor holds integers or truth values
    elif not _options.edgeitems:
        suffixes.append(f"size={tuple(array.shape)}")
    if d not in usual:
        suffixes.append(f"dtype={d}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")

    indent = len(name) + 1
    text = f"{name}({numbers_str(array, indent) if numbers else '...'}"
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"


def tensor_text(tensor: Any) -> str:
    """The repr of a Tensor or a Parameter."""
    return array_repr(
        tensor.array if tensor.is_meta else devices.to_numpy(tensor.array),
        device=None if tensor.is_cpu else str(tensor.device),
        numbers=not tensor.is_meta,
        grad_fn=None if tensor.grad_fn is None else grad_fn_name(tensor),
        requires_grad=tensor.requires_grad,
    )
