"""Translation: an encoder-decoder learns to write one language while it reads another.

translate("私 は テニス 部員 で す 。", "runs/ja-en", num_beams=4)     # a run of finetune translate
"""

from __future__ import annotations

from .attention import CrossAttentions, cross_attentions, plot_cross_attentions
from .call import translate
from .memory import TranslationMemory
from .options import TranslateOptions
from .sample import sentence_pairs

__all__ = [
    "CrossAttentions",
    "TranslateOptions",
    "TranslationMemory",
    "cross_attentions",
    "plot_cross_attentions",
    "sentence_pairs",
    "translate",
]
