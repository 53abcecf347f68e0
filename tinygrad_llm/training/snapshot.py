"""Steps that are taken back: for measuring and for trying, before a run really begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import random
from ..data.batches import Stream
from ..nn import Module
from ..optim import Optimizer
from ..weights import pack, unpack
from .optimizer_state import load_own_state, own_state

__all__ = ["restored_afterwards"]


@contextmanager
def restored_afterwards(model: Module, optimizer: Optimizer, stream: Stream) -> Iterator[None]:
    """Within it steps may be made; afterwards everything that a step changes is as it was.

    That is: weights and buffers, the modes of the modules, the optimizer's state and options, the
    place in the data, and the default random generator. Gradients are dropped.
    """
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
