"""The commands of finetune, by name, and the options of each."""

from __future__ import annotations

from ..training.options import Options
from .embedding.options import EmbedOptions
from .options import ClassifyOptions, DPOOptions, InstructOptions
from .pairs.options import ChoiceOptions, NLIOptions, RerankOptions, STSOptions
from .reasoning.options import DistillOptions, GRPOOptions
from .summaries.options import SummarizeOptions
from .tagging.options import NerOptions
from .translation.options import TranslateOptions

__all__ = ["COMMANDS"]

COMMANDS: dict[str, type[Options]] = {
    "classify": ClassifyOptions,
    "instruct": InstructOptions,
    "dpo": DPOOptions,
    "ner": NerOptions,
    "nli": NLIOptions,
    "sts": STSOptions,
    "choice": ChoiceOptions,
    "embed": EmbedOptions,
    "rerank": RerankOptions,
    "translate": TranslateOptions,
    "summarize": SummarizeOptions,
    "grpo": GRPOOptions,
    "distill": DistillOptions,
}
