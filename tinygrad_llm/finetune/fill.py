"""Hidden words of a text, guessed by a run."""

from __future__ import annotations

from ..generation import masked
from .task_models import Run, TaskModel, text_first

__all__ = ["fill_mask"]


@text_first
def fill_mask(text: str, run: Run, top_k: int = 5) -> list[list[masked.Fill]]:
    """For each mask of a text, in order, the `top_k` likeliest tokens: see generation.fill_mask.

    run: the folder of a run of pretrain --model bert, or of published weights such as BERT's, read
        at every call; or a TaskModel. (model, tokenizer, text) work too
    Raises: as generation.fill_mask.
    """
    loaded = TaskModel.load(run)
    return masked.fill_mask(loaded.model, loaded.tokenizer, text, top_k)
