"""Tables of names: which published weight is which part of which parameter here.

    BLOCK = {
        "self_attn.q_proj.weight": ("att.qkv.weight", "QC"),
        "self_attn.k_proj.weight": ("att.qkv.weight", "KC"),
        ...

Letters are the sizes of the published shape. Published weights of one parameter follow each other
in its rows: q, then k, then v. `expanded` turns such rows into `Weight`s for a model's sizes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...arrays.devices import to_numpy
from ..sources import Source

__all__ = [
    "Names", "Table", "Weight", "check", "expanded", "listed", "to_huggingface", "without_prefix",
]  # fmt: skip

Table = Mapping[str, tuple[str, str]]  # published name: (name here, letters of the shape)


class Weight(NamedTuple):
    """One published weight.

    name   of the parameter here that it is, or is a part of
    shape  of the published array
    part   of the parameter, as an index: (slice(0, 8),) for its first rows; () for all of it
    turned whether the published matrix is (in, out)
    copy   whether it is a second copy of what another name holds, which a file may lack

    The part may have another shape than the published array: the numbers stay in their order.
    """

    name: str
    shape: tuple[int, ...]
    part: tuple[Any, ...] = ()
    turned: bool = False
    copy: bool = False


@dataclass(frozen=True)
class Names:
    """What a module of weights/families offers, for the same model with another head.

    ARCHITECTURES: the classes in a config.json that mean this one; the others: as in the modules.
    """

    MODEL_TYPES: tuple[str, ...]
    ARCHITECTURES: tuple[str, ...]
    PREFIX: str
    IGNORED: re.Pattern[str]
    weights: Callable[[Mapping[str, Any]], dict[str, Weight]]
    read_config: Callable[[Mapping[str, Any], str], dict[str, Any]]
    write_config: Callable[[Mapping[str, Any]], dict[str, Any]]


def expanded(
    table: Table, sizes: Mapping[str, int], theirs: str = "", ours: str = ""
) -> dict[str, Weight]:
    """Published name -> Weight for the rows of a table.

    sizes: letter -> number; theirs, ours: what stands before each name of the two, such as
    "model.layers.3." and "trf_blocks.3."
    """
    rows: dict[str, int] = {}  # of each parameter here: where the next part begins
    shares = [name for name, _ in table.values()]
    weights = {}
    for published, (name, letters) in table.items():
        shape = tuple(sizes[letter] for letter in letters)
        part: tuple[Any, ...] = ()
        if shares.count(name) > 1:
            start = rows.get(name, 0)
            rows[name] = start + shape[0]
            part = (slice(start, rows[name]),)
        weights[theirs + published] = Weight(ours + name, shape, part)
    return weights


def listed(names: Iterable[str]) -> str:
    """The first six of the names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def without_prefix(names: Iterable[str], prefix: str, ignored: re.Pattern[str]) -> dict[str, str]:
    """The name with the prefix -> the name in the file, of all names that are not ignored.

    A model without its output layer is published without the prefix of the names. A model that
    sees pictures too has its text's part as language_model, which belongs to no name here.
    """
    kept = {name.replace("language_model.", "", 1): name for name in names
            if not ignored.search(name)}  # fmt: skip
    bare = not any(name.startswith(prefix) for name in kept)
    return {
        (prefix + name if bare and not name.startswith("lm_head.") else name): stored
        for name, stored in kept.items()
    }


def check(source: Source, expected: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Compare the names and shapes of all weights with what they should be.

    expected: published name -> shape; what: of which model they should be, "the GPT-2"
    Raises: ValueError that lists missing and unexpected names, and wrong shapes with both shapes.
    """
    there = source.names()
    missing = [name for name in expected if name not in set(there)]
    unexpected = [name for name in there if name not in expected]
    wrong = [
        f"{name} has shape {source.shape(name)}, expected {shape}"
        for name, shape in expected.items()
        if name in set(there) and source.shape(name) != shape
    ]
    problems = [
        *([f"missing: {listed(missing)}"] if missing else []),
        *([f"unexpected: {listed(unexpected)}"] if unexpected else []),
        *wrong[:6],
        *([f"and {len(wrong) - 6} more wrong shapes"] if len(wrong) > 6 else []),
    ]
    if problems:
        raise ValueError(f"{source.where} is not {what} expected:\n  " + "\n  ".join(problems))


def to_huggingface(
    weights: Mapping[str, Weight], state: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """(published name, array in the published layout) of each weight, one by one.

    state: our names -> tensors or arrays
    A bias that the state does not have is written as zeros, which computes the same.
    Raises: KeyError if the state has not all other names.
    """
    for published, weight in weights.items():
        if weight.name not in state and weight.name.endswith("bias"):
            like = state[weight.name.removesuffix("bias") + "weight"]
            yield published, np.zeros(weight.shape, getattr(like, "array", like).dtype)
            continue
        array = to_numpy(getattr(state[weight.name], "array", state[weight.name]))[weight.part]
        array = array.T if weight.turned else array.reshape(weight.shape)
        yield published, np.ascontiguousarray(array)
