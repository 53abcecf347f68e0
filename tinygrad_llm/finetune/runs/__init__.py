"""Whole runs of fine-tuning from their options: what the commands of finetune do.

Classify(resolved(ClassifyOptions, {"data": "reviews.csv"}), progress=False).run()
"""

from __future__ import annotations

from .classify import Classify
from .distill import Distill
from .dpo import DPO
from .embed import Embed
from .finetuning import Finetuning
from .grpo import GRPO
from .instruct import Instruct
from .ner import Ner
from .pairs import NLI, STS, Choice
from .rerank import Rerank
from .sequences import Sequences
from .summarize import Summarize
from .translate import Translate
from .variations import Comparison, Variations

__all__ = [
    "DPO", "GRPO", "NLI", "STS", "Choice", "Classify", "Comparison", "Distill", "Embed",
    "Finetuning", "Instruct", "Ner", "Rerank", "Sequences", "Summarize", "Translate", "Variations",
]  # fmt: skip
