"""What of a model and its optimizer each rank keeps: stages 2 and 3 of ZeRO, by fully_shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..distributed.fsdp import FSDPModule, fully_shard
from ..nn import Module
from ..optim import Optimizer
from .ranks import Ranks

__all__ = ["shard_model"]


def shard_model(model: Module, optimizer: Optimizer, shard: str, ranks: Ranks) -> None:
    """Divide the parameters of a model among the ranks, block by block, and its optimizer's.

    shard: "fsdp" keeps a part of each parameter between forward and backward, "zero2" the whole one
    (see fully_shard); anything else leaves all as it is, and so does one process.
    optimizer: one without state yet. Its groups have the parts afterwards, in the same order.
    Raises: ValueError for ranks of a group, and from fully_shard.
    """
    if shard not in ("zero2", "fsdp") or not ranks.several or isinstance(model, FSDPModule):
        return
    if ranks.group is not None:
        raise ValueError(f"shard={shard!r} divides a model among all ranks, not those of a group")
    whole = {id(p): name for name, p in model.named_parameters()}
    names = [[whole[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    for block in _blocks(model):
        fully_shard(block, reshard_after_forward=shard == "fsdp")
    fully_shard(model, reshard_after_forward=shard == "fsdp")
    parts: dict[str, Any] = dict(model.named_parameters())
    for group, own in zip(optimizer.param_groups, names, strict=True):
        group["params"] = [parts[name] for name in own]


def _blocks(model: Module) -> Iterator[Module]:
    """The blocks of a model, and of those inside it, whose parameters no other module shares."""
    users: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            users[id(parameter)] = users.get(id(parameter), 0) + 1
    for module in model.modules():
        for block in getattr(module, "trf_blocks", ()):
            own = [p for m in block.modules() for p in m._parameters.values() if p is not None]
            if own and all(users[id(p)] == sum(p is q for q in own) for p in own):
                yield block
