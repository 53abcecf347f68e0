"""Checks for values that come out of a file: nothing is used before it is bounded.

A file can say that a value is nested a million times, that one tuple is in itself twice at every
level (so that printing or hashing it takes forever), that a shape has 10¹⁰⁰ elements. So a reader
looks at sizes and types first (`element_count`, `is_flat`, `check_nesting`), puts values into error
messages through `describe`, and turns each failure into its own error (`translated`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = [
    "DEEPEST",
    "check_nesting",
    "describe",
    "element_count",
    "is_flat",
    "translated",
]

DEEPEST = 300  # levels of containers in a file; the functions that walk them call themselves
_MOST_DIMENSIONS = 64  # of an array, NumPy's limit
_MOST_ELEMENTS = (1 << 59) - 1  # of at most 16 bytes each: NumPy counts bytes in 63 bits
_SCALARS = (str, bytes, int, float, complex, type(None))
_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # RecursionError is one
    MemoryError,
    BufferError,
    struct.error,
)


def describe(value: Any) -> str:
    """A few words about a value of a file for an error message: its type, and no more than 40
    characters of a text or number. Containers are never printed: that can take forever."""
    name = type(value).__name__
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= 40 else f"{value[:40]!r}..."
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 130 else f"an int of {value.bit_length()} bits"
    if isinstance(value, float | complex):
        return repr(value)
    if isinstance(value, list | tuple | dict | set | frozenset):
        return f"a {name} of {len(value):,}"
    return f"a {name}"


def is_flat(value: Any) -> bool:
    """Whether a value can be a key or a member of a set here: a scalar, or a tuple or frozenset of
    scalars. Hashing those takes no longer than reading them."""
    if isinstance(value, tuple | frozenset):
        return all(isinstance(item, _SCALARS) for item in value)
    return not isinstance(value, list | dict | set | bytearray)


def check_nesting(root: Any, deepest: int = DEEPEST) -> None:
    """Check how deep dicts, lists, tuples and sets are nested; no container is looked at twice.

    A container that is in itself counts once, where it is first met.
    Raises: ValueError if there are more than `deepest` levels.
    """
    levels: dict[int, int] = {}  # by id of a container: how many levels it has, itself included
    path: list[tuple[Any, Iterator[Any]]] = []  # from the root to where we are
    below = [0]  # for each container of the path: the most levels of its children so far
    on_path: set[int] = set()

    def enter(value: Any) -> None:
        path.append((value, _containers_in(value)))
        below.append(0)
        on_path.add(id(value))

    enter(root)
    while path:
        value, children = path[-1]
        child = next((c for c in children if id(c) not in on_path), None)
        if child is None:
            path.pop()
            on_path.remove(id(value))
            levels[id(value)] = 1 + below.pop()
            below[-1] = max(below[-1], levels[id(value)])
        elif id(child) in levels:
            below[-1] = max(below[-1], levels[id(child)])
        else:
            enter(child)
        if len(path) + below[-1] > deepest:
            raise ValueError(f"nested more than {deepest} levels deep")


def _containers_in(value: Any) -> Iterator[Any]:
    """The containers among the elements of a container; of another value none."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set | frozenset):
        return iter(())
    return (v for v in value if isinstance(v, dict | list | tuple | set | frozenset))


def element_count(shape: Sequence[Any]) -> int:
    """How many elements an array of this shape has.

    Raises: ValueError if it has more dimensions or elements than an array can have, or a size is
    not an int of at least 0.
    """
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{len(shape):,} dimensions, but an array has at most {_MOST_DIMENSIONS}")
    count = widest = 1
    for n in shape:
        if type(n) is not int or n < 0:
            raise ValueError(f"a dimension of size {describe(n)}")
        count *= n
        widest *= max(n, 1)
        if widest > _MOST_ELEMENTS:
            raise ValueError("a shape with more elements than memory can be addressed")
    return count


@contextmanager
def translated(where: str, kind: type[Exception], fault: str = "is damaged") -> Iterator[None]:
    """Within it every failure of a reader becomes an error of `kind`: where, fault and the cause.

    An error of `kind` passes as it is, and so does OSError, the disk's.
    Raises: `kind`.
    """
    try:
        yield
    except (kind, OSError):
        raise
    except _FAULTS as error:
        reason = str(error).removeprefix(f"{where}: ")[:300]
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise kind(f"{where} {fault}: {reason}" if fault else f"{where} {reason}") from error
