"""JSON files: read with errors that name the file, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from .atomic import atomic_write
from .paths import local_path
from .untrusted import DEEPEST, describe

__all__ = [
    "finite",
    "json_bytes",
    "levels_in",
    "no_constants",
    "parse_json",
    "read_bounded",
    "read_json",
    "read_json_object",
    "write_json",
    "write_json_lines",
]

_LARGEST = 1 << 30  # bytes of a file of JSON
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level down, one level up
_OTHERS = bytes(set(range(256)) - set(b"[{]}"))


def parse_json(
    text: str | bytes, where: str, *, unique: bool = True, numbers: Callable[[str], Any] = float
) -> Any:
    """The value that a text of JSON stands for. This is the one reader of JSON from files.

    text: the JSON, or its bytes in UTF-8 (a byte order mark at the beginning is left out); where:
    the file (and line), for messages; unique: refuse an object with one name twice, of which JSON
    readers keep now one, now the other; numbers: called with NaN, Infinity and -Infinity.
    Raises: ValueError, with `where`, if it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        if (levels := levels_in(text)) > DEEPEST:
            raise ValueError(f"nested {levels:,} levels deep, more than {DEEPEST}")
        hook = _no_repeats if unique else None
        return json.loads(text, object_pairs_hook=hook, parse_constant=numbers)
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error


def levels_in(text: str) -> int:
    """How deep objects and lists are nested in a text of JSON, or more if it is broken."""
    brackets = _STRING.sub("", text).encode("utf-8", "replace").translate(_STEPS, _OTHERS)
    return max(accumulate(memoryview(brackets).cast("b")), default=0)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the name {describe(repeated)} is in one object twice")
    return unique


def no_constants(name: str) -> NoReturn:
    """As `numbers` of parse_json: NaN and infinities are not JSON.

    Raises: ValueError, always.
    """
    raise ValueError(f"{name} is not a number of JSON")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a UTF-8 file of JSON.

    Raises: OSError if the file cannot be read; ValueError, with the path, if it is larger than
    1 GiB, not UTF-8, not JSON, or nested too deeply.
    """
    path = local_path(path)
    return parse_json(read_bounded(path, "a file of JSON"), str(path))


def read_bounded(path: Path, what: str) -> bytes:
    """The bytes of a file that is read whole. what: it is, for messages.

    Raises: OSError if the file cannot be read; ValueError if it is larger than 1 GiB.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: too large for {what}")
    return path.read_bytes()


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object (names and values) in a UTF-8 file.

    Raises: as read_json, and ValueError if the file holds a list, a number or another value.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path} should hold one JSON object, but holds a {type(value).__name__}")
    return value


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """A value as JSON in UTF-8; indent: None for one line without blanks.

    A text with half a character in it (a lone surrogate: a file name that is not UTF-8) is written
    with escapes, because UTF-8 cannot write it.
    Raises: TypeError if JSON does not have such a value; ValueError for NaN and infinities.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    for escaped in (False, True):
        text = json.dumps(
            value, ensure_ascii=escaped, indent=indent, separators=separators, allow_nan=False
        )
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:
            continue
    raise AssertionError("escaped JSON is ASCII")


def finite(value: Any) -> Any:
    """The value with None for every NaN and infinity in it, which JSON cannot write."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | os.PathLike[str], value: Any, indent: int = 1) -> None:
    """Write a value as JSON that people can read, in one step.

    Raises: OSError from the disk.
    """
    text = json_bytes(value, indent)
    with atomic_write(path) as file:
        file.write(text + b"\n")


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[Any]) -> Path:
    """Write each value as one line of JSON, the file in one step; returns its path.

    Raises: OSError from the disk.
    """
    path = local_path(path)
    with atomic_write(path) as file:
        for row in rows:
            file.write(json_bytes(row) + b"\n")
    return path
