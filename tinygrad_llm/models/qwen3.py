"""Qwen3, dense: each head's queries and keys are normalised, and nothing has a bias.

A head has 128 channels in every size, so that n_heads·head_dim is not emb_dim in all of them.
Source: Yang et al. (2025), "Qwen3 Technical Report", section 2.
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
from .config import integer, optional, positive
from .decoder import Decoder
from .qwen2 import WindowedConfig

__all__ = ["PRESETS", "Qwen3", "Qwen3Block", "Qwen3Config"]


@dataclass(frozen=True)
class Qwen3Config(WindowedConfig):
    """The shape of a Qwen3: WindowedConfig's fields, of which the defaults are Qwen3 0.6B."""

    vocab_size: int = integer(151936)
    context_length: int = integer(40960)
    emb_dim: int = integer(1024)
    hidden_dim: int = integer(3072)
    n_layers: int = integer(28, at_most=1 << 16)
    n_heads: int = integer(16)
    n_kv_heads: int = optional(integer(8))
    head_dim: int = optional(integer(128))
    rope_base: float = positive(1e6)
    norm_eps: float = positive(1e-6)


class Qwen3Block(Block):
    """Attention with normalised queries and keys, then a gated feed forward; pre-norm.

    rotary: shared by all blocks; i: which block it is. x (B, T, C) -> (B, T, C).
    """

    def __init__(self, config: Qwen3Config, rotary: Rotary, i: int) -> None:
        C, rate = config.emb_dim, config.drop_rate
        norm = partial(nn.RMSNorm, eps=config.norm_eps)
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=False,
            qk_norm=norm, rotary=rotary, window=config.window_of(i), dropout=rate,
        )  # fmt: skip
        ff = GatedFeedForward(C, config.hidden_dim, activation="silu")
        super().__init__(att, ff, partial(norm, C), dropout=rate)


class Qwen3(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a Qwen3Config, or a dict of its fields; PRESETS has the published ones.
    """

    config: Qwen3Config

    def __init__(self, config: Qwen3Config | dict[str, Any]) -> None:
        c = Qwen3Config(**config) if isinstance(config, dict) else config
        rotary = c.rotary()
        blocks = (Qwen3Block(c, rotary, i) for i in range(c.n_layers))
        super().__init__(c, blocks, nn.RMSNorm(c.emb_dim, c.norm_eps))


PRESETS: dict[str, Qwen3Config] = {
    "tiny": Qwen3Config(512, 64, 64, 176, 2, 4, 2, 32, tie_weights=True),
    "qwen3-0.6b": Qwen3Config(tie_weights=True),
    "qwen3-1.7b": Qwen3Config(emb_dim=2048, hidden_dim=6144, tie_weights=True),
    "qwen3-4b": Qwen3Config(
        emb_dim=2560, hidden_dim=9728, n_layers=36, n_heads=32, tie_weights=True
    ),
    "qwen3-8b": Qwen3Config(emb_dim=4096, hidden_dim=12288, n_layers=36, n_heads=32),
}
