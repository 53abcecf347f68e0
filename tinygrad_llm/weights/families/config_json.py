"""Reading config.json: numbers, values that a model cannot have, and rotary positions.

transformers 4 wrote rope_theta, rope_scaling and torch_dtype; 5 writes rope_parameters and dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe

__all__ = ["check_fixed", "flag", "number", "numbers", "rope", "rope_json", "rope_of"]


def number(where: str, name: str, value: Any, kind: Any) -> Any:
    """The value of a field, if it is a number of this kind (an int is a float too).

    Raises: ValueError if it is not.
    """
    if type(value) is not kind and not (kind is float and type(value) is int):
        words = "an integer" if kind is int else "a number"
        raise ValueError(f"{where}: {name} should be {words}, got {describe(value)}")
    return float(value) if kind is float else value


def numbers(
    where: str, config: Mapping[str, Any], names: Mapping[str, tuple[str, type, Any]]
) -> dict[str, Any]:
    """Our field -> value of every field in `names`.

    names: field of config.json -> (our field, int or float, what its absence or null stands for;
    `...` if it must be there)
    Raises: ValueError if a field is missing, or is not such a number.
    """
    fields = {}
    for theirs, (ours, kind, default) in names.items():
        value = config.get(theirs)
        if value is None and default is ...:
            raise ValueError(f"{where}: config.json has no {theirs}")
        fields[ours] = default if value is None else number(where, theirs, value, kind)
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
    return rope_of(where, given, config.get("rope_theta", base), config)


def rope_of(
    where: str, given: Mapping[str, Any], theta: Any, config: Mapping[str, Any]
) -> tuple[float, dict[str, Any] | None]:
    """(base, scaling) of one object of rope_parameters; `theta` if it does not say rope_theta."""
    scaling = {name: value for name, value in given.items() if value is not None}
    base = number(where, "rope_theta", scaling.pop("rope_theta", theta), float)
    kind = scaling.pop("type", None)  # transformers 4 called it so once
    kind = scaling.pop("rope_type", kind) or "default"
    scaling.pop("partial_rotary_factor", None)  # another field of the models that have it
    if kind == "default":
        return base, None
    return base, {"rope_type": kind, **scaling}


def rope_json(base: float, scaling: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of config.json for rotary positions, as transformers 4 and 5 read them."""
    return {
        "rope_theta": base,
        "rope_scaling": dict(scaling) if scaling else None,
        "rope_parameters": {"rope_type": "default", **(scaling or {}), "rope_theta": base},
    }


def flag(where: str, config: Mapping[str, Any], name: str, default: bool) -> bool:
    """The value of a field that is true or false.

    Raises: ValueError if it is another value.
    """
    value = config.get(name, default)
    if type(value) is not bool:
        raise ValueError(f"{where}: {name} should be true or false, got {describe(value)}")
    return value
