"""The optimizers as runs use them: matrices decay, biases and the weights of norms do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..distributed.optim import ZeroRedundancyOptimizer
from ..nn import Embedding, Linear, Module
from ..optim import (
    Adafactor,
    AdamW,
    AdamWScheduleFree,
    Lion,
    MuonWithAdamW,
    Optimizer,
)
from ..tensor import Tensor
from .options import OPTIMIZERS
from .ranks import Ranks

__all__ = ["decay_groups", "make_adamw", "make_optimizer"]


def decay_groups(parameters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: weight decay for matrices, none for parameters of one dimension.

    Biases and norms do not need it (Brown et al., 2020, "Language Models are Few-Shot
    Learners", appendix B). A group without parameters is left out.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_adamw(groups: list[dict[str, Any]], shard: str, **defaults: Any) -> Optimizer:
    """AdamW over the groups.

    shard: "zero1" divides its state among the ranks, where there are several. The numbers are the
    same, each rank computes its part of the update.
    """
    return _shared(shard, groups, AdamW, **defaults)


def make_optimizer(
    kind: str, model: Module, shard: str, *, lr: float, betas: tuple[float, float],
    weight_decay: float,
) -> Optimizer:  # fmt: skip
    """The optimizer of a run that trains a whole model.

    kind: one of OPTIMIZERS. Muon takes the matrices of hidden Linear layers; embeddings, the output
    layer, biases and norms stay AdamW's. Adafactor has no betas. shard as in make_adamw.
    Raises: ValueError for a kind that is not known.
    """
    groups = decay_groups(model.parameters(), weight_decay)
    if kind == "adamw":
        return make_adamw(groups, shard, lr=lr, betas=betas)
    if kind == "muon":
        hidden = _hidden_matrices(model)
        rest = [p for p in model.parameters() if id(p) not in hidden]
        groups = [
            {"params": list(hidden.values()), "weight_decay": weight_decay, "use_muon": True},
            *decay_groups(rest, weight_decay),
        ]
        groups = [group for group in groups if group["params"]]
        return _shared(shard, groups, MuonWithAdamW, lr=lr, betas=betas)
    if kind == "adafactor":
        return _shared(shard, groups, Adafactor, lr=lr)
    if kind in OPTIMIZERS:
        made = {"lion": Lion, "schedule-free": AdamWScheduleFree}[kind]
        return _shared(shard, groups, made, lr=lr, betas=betas)
    raise ValueError(f"there is no optimizer {kind}: {', '.join(OPTIMIZERS)}")


def _hidden_matrices(model: Module) -> dict[int, Tensor]:
    """The weights of Linear layers by id, without those tied to an embedding and the last one."""
    layers = [m for m in model.modules() if isinstance(m, Linear)]
    tables = {id(m.weight) for m in model.modules() if isinstance(m, Embedding)}
    last = {id(layers[-1].weight)} if layers else set()
    weights = [m.weight for m in layers if m.weight.ndim == 2 and m.weight.requires_grad]
    return {id(w): w for w in weights if id(w) not in tables | last}


def _shared(shard: str, groups: Any, kind: type[Optimizer], **defaults: Any) -> Optimizer:
    """An optimizer whose state is divided among the ranks for "zero1", where there are several."""
    if shard == "zero1" and Ranks.here().several:
        return ZeroRedundancyOptimizer(groups, kind, **defaults)
    return kind(groups, **defaults)
