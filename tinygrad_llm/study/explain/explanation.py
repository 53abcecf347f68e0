"""explain: what an op, a layer, a loss or an optimizer does, and how it goes back.

    print(study.explain("layer_norm"))            # an op
    print(study.explain("TransformerBlock"))      # a layer or a model
    print(study.explain("AdamW"))                 # an optimizer, on three numbers

Nothing is written for it: the text is the docstring, the code is the source, and every number was
worked out by the real thing a moment ago.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ...autograd.engine import Op
from ...tensor import Tensor
from ..common.html import FilePath, written
from ..common.terminal import Text
from .names import lookup

__all__ = ["Explanation", "explain"]


class Explanation:
    """What `study.explain` gives: print it, `html()` it, or read `data`.

    data    a dict of everything: texts, numbers, NumPy arrays
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def text(self, width: int | None = None, color: bool = False) -> Text:
        """The explanation for a terminal."""
        from .text import text

        return text(self.data, width, color)

    def html(self, file: FilePath | None = None) -> str:
        """The explanation as a page in one file; written if a file is named."""
        from .page import page

        return written(page(self.data), file)

    def as_dict(self) -> dict[str, Any]:
        """`data` as JSON holds it: arrays as lists, lines as text with values."""
        return plain_data(self.data)

    @property
    def right(self) -> bool:
        """Whether the live gradient check found every element right."""
        return not any(row["wrong"] for row in self.data["check"])

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()


def explain(what: Any, *inputs: Any, **options: Any) -> Explanation:
    """Explain an op, a layer, a loss, a model or an optimizer.

    what      its name ("layer_norm", "LayerNorm", "nn.Linear", "AdamW"), or the class itself, also
              one of your own: an Op subclass, a Module or an Optimizer class
    inputs    for an op: arrays of float64 to work the example on, with the op's options

    A name in snake_case means an op, one in CamelCase a layer or an optimizer; "ops.", "nn." and
    "optim." in front decide where both exist. ValueError with the nearest names for one that is
    not known; TypeError for what can't be explained.
    """
    from ...nn.module import Module
    from ...optim import Optimizer

    found = lookup(what) if isinstance(what, str) else what
    if isinstance(found, Module | Op | Optimizer):
        found = type(found)
    if not inspect.isclass(found):
        raise TypeError(f"explain: expected a name or a class, got {type(what).__name__}")
    if issubclass(found, Op):
        from .op import explain_op

        arrays = [x.numpy(force=True) if isinstance(x, Tensor) else x for x in inputs]
        return Explanation(explain_op(found, arrays or None, **options))
    if inputs or options:
        raise TypeError("explain: inputs can be given for an op only")
    if issubclass(found, Module):
        from .layer import explain_layer

        return Explanation(explain_layer(found))
    if issubclass(found, Optimizer):
        from .optimizer import explain_optimizer

        return Explanation(explain_optimizer(found))
    raise TypeError(f"explain: {found.__name__} is no op, no layer and no optimizer")


# ------------------------------------------------------------------------------------ as plain data
def plain_data(value: Any) -> Any:
    """A value as JSON holds it: arrays as nested lists, lines as dicts, the rest as text."""
    from ..common.lines import LineRun
    from ..common.numbers import is_value, plain

    if isinstance(value, Tensor):
        value = value.array
    if isinstance(value, LineRun):
        return {"line": value.number, "text": value.text, "values": plain_data(value.values)}
    if is_value(value):
        array = np.asarray(plain(value))
        return plain_data(array.tolist()) if array.size <= 10_000 else {"shape": array.shape}
    if isinstance(value, dict):
        return {str(k): plain_data(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain_data(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return repr(value)
