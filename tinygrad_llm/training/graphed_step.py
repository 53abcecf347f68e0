"""A training step as one launch on a GPU: see `cuda.graphed`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays.twins import twins
from ..cuda import graphed
from ..functions.shape.join import cat
from ..models.base import device_of
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim import Adam, MuonWithAdamW, Optimizer
from ..tensor import Tensor, wrap
from .step import Loss, Setup

__all__ = ["GraphedStep", "graphable"]

_SHAPES = 16  # graphs at most: batches of other shapes are computed without one


def graphable(model: Module, optimizer: Optimizer, loss: Loss, accumulation: int = 1) -> bool:
    """Whether a step of training can be captured.

    That takes a model on a GPU with our kernels, Adam or AdamW, one batch in a step, no gradient
    checkpointing, and a loss that does not say `can_be_captured = False`. Muon's matrix products
    are cuBLAS's through CuPy, which refuses to be captured.
    """
    device = device_of(model)
    return (
        device is not None
        and device.type != "cpu"
        and twins.gpu is not None
        and accumulation == 1
        and isinstance(optimizer, Adam)
        and not isinstance(optimizer, MuonWithAdamW)
        and not getattr(model, "gradient_checkpointing", False)
        and getattr(loss, "can_be_captured", True)
    )


class GraphedStep:
    """GraphedStep(setup)(batch, targets) makes a step: (loss, gradient's norm).

    batch: tensors in a tuple or list, or in a dict, whose other values the loss does not get;
    targets: how many of it count. There is a graph for each of the first 16 shapes of batches, so
    pad texts to a few lengths. Reading the two numbers from the GPU is the step's only wait. If one
    of them is not finite the weights stay as they were.
    Raises: RuntimeError if the model is not on a GPU, or a part of the step can't be captured.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        device = next(iter(setup.model.parameters())).device
        if device.type == "cpu":
            raise RuntimeError("graph=True needs the model on a GPU: model.to('cuda') comes first")
        self.names: list[str] | None = None  # of the tensors, where a batch is a dict
        self.graphed = graphed(self._step, device=device, max_graphs=_SHAPES)

    def __call__(self, batch: Any, targets: int) -> tuple[float, float]:
        if isinstance(batch, Mapping):
            self.names = [name for name, value in batch.items() if isinstance(value, Tensor)]
            batch = [batch[name] for name in self.names]
        count = wrap(np.array(targets, np.int64))
        loss, norm = self.graphed(count, *batch).tolist()
        return loss, norm

    def _step(self, targets: Tensor, *tensors: Tensor) -> Tensor:
        setup = self.setup
        batch = tensors if self.names is None else dict(zip(self.names, tensors, strict=True))
        setup.optimizer.zero_grad()
        loss = setup.loss(setup.model, batch)
        loss.backward()
        setup.reduce(setup.model.parameters(), targets)
        norm = clip_grad_norm_(setup.model.parameters(), setup.largest_norm)
        norm = norm + loss.detach() * 0.0  # a loss that is not finite makes the norm NaN
        setup.optimizer.gradient_norm = norm.array
        try:
            setup.optimizer.step()
        finally:
            setup.optimizer.gradient_norm = None
        return cat([loss.detach().reshape(1), norm.reshape(1)])
