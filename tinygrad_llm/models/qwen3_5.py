"""Qwen3.5: three blocks with a gated DeltaNet, then one with gated attention, and so on.

A DeltaNet has a memory of fixed size, so only a quarter of the blocks needs a cache that grows.
Attention turns a quarter of each head's channels and passes a gate. Norms store their weight as the
distance from one. Source: Qwen Team (2026), "Qwen3.5"; Yang et al. (2024), "Gated Delta Networks".
Shapes: B batch, T time (tokens), C channels (emb_dim).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from .. import nn
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.cache import Cache
from ..layers.delta_net import GatedDeltaNet
from ..layers.feed_forward import GatedFeedForward
from ..layers.norm import OffsetRMSNorm
from ..layers.rotary import Rotary
from ..tensor import Tensor
from .config import flag, integer, optional, positive
from .decoder import Decoder
from .mixed import LINEAR, AlternatingConfig, real_tokens

__all__ = ["PRESETS", "Qwen35", "Qwen35Block", "Qwen35Config"]


@dataclass(frozen=True)
class Qwen35Config(AlternatingConfig):
    """The shape of a Qwen3.5: AlternatingConfig's fields, of which the defaults are 0.8B, and

    partial_rotary         the share of a head's channels that attention turns
    linear_n_heads         heads of values in a DeltaNet; linear_n_key_heads: of queries and keys
    linear_head_dim        channels of its values; linear_key_head_dim: of its queries and keys
    conv_size              tokens that its convolution sees
    """

    OTHER: ClassVar[str] = LINEAR

    vocab_size: int = integer(248320)
    context_length: int = integer(262144)
    emb_dim: int = integer(1024)
    hidden_dim: int = integer(3584)
    n_layers: int = integer(24, at_most=1 << 16)
    n_heads: int = integer(8)
    n_kv_heads: int = optional(integer(2))
    head_dim: int = optional(integer(256))
    rope_base: float = positive(1e7)
    norm_eps: float = positive(1e-6)
    tie_weights: bool = flag(True)
    partial_rotary: float = positive(0.25)
    linear_n_heads: int = integer(16)
    linear_n_key_heads: int = integer(16)
    linear_head_dim: int = integer(128)
    linear_key_head_dim: int = integer(128)
    conv_size: int = integer(4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.linear_n_heads % self.linear_n_key_heads:
            raise ValueError(
                f"{type(self).__name__}: linear_n_heads must be a multiple of linear_n_key_heads, "
                f"got {self.linear_n_heads} and {self.linear_n_key_heads}"
            )

    def rotary(self, **changes: Any) -> Rotary:
        """The angles that all blocks with attention share."""
        return super().rotary(partial=self.partial_rotary, **changes)

    def least_parameters(self) -> int:
        """The embedding, and the feed forward of the blocks."""
        return self.emb_dim * (self.vocab_size + 3 * self.n_layers * self.hidden_dim)


class Qwen35Block(Block):
    """Gated DeltaNet or gated attention, then feed forward; pre-norm: (B, T, C) -> (B, T, C).

    rotary: shared by the blocks with attention; i: which block it is
    """

    def __init__(self, config: Qwen35Config, rotary: Rotary, i: int) -> None:
        c, C, rate = config, config.emb_dim, config.drop_rate
        norm = partial(OffsetRMSNorm, eps=c.norm_eps)
        att: nn.Module
        if c.is_full(i):
            att = Attention(
                C, c.n_heads, n_kv_heads=c.n_kv_heads, head_dim=c.head_dim, bias=False,
                qk_norm=norm, gate=True, rotary=rotary, dropout=rate,
            )  # fmt: skip
        else:
            att = GatedDeltaNet(
                C, c.linear_n_heads, n_key_heads=c.linear_n_key_heads, head_dim=c.linear_head_dim,
                key_head_dim=c.linear_key_head_dim, conv_size=c.conv_size, norm_eps=c.norm_eps,
            )  # fmt: skip
        ff = GatedFeedForward(C, c.hidden_dim, activation="silu")
        super().__init__(att, ff, partial(norm, C), dropout=rate)


class Qwen35(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a Qwen35Config, or a dict of its fields; PRESETS has the published ones.
    """

    config: Qwen35Config

    def __init__(self, config: Qwen35Config | dict[str, Any]) -> None:
        c = Qwen35Config(**config) if isinstance(config, dict) else config
        rotary = c.rotary()
        blocks = (Qwen35Block(c, rotary, i) for i in range(c.n_layers))
        super().__init__(c, blocks, OffsetRMSNorm(c.emb_dim, c.norm_eps))

    def hidden_states(
        self, idx: Tensor, cache: Cache | None = None, *, mask: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The blocks' output for the tokens idx (B, T): (B, T, C); see LanguageModel.

        Raises: ValueError for a mask too: a DeltaNet always sees all tokens before.
        """
        if mask is not None:
            raise ValueError("Qwen3.5 takes no mask: a DeltaNet sees all tokens before; padding")
        past = 0 if cache is None else len(cache)
        positions, seen = self.places(idx, cache, None, padding)
        real = real_tokens(idx, past, padding)  # (B, T)
        x = self.through_blocks(
            self.trf_blocks, self.embed(idx), cache, mask=seen, real=real, positions=positions
        )
        return self.normed(x)


PRESETS: dict[str, Qwen35Config] = {
    "tiny": Qwen35Config(
        512, 64, 64, 176, 4, 4, 2, 32, linear_n_heads=4, linear_n_key_heads=2, linear_head_dim=16,
        linear_key_head_dim=16,
    ),
    "qwen3.5-0.8b": Qwen35Config(),
    "qwen3.5-9b": Qwen35Config(
        emb_dim=4096, hidden_dim=12288, n_layers=32, n_heads=16, n_kv_heads=4, linear_n_heads=32,
        tie_weights=False,
    ),
}  # fmt: skip
