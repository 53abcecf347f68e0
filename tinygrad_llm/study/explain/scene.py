"""The worked examples of all that explain knows, except ops, as drawings to step through."""

from __future__ import annotations

from typing import Any

from ... import random
from ...optim import Optimizer
from ...optim.lr_scheduler import LRScheduler
from ...tensor import Tensor
from ...tensor.nested import tensors_in
from ..draw.descent import Descent
from ..draw.drawing import Drawing, draw
from ..draw.replay import Replay
from .cache_steps import MEMORIES, memory_steps
from .collective import explain_collective
from .collective_steps import collective_steps
from .descents import drawn_descent
from .example import SMALL
from .layer_examples import LAYERS
from .names import collectives, example_name, lookup

__all__ = ["drawn_example"]


def drawn_example(name: str, fold: int | None = None) -> Drawing | Descent | Replay:
    """The graph of a layer's or a model's example, from a loss back to its inputs.

    name      as explain takes it: "Attention", "Llama"; "AdamW" and "StepLR", whose example is a
              descent; "all_reduce" and "AttentionCache", whose examples are moments one by one
    fold      see draw
    The loss is a model's own; of a layer it is Σ y², of all its outputs y.
    Raises: ValueError, with the nearest names, if the name is unknown; or if it means an op, or a
    layer without an example.
    """
    kind: Any = lookup(name)
    if issubclass(kind, Optimizer | LRScheduler):
        return drawn_descent(kind)
    if kind in collectives().values():
        return collective_steps(explain_collective(kind))
    if kind in MEMORIES:
        return memory_steps(kind)
    example = LAYERS.get(example_name(name) or kind.__name__)
    if example is None or example.kind is not kind:
        raise ValueError(
            f"{name} has no example with a graph; draw a layer, a model, an optimizer, a schedule, "
            "a collective or a cache"
        )
    with random.fork_rng():
        random.manual_seed(0)
        module = example.make(SMALL).double()
        inputs = example.arguments(SMALL)
        names = {f"input {i}" if len(inputs) > 1 else "x": x for i, x in enumerate(inputs)}
        for x in inputs:
            if x.is_floating_point():
                x.requires_grad = True

        def loss() -> Tensor:
            outputs = list(tensors_in(example.run(module, *inputs)))
            if len(outputs) == 1 and not outputs[0].shape:
                return outputs[0]
            return sum(((y * y).sum() for y in outputs[1:]), (outputs[0] * outputs[0]).sum())

        return draw(loss, module, names=names, fold=fold, title=kind.__name__)
