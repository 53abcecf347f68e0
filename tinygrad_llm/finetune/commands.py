"""The commands of finetune, by name, and the options of each."""

from __future__ import annotations

from ..training.options import Options
from .options import ClassifyOptions, DPOOptions, InstructOptions
from .summaries.options import SummarizeOptions
from .translation.options import TranslateOptions

__all__ = ["COMMANDS"]

COMMANDS: dict[str, type[Options]] = {
    "classify": ClassifyOptions,
    "instruct": InstructOptions,
    "dpo": DPOOptions,
    "translate": TranslateOptions,
    "summarize": SummarizeOptions,
}
