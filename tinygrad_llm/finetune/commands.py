"""The commands of finetune, by name, and the options of each."""

from __future__ import annotations

from ..training.options import Options
from .options import ClassifyOptions, DPOOptions, InstructOptions
from .tagging.options import NerOptions

__all__ = ["COMMANDS"]

COMMANDS: dict[str, type[Options]] = {
    "classify": ClassifyOptions,
    "instruct": InstructOptions,
    "dpo": DPOOptions,
    "ner": NerOptions,
}
