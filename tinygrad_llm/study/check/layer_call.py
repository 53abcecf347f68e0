"""One call on which a layer of models is compared with its slow twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import nn, random
from ...tensor import Tensor, dtypes, wrap
from .layer_reference import LAYER_TWINS

__all__ = ["LayerCall", "Use", "same_values"]

Use = Callable[..., Tensor]  # (layer or twin, *inputs) -> what is compared


def _called(layer: Any, *inputs: Tensor, **options: Any) -> Tensor:
    return layer(*inputs, **options)


@dataclass(frozen=True)
class LayerCall:
    """One call: `make` builds the layer; `use(layer, *inputs, **options)` calls it or its twin."""

    layer: str
    make: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Tensor] = field(default_factory=dict)
    use: Use = _called
    ids_below: int = 0  # if positive, the last input are ids, some of them −100

    def made(self, dtype: str = "float64") -> tuple[Any, list[Tensor]]:
        """The layer, its parameters random, and its inputs; the same in every call."""
        with random.fork_rng():
            random.manual_seed(3)
            layer = self.make()
        rng = np.random.default_rng(5)
        module = getattr(layer, "head", layer)
        if isinstance(module, nn.Module):
            module.to(dtype=dtypes.float64 if dtype == "float64" else dtypes.float32)
            for p in module.parameters():
                values = rng.standard_normal(p.shape) * (0.5 if p.dim() > 1 else 0.8)
                p.data = wrap(values.astype(dtype))
        inputs = [
            wrap((rng.standard_normal(s) * 1.3).astype(dtype))
            for s in self.shapes[: len(self.shapes) - bool(self.ids_below)]
        ]
        if self.ids_below:
            ids = rng.integers(0, self.ids_below, self.shapes[-1])
            ids.flat[1] = -100
            inputs.append(wrap(ids))
        return layer, inputs

    def run(self, layer: Any, inputs: list[Tensor]) -> Tensor:
        """What the layer returns for the inputs; masks of numbers get the inputs' dtype."""
        options = {
            name: x.to(inputs[0].dtype) if x.is_floating_point() else x
            for name, x in self.options.items()
        }
        return self.use(layer, *inputs, **options)

    def twin(self, layer: Any) -> Any:
        """The slow twin of the layer."""
        return LAYER_TWINS[self.layer](getattr(layer, "head", layer))


def same_values(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    """Equal in shape, and to `tolerance` of the largest entry of b."""
    a, b = (np.asarray(getattr(x, "array", x), dtype=np.float64) for x in (a, b))
    return a.shape == b.shape and bool(
        np.allclose(a, b, rtol=0, atol=tolerance * max(float(abs(b).max(initial=0.0)), 1e-30))
    )
