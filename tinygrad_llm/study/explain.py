"""explain: what an op, a layer, a loss or an optimizer does, and how it goes back.

    print(study.explain("layer_norm"))            # an op
    print(study.explain("TransformerBlock"))      # a layer or a model
    print(study.explain("AdamW"))                 # an optimizer, on three numbers

Nothing is written for it: the text is the docstring, the code is the source, and every number was
worked out by the real thing a moment ago.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import numpy as np

from ..autograd.engine import OPS, Op
from ..tensor import Tensor
from .text import Text

__all__ = ["Explanation", "catalogue", "explain"]


class Explanation:
    """What `study.explain` gives: print it, `html()` it, or read `data`.

    data    a dict of everything: texts, numbers, NumPy arrays
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def text(self, width: int | None = None, color: bool = False) -> Text:
        """The explanation for a terminal."""
        from .explain_text import text

        return text(self.data, width, color)

    def html(self, file: Any = None) -> str:
        """The explanation as a page in one file; written if a file is named."""
        from .explain_page import page
        from .html import write

        made = page(self.data)
        if file is not None:
            write(file, made)
        return made

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
    from ..nn.module import Module
    from ..optim import Optimizer

    found = lookup(what) if isinstance(what, str) else what
    if isinstance(found, Module | Op | Optimizer):
        found = type(found)
    if not inspect.isclass(found):
        raise TypeError(f"explain: expected a name or a class, got {type(what).__name__}")
    if issubclass(found, Op):
        from .explain_op import explain_op

        arrays = [x.numpy(force=True) if isinstance(x, Tensor) else x for x in inputs]
        return Explanation(explain_op(found, arrays or None, **options))
    if inputs or options:
        raise TypeError("explain: inputs can be given for an op only")
    if issubclass(found, Module):
        from .explain_layer import explain_layer

        return Explanation(explain_layer(found))
    if issubclass(found, Optimizer):
        from .explain_optimizer import explain_optimizer

        return Explanation(explain_optimizer(found))
    raise TypeError(f"explain: {found.__name__} is no op, no layer and no optimizer")


# ----------------------------------------------------------------------------------------- names
def catalogue() -> dict[str, list[tuple[str, str]]]:
    """Everything that can be explained, by family: {"ops: norm": [("layer_norm", "y = ..."), ...]}.

    Ops go by the file they stand in, layers by theirs, optimizers last.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, op in sorted(OPS.items()):
        if op.__module__.startswith("tinygrad_llm."):
            found.setdefault(f"ops: {op.__module__.rpartition('.')[2]}", []).append(
                (name, _first_line(op))
            )
    for name, kind in sorted(layers().items()):
        family = kind.__module__.removeprefix("tinygrad_llm.").removeprefix("nn.")
        word = "layers" if kind.__module__.startswith("tinygrad_llm.nn") else "models"
        found.setdefault(f"{word}: {family.rpartition('.')[2]}", []).append(
            (name, _first_line(kind))
        )
    found = {family: found[family] for family in sorted(found, key=_family_order)}
    found["optimizers"] = [(name, _first_line(kind)) for name, kind in sorted(optimizers().items())]
    return found


def _family_order(family: str) -> tuple[int, str]:
    return ("ops", "layers", "models").index(family.partition(":")[0]), family


def layers() -> dict[str, type]:
    """The layers, losses and models that have an example, by class name."""
    from .layer_examples import LAYERS

    return {name: example.kind for name, example in LAYERS.items()}


def optimizers() -> dict[str, type]:
    """The optimizers, by class name."""
    from .. import optim

    every = {name: getattr(optim, name) for name in optim.__all__}
    return {
        name: kind
        for name, kind in every.items()
        if inspect.isclass(kind)
        and issubclass(kind, optim.Optimizer)
        and kind is not optim.Optimizer
    }


def lookup(name: str) -> Any:
    """The class that a name means."""
    from .. import nn

    prefix, _, last = name.strip().rpartition(".")
    prefix = prefix.removeprefix("torch.").removeprefix("tinygrad_llm.")
    places: dict[str, dict[str, Any]] = {
        "ops": dict(OPS),
        "nn": {
            **{
                n: k for n, k in vars(nn).items() if inspect.isclass(k) and issubclass(k, nn.Module)
            },
            **layers(),
        },
        "optim": optimizers(),
    }
    start = {"F": "ops", "nn.functional": "ops", "models": "nn"}.get(prefix, prefix)
    searched = [places[start]] if start in places else list(places.values())
    for place in searched:
        if last in place:
            return place[last]
    for place in searched:
        for known, found in place.items():
            if _bare(known) == _bare(last):
                return found
    names = [n for place in searched for n in place]
    near = (
        difflib.get_close_matches(last, names, n=3, cutoff=0.5)
        or [n for n in names if _bare(last) and _bare(last) in _bare(n)][:3]
    )
    hint = f"did you mean {', '.join(near)}?" if near else "explain's list has every name"
    raise ValueError(f"explain: nothing is called {name!r}: {hint}")


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


def _first_line(kind: type) -> str:
    first = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
    return first.partition("Backward:")[0].strip()


# ------------------------------------------------------------------------------------ as plain data
def plain_data(value: Any) -> Any:
    """A value as JSON holds it: arrays as nested lists, lines as dicts, the rest as text."""
    from .lines import LineRun
    from .numbers import is_value, plain

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
