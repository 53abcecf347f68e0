"""Llama 2 and 3, SmolLM2 and Mistral: rotary positions, grouped queries, RMSNorm, SwiGLU.

What changed since GPT-2: positions turn queries and keys in every block, in place of an embedding;
several query heads share one head of keys and values; norms do not subtract the mean; the feed
forward has a gate; nothing has a bias. Sources: Touvron et al. (2023), "Llama 2"; Llama team
(2024), "The Llama 3 Herd of Models"; Jiang et al. (2023), "Mistral 7B".

Shapes: B batch, T time (tokens), C channels (emb_dim).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import nn
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import GatedFeedForward
from ..layers.rotary import Rotary
from .config import integer, optional
from .decoder import Decoder, DecoderConfig

__all__ = ["PRESETS", "Llama", "LlamaBlock", "LlamaConfig"]


@dataclass(frozen=True)
class LlamaConfig(DecoderConfig):
    """The shape of a Llama: DecoderConfig's fields, of which the defaults are Llama 2 7B, and

    window   the most keys that a token sees, its own included (Mistral); None for all
    """

    window: int | None = optional(integer(None))


class LlamaBlock(Block):
    """Attention, then a gated feed forward, each on normalised input and added to its input.

    rotary: shared by all blocks. x (B, T, C) -> (B, T, C).
    """

    def __init__(self, config: LlamaConfig, rotary: Rotary) -> None:
        C, rate = config.emb_dim, config.drop_rate
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=False,
            rotary=rotary, window=config.window, dropout=rate,
        )  # fmt: skip
        ff = GatedFeedForward(C, config.hidden_dim, activation="silu")
        super().__init__(att, ff, partial(nn.RMSNorm, C, config.norm_eps), dropout=rate)


class Llama(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a LlamaConfig, or a dict of its fields; PRESETS has the published ones.
    """

    config: LlamaConfig

    def __init__(self, config: LlamaConfig | dict[str, Any]) -> None:
        c = LlamaConfig(**config) if isinstance(config, dict) else config
        rotary = c.rotary()
        blocks = (LlamaBlock(c, rotary) for _ in range(c.n_layers))
        super().__init__(c, blocks, nn.RMSNorm(c.emb_dim, c.norm_eps))


def _llama3(factor: float) -> dict[str, Any]:
    """The smoothing of Llama 3.1 and 3.2, which were trained on 8,192 tokens first."""
    return {
        "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip


_LLAMA3: dict[str, Any] = dict(vocab_size=128256, n_kv_heads=8, rope_base=500000.0)
_SMOLLM2: dict[str, Any] = dict(vocab_size=49152, context_length=8192, tie_weights=True)

PRESETS: dict[str, LlamaConfig] = {
    "tiny": LlamaConfig(512, 64, 64, 176, 2, 4, 2, tie_weights=True),
    "llama2-7b": LlamaConfig(),
    "llama2-13b": LlamaConfig(emb_dim=5120, hidden_dim=13824, n_layers=40, n_heads=40),
    "llama3-8b": LlamaConfig(context_length=8192, hidden_dim=14336, **_LLAMA3),
    "llama3.1-8b": LlamaConfig(
        context_length=131072, hidden_dim=14336, rope_scaling=_llama3(8.0), **_LLAMA3
    ),
    "llama3.2-1b": LlamaConfig(
        context_length=131072, emb_dim=2048, hidden_dim=8192, n_layers=16, head_dim=64,
        rope_scaling=_llama3(32.0), tie_weights=True, **_LLAMA3,
    ),
    "llama3.2-3b": LlamaConfig(
        context_length=131072, emb_dim=3072, hidden_dim=8192, n_layers=28, n_heads=24,
        head_dim=128, rope_scaling=_llama3(32.0), tie_weights=True, **_LLAMA3,
    ),
    "smollm2-135m": LlamaConfig(
        emb_dim=576, hidden_dim=1536, n_layers=30, n_heads=9, n_kv_heads=3, rope_base=1e5,
        **_SMOLLM2,
    ),
    "smollm2-360m": LlamaConfig(
        emb_dim=960, hidden_dim=2560, n_layers=32, n_heads=15, n_kv_heads=5, rope_base=1e5,
        **_SMOLLM2,
    ),
    "smollm2-1.7b": LlamaConfig(
        emb_dim=2048, hidden_dim=8192, n_layers=24, n_heads=32, rope_base=130000.0, **_SMOLLM2
    ),
    "mistral-7b": LlamaConfig(
        context_length=32768, hidden_dim=14336, n_kv_heads=8, window=4096
    ),
}  # fmt: skip
