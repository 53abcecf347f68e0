"""fully_shard: every rank keeps a part of each parameter, and has the whole only while it computes.

A module that was given to fully_shard is a unit. Before its forward pass the ranks gather its
parameters; afterwards they drop them again, also from what the ops saved for backward. When the
backward pass arrives at the unit, the first op that needs a parameter gathers them once more; at
the unit's end their gradients are averaged over the ranks, of which each keeps its part, and the
whole parameters are dropped. While a unit computes, the ranks gather the next one's parameters and
average the gradients of the one before (see unit.py). So memory holds 1/R of parameters, gradients
and optimizer state, and the whole parameters of two units.

With R ranks, P parameters of b bytes each, and AdamW, each rank keeps besides activations

    stage 3   4·b·P/R: parameters, gradients, two moments; and in a backward pass up to
              b·(5·U + 2·V): of the largest unit within, of U parameters, the whole parameters and
              gradients; the next one's parameters; the gradients of the one before as they are sent
              and as they come, until their mean is there; parameters and gradients of the
              outermost, of V. Where .grad has numbers already, b·P/R more at the end
    stage 2   4·b·P/R, and from forward to backward b·P: reshard_after_forward=False. One exchange
              less; gradients are divided at the end of each unit's backward here too

Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", stage 3; Zhao et al. 2023, "PyTorch FSDP".
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, TypeVar

from ..nn.module import Module
from . import groups
from .not_offered import not_offered
from .unit import Unit

__all__ = ["FSDPModule", "fully_shard", "register_fsdp_forward_method", "whole_model"]

M = TypeVar("M", bound=Module)
# Methods of a language model that use its parameters as forward does.
ALSO_FORWARD = ("loss", "hidden_states")


def _modules_of(module: Module) -> Iterator[Module]:
    """A module and those below it, without units and divided experts: these have parts already."""
    yield module
    for child in module.children():
        if not isinstance(child, FSDPModule) and not getattr(child, "divided_experts", False):
            yield from _modules_of(child)


class FSDPModule:
    """What fully_shard makes of a module's class: its forward runs with the whole parameters."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward, between gathering and dropping its parameters."""
        with self.__dict__["_unit"].whole():
            return super().forward(*args, **kwargs)  # type: ignore[misc]

    def set_requires_gradient_sync(
        self, requires_gradient_sync: bool, *, recurse: bool = True
    ) -> None:
        """Whether backward averages gradients over the ranks; recurse: of units within too.

        With False it keeps the whole gradients, b·P in all, and .grad stays as it is; the next
        backward pass with True averages their sum. So one exchange serves several micro-batches.
        """
        modules = self.modules() if recurse else [self]  # type: ignore[attr-defined]
        for module in modules:
            if isinstance(module, FSDPModule):
                module.__dict__["_unit"].synchronises = requires_gradient_sync


def fully_shard(
    module: M, *, mesh: Any = None, reshard_after_forward: bool | None = None,
    shard_placement_fn: Any = None, mp_policy: Any = None, offload_policy: Any = None,
    ignored_params: Any = None, dp_mesh_dims: Any = None,
) -> M:  # fmt: skip
    """Divide a module's parameters among the ranks, except those of submodules done before.

    Call it for each block of a model, then for the model. The parameters become those of the first
    rank, and then this rank's parts along dim 0; an ordinary optimizer made afterwards works with
    them, and nn.utils.clip_grad_norm_ computes the global norm. Gradients are means over the ranks.
    Weights that two modules share must belong to one unit. Parts that parallelize_module has made
    over the other dimension of a mesh are divided further: fully_shard(block, mesh=mesh["dp"]).

    mesh                    a mesh of one dimension; None for all ranks
    reshard_after_forward   False keeps the whole parameters from forward to backward, which is
                            stage 2: only gradients and the optimizer's state are divided then
    Returns the module, whose class is new: it has forward, and `loss` and `hidden_states` where the
    module has them; for other methods that use parameters see register_fsdp_forward_method.
    Raises: TypeError if it is not a module; ValueError for a mesh of several dimensions, a scalar
    parameter, shared weights in two units, and options that are not offered here (the last five).
    """
    for name, value in {
        "shard_placement_fn": shard_placement_fn, "mp_policy": mp_policy,
        "offload_policy": offload_policy, "ignored_params": ignored_params,
        "dp_mesh_dims": dp_mesh_dims,
    }.items():  # fmt: skip
        if value is not None:
            raise ValueError(f"fully_shard: {name} is not offered here")
    if not isinstance(module, Module):
        raise TypeError(
            f"fully_shard: expected a module, got {type(module).__name__}; call it for each module "
            "of a list"
        )
    if mesh is not None and mesh.ndim != 1:
        raise ValueError(f"fully_shard: expected a mesh of one dimension, got {mesh}")
    group = groups.member_group(None if mesh is None else mesh.get_group(), "fully_shard")
    if group is None:
        return module
    if isinstance(module, FSDPModule):
        raise ValueError(f"fully_shard was called before for this {type(module).__name__}")
    reshard = True if reshard_after_forward is None else bool(reshard_after_forward)
    module.__dict__["_unit"] = Unit(list(_modules_of(module)), group, reshard)
    kind = type(module)
    methods = {name: _whole(name) for name in ALSO_FORWARD if hasattr(kind, name)}
    methods["undivided_class"] = kind
    module.__class__ = type(f"FSDP{kind.__name__}", (FSDPModule, kind), methods)
    return module


def _whole(name: str) -> Any:
    """A method that calls the module's own with the whole parameters."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.__dict__["_unit"].whole():
            return getattr(super(type(self), self), name)(*args, **kwargs)

    method.__name__ = name
    return method


def register_fsdp_forward_method(module: Module, method_name: str) -> None:
    """Let a method of a sharded module run with the whole parameters, as forward does.

    Raises: AttributeError if the module has no such method; nothing for a module that is not
    sharded.
    """
    method = getattr(module, method_name)
    if not isinstance(module, FSDPModule):
        return

    @functools.wraps(method)
    def with_parameters(*args: Any, **kwargs: Any) -> Any:
        with module.__dict__["_unit"].whole():
            return method(*args, **kwargs)

    module.__dict__[method_name] = with_parameters


@contextlib.contextmanager
def whole_model(module: Module) -> Iterator[None]:
    """A block in which a divided module has whole parameters, and its ranks exchange nothing.

    All ranks enter it together, outside of a forward pass, and then each does what it likes: rank 0
    samples or writes files while the others wait. Gradients stay with the whole parameters, which
    are gone after the block, and so are changes. A module that is not divided stays as it is.
    """
    units = [m.__dict__["_unit"] for m in module.modules() if isinstance(m, FSDPModule)]
    with contextlib.ExitStack() as stack:
        for unit in units:
            if unit.parts:
                stack.enter_context(unit.whole_leaves())
        yield


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
