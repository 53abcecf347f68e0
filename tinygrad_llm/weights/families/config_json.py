"""Reading config.json: numbers, values that a model cannot have, and rotary positions.

transformers 4 wrote rope_theta, rope_scaling and torch_dtype; 5 writes rope_parameters and dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe
from ...layers.rotary import SCALINGS

__all__ = ["check_fixed", "flag", "number", "numbers", "rope", "rope_json", "rope_of"]


# Scalings that transformers completes with the model's context.
_FROM_CONTEXT = ("dynamic", "llama3", "longrope", "yarn")
ORIGINAL = "original_max_position_embeddings"
LARGEST_FLOAT = int(sys.float_info.max)  # float() of a larger integer raises
LONGEST = 1 << 31  # tokens of a context
MOST_LAYERS = 1 << 16  # lists with an entry for each layer are made before weights are looked at


def number(where: str, name: str, value: Any, kind: Any) -> Any:
    """The value of a field, if it is a number of this kind (an int is a float too).

    Raises: ValueError if it is not.
    """
    if type(value) is not kind and not (kind is float and type(value) is int):
        words = "an integer" if kind is int else "a number"
        raise ValueError(f"{where}: {name} should be {words}, got {describe(value)}")
    if kind is float and abs(value) > LARGEST_FLOAT and type(value) is int:
        raise ValueError(f"{where}: {name} is too large for a number: {describe(value)}")
    return float(value) if kind is float else value


def numbers(
    where: str, config: Mapping[str, Any], names: Mapping[str, tuple[str, type, Any]],
    file: str = "config.json",
) -> dict[str, Any]:  # fmt: skip
    """Our field -> value of every field in `names`.

    names: field of config.json -> (our field, int or float, what its absence or null stands for;
    `...` if it must be there)
    Raises: ValueError if a field is missing, or is not such a number; for more layers than any
    model has, before there is a list with an entry for each.
    """
    fields = {}
    for theirs, (ours, kind, default) in names.items():
        value = config.get(theirs)
        if value is None and default is ...:
            raise ValueError(f"{where}: {file} has no {theirs}")
        fields[ours] = default if value is None else number(where, theirs, value, kind)
        layers = ours in ("n_layers", "n_decoder_layers")
        if layers and value is not None and not 1 <= value <= MOST_LAYERS:
            raise ValueError(
                f"{where}: {theirs} should be from 1 to {MOST_LAYERS:,}, got {describe(value)}"
            )
    return fields


def check_fixed(
    where: str, config: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]], what: str
) -> None:
    """Compare fields of config.json with the values that the model here can have.

    fixed: field -> possible values, the first of which its absence stands for; what: "this GPT"
    Raises: ValueError with both sides.
    """
    for name, possible in fixed.items():
        if config.get(name, possible[0]) not in possible:
            allowed = " or ".join(map(repr, possible))
            raise ValueError(
                f"{where}: {name} is {describe(config[name])}, but {what} has {allowed}"
            )


def rope(
    where: str, config: Mapping[str, Any], base: float = 10000.0
) -> tuple[float, dict[str, Any] | None]:
    """(base, scaling) of rotary positions, as Rotary takes them; scaling is None for none.

    base: what an absent rope_theta stands for
    Raises: ValueError if a field is not a number, or not an object.
    """
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise ValueError(f"{where}: rope_scaling should be an object, got {describe(given)}")
    if given.get("partial_rotary_factor") not in (None, 1):
        share = describe(given["partial_rotary_factor"])
        raise ValueError(f"{where}: partial_rotary_factor is {share}, but this model turns all")
    return rope_of(where, given, config.get("rope_theta", base), config)


def rope_of(
    where: str, given: Mapping[str, Any], theta: Any, config: Mapping[str, Any]
) -> tuple[float, dict[str, Any] | None]:
    """(base, scaling) of one object of rope_parameters; `theta` if it does not say rope_theta.

    partial_rotary_factor, another argument of Rotary, is left to the family.
    Raises: ValueError if Rotary does not know the rope_type, or a field is not a number.
    """
    scaling = {name: value for name, value in given.items() if value is not None}
    base = number(where, "rope_theta", scaling.pop("rope_theta", theta), float)
    kind = scaling.pop("type", None)  # transformers 4 called it so once
    kind = scaling.pop("rope_type", kind) or "default"
    scaling.pop("partial_rotary_factor", None)
    if not isinstance(kind, str) or kind not in SCALINGS:
        raise ValueError(
            f"{where}: rope_type is {describe(kind)}; those that can be computed are "
            f"{', '.join(SCALINGS)}"
        )
    if kind == "default":
        return base, None
    if "factor" in scaling:
        factor = scaling["factor"] = number(where, "factor", scaling["factor"], float)
        if not 0.0 < factor < LONGEST:
            raise ValueError(
                f"{where}: factor should be above 0 and below {LONGEST:,}, got {factor}"
            )
    if kind in _FROM_CONTEXT and "max_position_embeddings" in config:
        name, context = ORIGINAL, config["max_position_embeddings"]
        original = config.get(name) or scaling.get(name, context)
        for value in (original, context):
            if not 1 <= number(where, name, value, int) <= LONGEST:
                raise ValueError(
                    f"{where}: {name} should be from 1 to {LONGEST:,}, got {describe(value)}"
                )
        scaling[name] = original
        if kind == "longrope":
            scaling.setdefault("factor", context / original)
    return base, {"rope_type": kind, **scaling}


def rope_json(base: float, scaling: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of config.json for rotary positions, as transformers 4 and 5 read them.

    "dynamic" begins at max_position_embeddings there, so that this field is among them.
    """
    scaling = dict(scaling or {})
    context = {}
    if scaling.get("rope_type") == "dynamic":
        context = {"max_position_embeddings": scaling.pop(ORIGINAL)}
    return {
        **context,
        "rope_theta": base,
        "rope_scaling": scaling or None,
        "rope_parameters": {"rope_type": "default", **scaling, "rope_theta": base},
    }


def flag(where: str, config: Mapping[str, Any], name: str, default: bool) -> bool:
    """The value of a field that is true or false.

    Raises: ValueError if it is another value.
    """
    value = config.get(name, default)
    if type(value) is not bool:
        raise ValueError(f"{where}: {name} should be true or false, got {describe(value)}")
    return value


def layer_types(where: str, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The field layer_types, a name for each block; None if there is none.

    Raises: ValueError if it is not a list of names.
    """
    types = config.get("layer_types")
    if types is None:
        return None
    if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
        raise ValueError(f"{where}: layer_types should be a list of names, got {describe(types)}")
    return tuple(types)
