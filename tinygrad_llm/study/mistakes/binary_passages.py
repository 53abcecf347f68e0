"""Named mistakes of the loss of binary passages, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import wrong_layer


def _codes_of_both(self: Any, query: Any, passage: Any) -> Any:
    return (self.code(query) * self.code(passage)).sum() * self.layer.scale


wrong_layer(
    "BinaryPassageLoss",
    ("beta forgotten", "The codes are tanh(e): the argument is β·e, which comes closer to the sign "
     "as β grows.", {"code": lambda self, x: x.tanh()}),
    ("beta outside", "The codes are β·tanh(e): β stands inside, so that codes stay within −1 and "
     "1.", {"code": lambda self, x: self.layer.beta * x.tanh()}),
    ("the right passage among the wrong ones", "A passage is compared with itself, which adds the "
     "whole margin: the mean is over the other passages.",
     {"wrong": lambda self, i, n: list(range(n))}),
    ("margin with the other sign", "max(0, m + right − wrong) pushes the right passage away: it is "
     "the wrong product that must be smaller by m.",
     {"violation": lambda self, right, wrong: (self.layer.margin - (wrong - right)).relu()}),
    ("no floor", "m − (right − wrong) without max(0, ·): a passage that is far enough away is "
     "pushed still.",
     {"violation": lambda self, right, wrong: self.layer.margin - (right - wrong)}),
    ("bits of the query too", "The re-ranking takes tanh(β·e_q): the query's own numbers are there "
     "in a search, only passages are stored as bits.", {"certainty": _codes_of_both}),
)  # fmt: skip
