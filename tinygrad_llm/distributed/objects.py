"""Objects between ranks: numbers, texts, tensors, lists, tuples and dicts of them, and sets.

They travel as JSON and, for arrays and tensors, as safetensors: nothing that arrives is run, as
unpickling would. An object of another kind is an error on the rank that has it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..arrays.devices import to_numpy
from ..weights.formats.safetensors import load, save
from ..weights.formats.tree import pack, unpack
from .errors import DistError
from .groups import get_rank, member_group, run
from .process_group import ProcessGroup
from .steps import all_gathered_bytes
from .transport import Steps

__all__ = [
    "all_gather_object",
    "broadcast_object_list",
    "from_bytes",
    "gather_object",
    "scatter_object_list",
    "to_bytes",
]


def to_bytes(value: Any) -> np.ndarray:
    """An object as bytes: the length of its JSON, the JSON, its arrays.

    Raises: TypeError, which names the place, if it holds anything else than numbers, texts, bytes,
    tensors, arrays, and lists, tuples, dicts and sets of them.
    """
    tree, arrays = pack(value)
    text = json.dumps(tree, ensure_ascii=True, allow_nan=False).encode()
    data = save({name: to_numpy(array) for name, array in arrays.items()}) if arrays else b""
    return np.frombuffer(len(text).to_bytes(8, "little") + text + data, np.uint8)


def from_bytes(data: np.ndarray) -> Any:
    """The object that to_bytes was given.

    Raises: ValueError if the bytes are not such an object.
    """
    raw = data.tobytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or end > len(raw):
        raise ValueError(f"an object of {len(raw)} bytes is not complete")
    return unpack(json.loads(raw[8:end]), load(raw[end:]) if end < len(raw) else {})


def _exchanged(group: ProcessGroup, value: Any, what: str, giver: int | None = None) -> list[Any]:
    """Every rank's object; only that of `giver`, a rank in the group, if it is given.

    Raises: TypeError on the rank whose object cannot be sent, DistError on the others.
    """
    mine, error = np.empty(0, np.uint8), None
    if giver in (None, group.rank()):
        try:
            mine = to_bytes(value)
        except TypeError as fault:
            error = fault

    def steps() -> Steps:
        return (yield from all_gathered_bytes(group, mine))

    everyones = run(group, what, steps())
    if error is not None:
        raise error
    givers = range(group.size()) if giver is None else [giver]
    for rank in givers:
        if not everyones[rank].size:
            raise DistError(f"{what}: the object of rank {group.ranks[rank]} cannot be sent")
    return [from_bytes(everyones[rank]) for rank in givers]


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Put every rank's object into the list, which has a place for each.

    Raises: TypeError for an object that is not made of numbers, texts, tensors, lists, dicts and
    sets.
    """
    chosen = member_group(group, "all_gather_object")
    if chosen is None:
        return
    if len(object_list) < chosen.size():
        raise ValueError(
            f"all_gather_object: expected a list of {chosen.size()} places, got {len(object_list)}"
        )
    if chosen.size() == 1:
        object_list[0] = obj
        return
    object_list[: chosen.size()] = _exchanged(chosen, obj, "all_gather_object()")


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None,
    group: Any = None, group_dst: int | None = None,
) -> None:  # fmt: skip
    """all_gather_object whose result only rank dst has, or group_dst: its rank in the group.

    Raises: ValueError if rank dst has no list of the right length.
    """
    chosen = member_group(group, "gather_object")
    if chosen is None:
        return
    root = chosen.named(dst, group_dst, 0)
    here = chosen.rank() == root
    if here and len(object_gather_list or ()) != chosen.size():
        raise ValueError(f"gather_object: rank dst needs a list of {chosen.size()} places")
    gathered = _exchanged(chosen, obj, f"gather_object(dst={chosen.ranks[root]})")
    if here and object_gather_list is not None:
        object_gather_list[:] = gathered


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """Replace the list's objects by those of rank src, or group_src: its rank in the group.

    Raises: TypeError as all_gather_object does; ValueError for a list of another length.
    """
    chosen = member_group(group, "broadcast_object_list")
    if chosen is None:
        return
    root = chosen.named(src, group_src, 0)
    if chosen.size() == 1:
        return
    what = f"broadcast_object_list(src={chosen.ranks[root]}) of {len(object_list)} objects"
    (objects,) = _exchanged(chosen, list(object_list), what, root)
    if chosen.rank() != root:
        object_list[:] = objects


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None,
    src: int | None = None, group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Put this rank's object of rank src's list into the first place of the output list.

    Raises: ValueError if rank src's list does not have one object per rank.
    """
    chosen = member_group(group, "scatter_object_list")
    if chosen is None:
        return
    if not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size 1.")
    root = chosen.named(src, group_src, 0)
    given = list(scatter_object_input_list or ())
    if chosen.rank() == root and len(given) != chosen.size():
        raise ValueError(
            f"scatter_object_list: rank {get_rank()} needs one object per rank, {chosen.size()}, "
            f"got {len(given)}"
        )
    (objects,) = _exchanged(chosen, given, f"scatter_object_list(src={chosen.ranks[root]})", root)
    scatter_object_output_list[0] = objects[chosen.rank()]
