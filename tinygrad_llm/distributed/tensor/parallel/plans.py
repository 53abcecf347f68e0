"""parallelize_module: a plan that names the layers of a model, and the style of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from ....nn.module import Module
from ... import groups
from .styles import ParallelStyle

__all__ = ["parallelize_module"]


def parallelize_module(
    module: Module, device_mesh: Any = None, parallelize_plan: Any = None, *,
    src_data_rank: int | None = 0,
) -> Module:  # fmt: skip
    """Divide layers of a module among the ranks of a mesh of one dimension; returns the module.

    parallelize_plan    a style for the module itself, or a dict from names of submodules, such as
                        "layers.*.attn.q_proj", to styles
    src_data_rank       the rank in the mesh whose weights the divided layers take; None where they
                        are equal already
    All other layers are equal on all ranks before, for example from one seed. Weights that two
    modules share stay shared if both are divided along the same dimension.
    Raises: ValueError for a mesh of several dimensions or an unknown style; NotImplementedError for
    a layer that the style does not fit.
    """
    if device_mesh is not None and device_mesh.ndim != 1:
        raise ValueError(
            f"parallelize_module: expected a mesh of one dimension, got {device_mesh}: take one "
            'with device_mesh["tp"]'
        )
    group = None if device_mesh is None else device_mesh.get_group()
    chosen = groups.member_group(group, "parallelize_module")
    if chosen is None or parallelize_plan is None:
        return module
    if isinstance(parallelize_plan, ParallelStyle):
        parallelize_plan.apply_to(module, chosen, src_data_rank)
        return module
    if not isinstance(parallelize_plan, Mapping):
        raise TypeError(
            "Expect Union[ParallelStyle, Dict[str, ParallelStyle]] for parallelize_plan, "
            f"{type(parallelize_plan)} found!"
        )
    for path, style in parallelize_plan.items():
        matches = list(_submodules(module, path.split(".")))
        if not matches:
            warnings.warn(
                f"Parallelize plan key '{path}' could not be resolved: no submodule matching it",
                stacklevel=2,
            )
        for each in matches:
            parallelize_module(each, device_mesh, style, src_data_rank=src_data_rank)
    return module


def _submodules(module: Module, path: list[str]) -> Iterator[Module]:
    """The submodules whose names match a path, in which each part may have wildcards."""
    if not path or path == [""]:
        yield module
        return
    for name, child in module.named_children():
        if fnmatch(name, path[0]):
            yield from _submodules(child, path[1:])
