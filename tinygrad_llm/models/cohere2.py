"""Cohere 2 (Tiny Aya, Command R7B): attention and feed forward of a block read the same input.

Both read one normalised input and are added to x together. Three blocks with a window, whose
queries and keys turn (neighbouring channels are a pair), are followed by one that sees all tokens
and knows no positions. Source: Cohere (2024), "Command R7B"; Cohere Labs (2026), "Tiny Aya".
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
from ..tensor import Tensor
from .config import flag, integer, optional, positive
from .decoder import Decoder
from .mixed import AlternatingConfig

__all__ = ["PRESETS", "Cohere2", "Cohere2Block", "Cohere2Config"]


@dataclass(frozen=True)
class Cohere2Config(AlternatingConfig):
    """The shape of a Cohere 2: AlternatingConfig's fields, of which the defaults are Tiny Aya, and

    window        the most keys that a token sees in the blocks that are not full
    logit_scale   the factor of the logits
    """

    vocab_size: int = integer(262144)
    context_length: int = integer(500000)
    emb_dim: int = integer(2048)
    hidden_dim: int = integer(11008)
    n_layers: int = integer(36, at_most=1 << 16)
    n_heads: int = integer(16)
    n_kv_heads: int = optional(integer(4))
    rope_base: float = positive(50000.0)
    tie_weights: bool = flag(True)
    window: int = integer(4096)
    logit_scale: float = positive(1.0)


class Cohere2Block(Block):
    """x + attention(y) + feed forward(y) with y = norm(x): x (B, T, C) -> (B, T, C).

    rotary: shared by the blocks with a window; i: which block it is
    """

    def __init__(self, config: Cohere2Config, rotary: Rotary, i: int) -> None:
        C, rate, full = config.emb_dim, config.drop_rate, config.is_full(i)
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=False,
            rotary=None if full else rotary, window=None if full else config.window, dropout=rate,
        )  # fmt: skip
        ff = GatedFeedForward(C, config.hidden_dim, activation="silu")
        norm = partial(nn.LayerNorm, C, config.norm_eps, bias=False)
        super().__init__(att, ff, norm, norm_place="parallel", dropout=rate)


class Cohere2(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a Cohere2Config, or a dict of its fields; PRESETS has the published ones.
    """

    config: Cohere2Config

    def __init__(self, config: Cohere2Config | dict[str, Any]) -> None:
        c = Cohere2Config(**config) if isinstance(config, dict) else config
        rotary = c.rotary(interleaved=True)
        blocks = (Cohere2Block(c, rotary, i) for i in range(c.n_layers))
        super().__init__(c, blocks, nn.LayerNorm(c.emb_dim, c.norm_eps, bias=False))

    def normed(self, x: Tensor) -> Tensor:
        """The norm times logit_scale, so that the head returns scaled logits."""
        x = self.final_norm(x)  # (B, T, C)
        return x if self.config.logit_scale == 1.0 else x * self.config.logit_scale


PRESETS: dict[str, Cohere2Config] = {
    "tiny": Cohere2Config(512, 64, 64, 176, 4, 4, 2, window=16),
    "tiny-aya": Cohere2Config(),
    "command-r7b": Cohere2Config(
        vocab_size=256000, context_length=132096, emb_dim=4096, hidden_dim=14336, n_layers=32,
        n_heads=32, n_kv_heads=8, logit_scale=0.25,
    ),
}  # fmt: skip
