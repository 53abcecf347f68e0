"""JSON files: read with errors that name the file, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .atomic import atomic_write

__all__ = ["read_json", "read_json_object", "write_json"]


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a UTF-8 file of JSON.

    Raises: OSError if the file cannot be read; ValueError, with the path, if it is not UTF-8, not
    JSON, or nested too deeply.
    """
    try:
        return json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object (names and values) in a UTF-8 file.

    Raises: as read_json, and ValueError if the file holds a list, a number or another value.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path} should hold one JSON object, but holds a {type(value).__name__}")
    return value


def write_json(path: str | os.PathLike[str], value: Any, indent: int = 1) -> None:
    """Write a value as JSON that people can read, in one step.

    Raises: OSError from the disk.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    with atomic_write(path) as file:
        file.write(text.encode("utf-8") + b"\n")
