"""Qwen2 and Qwen2.5: a Llama whose queries, keys and values have a bias.

Source: Yang et al. (2024), "Qwen2 Technical Report", section 2.2.
Shapes: B batch, T time (tokens), C channels (emb_dim).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from .. import nn
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import GatedFeedForward
from ..layers.rotary import Rotary
from .config import choices, integer, optional, positive
from .decoder import Decoder, DecoderConfig
from .mixed import FULL, SLIDING, check_one_type_for_each_block

__all__ = ["PRESETS", "Qwen2", "Qwen2Block", "Qwen2Config", "WindowedConfig"]

_Same = TypeVar("_Same", bound="WindowedConfig")


@dataclass(frozen=True)
class WindowedConfig(DecoderConfig):
    """DecoderConfig's fields and a window that some blocks have.

    window        the most keys that a token sees in these blocks, its own included
    layer_types   for each block "full_attention" or "sliding_attention"; None if all are full

    Raises: ValueError if layer_types does not fit n_layers, or there is no window for it.
    """

    window: int | None = optional(integer(None))
    layer_types: tuple[str, ...] | None = optional(choices((FULL, SLIDING), None))

    def __post_init__(self) -> None:
        super().__post_init__()
        types = self.layer_types
        if types is None:
            return
        check_one_type_for_each_block(self, types)
        if SLIDING in types and self.window is None:
            raise ValueError(f"{type(self).__name__}: {SLIDING} needs a window, got None")

    def resized(self: _Same, **sizes: Any) -> _Same:
        """See DecoderConfig; all blocks are full unless sizes has layer_types."""
        return super().resized(**{"layer_types": None, **sizes})

    def window_of(self, i: int) -> int | None:
        """The window of block i; None if it sees all tokens."""
        sliding = self.layer_types is not None and self.layer_types[i] == SLIDING
        return self.window if sliding else None


@dataclass(frozen=True)
class Qwen2Config(WindowedConfig):
    """The shape of a Qwen2: WindowedConfig's fields, of which the defaults are Qwen2.5 0.5B."""

    vocab_size: int = integer(151936)
    context_length: int = integer(32768)
    emb_dim: int = integer(896)
    hidden_dim: int = integer(4864)
    n_layers: int = integer(24, at_most=1 << 16)
    n_heads: int = integer(14)
    n_kv_heads: int = optional(integer(2))
    rope_base: float = positive(1e6)
    norm_eps: float = positive(1e-6)


class Qwen2Block(Block):
    """Attention with biased queries, keys and values, then a gated feed forward; pre-norm.

    rotary: shared by all blocks; i: which block it is. x (B, T, C) -> (B, T, C).
    """

    def __init__(self, config: Qwen2Config, rotary: Rotary, i: int) -> None:
        C, rate = config.emb_dim, config.drop_rate
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=True,
            out_bias=False, rotary=rotary, window=config.window_of(i), dropout=rate,
        )  # fmt: skip
        ff = GatedFeedForward(C, config.hidden_dim, activation="silu")
        super().__init__(att, ff, partial(nn.RMSNorm, C, config.norm_eps), dropout=rate)


class Qwen2(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a Qwen2Config, or a dict of its fields; PRESETS has the published ones.
    """

    config: Qwen2Config

    def __init__(self, config: Qwen2Config | dict[str, Any]) -> None:
        c = Qwen2Config(**config) if isinstance(config, dict) else config
        rotary = c.rotary()
        blocks = (Qwen2Block(c, rotary, i) for i in range(c.n_layers))
        super().__init__(c, blocks, nn.RMSNorm(c.emb_dim, c.norm_eps))


PRESETS: dict[str, Qwen2Config] = {
    "tiny": Qwen2Config(512, 64, 64, 176, 2, 4, 2, tie_weights=True),
    "qwen2.5-0.5b": Qwen2Config(tie_weights=True),
    "qwen2.5-1.5b": Qwen2Config(
        emb_dim=1536, hidden_dim=8960, n_layers=28, n_heads=12, tie_weights=True
    ),
    "qwen2.5-3b": Qwen2Config(
        emb_dim=2048, hidden_dim=11008, n_layers=36, n_heads=16, tie_weights=True
    ),
    "qwen2.5-7b": Qwen2Config(
        vocab_size=152064, emb_dim=3584, hidden_dim=18944, n_layers=28, n_heads=28, n_kv_heads=4
    ),
}
