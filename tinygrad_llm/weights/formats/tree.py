"""Nested state (dicts, lists, numbers, tensors) as JSON and arrays: two formats that run nothing.

`pack` takes the arrays out of a nested structure and leaves their names in it; `unpack` puts them
back. What JSON lacks (integer keys, tuples, sets, tensors, bytes, infinities) is written as a dict
whose key begins with "$", so that every value comes back with its own type and to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...files.untrusted import check_nesting, describe, is_flat
from ...tensor import wrap
from .parts import Part

__all__ = ["pack", "unpack"]


def pack(tree: Any, prefix: str = "") -> tuple[Any, dict[str, Any]]:
    """(what JSON can hold, the arrays by name) of a nested structure.

    tree: None, bool, int, float, str, bytes, list, tuple, dict with keys of any of those types,
    NumPy and CuPy arrays and scalars, and tensors, nested; sets and frozensets of scalars and of
    tuples and frozensets of scalars. Equal sets are written equally.
    Raises: TypeError, which names the place, if it holds anything else.
    """
    arrays: dict[str, Any] = {}
    return _pack(tree, prefix, arrays), arrays


def _pack(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, np.generic):
        return {"$scalar": _keep(np.asarray(value), path, arrays)}
    if is_array(value):
        return {"$array": _keep(value, path, arrays)}
    if isinstance(value, Part):
        return {"$tensor": _keep(value, path, arrays)}
    if is_array(getattr(value, "array", None)):
        return {"$tensor": _keep(value.array, path, arrays)}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    if isinstance(value, (set, frozenset)) and all(map(is_flat, value)):
        members = sorted((_pack(item, path, arrays) for item in value), key=repr)
        return {"$set" if isinstance(value, set) else "$frozenset": members}
    if isinstance(value, Mapping):
        names = {key: f"{path}.{key}" if path else str(key) for key in value}
        packed = {key: _pack(item, names[key], arrays) for key, item in value.items()}
        if all(type(key) is str and not key.startswith("$") for key in packed):
            return packed
        return {"$dict": [[_pack(key, path, arrays), item] for key, item in packed.items()]}
    raise TypeError(
        f"{path or 'the value'} is a {type(value).__name__}, which cannot be stored: state holds "
        "numbers, texts, tensors, lists and dicts of them, and sets of numbers, texts and tuples"
    )


def _keep(array: Any, path: str, arrays: dict[str, Any]) -> str:
    """Store the array under its path, or another name if a sibling (1 and "1") has taken it."""
    name = path
    while name in arrays:
        name += "'"
    arrays[name] = array
    return name


def unpack(tree: Any, arrays: Mapping[str, Any]) -> Any:
    """The structure that `pack` took apart, with copies of its arrays.

    Raises: KeyError if an array is missing; ValueError if `pack` does not write such a tree.
    """
    copies: dict[str, np.ndarray] = {}
    check_nesting(tree)
    return _unpack(tree, arrays, copies)


def _unpack(tree: Any, arrays: Mapping[str, Any], copies: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_unpack(item, arrays, copies) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind, value = next(iter(tree.items())) if len(tree) == 1 else ("", None)
    if kind in ("$float", "$bytes", "$scalar", "$array", "$tensor"):
        if not isinstance(value, str):
            raise ValueError(f"{kind} should be followed by a text, not {describe(value)}")
        if kind == "$float":
            return float(value)
        if kind == "$bytes":
            return bytes.fromhex(value)
        if value not in copies:
            copies[value] = arrays[value].copy()
        array = copies[value]
        return array[()] if kind == "$scalar" else wrap(array) if kind == "$tensor" else array
    if kind in ("$tuple", "$dict", "$set", "$frozenset"):
        if not isinstance(value, list):
            raise ValueError(f"{kind} should be followed by a list, not {describe(value)}")
        if kind == "$tuple":
            return tuple(_unpack(item, arrays, copies) for item in value)
        if kind in ("$set", "$frozenset"):
            made = [_hashable(_unpack(item, arrays, copies), kind) for item in value]
            return set(made) if kind == "$set" else frozenset(made)
        return dict(_pair(item, arrays, copies) for item in value)
    return {key: _unpack(item, arrays, copies) for key, item in tree.items()}


def _pair(item: Any, arrays: Mapping[str, Any], copies: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """A key and its value."""
    if not isinstance(item, list) or len(item) != 2:
        raise ValueError(f"$dict holds {describe(item)} in place of a key and a value")
    key, value = (_unpack(part, arrays, copies) for part in item)
    return _hashable(key, "$dict"), value


def _hashable(key: Any, kind: str) -> Any:
    """A key or a member of a set.

    Raises: ValueError if it is nested, or not hashable.
    """
    if not is_flat(key) or isinstance(key, np.ndarray):
        raise ValueError(f"{kind} holds {describe(key)} as a key")
    return key
