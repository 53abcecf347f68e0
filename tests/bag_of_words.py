"""A second language model for the tests: the mean of all vectors so far, mixed, and a head.

It has nothing of a GPT except what models/base.py asks for, so what works with it works through
LanguageModel alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_llm import nn, zeros_like
from tinygrad_llm.layers.cache import AttentionCache, Cache
from tinygrad_llm.models import LanguageModel, ModelConfig
from tinygrad_llm.models.config import fraction, integer
from tinygrad_llm.nn import functional as F


@dataclass(frozen=True)
class BagConfig(ModelConfig):
    """vocab_size, context_length, emb_dim and drop_rate."""

    emb_dim: int = integer(8)
    drop_rate: float = fraction(0.0)


class Bag(LanguageModel):
    """Token t's vector is the mean of the embeddings of tokens 0 … t, then a layer and a norm."""

    def __init__(self, config):
        if isinstance(config, dict):
            config = BagConfig(**config)
        super().__init__(config)
        V, C = config.vocab_size, config.emb_dim
        self.words = nn.Embedding(V, C)
        self.drop = nn.Dropout(config.drop_rate)
        self.mix = nn.Linear(C, C)
        self.norm = nn.RMSNorm(C)
        self.out_head = nn.Linear(C, V, bias=False)

    def hidden_states(self, idx, cache=None, *, mask=None, padding=None):
        _, mask = self.places(idx, cache, mask, padding)
        past = 0 if cache is None else len(cache)
        x = values = self.drop(self.words(idx))[:, None]  # (B, T) -> (B, 1, T, C)
        if cache is not None:
            values, _, _ = cache.layers[0].append(values, values)  # (B, 1, past + T, C)
        mean = F.scaled_dot_product_attention(
            zeros_like(x), zeros_like(values), values, attn_mask=mask, is_causal=mask is None,
            offset=past if mask is None else 0,
        )  # fmt: skip
        return self.norm(x[:, 0] + self.mix(mean[:, 0]))  # (B, T, C)

    def new_cache(self):
        return Cache([AttentionCache(self.context_length)], self.context_length)
