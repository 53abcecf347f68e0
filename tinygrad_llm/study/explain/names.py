"""The names that explain knows: ops, layers, losses, models, optimizers, schedules, collectives."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from ...autograd.engine import OPS, Op
from ...files.program import command_line
from ..common.source import first_line

__all__ = [
    "catalogue",
    "collectives",
    "example_name",
    "layers",
    "lookup",
    "optimizers",
    "schedules",
]


def catalogue() -> dict[str, list[tuple[str, str]]]:
    """Everything that can be explained, by family: {"ops: norm": [("layer_norm", "y = ..."), ...]}.

    Ops and layers are grouped by the file that defines them; optimizers, schedules and collectives
    come last.
    """
    families: dict[str, list[tuple[str, str]]] = {}
    for name, op in sorted(OPS.items()):
        if op.__module__.startswith("tinygrad_llm."):
            families.setdefault(f"ops: {op.__module__.rpartition('.')[2]}", []).append(
                (name, first_line(op))
            )
    for name, kind in sorted(layers().items()):
        family = kind.__module__.removeprefix("tinygrad_llm.").removesuffix(".layers")
        word = "layers" if family.startswith(("nn.", "layers.")) else "models"
        families.setdefault(f"{word}: {family.rpartition('.')[2]}", []).append(
            (name, first_line(kind))
        )
    families = {family: families[family] for family in sorted(families, key=_family_order)}
    families["optimizers"] = [
        (name, first_line(kind)) for name, kind in sorted(optimizers().items())
    ]
    families["schedules of the learning rate"] = [
        (name, first_line(kind)) for name, kind in sorted(schedules().items())
    ]
    families["collectives, on 2 ranks"] = [
        (name, first_line(op)) for name, op in collectives().items()
    ]
    return families


def _family_order(family: str) -> tuple[int, str]:
    return ("ops", "layers", "models").index(family.partition(":")[0]), family


def layers() -> dict[str, type]:
    """The layers, losses and models that have an example, by class name."""
    from .layer_examples import LAYERS

    return {name: example.kind for name, example in LAYERS.items()}


def example_name(what: Any) -> str | None:
    """The name of a layer's example with a setting, "Attention(cross=True)", or None.

    "cross-attention" and "label_smoothing", the setting with or without its layer, name it too.
    """
    name = what.strip().removeprefix("nn.") if isinstance(what, str) else ""
    for known in layers():
        kind, _, setting = known.partition("(")
        word = _bare(setting.partition("=")[0])
        if setting and (name == known or _bare(name) in (word, word + _bare(kind))):
            return known
    return None


def optimizers() -> dict[str, type]:
    """The optimizers, by class name."""
    from ... import optim

    every = {name: getattr(optim, name) for name in optim.__all__}
    return {
        name: kind
        for name, kind in every.items()
        if inspect.isclass(kind)
        and issubclass(kind, optim.Optimizer)
        and kind is not optim.Optimizer
    }


def schedules() -> dict[str, type]:
    """The schedules of the learning rate, by class name."""
    from ...optim import lr_scheduler, swa_utils

    every = {name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    del every["LRScheduler"]  # the base of the others
    return {**every, "SWALR": swa_utils.SWALR}


def collectives() -> dict[str, type[Op]]:
    """The collectives as ops, by the names of their functions."""
    from ..check.collectives import COLLECTIVES

    return {name: each.op for name, each in COLLECTIVES.items()}


def lookup(name: str) -> type[Any]:
    """The class that a name means: an op, a layer, a loss, a model, an optimizer, a schedule, ...

    The name of a published size, such as "smollm2-135m", means its model.
    Raises: ValueError, with the nearest names, if there is none.
    """
    from ... import nn
    from ...models import registry

    if (setting := example_name(name)) is not None:
        return layers()[setting]
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
        "optim.lr_scheduler": schedules(),
        "distributed.nn": {**collectives(), **{op.name: op for op in collectives().values()}},
    }
    start = {"F": "ops", "nn.functional": "ops", "models": "nn", "lr_scheduler":
             "optim.lr_scheduler"}.get(prefix, prefix)  # fmt: skip
    searched = [places[start]] if start in places else list(places.values())
    for place in searched:
        if last in place:
            return place[last]
    for place in searched:
        for known, kind in place.items():
            if _bare(known) in (_bare(last), _bare(name)):
                return kind
    for family in registry.families():
        if name.strip().lower() in family.presets and name.strip().lower() != "tiny":
            return family.model
    names = [n for place in searched for n in place]
    near = (
        difflib.get_close_matches(last, names, n=3, cutoff=0.5)
        or [n for n in names if _bare(last) and _bare(last) in _bare(n)][:3]
    )
    hint = (
        f"did you mean {', '.join(near)}?"
        if near
        else f"`{command_line('study')}` lists every name"
    )
    raise ValueError(f"explain: nothing is called {name!r}: {hint}")


def _bare(name: str) -> str:
    return name.translate({ord(c): None for c in "_.- "}).lower()
