"""Whole runs of fine-tuning from their options: what the commands of finetune do.

Classify(resolved(ClassifyOptions, {"data": "reviews.csv"}), progress=False).run()
"""

from __future__ import annotations

from .classify import Classify
from .dpo import DPO
from .finetuning import Finetuning
from .instruct import Instruct
from .ner import Ner

__all__ = ["DPO", "Classify", "Finetuning", "Instruct", "Ner"]
