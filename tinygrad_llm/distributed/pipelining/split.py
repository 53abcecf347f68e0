"""pipeline(): an nn.Sequential cut into stages at the names of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ...nn.container import Sequential
from ...nn.module import Module
from .stage import PipelineStage

__all__ = ["Pipe", "SplitPoint", "pipeline"]


class SplitPoint(Enum):
    """Where a new stage begins: before a layer, or after it."""

    BEGINNING = 1
    END = 2


class Pipe:
    """The stages of a module; made by pipeline()."""

    def __init__(self, stages: list[Module]) -> None:
        self.stages = stages
        self.num_stages = len(stages)

    def get_stage_module(self, stage_idx: int) -> Module:
        """The layers of a stage, under the names that they have in the whole module.

        Raises: ValueError if there is no such stage.
        """
        if not 0 <= stage_idx < self.num_stages:
            raise ValueError(f"Invalid stage index {stage_idx}!")
        return self.stages[stage_idx]

    def build_stage(self, stage_index: int, device: Any, group: Any = None) -> PipelineStage:
        """The PipelineStage of a stage."""
        module = self.get_stage_module(stage_index)
        return PipelineStage(module, stage_index, self.num_stages, device, group=group)


def pipeline(
    module: Module, mb_args: tuple[Any, ...], mb_kwargs: dict[str, Any] | None = None,
    split_spec: Mapping[str, SplitPoint] | None = None, split_policy: Any = None,
) -> Pipe:  # fmt: skip
    """Cut a module into stages: each name of split_spec begins one, or ends one with END.

    module      an nn.Sequential, of which members may be Sequential too ("1.0" is a name inside)
    mb_args     inputs of one micro-batch, which PyTorch needs to trace the module; not used here
    split_spec  {"2": SplitPoint.BEGINNING, "4": SplitPoint.BEGINNING} makes three stages
    PyTorch traces any module. Here nothing is traced, so the order of the layers must be known: a
    language model is cut by models.stages.cut_into_stages, any other module by hand, with a module
    for each PipelineStage.
    Raises: TypeError for a module that is not Sequential; ValueError with split_policy, for a stage
    without layers, and for a split point that is not a SplitPoint; AttributeError for a name that
    does not exist.
    """
    if split_policy is not None:
        raise ValueError("pipeline: split_policy is not offered; pass split_spec")
    if type(module) is not Sequential:
        raise TypeError(
            f"pipeline: a {type(module).__name__} cannot be cut, because nothing is traced here: "
            "pass an nn.Sequential, cut a language model with models.stages.cut_into_stages, or "
            "give each PipelineStage a custom module"
        )
    spec = dict(split_spec or {})
    for name, point in spec.items():
        _check_name(module, name)
        if not isinstance(point, SplitPoint):
            raise ValueError(f"Unknown split point type: {point!r}; expected SplitPoint.BEGINNING")
    parts: list[list[tuple[str, Module]]] = [[]]
    _walk(module, "", spec, parts)
    if not all(parts):
        raise ValueError(f"pipeline: split_spec {list(spec)} leaves a stage without layers")
    return Pipe([_nested(part) for part in parts])


def _check_name(module: Module, name: str) -> None:
    """Raises: AttributeError, or TypeError for a name inside of a module that is not Sequential."""
    here: Module = module
    atoms = name.split(".")
    for i, atom in enumerate(atoms):
        if type(here) is not Sequential:
            inner = ".".join(atoms[:i])
            raise TypeError(
                f"pipeline: {name} is inside of {inner}, a {type(here).__name__}, which cannot be "
                "cut, because nothing is traced here"
            )
        children = dict(here.named_children())
        if atom not in children:
            raise AttributeError(
                f"Specified target {name} referenced nonexistent module {'.'.join(atoms[: i + 1])}"
            )
        here = children[atom]


def _walk(
    module: Module, prefix: str, spec: Mapping[str, SplitPoint],
    parts: list[list[tuple[str, Module]]],
) -> None:  # fmt: skip
    """Append the layers with their names to the last part; open a new one at each split point."""
    for name, child in module.named_children():
        path = prefix + name
        if spec.get(path) is SplitPoint.BEGINNING:
            parts.append([])
        if type(child) is Sequential and any(key.startswith(f"{path}.") for key in spec):
            _walk(child, f"{path}.", spec, parts)
        else:
            parts[-1].append((path, child))
        if spec.get(path) is SplitPoint.END:
            parts.append([])


def _nested(layers: list[tuple[str, Module]]) -> Sequential:
    """A Sequential of the layers, in which names with dots are those of Sequentials inside."""
    inner: dict[str, list[tuple[str, Module]]] = {}
    for path, layer in layers:
        name, _, rest = path.partition(".")
        inner.setdefault(name, []).append((rest, layer))
    return Sequential({n: _nested(some) if some[0][0] else some[0][1] for n, some in inner.items()})
