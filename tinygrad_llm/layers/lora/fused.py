"""Adapters under the names of transformers' model, where one matrix here is several of theirs.

Our qkv holds the rows of q_proj, k_proj and v_proj below each other, and PEFT has an adapter for
each: A_q (r, in), B_q (q rows, r), and so on.

    split   A is the same for all three and written three times; B is cut by its rows. Exact.
    join    if all A are equal: that A, and the B below each other, rank r. Otherwise A is the A
            below each other and B has its blocks on the diagonal: rank k·r for k adapters. One
            adapter has one rank, so all other layers get rows and columns of zeros, and alpha
            becomes k·alpha. The numbers computed stay the same. A part without an adapter (PEFT's
            default leaves k_proj out) has zeros in its rows of B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["Parts", "joined", "joined_whole", "split_rows"]

Parts = Mapping[str, Sequence[tuple[str, slice]]]  # our module: (their module, its rows here)
Pair = dict[str, np.ndarray]


def split_rows(array: np.ndarray, rows: slice) -> np.ndarray:
    """The rows of one published matrix, contiguous."""
    return np.ascontiguousarray(array[rows])


def joined(
    parts: Parts, theirs: dict[str, Pair], sizes: Mapping[str, int], where: str
) -> tuple[dict[str, Pair], int]:
    """({our module: its lora_A and lora_B}, k) of PEFT's pairs; the rank has become k times as big.

    theirs: {their module: {"lora_A": (r, in), "lora_B": (rows, r)}}; those that are used are taken
    out. sizes: the rows of each of our modules.
    Raises: ValueError for a pair with a missing or wrong matrix.
    """
    own: dict[str, list[tuple[slice, Pair]]] = {}
    for name, each in parts.items():
        present = [(rows, theirs.pop(module)) for module, rows in each if module in theirs]
        if present and name in sizes:
            own[name] = present
    for name, present in own.items():
        for rows, pair in present:
            n = len(range(*rows.indices(sizes[name])))
            _check(pair, n, f"{where}: {name}")
    k = max((1 if _same(present) else len(present) for present in own.values()), default=1)
    return {name: _join(present, sizes[name], k) for name, present in own.items()}, k


def _check(pair: Pair, rows: int, where: str) -> None:
    """Raises: ValueError if a pair is not complete, or its matrices do not fit each other."""
    if set(pair) != {"lora_A", "lora_B"}:
        raise ValueError(f"{where} has only {sorted(pair)}, expected lora_A and lora_B")
    A, B = pair["lora_A"], pair["lora_B"]
    if A.ndim != 2 or B.ndim != 2 or B.shape != (rows, len(A)):
        raise ValueError(
            f"{where}: lora_B of shape {B.shape} beside lora_A of shape {A.shape}, expected "
            f"{rows} rows and as many columns as lora_A has rows"
        )


def _same(present: Sequence[tuple[slice, Pair]]) -> bool:
    first = present[0][1]["lora_A"]
    return all(np.array_equal(pair["lora_A"], first) for _, pair in present)


def _join(present: Sequence[tuple[slice, Pair]], rows: int, k: int) -> Pair:
    """One A (k·r, in) and one B (rows, k·r) for all the adapters of a module."""
    first = present[0][1]["lora_A"]
    r = len(first)
    A = np.zeros((k * r, first.shape[1]), first.dtype)
    B = np.zeros((rows, k * r), first.dtype)
    same = _same(present)
    for i, (part, pair) in enumerate(present):
        block = slice(0, r) if same else slice(i * r, (i + 1) * r)
        A[block] = pair["lora_A"]
        B[part, block] = pair["lora_B"]
    return {"lora_A": A, "lora_B": B}


def joined_whole(
    parts: Sequence[tuple[str, slice]], own: str, arrays: dict[str, np.ndarray], prefix: str
) -> np.ndarray | None:
    """A module that is trained whole, from its published parts; None if the file has none of them.

    own: "weight" or "bias"; the parts are taken out of `arrays`.
    Raises: ValueError if only some of the parts are there.
    """
    keys = [f"{prefix}{module}.{own}" for module, _ in parts]
    present = [key for key in keys if key in arrays]
    if not present:
        return None
    if len(present) < len(keys):
        missing = ", ".join(sorted(set(keys) - set(present)))
        raise ValueError(f"{present[0]} stands with others in one matrix here: {missing} missing")
    return np.concatenate([arrays.pop(key) for key in keys])  # rows below each other
