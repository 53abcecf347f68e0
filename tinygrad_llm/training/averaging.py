"""The average of a run's weights (EMA), which takes their place to be measured and saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.devices import device_of, move, use_gpu_of
from ..autograd.inplace_versions import mark_modified
from ..files.untrusted import describe
from ..nn import Module
from ..optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from ..tensor import Tensor, wrap

__all__ = ["WeightAverage"]


class WeightAverage:
    """decay·average + (1 − decay)·weights after each step, beside the weights that are trained.

    `eval()` puts the average into the model and keeps the weights, `train()` puts them back, the
    same bits: the manners of a Schedule-Free optimizer. Source: see optim/swa_utils.py.
    """

    def __init__(self, model: Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.own: list[Any] | None = None  # the trained weights, while the average is in the model

    def update(self) -> None:
        """Takes the weights that a step has left into the average."""
        self.average.update_parameters(self.model)

    @property
    def steps(self) -> int:
        """How many weights were averaged."""
        return int(self.average.n_averaged.item())

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The model's parameters and their averages."""
        return list(zip(self.model.parameters(), self.average.module.parameters(), strict=True))

    def eval(self) -> None:
        """Puts the average into the model, if it is not there and there is one."""
        if self.own is None and self.steps:
            self.own = [p.array.copy() for p, _ in self._pairs()]
            for p, average in self._pairs():
                use_gpu_of(p.array)
                p.array[...] = average.array
                mark_modified(p.array, "WeightAverage.eval()")

    def train(self) -> None:
        """Puts the trained weights back into the model, if the average is there."""
        if self.own is not None:
            for (p, _), own in zip(self._pairs(), self.own, strict=True):
                use_gpu_of(p.array)
                p.array[...] = own
                mark_modified(p.array, "WeightAverage.train()")
            self.own = None

    # ------------------------------------------------------------------------- in a checkpoint
    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the model, whose weights are the average then."""
        own = self.own or []
        weights = {str(i): wrap(array) for i, array in enumerate(own)}
        return {"decay": self.decay, "steps": self.steps, "weights": weights}

    def check(self, state: Any) -> None:
        """Looks whether `state_dict` may have written this.

        Raises: ValueError if not, or if it was another decay.
        """
        if not isinstance(state, dict) or set(state) != {"decay", "steps", "weights"}:
            raise ValueError(f"average is {describe(state)}")
        if state["decay"] != self.decay:
            raise ValueError(f"average: its decay is {describe(state['decay'])}, not {self.decay}")
        steps, weights = state["steps"], state["weights"]
        if type(steps) is not int or steps < 0 or not isinstance(weights, dict):
            raise ValueError(f"average: steps is {describe(steps)}")
        shapes = [tuple(p.shape) for p, _ in self._pairs()] if steps else []
        if [tuple(getattr(w, "shape", ())) for w in weights.values()] != shapes:
            raise ValueError("average: its weights are not those of the model")
        if not all(np.isfinite(w.array.astype("float32")).all() for w in weights.values()):
            raise ValueError("average: a weight is infinite or not a number")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was called; the model has the average already."""
        self.own = None
        self.average.n_averaged.fill_(state["steps"])
        for p, average in self._pairs():
            average.array[...] = p.array
        if state["steps"]:
            self.own = [
                move(w.array.astype(p.array.dtype, copy=True), *device_of(p.array))
                for (p, _), w in zip(self._pairs(), state["weights"].values(), strict=True)
            ]
