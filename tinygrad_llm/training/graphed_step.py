"""A training step as one launch on a GPU: see `cuda.graphed`."""

from __future__ import annotations

import math
from typing import Any

from ..cuda import graphed
from ..functions.shape.join import cat
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..tensor import Tensor
from .step import Loss

__all__ = ["GraphedStep"]


class GraphedStep:
    """GraphedStep(model, optimizer, loss, clip)(batch) makes a step: (loss, gradient's norm).

    clip: the largest gradient norm, None for no clipping. Reading the two numbers from the GPU is
    the step's only wait. If one of them is not finite the weights stay as they were.
    Raises: RuntimeError if the model is not on a GPU, or a part of the step can't be captured.
    """

    def __init__(self, model: Module, optimizer: Optimizer, loss: Loss, clip: float | None) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.largest = math.inf if clip is None else clip
        device = next(iter(model.parameters())).device
        if device.type == "cpu":
            raise RuntimeError("graph=True needs the model on a GPU: model.to('cuda') comes first")
        self.graphed = graphed(self._step, device=device)

    def __call__(self, batch: Any) -> tuple[float, float]:
        loss, norm = self.graphed(*batch).tolist()
        return loss, norm

    def _step(self, *batch: Any) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.model, batch)
        loss.backward()
        norm = clip_grad_norm_(self.model.parameters(), self.largest)
        norm = norm + loss.detach() * 0.0  # a loss that is not finite makes the norm NaN
        self.optimizer.gradient_norm = norm.array
        try:
            self.optimizer.step()
        finally:
            self.optimizer.gradient_norm = None
        return cat([loss.detach().reshape(1), norm.reshape(1)])
