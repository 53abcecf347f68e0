"""Memory at GPT-2's sizes, worked out from a small run.

The op runs with small primes for B, T, C and so on. A dimension of 143 = 11·13 is then B·T, and
what an op keeps is known at any size without allocating it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...arrays.memory import storage_of
from ...autograd.engine import Op
from ...tensor import Tensor
from ..common.op_examples import GPT2, PRIMES
from ..common.source import saved_names
from .kept import kept_arrays

__all__ = ["Kept", "kept_by", "letters_of", "name_of_saved", "size_at"]


@dataclass
class Kept:
    """One array that an op keeps for backward."""

    name: str
    letters: tuple[str, ...]  # its dimensions: ("B", "T", "1")
    dtype: str
    bytes: int  # at GPT-2's sizes
    is_input: str  # the input whose memory it is, which lives anyway; "" for an array of its own

    @property
    def shape(self) -> str:
        return "(" + ", ".join(self.letters) + ")"


def letters_of(n: int, sizes: Mapping[str, int] = PRIMES) -> str:
    """A dimension as letters: "B·T" for 143; the number itself where no letter divides it."""
    left, found = n, []
    for letter, prime in sizes.items():
        while prime > 1 and left % prime == 0:
            left //= prime
            found.append(letter)
    if left > 1 or not found:
        found.insert(0, str(left))
    return "·".join(found)


def size_at(letters: str, sizes: Mapping[str, int] = GPT2) -> int:
    """How large a dimension is at the sizes given."""
    n = 1
    for part in letters.split("·"):
        n *= int(part) if part.isdigit() else sizes[part]
    return n


def kept_by(
    op: Op,
    inputs: Mapping[str, Any],
    known: set[int] | None = None,
    primes: Mapping[str, int] = PRIMES,
) -> list[Kept]:
    """What an op that ran at the primes keeps, each memory once; `known` are owners to leave out.

    inputs: what the op was given, by name; an array whose memory is an input's is marked so.
    """
    names = saved_names(type(op))
    owner_of = {
        id(storage_of(x.array if isinstance(x, Tensor) else x)): name
        for name, x in inputs.items()
        if hasattr(x, "shape")
    }
    known = set() if known is None else known
    found = []
    for label, array in kept_arrays(op):
        owner = storage_of(array)
        if id(owner) in known:
            continue
        known.add(id(owner))
        shape = array.shape if array.size == owner.size else owner.shape
        letters = tuple(letters_of(n, primes) for n in shape)
        n = owner.itemsize
        for letter in letters:
            n *= size_at(letter)
        name = name_of_saved(label, names)
        found.append(Kept(name, letters, str(array.dtype), n, owner_of.get(id(owner), "")))
    return found


def name_of_saved(label: str, names: Sequence[str]) -> str:
    """What the op's code calls "saved[1]": its name there; the label where it has none."""
    if label.startswith("saved["):
        at, _, rest = label.removeprefix("saved[").partition("]")
        if int(at) < len(names) and names[int(at)].isidentifier() and names[int(at)] != "_":
            return names[int(at)] + rest
    return label
