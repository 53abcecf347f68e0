"""Gemma 3: four norms in a block, most blocks look at a window, the embedding is scaled.

Norms store their weight as the distance from one. Five blocks with a window and a fast rotation
(base 10,000) are followed by one that sees all tokens, with a slow rotation (base 1,000,000).
Source: Gemma Team (2025), "Gemma 3 Technical Report".
Shapes: B batch, T time (tokens), C channels (emb_dim).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import GatedFeedForward
from ..layers.norm import OffsetRMSNorm
from ..layers.rotary import Rotary
from ..tensor import Tensor
from .config import flag, integer, optional, positive
from .decoder import Decoder
from .mixed import SlidingConfig

__all__ = ["PRESETS", "Gemma3", "Gemma3Block", "Gemma3Config"]


@dataclass(frozen=True)
class Gemma3Config(SlidingConfig):
    """The shape of a Gemma 3: SlidingConfig's fields, of which the defaults are 270M, and

    query_pre_attn_scalar   scores are divided by its root, as they are by √D elsewhere
    """

    FULL_EVERY: ClassVar[int] = 6

    vocab_size: int = integer(262144)
    context_length: int = integer(32768)
    emb_dim: int = integer(640)
    hidden_dim: int = integer(2048)
    n_layers: int = integer(18, at_most=1 << 16)
    n_heads: int = integer(4)
    n_kv_heads: int = optional(integer(1))
    head_dim: int = optional(integer(256))
    rope_base: float = positive(1e6)
    norm_eps: float = positive(1e-6)
    tie_weights: bool = flag(True)
    window: int = integer(512)
    query_pre_attn_scalar: int = integer(256)


class Gemma3Block(Block):
    """Attention, then feed forward, each between two norms: x (B, T, C) -> (B, T, C).

    rotary: shared by the blocks of a kind; i: which block it is
    """

    def __init__(self, config: Gemma3Config, rotary: Rotary, i: int) -> None:
        C, rate = config.emb_dim, config.drop_rate
        norm = partial(OffsetRMSNorm, eps=config.norm_eps)
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=False,
            qk_norm=norm, rotary=rotary, window=config.window_of(i), dropout=rate,
            scale=config.query_pre_attn_scalar**-0.5,
        )  # fmt: skip
        ff = GatedFeedForward(C, config.hidden_dim, activation="gelu_pytorch_tanh")
        super().__init__(att, ff, partial(norm, C), norm_place="sandwich", dropout=rate)


class Gemma3(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a Gemma3Config, or a dict of its fields; PRESETS has the published ones.
    """

    config: Gemma3Config

    def __init__(self, config: Gemma3Config | dict[str, Any]) -> None:
        c = Gemma3Config(**config) if isinstance(config, dict) else config
        rotaries = c.rotaries()
        blocks = (Gemma3Block(c, rotaries[c.is_full(i)], i) for i in range(c.n_layers))
        super().__init__(c, blocks, OffsetRMSNorm(c.emb_dim, c.norm_eps))

    def embed(self, idx: Tensor) -> Tensor:
        """The vectors of tokens times √C, which is rounded to their dtype: (B, T) -> (B, T, C)."""
        x = self.tok_emb(idx)
        return x * float(np.float32(math.sqrt(self.config.emb_dim)).astype(x.array.dtype))


PRESETS: dict[str, Gemma3Config] = {
    "tiny": Gemma3Config(512, 64, 64, 176, 6, 4, 2, 32, window=16, query_pre_attn_scalar=32),
    "gemma3-270m": Gemma3Config(),
    "gemma3-1b": Gemma3Config(emb_dim=1152, hidden_dim=6912, n_layers=26),
}
