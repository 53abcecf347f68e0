"""Qwen3 as a mixture of experts: 8 of 128 feed-forward layers for each token.

Attention is Qwen3's. Some blocks may have one feed forward for all tokens instead.
Source: Yang et al. (2025), "Qwen3 Technical Report", section 2.
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
from ..layers.moe import MixtureOfExperts, collected_router_logits, load_balancing_loss
from ..layers.rotary import Rotary
from ..tensor import Tensor
from .config import flag, fraction, indices, integer, optional, positive
from .decoder import Decoder, DecoderConfig

__all__ = ["PRESETS", "Qwen3Moe", "Qwen3MoeBlock", "Qwen3MoeConfig"]

_Same = TypeVar("_Same", bound="Qwen3MoeConfig")


@dataclass(frozen=True)
class Qwen3MoeConfig(DecoderConfig):
    """The shape of a Qwen3 with experts: DecoderConfig's fields (defaults: 30B-A3B), and

    hidden_dim             channels within an expert
    n_experts              experts in a block; n_experts_per_token: how many of them a token meets
    norm_topk_prob         whether the weights of the chosen experts are divided by their sum
    router_aux_loss_coef   in training the loss has this much of load_balancing_loss: 0 for none
    dense_layers           blocks, from 0, with a feed forward instead of experts
    dense_hidden_dim       channels within these; None only if there are none

    Raises: ValueError if more experts are chosen than there are, or dense_layers does not fit.
    """

    vocab_size: int = integer(151936)
    context_length: int = integer(40960)
    emb_dim: int = integer(2048)
    hidden_dim: int = integer(768)
    n_layers: int = integer(48, at_most=1 << 16)
    n_heads: int = integer(32)
    n_kv_heads: int = optional(integer(4))
    head_dim: int = optional(integer(128))
    rope_base: float = positive(1e6)
    norm_eps: float = positive(1e-6)
    n_experts: int = integer(128)
    n_experts_per_token: int = integer(8)
    norm_topk_prob: bool = flag(True)
    router_aux_loss_coef: float = fraction(0.001)
    dense_layers: tuple[int, ...] = indices(())
    dense_hidden_dim: int | None = optional(integer(None))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_experts_per_token > self.n_experts:
            raise ValueError(
                f"{type(self).__name__}: n_experts_per_token must be at most n_experts, got "
                f"{self.n_experts_per_token} and {self.n_experts}"
            )
        dense = self.dense_layers
        if dense and (dense[-1] >= self.n_layers or self.dense_hidden_dim is None):
            raise ValueError(
                f"{type(self).__name__}: dense_layers must be from 0 to {self.n_layers - 1}, and "
                f"need a dense_hidden_dim, got {list(dense)} and {self.dense_hidden_dim}"
            )

    def resized(self: _Same, **sizes: Any) -> _Same:
        """See DecoderConfig; all blocks have experts unless sizes has dense_layers."""
        return super().resized(**{"dense_layers": (), **sizes})

    def least_parameters(self) -> int:
        """The embedding, attention and experts of the blocks that have them."""
        attention = 2 * (self.n_heads + self.n_kv_heads) * self.head_dim * self.emb_dim
        sparse = self.n_layers - len(self.dense_layers)
        experts = 3 * self.emb_dim * self.hidden_dim * self.n_experts
        return self.vocab_size * self.emb_dim + self.n_layers * attention + sparse * experts


class Qwen3MoeBlock(Block):
    """Attention with normalised queries and keys, then experts; pre-norm: (B, T, C) -> (B, T, C).

    rotary: shared by all blocks; i: which block it is, for a dense one has no experts
    """

    def __init__(self, config: Qwen3MoeConfig, rotary: Rotary, i: int) -> None:
        C, rate = config.emb_dim, config.drop_rate
        norm = partial(nn.RMSNorm, eps=config.norm_eps)
        att = Attention(
            C, config.n_heads, n_kv_heads=config.n_kv_heads, head_dim=config.head_dim, bias=False,
            qk_norm=norm, rotary=rotary, dropout=rate,
        )  # fmt: skip
        ff: nn.Module
        if config.dense_hidden_dim is not None and i in config.dense_layers:
            ff = GatedFeedForward(C, config.dense_hidden_dim, activation="silu")
        else:
            ff = MixtureOfExperts(
                C, config.hidden_dim, config.n_experts, config.n_experts_per_token,
                norm_topk_prob=config.norm_topk_prob,
            )  # fmt: skip
        super().__init__(att, ff, partial(norm, C), dropout=rate)


class Qwen3Moe(Decoder):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a Qwen3MoeConfig, or a dict of its fields; PRESETS has the published ones.
    """

    config: Qwen3MoeConfig

    def __init__(self, config: Qwen3MoeConfig | dict[str, Any]) -> None:
        c = Qwen3MoeConfig(**config) if isinstance(config, dict) else config
        rotary = c.rotary()
        blocks = (Qwen3MoeBlock(c, rotary, i) for i in range(c.n_layers))
        super().__init__(c, blocks, nn.RMSNorm(c.emb_dim, c.norm_eps))

    def loss(self, idx: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The mean cross-entropy of targets (B, T); in training with load_balancing_loss; 0-d.

        See LanguageModel.loss. In training router_aux_loss_coef·load_balancing_loss is added.
        Raises: RuntimeError if the shapes differ.
        """
        share = self.config.router_aux_loss_coef
        if not self.training or not share:
            return super().loss(idx, targets, ignore_index)
        with collected_router_logits() as logits:
            loss = super().loss(idx, targets, ignore_index)
        if not logits:  # no block has experts
            return loss
        return loss + load_balancing_loss(logits, self.config.n_experts_per_token) * share


PRESETS: dict[str, Qwen3MoeConfig] = {
    "tiny": Qwen3MoeConfig(
        512, 64, 64, 48, 2, 4, 2, 32, tie_weights=True, n_experts=8, n_experts_per_token=2
    ),
    "qwen3-30b-a3b": Qwen3MoeConfig(),
    "qwen3-235b-a22b": Qwen3MoeConfig(
        emb_dim=4096, hidden_dim=1536, n_layers=94, n_heads=64
    ),
}  # fmt: skip
