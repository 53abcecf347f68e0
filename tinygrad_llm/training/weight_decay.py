"""Which weights decay: matrices do, biases and the weights of norms do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..tensor import Tensor

__all__ = ["decay_groups"]


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
