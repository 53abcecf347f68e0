"""What explain says about a collective as an op: its class, and an example of 2 ranks, computed.

The ranks are threads of this process, so nothing needs to be installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...autograd.engine import Op
from ...distributed.traffic import Exchange
from ..check.collectives import COLLECTIVES, numeric, run, slow
from ..common.plain_steps import COLLECTIVE_WORDS
from ..common.source import backward_text, first_line, place_of, source_of
from ..mistakes.collectives import COLLECTIVE_MISTAKES

__all__ = ["explain_collective"]

TOLERANCE = 1e-6  # of a gradient, for a finite difference of numbers of this size
SUM_OF_THE_RANKS = (
    "L = Σ_r L_r: every rank calls backward on its own loss, and gets ∂L/∂x for its x.\n"
    "Every rank runs the same ops, so their backward passes meet in the same order."
)
SAME_LOSS = (
    "L is the same on every rank, as in tensor parallelism: all ranks compute it from the same\n"
    "numbers, and it counts once."
)


def explain_collective(op: type[Op]) -> dict[str, Any]:
    """Everything about a collective as a dict of texts, numbers and arrays."""
    name = next(name for name, each in COLLECTIVES.items() if each.op is op)
    collective = COLLECTIVES[name]
    xs = collective.inputs()
    ran = run(collective, xs)
    ys, gradients = slow(collective, xs, ran.upstream)
    expected = numeric(collective, xs, ran.upstream)
    same = collective.same_input or collective.same_output
    sent = [*_sent("forward", ran.forward), *_sent("backward", ran.backward)]
    return {
        "kind": "collective",
        "name": name,
        "class": op.__name__,
        "file": place_of(op),
        "title": first_line(op),
        "doc": inspect.cleandoc(op.__doc__ or ""),
        "voices": [
            ("forward", COLLECTIVE_WORDS[name][0], first_line(op)),
            ("backward", COLLECTIVE_WORDS[name][1], backward_text(op)),
        ],
        "loss": SAME_LOSS if same else SUM_OF_THE_RANKS,
        "forward": source_of(op.forward),
        "backward": source_of(op.backward),
        "example": {
            "x": collective.x,
            "inputs": xs,
            "options": collective.options_for(len(xs)),
            "output": ran.outputs,
            "upstream": ran.upstream,
            "gradients": ran.gradients,
        },
        "sent": sent,
        "twin": {
            "source": source_of(collective.twin),
            "gradients": gradients,
            "difference": _apart([*ran.outputs, *ran.gradients], [*ys, *gradients]),
        },
        "mistakes": [{"name": m.name, "sentence": m.sentence} for m in COLLECTIVE_MISTAKES[name]],
        "check": [
            {
                "name": f"x on rank {rank}",
                "elements": b.size,
                "wrong": int((np.abs(a - b) > TOLERANCE).sum()),
                "difference": _apart([a], [b]),
                "largest": float(np.abs(b).max()),
            }
            for rank, (a, b) in enumerate(zip(ran.gradients, expected, strict=True))
        ],
    }


def _sent(
    way: str, exchanges: Sequence[Sequence[Exchange]]
) -> list[tuple[str, str, str, str, int]]:
    """(forward or backward, rank, operation, to which rank, bytes) of every message."""
    return [
        (way, str(exchange.rank), message.kind, str(to), n)
        for of_rank in exchanges for exchange in of_rank for message in exchange.messages
        for to, n in message.sent.items() if not message.agreement
    ]  # fmt: skip


def _apart(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
