"""The optimizers as runs use them: matrices decay, biases and the weights of norms do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..distributed.optim import ZeroRedundancyOptimizer
from ..models.base import Model
from ..models.mup import hidden_matrices
from ..nn import Module
from ..optim import (
    Adafactor,
    AdamW,
    AdamWScheduleFree,
    Lion,
    MuonWithAdamW,
    Optimizer,
)
from ..tensor import Tensor
from .options import MUP_OPTIMIZERS, OPTIMIZERS
from .ranks import Ranks

__all__ = ["decay_groups", "make_adamw", "make_optimizer", "mup_groups"]


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


def mup_groups(model: Model, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """decay_groups of a model with a width multiplier m: hidden matrices apart, with lr / m.

    Their weight decay is m times as large, because a step shrinks weights by lr·weight_decay.
    """
    m, hidden = model.width_multiplier, hidden_matrices(model)
    rest = [p for p in model.parameters() if id(p) not in hidden]
    own = {"params": list(hidden.values()), "lr": lr / m, "weight_decay": weight_decay * m}
    return [*decay_groups(rest, weight_decay), own]


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
    A model with a width multiplier (µP, see models/mup.py) has groups for it.
    Raises: ValueError for a kind that is not known, or µP with one that has no rule for it.
    """
    groups = decay_groups(model.parameters(), weight_decay)
    if isinstance(model, Model) and model.width_multiplier != 1.0:
        if kind not in MUP_OPTIMIZERS:
            raise ValueError(f"mup_base needs {' or '.join(MUP_OPTIMIZERS)}, got {kind}")
        groups = mup_groups(model, lr, weight_decay)
    if kind == "adamw":
        return make_adamw(groups, shard, lr=lr, betas=betas)
    if kind == "muon":
        hidden = hidden_matrices(model)
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


def _shared(shard: str, groups: Any, kind: type[Optimizer], **defaults: Any) -> Optimizer:
    """An optimizer whose state is divided among the ranks for "zero1", where there are several."""
    if shard == "zero1" and Ranks.here().several:
        return ZeroRedundancyOptimizer(groups, kind, **defaults)
    return kind(groups, **defaults)
