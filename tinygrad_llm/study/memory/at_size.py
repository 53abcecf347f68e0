"""Memory at GPT-2's sizes, computed from a small run.

The op runs with small primes for B, T, C and so on. A dimension of 143 = 11·13 must then be B·T,
so what an op keeps is known at every size, and nothing large is allocated.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...arrays.memory import storage_of
from ...autograd.engine import Op
from ...tensor import Tensor
from ..common.op_examples import GPT2, PRIMES
from ..common.source import saved_names
from .kept import kept_arrays

__all__ = ["Kept", "kept_by", "letters_of", "letters_of_both", "name_of_saved", "size_at"]


@dataclass
class Kept:
    """One array that an op keeps for backward."""

    name: str
    letters: tuple[str, ...]  # its dimensions: ("B", "T", "1")
    dtype: str
    bytes: int  # at GPT-2's sizes
    is_input: str  # the input whose memory it is; "" for memory that the op allocated

    @property
    def shape(self) -> str:
        """The dimensions as text: "(B, T, 1)"."""
        return "(" + ", ".join(self.letters) + ")"


def letters_of(n: int, sizes: Mapping[str, int] = PRIMES) -> str:
    """A dimension as letters: "B·T" for 143; the number itself if no letter divides it."""
    left, factors = n, []
    for letter, prime in sizes.items():
        while prime > 1 and left % prime == 0:
            left //= prime
            factors.append(letter)
    if left > 1 or not factors:
        factors.insert(0, str(left))
    return "·".join(factors)


def size_at(letters: str, sizes: Mapping[str, int] = GPT2) -> int:
    """The size of a dimension, given as letters ("4·C + 2·H"), at these sizes."""
    total = 0
    for term in letters.split(" + "):
        n = 1
        for part in term.split("·"):
            n *= int(part) if part.isdigit() else sizes[part]
        total += n
    return total


def letters_of_both(n: int, sizes: Mapping[str, int], m: int, others: Mapping[str, int]) -> str:
    """A dimension that is n at some sizes and m at others, as letters: also "4·C + 2·H".

    A sum can have a letter as a factor by chance at one set of sizes; two sets show that.
    """
    letters = letters_of(n, sizes)
    if size_at(letters, others) == m:
        return letters
    for x, y in itertools.permutations(sizes, 2):
        determinant = sizes[x] * others[y] - sizes[y] * others[x]  # n = a·x + b·y, twice
        a, left = divmod(n * others[y] - m * sizes[y], determinant or 1)
        b, rest = divmod(m * sizes[x] - n * others[x], determinant or 1)
        if determinant and not left and not rest and a >= b > 0:
            return f"{a}·{x} + {b}·{y}"
    return str(n)


def kept_by(
    op: Op,
    inputs: Mapping[str, Any],
    known: set[int] | None = None,
    primes: Mapping[str, int] = PRIMES,
    sums: Mapping[int, str] | None = None,
) -> list[Kept]:
    """What an op that ran at the primes keeps for backward, each piece of memory once.

    inputs    the op's inputs by name: an array that lies in the memory of one is marked so
    known     ids of memory owners to leave out; the owners of these arrays are added
    sums      the letters of dimensions that are sums at the primes, as letters_of_both found them
    """
    sums = {} if sums is None else sums
    names = saved_names(type(op))
    owner_of = {
        id(storage_of(x.array if isinstance(x, Tensor) else x)): name
        for name, x in inputs.items()
        if hasattr(x, "shape")
    }
    known = set() if known is None else known
    every = []
    for label, array in kept_arrays(op):
        owner = storage_of(array)
        if id(owner) in known:
            continue
        known.add(id(owner))
        shape = array.shape if array.size == owner.size else owner.shape
        letters = tuple(sums.get(n) or letters_of(n, primes) for n in shape)
        n = owner.itemsize
        for letter in letters:
            n *= size_at(letter)
        name = name_of_saved(label, names)
        every.append(Kept(name, letters, str(array.dtype), n, owner_of.get(id(owner), "")))
    return every


def name_of_saved(label: str, names: Sequence[str]) -> str:
    """The name of "saved[1]" in the op's code; the label itself if it has none."""
    if label.startswith("saved["):
        at, _, index = label.removeprefix("saved[").partition("]")
        if int(at) < len(names) and names[int(at)].isidentifier() and names[int(at)] != "_":
            return names[int(at)] + index
    return label
