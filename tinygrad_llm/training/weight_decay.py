"""AdamW as runs use it: matrices decay, biases and the weights of norms do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..distributed.optim import ZeroRedundancyOptimizer
from ..optim import AdamW, Optimizer
from ..tensor import Tensor
from .ranks import Ranks

__all__ = ["decay_groups", "make_adamw"]


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
    if shard == "zero1" and Ranks.here().several:
        return ZeroRedundancyOptimizer(groups, AdamW, **defaults)
    return AdamW(groups, **defaults)
