"""Calls of the losses of reinforcement learning and distillation, with every option.

Shapes: B answers, T tokens, N tokens of a batch, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...layers.distillation import DistillationLoss
from ...layers.policy import PolicyLoss
from ...layers.value import ValueLoss
from ...tensor import Tensor, wrap
from .layer_call import LayerCall

__all__ = ["policy_calls"]


def policy_calls() -> list[LayerCall]:
    """PolicyLoss with every ratio, clip and average; ValueLoss; DistillationLoss both ways."""
    draw = np.random.default_rng(11)

    def numbers(*shape: int) -> Tensor:
        return wrap(draw.standard_normal(shape))

    mask = wrap(np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool))
    answers = wrap(np.array([0.8659, -0.8659, 0.3]))
    given = {"old": numbers(3, 4), "advantages": answers}
    whole = {**given, "reference": numbers(3, 4), "mask": mask}
    kinds: list[tuple[dict[str, Any], dict[str, Tensor]]] = [
        ({}, given), ({"beta": 0.1}, whole), ({"clip_low": None}, whole),
        ({"clip_high": 0.6, "average": "token"}, {**whole, "advantages": numbers(3, 4)}),
        ({"cispo": True, "clip_high": 0.5, "average": "token", "beta": 0.2}, whole),
        ({"ratio": "sequence", "clip_low": 0.4, "beta": 0.1}, whole),
        ({"ratio": "none", "average": "sum"}, whole),
        ({"average": "length", "longest": 7, "beta": 0.1}, whole),
    ]  # fmt: skip
    calls = [
        LayerCall("PolicyLoss", partial(PolicyLoss, **options), ((3, 4),), tensors)
        for options, tensors in kinds
    ]
    values = {"old": numbers(3, 4), "returns": numbers(3, 4)}
    for clip, tensors in ((0.2, values), (0.7, {**values, "mask": mask}), (None, values)):
        calls.append(LayerCall("ValueLoss", partial(ValueLoss, clip), ((3, 4),), tensors))
    for temperature in (1.0, 2.5, 0.5):
        for direction in ("forward", "reverse"):
            make = partial(DistillationLoss, temperature, direction)
            calls.append(LayerCall("DistillationLoss", make, ((5, 4),), {"teacher": numbers(5, 4)}))
    return calls
