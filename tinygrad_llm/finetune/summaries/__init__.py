"""Summaries: an encoder-decoder such as T5 learns to say a text in a few words.

model = checkpoint.build_model()                      # of a run of finetune summarize
summarize(model, tokenizer, "a long text ...")
infill(model, tokenizer, "Thank you <extra_id_0> me to your party")
"""

from __future__ import annotations

from .call import Infilled, infill, summarize
from .data import docstring_parts
from .options import SummarizeOptions
from .sample import reports

__all__ = ["Infilled", "SummarizeOptions", "docstring_parts", "infill", "reports", "summarize"]
