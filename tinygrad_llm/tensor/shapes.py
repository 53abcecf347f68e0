"""Signatures such as "x(...,C) w(C) b(C) -> y(...,C)", and errors for arrays that do not fit.

A signature names the dimensions of an op's inputs. `...` means any number of leading dimensions; a
capital letter one dimension, of the same size everywhere; a number a dimension of that size; a `?`
behind an input that it may be left out (None). Where several inputs have `...`, these must be
equal, or broadcast together if the op broadcasts.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from ..arrays.devices import on_gpu, xp_of
from ..arrays.memory import is_array

Shape = tuple[int, ...]


class Input(NamedTuple):
    """One input of a signature: its name, its dimensions ("..." may be one), whether optional."""

    name: str
    dims: tuple[str, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name}({','.join(self.dims)})" + "?" * self.optional


_INPUT = re.compile(r"(\w+)\(([^)]*)\)(\?)?")


@cache
def parse(signature: str) -> tuple[tuple[Input, ...], tuple[Input, ...]]:
    """The inputs and the outputs of a signature.

    Raises: ValueError if the signature has no "->".

    The inputs of "x(...,C) w(C) b(C)? -> y(...,C)" are x(...,C), w(C) and b(C)?.
    """
    left, arrow, right = signature.partition("->")
    if not arrow:
        raise ValueError(f"signature {signature!r} has no '->' between its inputs and its outputs")

    def side(text: str) -> tuple[Input, ...]:
        matches = _INPUT.findall(text)
        if _INPUT.sub("", text).strip():
            raise ValueError(f"signature {signature!r}: cannot read {text.strip()!r}")
        return tuple(
            Input(name, tuple(d.strip() for d in dims.split(",") if d.strip()), bool(optional))
            for name, dims, optional in matches
        )

    return side(left), side(right)


def show(names: Sequence[str], shapes: Sequence[Shape | None]) -> str:
    """Shapes beside their names, as errors print them: x(2,4) w(5)."""
    return " ".join(
        f"{name}({','.join(map(str, shape))})"
        for name, shape in zip(names, shapes, strict=False)
        if shape is not None
    )


def check(op: str, signature: str, shapes: Sequence[Shape | None]) -> dict[str, int]:
    """The sizes of the signature's dimensions.

    Raises: RuntimeError that names the dimension which disagrees.
    """
    inputs = parse(signature)[0]
    expected_inputs = " ".join(map(str, inputs))
    got = show([i.name for i in inputs], shapes)
    sizes: dict[str, int] = {}
    seen_in: dict[str, str] = {}
    for spec, shape in zip(inputs, shapes, strict=False):
        if shape is None:
            if not spec.optional:
                raise RuntimeError(f"{op}: {spec.name} is missing: expected {expected_inputs}")
            continue
        dims: Sequence[str] = spec.dims
        sized: Sequence[int] = shape
        if "..." in dims:
            at = dims.index("...")
            leading = len(shape) - len(dims) + 1
            if leading < 0:
                raise RuntimeError(
                    f"{op}: {spec.name} has {len(shape)} dimensions, needs at least "
                    f"{len(dims) - 1}: expected {expected_inputs}, got {got}"
                )
            dims = [*dims[:at], *dims[at + 1 :]]
            sized = [*shape[:at], *shape[at + leading :]]
        elif len(shape) != len(dims):
            raise RuntimeError(
                f"{op}: {spec.name} has {len(shape)} dimensions, needs {len(dims)}: "
                f"expected {expected_inputs}, got {got}"
            )
        for dim, size in zip(dims, sized, strict=True):
            expected = int(dim) if dim.isdigit() else sizes.setdefault(dim, size)
            if size != expected:
                other = f"{expected} in {seen_in[dim]}" if dim in seen_in else f"{expected}"
                raise RuntimeError(
                    f"{op}: {dim} is {other} but {size} in {spec.name}: "
                    f"expected {expected_inputs}, got {got}"
                )
            seen_in.setdefault(dim, spec.name)
    return sizes


def explained(name: str, signature: str, arrays: Sequence[Any], error: Exception) -> Exception:
    """The array library's error, with the op's name and what it got."""
    given = [a for a in arrays if is_array(a)]
    if len({xp_of(a) for a in given}) > 1:
        places = ", ".join("cuda" if on_gpu([a]) else "cpu" for a in given)
        return RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found {places}: "
            "move them with .to(device)"
        )
    names = [i.name for i in parse(signature)[0]] + ["and"] * len(given)
    got = ", ".join(f"{n}{tuple(a.shape)} {a.dtype}" for n, a in zip(names, given))  # noqa: B905
    kind = type(error) if isinstance(error, TypeError) else RuntimeError
    return kind(f"{name}: {_in_words(error, given)}; got {got}")


def _in_words(error: Exception, arrays: Sequence[Any]) -> str:
    """The array library's message, or PyTorch's where two shapes don't broadcast."""
    if len(arrays) == 2 and "broadcast" in str(error):
        a, b = arrays[0].shape, arrays[1].shape
        for i in range(1, min(len(a), len(b)) + 1):
            if a[-i] != b[-i] and 1 not in (a[-i], b[-i]):
                return (
                    f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]}) at "
                    f"non-singleton dimension {max(len(a), len(b)) - i}"
                )
    return str(error)


def fill(signature: str, sizes: Mapping[str, int], leading: Shape = ()) -> list[Shape]:
    """The input shapes for given sizes: fill("x(...,C) w(C) -> y(...,C)", {"C": 4}, (2,))."""
    return [
        tuple(
            size
            for dim in spec.dims
            for size in (leading if dim == "..." else (int(dim) if dim.isdigit() else sizes[dim],))
        )
        for spec in parse(signature)[0]
    ]


def dimensions(signature: str) -> list[str]:
    """The dimension letters of a signature's inputs, in order of appearance: ["C"]."""
    letters = [d for i in parse(signature)[0] for d in i.dims if d != "..." and not d.isdigit()]
    return list(dict.fromkeys(letters))


# ----------------------------------------------------------------------- dimensions by number
def normal_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front.

    Raises: IndexError in PyTorch's words if it does not exist.
    """
    n = ndim or 1  # a 0-d tensor accepts dim 0 and -1
    if not -n <= dim < n:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"
        )
    return dim % n


def normal_dims(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front, in the order given; all of them for None or ().

    Raises: RuntimeError if a dimension appears twice; TypeError for a dict, a set or a text.
    """
    if type(dim) is int and ndim:  # as nearly always
        return (normal_dim(dim, ndim),)
    if isinstance(dim, dict | set | frozenset | str | bytes):
        raise TypeError(f"expected an int or a tuple of ints, not {type(dim).__name__}")
    if dim is None or (not hasattr(dim, "__index__") and len(dim) == 0):
        return tuple(range(ndim))
    dims = (dim,) if hasattr(dim, "__index__") else tuple(dim)
    dims = tuple([operator.index(d) for d in dims])
    normal = tuple(normal_dim(d, ndim) for d in dims)
    if len(set(normal)) != len(normal):
        twice = next(d for d in normal if normal.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims {dims}")
    return tuple(d for d in normal if ndim)
