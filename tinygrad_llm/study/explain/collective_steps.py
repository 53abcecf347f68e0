"""A collective to step through: what each rank holds before, what is sent, what it holds after.

Forward, then backward, with the numbers of the worked example. The colours say which ranks' numbers
are in an element: the collective is run again with one rank's numbers moved, and what changes
depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..check.collectives import COLLECTIVES, Collective, run
from ..common.numbers import number_text
from ..draw.replay import Held, Moment, Replay

__all__ = ["collective_steps"]

Arrays = Sequence[Any]  # of every rank
MOVED = 0.25  # by how much one rank's numbers are moved, and more for the later ones


def collective_steps(data: dict[str, Any]) -> Replay:
    """The steps of what `explain_collective` returned."""
    name, example, (forward, backward) = data["name"], data["example"], data["voices"]
    collective = COLLECTIVES[name]
    xs, ys, gs, dxs = (example[k] for k in ("inputs", "output", "upstream", "gradients"))
    derivation = re.split(r"\n(?! )", backward[2])[0]  # its formulas, without the text below them
    ranks = range(len(xs))

    def ahead(given: Arrays) -> Arrays:
        return run(collective, given, gs).outputs

    def behind(given: Arrays) -> Arrays:
        return run(collective, xs, given).gradients

    own = [_own(x, r, len(xs)) for r, x in enumerate(xs)]
    own_g = [_own(g, r, len(xs)) for r, g in enumerate(gs)]
    of_y, of_dx = _origins(ahead, xs, ys), _origins(behind, gs, dxs)
    moments: list[Moment] = []
    columns: list[list[Held]] = [[] for _ in ranks]

    def moment(phase: str, title: str, voices: tuple[str, str], sent: Any = None) -> None:
        places = {f"rank {r}": list(columns[r]) for r in ranks}
        moments.append(Moment(phase, title, *voices, places, sent))

    def arrive(caption: str, arrays: Arrays, origins: Arrays) -> None:
        for r in ranks:
            for held in columns[r]:
                held.new = False
            words = _parts(name, arrays[r])
            columns[r] = [
                *map(_copy, columns[r]),
                Held(caption, arrays[r], words, origins[r], True),
            ]

    arrive(f"{example['x']} of this rank", xs, own)
    before = "All ranks have the same numbers." if collective.same_input else (
        "Every rank has its own numbers, and knows no others.")  # fmt: skip
    moment("forward", "Before: what each rank has", (before, forward[2]))
    moment("forward", "On the way: what the ranks send", (_way(data, "forward"), forward[2]),
           _sent(data, "forward"))  # fmt: skip
    arrive("y of this rank", ys, of_y)
    moment("forward", "After: what each rank has now",
           (forward[1] + _sentence("y", collective, ahead, xs, ys), forward[2]))  # fmt: skip
    arrive("g = ∂L/∂y of this rank", gs, own_g)
    moment("backward", "A gradient arrives at each rank's y", (_loss(collective), data["loss"]))
    moment("backward", "On the way: what the ranks send", (_way(data, "backward"), derivation),
           _sent(data, "backward"))  # fmt: skip
    arrive("∂L/∂x of this rank", dxs, of_dx)
    moment("backward", "After: the gradient of each rank's x",
           (backward[1] + _sentence("∂L/∂x", collective, behind, gs, dxs), derivation))  # fmt: skip
    arrive("∂L/∂x by the slow twin", data["twin"]["gradients"], [None] * len(xs))
    moment("check", "Is it right?", _checked(data))
    return Replay(f"{name} on {len(xs)} ranks, step by step", moments,
                  "The ranks are threads of one process.", len(xs))  # fmt: skip


def _parts(name: str, array: Any) -> list[str]:
    """Words for the rows of ring attention's x, which holds three matrices."""
    if name != "ring_attention" or len(array) != 3:
        return []
    return [f"{word} {i}" for word in ("query", "key", "value") for i in range(array.shape[2])]


