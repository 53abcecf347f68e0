"""Language models that are not a GPT: what works with them works through LanguageModel.

Bag has nothing of a GPT except what models/base.py asks for. Windowed is made as the newer families
are: rotary positions, grouped queries, a sliding window, RMS norms and gated feed forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tinygrad_llm import nn, zeros_like
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.block import Block
from tinygrad_llm.layers.cache import AttentionCache, Cache
from tinygrad_llm.layers.feed_forward import GatedFeedForward
from tinygrad_llm.layers.rotary import Rotary
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


@dataclass(frozen=True)
class WindowedConfig(ModelConfig):
    """vocab_size, context_length, emb_dim, and the window of every second layer."""

    emb_dim: int = integer(12)
    window: int = integer(3)
    n_layers: int = integer(2)


class Windowed(LanguageModel):
    """Layers with a window and layers without it take turns."""

    def __init__(self, config):
        if isinstance(config, dict):
            config = WindowedConfig(**config)
        super().__init__(config)
        V, C = config.vocab_size, config.emb_dim
        self.tok_emb = nn.Embedding(V, C)
        rotary = Rotary(4)
        self.blocks = nn.ModuleList(
            Block(
                Attention(
                    C, 4, n_kv_heads=2, head_dim=4, bias=False, qk_norm=nn.RMSNorm, rotary=rotary,
                    window=None if i % 2 else config.window,
                ),
                GatedFeedForward(C, 3 * C),
                partial(nn.RMSNorm, C),
            )
            for i in range(config.n_layers)
        )  # fmt: skip
        self.norm = nn.RMSNorm(C)
        self.out_head = nn.Linear(C, V, bias=False)

    def hidden_states(self, idx, cache=None, *, mask=None, padding=None):
        positions, mask = self.places(idx, cache, mask, padding)
        x = self.tok_emb(idx)  # (B, T, C)
        x = self.through_blocks(self.blocks, x, cache, mask=mask, positions=positions)
        return self.norm(x)

    def new_cache(self):
        n = self.context_length
        return Cache([block.new_cache(n) for block in self.blocks], n)
