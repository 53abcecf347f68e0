"""Which named mistake a wrong layer of models made, from what it returned.

    y = my_attention(x)
    for finding in diagnose_layer(Attention(12, 4, window=3), y, x):
        print(finding.text)

The planted mistakes of the layer (study/mistakes/whole_layers.py) are run on the same inputs, with
the parameters of the true layer; what equals one of them is called by its name.
"""

from __future__ import annotations

from typing import Any

from ...autograd.grad_mode import no_grad
from ...tensor import Tensor
from ..mistakes.whole_layers import LAYER_MISTAKES, LayerMistake
from .layer_call import Use, _called, same_values
from .layer_reference import LAYER_TWINS

__all__ = ["diagnose_layer"]


def diagnose_layer(
    layer: Any, output: Any, *inputs: Tensor, use: Use = _called, **options: Any
) -> list[LayerMistake]:
    """The named mistakes whose output this is; an empty list if it is right or has no name.

    layer: the true layer, with the parameters that the learner's layer has
    output: what the learner's layer returned for the inputs and options
    use: use(layer, *inputs, **options) calls it, if a plain call is not enough
    Raises: ValueError if the layer has no slow twin.
    """
    name = type(layer).__name__
    if name not in LAYER_TWINS:
        raise ValueError(f"{name} has no slow twin: there are {', '.join(LAYER_TWINS)}")
    twin = LAYER_TWINS[name]
    with no_grad():
        expected = use(twin(layer), *inputs, **options)
        if same_values(output, expected, 1e-4):
            return []
        matching = []
        for mistake in LAYER_MISTAKES[name]:
            try:
                made = use(mistake.planted(twin)(layer), *inputs, **options)
            except (ValueError, IndexError, RuntimeError):
                continue  # this mistake makes no output of these inputs
            if same_values(output, made, 1e-4):
                matching.append(mistake)
    return matching