def _copy(held: Held) -> Held:
    return Held(held.caption, held.array, held.rows, held.origins, False)


def _own(array: Any, rank: int, ranks: int) -> np.ndarray:
    """Every element of a rank's array comes from it: (ranks, ...) booleans."""
    return np.stack([np.full(np.shape(array), r == rank) for r in range(ranks)])


def _origins(function: Callable[[Arrays], Arrays], given: Arrays, result: Arrays) -> list[Any]:
    """For each rank's result: the ranks that each element depends on, (ranks, ...)."""
    changed = []
    for rank in range(len(given)):
        moved = [np.array(a) for a in given]
        steps = MOVED * np.arange(1.0, moved[rank].size + 1)
        moved[rank] = moved[rank] + steps.reshape(moved[rank].shape)
        pairs = zip(function(moved), result, strict=True)
        changed.append([np.abs(a - b) > 1e-12 for a, b in pairs])
    return [np.stack([of_rank[r] for of_rank in changed]) for r in range(len(result))]


def _sentence(
    what: str, collective: Collective, function: Callable[[Arrays], Arrays], given: Arrays,
    result: Arrays,
) -> str:  # fmt: skip
    """Where one number comes from: the last one of the first rank that has it from elsewhere.

    "" for ring attention, whose output is not a sum of what the ranks bring.
    """
    zeros = [np.zeros_like(a) for a in given]
    shares = [
        function(
            [a if r == q else zero for r, (a, zero) in enumerate(zip(given, zeros, strict=True))]
        )
        for q in range(len(given))
    ]  # (from rank, on rank)
    sums = [np.sum([share[r] for share in shares], 0) for r in range(len(given))]
    if not all(np.allclose(a, b) for a, b in zip(sums, result, strict=True)):
        return ""
    parts = [[float(share[r].reshape(-1)[-1]) for share in shares] for r in range(len(given))]
    rank = next((r for r, every in enumerate(parts) if any(every[:r] + every[r + 1 :])), 0)
    terms = [f"{number_text(v)} from rank {q}" for q, v in enumerate(parts[rank]) if v]
    total = f" give {number_text(sum(parts[rank]))}" if len(terms) > 1 else ""
    return f" The last number of {what} on rank {rank}: {' and '.join(terms)}{total}."


def _sent(data: dict[str, Any], way: str) -> list[tuple[str, str, str]]:
    """From which rank, to which, and the messages in their order."""
    between: dict[tuple[str, str], list[str]] = {}
    for each, rank, kind, to, n in data["sent"]:
        if each == way:
            text = f"{n:,} byte{'s' * (n != 1)} ({kind})"
            between.setdefault((f"rank {rank}", f"rank {to}"), []).append(text)
    return [(*pair, ", ".join(texts)) for pair, texts in between.items()]


def _way(data: dict[str, Any], way: str) -> str:
    sizes = [n for each, rank, _, _, n in data["sent"] if each == way and rank == "0"]
    if not sizes:
        return "Nothing has to be sent: each rank computes its result from what it has."
    before = "besides the line that they compare first"
    if len(set(sizes)) > 1:
        before += "; with the small messages they agree on how many rows go where"
    return f"What each rank sends to the others, {before}."


def _loss(collective: Collective) -> str:
    if collective.same_input:
        return "All ranks compute the same loss, and each knows the gradient through its part."
    if collective.same_output:
        return "All ranks compute the same loss with the same y, and so have the same gradient."
    return "The loss is the sum of what the ranks call their loss: each brings its own gradient."


def _checked(data: dict[str, Any]) -> tuple[str, str]:
    wrong = sum(row["wrong"] for row in data["check"])
    plain = "The slow twin is the same in primitives on one rank: its gradient is the chain rule's."
    largest = max(row["difference"] for row in data["check"])
    return plain, (
        f"largest difference from the twin: {number_text(data['twin']['difference'], 3)}\n"
        f"largest difference from finite differences: {number_text(largest, 3)}; "
        f"{wrong} numbers are wrong"
    )
