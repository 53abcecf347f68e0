"""Random damage to files: bytes that change, and values of JSON that are replaced by bad ones."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2, 255, -(2**31), 2**31, 2**63, -(2**63) - 1, 10**30, 10**4000,
    0.0, -0.0, 1.5, -1e-320, 1e308, math.inf, -math.inf, math.nan, "", " ", "\0", "a", "cpu",
    "cuda:9",
    "NaN", "../../x", "/etc/passwd", "\ud800", "é" * 300, "x" * 100_000, "1" * 5000, [], [[]],
    [None], ["a"], [1, 2, 3], [1.5], [-1], [2**40], [0] * 70, {}, {"": {}}, {"a": 1},
    {"$type": "x"}, {"$array": "w"}, {"$tensor": "nothing"}, {"$dict": [[[1], 2]]}, 
    {"$bytes": "zz"},
]  # fmt: skip


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a value of JSON."""
    locations = []
    to_visit = [value]
    while to_visit:
        container = to_visit.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in list(keys):
            locations.append((container, key))
            if isinstance(container[key], dict | list):
                to_visit.append(container[key])
    return locations


def change_json(text: str, rng: random.Random) -> str:
    """The text of JSON with one to three of its values damaged."""
    value = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        everywhere = places(value) if isinstance(value, dict | list) else []
        if not everywhere:
            return json.dumps(copy.deepcopy(rng.choice(NASTY)))
        container, key = rng.choice(everywhere)
        what = rng.randrange(8)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, dict):
            container[rng.choice(["x", "", "step", "name", "$type"])] = container.pop(key)
        elif what == 2:
            other, other_key = rng.choice(everywhere)
            if other_key in other if isinstance(other, dict) else other_key < len(other):
                container[key] = json.loads(json.dumps(other[other_key]))
        elif what == 3:
            container[key] = deep(rng.choice([5, 250, 310]))
        elif what == 4 and isinstance(container[key], int | float):
            container[key] = container[key] * rng.choice([-1, 0.5, 2, 1000, 10**9]) + rng.choice(
                [0, 1]
            )
        elif what == 5 and isinstance(container[key], list):
            container[key] = copy.deepcopy(container[key] * rng.choice([0, 2, 50]))
        else:
            container[key] = copy.deepcopy(rng.choice(NASTY))
    return json.dumps(value) if rng.randrange(50) else "[" * 5000


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes: flipped, cut, inserted, repeated, set to extremes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            return bytes(out)
        at = rng.randrange(len(out))
        what = rng.randrange(7)
        if what == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[at] = rng.choice([0, 1, 0x28, 0x2E, 0x5D, 0x7F, 0x80, 0x85, 0xFF])
        elif what == 2:
            del out[at : at + rng.choice([1, 2, 8, 100])]
        elif what == 3:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4, 9])))
        elif what == 4:
            n = rng.choice([1, 5, 40])
            out[at:at] = out[at : at + n] * rng.choice([1, 2, 1000])
        elif what == 5:
            value = rng.choice([0, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1])
            out[at : at + 8] = value.to_bytes(8, "little")
        else:
            out = out[:at]
    return bytes(out)
