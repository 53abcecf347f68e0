"""Summaries: an encoder-decoder such as T5 learns to say a text in a few words.

summarize("a long text ...", "runs/summarize-sample-1")              # a run of finetune summarize
infill("Thank you <extra_id_0> me to your party", "path/of/a/T5")
"""

from __future__ import annotations

from .call import Infilled, infill, summarize
from .data import docstring_parts
from .options import SummarizeOptions
from .sample import reports

__all__ = ["Infilled", "SummarizeOptions", "docstring_parts", "infill", "reports", "summarize"]
