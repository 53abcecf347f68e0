"""config.json of models in which blocks with a window and full ones take turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe
from .config_json import layer_types, number, rope_of

__all__ = ["FULL", "SLIDING", "kinds", "kinds_of", "read_ropes", "write_ropes"]

FULL, SLIDING = "full_attention", "sliding_attention"


def kinds(
    where: str, config: Mapping[str, Any], n_layers: int, every: int,
    pattern: str = "sliding_window_pattern", other: str = SLIDING,
) -> tuple[str, ...]:  # fmt: skip
    """The kind of each block: layer_types, or as transformers 4 wrote it.

    every: each how-many-th block is full if neither is there; pattern: the old field that says so
    other: the kind of the others
    Raises: ValueError if a field is broken.
    """
    types = layer_types(where, config)
    if types is not None:
        return types
    given = config.get(pattern)  # null means the family's own pattern, 0 nothing
    every = number(where, pattern, every if given is None else given, int)
    if every < 1:
        raise ValueError(f"{where}: {pattern} should be at least 1, got {every}")
    return tuple(other if (i + 1) % every else FULL for i in range(n_layers))


def kinds_of(fields: Mapping[str, Any], every: int, other: str = SLIDING) -> tuple[str, ...]:
    """The kind of each block, from a config's fields: None if each `every`-th is full."""
    given = fields["layer_types"]
    count = range(1, fields["n_layers"] + 1)
    return tuple(given or (FULL if i % every == 0 else other for i in count))


def read_ropes(
    where: str, config: Mapping[str, Any], base: float, local_base: float | None
) -> dict[str, Any]:
    """The fields rope_base, rope_scaling and local_rope_base.

    base, local_base: what is meant if the file does not say it; None for that of full blocks
    transformers 5 writes rope_parameters for each kind of block; 4 wrote rope_theta and
    rope_scaling for full blocks, and rope_local_base_freq.
    Raises: ValueError if a field is broken, or if blocks with a window have a scaling.
    """
    given = config.get("rope_parameters") or {}
    old = config.get("rope_scaling") or {}
    for name, value in (("rope_parameters", given), ("rope_scaling", old)):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {name} should be an object, got {describe(value)}")
    of_kind = {kind: given.get(kind) or {} for kind in (FULL, SLIDING)}
    if FULL not in given and SLIDING not in given:
        of_kind[FULL] = {**given, **old}
    for value in of_kind.values():
        if not isinstance(value, dict):
            raise ValueError(f"{where}: rope_parameters should have objects, got {describe(value)}")
    theta, scaling = rope_of(where, of_kind[FULL], config.get("rope_theta", base), config)
    near = config.get("rope_local_base_freq", theta if local_base is None else local_base)
    local, of_windows = rope_of(where, of_kind[SLIDING], near, config)
    if of_windows is not None:
        kind = of_windows["rope_type"]
        raise ValueError(
            f"{where}: rope_parameters of {SLIDING} is {kind}, but only full blocks are scaled here"
        )
    return {"rope_base": theta, "rope_scaling": scaling, "local_rope_base": local}


def write_ropes(fields: Mapping[str, Any], every: int) -> dict[str, Any]:
    """The fields of config.json for both kinds of blocks, as transformers 5 reads them.

    every: each how-many-th block is full if the fields do not say it
    """
    full = {"rope_type": "default", **(fields["rope_scaling"] or {})}
    return {
        "rope_parameters": {
            FULL: {**full, "rope_theta": fields["rope_base"]},
            SLIDING: {"rope_type": "default", "rope_theta": fields["local_rope_base"]},
        },
        "layer_types": list(kinds_of(fields, every)),
        "sliding_window": fields["window"],
    }
