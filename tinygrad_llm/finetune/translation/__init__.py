"""Translation: an encoder-decoder learns to write one language while it reads another.

model = checkpoint.build_model()                      # of a run of finetune translate
translate(model, (source_tokenizer, target_tokenizer), "私 は テニス 部員 で す 。")
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
