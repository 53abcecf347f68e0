"""Olmo 3: norms behind attention and feed forward, queries and keys normalised over all heads.

Three blocks with a window are followed by one that sees all tokens; only those are stretched to
65,536 tokens, by YaRN. Source: Olmo Team (2025), "Olmo 3".
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
from .config import integer, positive
from .decoder import Decoder
from .mixed import SlidingConfig

__all__ = ["PRESETS", "Olmo3", "Olmo3Block", "Olmo3Config"]

_YARN: dict[str, Any] = {
    "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
    "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Olmo3Config(SlidingConfig):
    """The shape of an Olmo 3: SlidingConfig's fields; the defaults are Olmo 3 7B without YaRN."""

    vocab_size: int = integer(100278)
    context_length: int = integer(65536)
    rope_base: float = positive(500000.0)
    norm_eps: float = positive(1e-6)
    local_rope_base: float = positive(500000.0)


class Olmo3Block(Block):
    """x + norm(attention(x)), then x + norm(feed forward(x)): x (B, T, C) -> (B, T, C).

    rotary: shared by the blocks of a kind; i: which block it is
    """

    def __init__(self, config: Olmo3Config, rotary: Rotary, i: int) -> None:
        C, rate = config.emb_dim, config.drop_rate
        norm = partial(nn.RMSNorm, eps=config.norm_eps)
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=False,
            qk_norm=norm, qk_norm_flat=True, rotary=rotary, window=config.window_of(i),
            dropout=rate,
        )  # fmt: skip
        ff = GatedFeedForward(C, config.hidden_dim, activation="silu")
        super().__init__(att, ff, partial(norm, C), norm_place="after", dropout=rate)


class Olmo3(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: an Olmo3Config, or a dict of its fields; PRESETS has the published ones.
    """

    config: Olmo3Config

    def __init__(self, config: Olmo3Config | dict[str, Any]) -> None:
        c = Olmo3Config(**config) if isinstance(config, dict) else config
        rotaries = c.rotaries()
        blocks = (Olmo3Block(c, rotaries[c.is_full(i)], i) for i in range(c.n_layers))
        super().__init__(c, blocks, nn.RMSNorm(c.emb_dim, c.norm_eps))


PRESETS: dict[str, Olmo3Config] = {
    "tiny": Olmo3Config(512, 64, 64, 176, 4, 4, 2, window=16),
    "olmo3-7b": Olmo3Config(rope_scaling=_YARN),
    "olmo3-32b": Olmo3Config(
        rope_scaling=_YARN, emb_dim=5120, hidden_dim=27648, n_layers=64, n_heads=40, n_kv_heads=8
    ),
}  # fmt: skip
