"""Steps that are taken back: for measuring and for trying, before a run really begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import random
from ..weights import pack, unpack
from .optimizer_state import load_own_state, own_state
from .step import Setup

__all__ = ["restored_afterwards"]


@contextmanager
def restored_afterwards(setup: Setup) -> Iterator[None]:
    """Within it steps may be made; afterwards everything that a step changes is as it was.

    That is: weights and buffers, the modes of the modules, the optimizer's state and options, the
    place in the data, and the default random generator. Gradients are dropped. An average of the
    weights sees none of these steps; it may be in the model before.
    """
    average = setup.average
    was_averaged = average is not None and average.own is not None
    model, optimizer, stream = setup.model, setup.optimizer, setup.stream
    if average is not None:
        average.train()
    modes = [(module, module.training) for module in model.modules()]
    weights = [(p, p.array.copy()) for p in [*model.parameters(), *model.buffers()]]
    tree, arrays = pack(own_state(optimizer))
    arrays = {name: array.copy() for name, array in arrays.items()}
    place = stream.state_dict()
    with random.fork_rng():
        try:
            yield
        finally:
            for p, array in weights:
                p.array[...] = array
            optimizer.zero_grad()
            load_own_state(optimizer, unpack(tree, arrays))
            stream.load_state_dict(place)
            for module, training in modes:
                module.training = training
            if average is not None and was_averaged:
                average.eval()
