"""How a worked example of a layer or a model is made, at any sizes of the letters B, T, C, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import nn
from ...tensor import Tensor, wrap
from ..common.op_examples import array_of, shape_of

__all__ = ["LAYER_PRIMES", "OTHER_PRIMES", "SMALL", "Holding", "LayerExample", "Sizes"]

Sizes = Mapping[str, int]
SMALL = {"B": 1, "T": 3, "C": 4, "H": 2, "D": 2, "F": 3, "R": 2, "V": 5}
LAYER_PRIMES = {"B": 11, "T": 13, "C": 323, "H": 17, "D": 19, "F": 29, "R": 7, "V": 31}  # C = H·D
OTHER_PRIMES = {"B": 3, "T": 41, "C": 851, "H": 23, "D": 37, "F": 43, "R": 5, "V": 47}  # the same


@dataclass
class LayerExample:
    """How to build a module, and the inputs for its call.

    A layer that is not a Module, such as a cache, is made inside a Holding.
    """

    kind: type
    make: Callable[[Sizes], nn.Module]
    inputs: str
    domain: str = "real"  # or "share": numbers between 0 and 1 that sum to 1 along the last axis
    call: Callable[..., Any] | None = None  # (module, *inputs), if calling it is not enough
    call_text: str = ""
    method: str = "forward"  # the one whose code is shown
    gradients: bool = True  # whether it is part of the graph
    setting: str = ""  # what differs from the plain example of the same class

    def arguments(self, sizes: Sizes, dtype: str = "float64") -> list[Tensor]:
        """The inputs at these sizes, the same in every call."""
        rng = np.random.default_rng(0)
        arguments = []
        for word in self.inputs.split():
            if "<" in word or word.endswith("?"):
                arguments.append(wrap(array_of(word, sizes)))
                continue
            shape = shape_of(word, sizes)
            x = np.round(rng.uniform(-2.0, 2.0, shape), 1)
            if self.domain == "share":
                x = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
            arguments.append(wrap(x.astype(dtype)))
        return arguments

    def run(self, module: nn.Module, *inputs: Tensor) -> Any:
        """The module's output for these inputs."""
        return self.call(module, *inputs) if self.call else module(*inputs)


class Holding(nn.Module):
    """A module that holds something which is not one, and is shown as `text`."""

    def __init__(self, held: Any, text: str) -> None:
        super().__init__()
        self.held, self.text = held, text

    def __repr__(self) -> str:
        return self.text
