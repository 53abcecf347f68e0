"""A language model cut into stages by its blocks, for distributed.pipelining.

stages = cut_into_stages(model, dist.get_world_size())
stage = PipelineStage(stages[rank], rank, len(stages), "cpu")
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .. import nn
from ..layers.indexer import Indexer
from ..layers.moe import MixtureOfExperts
from ..tensor import Tensor
from .base import LanguageModel

__all__ = ["ModelStage", "balanced_blocks", "cut_into_stages"]


class Elsewhere(nn.Module):
    """In the place of a module that another stage has: returns its input."""

    is_recurrent = False

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        return x


class ModelStage(nn.Module):
    """Some blocks of a language model; the first stage embeds, the last has the norm and the head.

    Token ids (B, T) on the first stage, hidden states (B, T, C) on the others; returns logits
    (B, T, V) on the last, else hidden states.
    `model` is the whole model's class, with a module that returns its input in the place of what
    other stages have: its parameters have their names in the whole model, and are its parameters.
    tied_weight: this stage's copy of the embedding that the head shares, on the first and the last
    stage; None elsewhere, and for a model with an own head. distributed.pipelining adds up the
    gradients of the two.
    """

    def __init__(self, model: LanguageModel, blocks: range, first: bool, last: bool) -> None:
        super().__init__()
        whole: Any = model
        part: Any = _shallow(model)
        kept = ((i in blocks, block) for i, block in enumerate(whole.trf_blocks))
        part.trf_blocks = nn.ModuleList(block if here else Elsewhere() for here, block in kept)
        tied = whole.tok_emb.weight is getattr(whole.head, "weight", None)
        self.is_first, self.is_last, self.blocks = first, last, blocks
        if not first:
            part.tok_emb = Elsewhere()
            for name in ("pos_emb", "drop_emb"):
                if getattr(part, name, None) is not None:
                    setattr(part, name, Elsewhere())
        if not last:
            part.final_norm, part.out_head = Elsewhere(), Elsewhere()
            vars(part)["normed"] = part.final_norm  # the method of families that do more there
        self.model = part
        self.is_tied = tied and first != last

    @property
    def tied_weight(self) -> Tensor | None:
        """See the class."""
        if not self.is_tied:
            return None
        model: Any = self.model
        return model.tok_emb.weight if self.is_first else model.out_head.weight

    def forward(self, x: Tensor) -> Tensor:
        model: Any = self.model
        if self.is_first:
            return model(x)
        vars(model)["embed"] = lambda *_: x  # what the stage before has computed
        try:
            return model(x.detach()[..., 0])  # (B, T, C) -> (B, T): in place of ids, for the shape
        finally:
            del vars(model)["embed"]

    def extra_repr(self) -> str:
        return f"blocks {self.blocks.start} to {self.blocks.stop - 1}"


def _shallow(model: LanguageModel) -> LanguageModel:
    """The same modules and parameters, in another module."""
    part = copy.copy(model)
    for name, value in vars(model).items():
        if isinstance(value, dict):
            vars(part)[name] = dict(value)
    return part


def cut_into_stages(
    model: LanguageModel, num_stages: int, blocks: Sequence[range] | None = None
) -> list[ModelStage]:
    """The model as num_stages stages, one after the other; they share its parameters.

    blocks: which blocks each stage has; None divides them so that the largest stage has as few
    parameters as possible, the embedding and the head included.
    Each rank keeps its stage, and drops the model. A weight that embedding and head share is in the
    first and in the last stage; see ModelStage.tied_weight. Where a copy is on another rank they
    are two parameters, which distributed.pipelining.sum_tied_gradients keeps equal.
    Raises: ValueError if there are fewer blocks than stages, or `blocks` are not all of them in
    order; TypeError for a model without blocks, or whose loss has parts that come from inside of
    the blocks (experts, indexers).
    """
    inside: Any = model
    if not isinstance(model, LanguageModel) or not hasattr(model, "trf_blocks"):
        raise TypeError(
            f"cut_into_stages: a {type(model).__name__} is not a language model with blocks"
        )
    for module in model.modules():
        if isinstance(module, (MixtureOfExperts, Indexer)):
            raise TypeError(
                f"cut_into_stages: a {type(module).__name__} adds to the loss from inside of its "
                "block, which the last stage cannot see: cut a model without it"
            )
    if getattr(model, "value_emb", None) is not None:
        raise TypeError(
            "cut_into_stages: value embeddings need the tokens in every block, and only the first "
            "stage has them: cut a model without them"
        )
    n = len(inside.trf_blocks)
    if not 1 <= num_stages <= n:
        raise ValueError(f"cut_into_stages: {n} blocks cannot be cut into {num_stages} stages")
    parts = list(blocks) if blocks is not None else balanced_blocks(model, num_stages)
    if len(parts) != num_stages or [i for part in parts for i in part] != list(range(n)):
        raise ValueError(
            f"cut_into_stages: blocks must be {num_stages} ranges, together 0 to {n - 1}, got "
            f"{parts}"
        )
    last = num_stages - 1
    return [ModelStage(model, part, i == 0, i == last) for i, part in enumerate(parts)]


def balanced_blocks(model: LanguageModel, num_stages: int) -> list[range]:
    """Which blocks each stage has so that the largest has as few parameters as possible."""
    inside: Any = model
    sizes = [_size(block) for block in inside.trf_blocks]
    of_blocks = {id(p) for p in inside.trf_blocks.parameters()}
    of_head = {id(p): p.numel() for m in (inside.final_norm, model.head) for p in m.parameters()}
    sizes[-1] += sum(of_head.values())
    own = {id(p): p.numel() for p in inside.tok_emb.parameters()}
    others = {id(p): p.numel() for p in model.parameters() if id(p) not in of_blocks | set(of_head)}
    sizes[0] += sum({**others, **own}.values())
    low, high = max(sizes), sum(sizes)
    while low < high:  # the least limit with which num_stages stages are enough
        middle = (low + high) // 2
        if len(_filled(sizes, num_stages, middle)) <= num_stages:
            high = middle
        else:
            low = middle + 1
    return _filled(sizes, num_stages, low)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _filled(sizes: list[int], num_stages: int, limit: int) -> list[range]:
    """Stages with at most `limit` parameters, filled from the front; none is empty."""
    stages: list[range] = []
    start = total = 0
    for i, size in enumerate(sizes):
        enough = len(sizes) - i <= num_stages - len(stages) - 1  # the rest has one block each
        if i > start and (total + size > limit or enough):
            stages.append(range(start, i))
            start, total = i, 0
        total += size
    return [*stages, range(start, len(sizes))]
