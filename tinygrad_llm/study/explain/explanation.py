"""explain: what an op, a layer, a loss, an optimizer or a schedule does, and its backward pass.

    print(study.explain("layer_norm"))            # an op
    print(study.explain("TransformerBlock"))      # a layer or a model
    print(study.explain("AdamW"))                 # an optimizer, on three numbers
    print(study.explain("StepLR"))                # a schedule of the learning rate
    print(study.explain("all_gather"))            # a collective, on 2 ranks

Nothing is written for it: the text is the docstring, the code is the source, and every number is
computed by the real op, layer or optimizer when it is explained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...autograd.engine import Op
from ...tensor import Tensor
from ..common.html import FilePath, InNotebooks, written
from ..common.terminal import Text
from .names import collectives, example_name, layers, lookup

__all__ = ["Explanation", "explain"]


class Explanation(InNotebooks):
    """What `study.explain` returns: print it, write it with `html()`, or read `data`.

    data    a dict with everything: texts, numbers, NumPy arrays
    """

    def __init__(
        self, data: dict[str, Any], diagram: Callable[[], tuple[str, str]] | None = None
    ) -> None:
        self.data = data
        self._diagram = diagram  # makes the SVG for a page, and the words under it

    def text(self, width: int | None = None, color: bool = False) -> Text:
        """The explanation for a terminal."""
        from .text import text

        return text(self.data, width, color)

    def html(
        self, file: FilePath | None = None, links: Mapping[str, str] | None = None
    ) -> str:  # fmt: skip
        """The explanation as an HTML page in one file, which is written if `file` is given.

        links: word -> address, of other pages, shown at the top
        """
        from .page import page

        diagram = ("", "") if self._diagram is None else self._diagram()
        return written(page(self.data, diagram, links or {}), file)

    def as_dict(self) -> dict[str, Any]:
        """`data` in JSON's types: arrays as lists, lines as text with values."""
        return plain_data(self.data)

    @property
    def right(self) -> bool:
        """Whether every element passed the gradient check."""
        return not any(row["wrong"] for row in self.data["check"])

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()


def explain(what: Any, *inputs: Any, **options: Any) -> Explanation:
    """Explain an op, a layer, a loss, a model, an optimizer, a schedule or a collective.

    what      its name ("layer_norm", "LayerNorm", "nn.Linear", "AdamW"), some with a setting
              ("Attention(cross=True)"), or a class, which may be yours: an Op, a Module or an
              Optimizer
    inputs    for an op: arrays of float64 for the worked example, with the op's options

    A name in snake_case means an op, one in CamelCase a layer or an optimizer; "ops.", "nn." and
    "optim." in front decide where both exist.
    Raises: ValueError, with the nearest names, if the name is unknown; TypeError if `what` is
    neither a name nor an op, a layer, an optimizer or a schedule.
    """
    from ...nn.module import Module
    from ...optim import Optimizer
    from ...optim.lr_scheduler import LRScheduler

    kind = lookup(what) if isinstance(what, str) else what
    if isinstance(kind, Module | Op | Optimizer | LRScheduler):
        kind = type(kind)
    if not inspect.isclass(kind):
        raise TypeError(f"explain: expected a name or a class, got {type(what).__name__}")
    if issubclass(kind, Op) and kind in collectives().values() and not (inputs or options):
        from .collective import explain_collective

        return _with_diagram(explain_collective(kind), kind)
    if issubclass(kind, Op):
        from .op import explain_op

        arrays = [x.numpy(force=True) if isinstance(x, Tensor) else x for x in inputs]
        given = arrays or None
        return _with_diagram(explain_op(kind, given, **options), kind, given, **options)
    if inputs or options:
        raise TypeError("explain: inputs and options can be given for an op only")
    if issubclass(kind, Module) or kind in layers().values():
        from .layer import explain_layer

        return _with_diagram(explain_layer(kind, example_name(what)), kind)
    if issubclass(kind, Optimizer):
        from .optimizer import explain_optimizer

        return _with_diagram(explain_optimizer(kind), kind)
    if issubclass(kind, LRScheduler):
        from .schedule import explain_schedule

        return _with_diagram(explain_schedule(kind), kind)
    raise TypeError(f"explain: {kind.__name__} is not an op, a layer, an optimizer or a schedule")


def _with_diagram(data: dict[str, Any], kind: type, *inputs: Any, **options: Any) -> Explanation:
    def diagram() -> tuple[str, str]:
        from .diagrams import diagram_of

        return diagram_of(data, kind, *inputs, **options)

    return Explanation(data, diagram)


# ------------------------------------------------------------------------------------ as plain data
def plain_data(value: Any) -> Any:
    """A value in JSON's types: arrays as nested lists, lines as dicts, other objects as text."""
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
