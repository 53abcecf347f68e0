"""T5 (2019): every task as text in, text out. Version 1.1 has a gated feed forward.

Positions are numbers added to the scores, learned for ranges of distances and shared by all blocks.
Scores are not divided by √D; norms have no bias and stand before the parts; nothing has a bias.

Shapes: B batch, S source, T target, C channels (emb_dim), H heads, D head_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import nn
from ..autograd.grad_mode import no_grad
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.cache import Cache
from ..layers.feed_forward import ACTIVATIONS, FeedForward, GatedFeedForward
from ..layers.positions import RelativeBias, shared_biases
from ..tensor import Tensor
from .config import ModelConfig, choice, flag, fraction, integer, positive
from .encoder_decoder import EncoderDecoder, Stack

__all__ = ["PRESETS", "T5", "ScaledHead", "T5Config"]


@dataclass(frozen=True)
class T5Config(ModelConfig):
    """The shape of a T5; the defaults are T5 small, version 1.0.

    vocab_size        how many different tokens there are
    context_length    the most tokens of a source or target; positions do not limit it
    emb_dim           channels of a token's vector
    hidden_dim        channels in between in the feed forward
    n_layers          blocks of the encoder; n_decoder_layers: of the decoder
    n_heads, head_dim attention heads in a block and their channels
    n_buckets         ranges of distances that share a number; from max_distance on all share one
    activation        of the feed forward; gated: whether it has a gate ("gelu_new" in version 1.1)
    norm_eps          ε of the norms
    drop_rate         dropout in training: 0 for none
    scaled_head       whether the output layer's input is divided by √C (version 1.0)
    tie_weights       whether the output layer shares the token embedding's weight (version 1.0)
    start_token_id    what a target begins with; pad_token_id: what pads

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer(32128)
    context_length: int = integer(512)
    emb_dim: int = integer(512)
    hidden_dim: int = integer(2048)
    n_layers: int = integer(6, at_most=1 << 16)
    n_decoder_layers: int = integer(6, at_most=1 << 16)
    n_heads: int = integer(8)
    head_dim: int = integer(64)
    n_buckets: int = integer(32, at_least=4)
    max_distance: int = integer(128)
    activation: str = choice(tuple(ACTIVATIONS), "relu")
    gated: bool = flag(False)
    norm_eps: float = positive(1e-6)
    drop_rate: float = fraction(0.1)
    scaled_head: bool = flag(True)
    tie_weights: bool = flag(True)
    start_token_id: int = integer(0, at_least=0)
    pad_token_id: int = integer(0, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_buckets % 2 or self.max_distance <= self.n_buckets // 2:
            raise ValueError(
                f"T5Config: n_buckets must be even and max_distance more than half of them, got "
                f"{self.n_buckets} and {self.max_distance}"
            )
        self.check_tokens("start_token_id", "pad_token_id")

    def least_parameters(self) -> int:
        """The embedding, and the matrices of the blocks."""
        C, inner = self.emb_dim, self.n_heads * self.head_dim
        ff = (3 if self.gated else 2) * C * self.hidden_dim
        encoder = self.n_layers * (4 * C * inner + ff)
        return self.vocab_size * C + encoder + self.n_decoder_layers * (8 * C * inner + ff)

    def summary(self) -> str:
        """Layers, heads, channels and context, for one line of output."""
        layers = f"{self.n_layers} + {self.n_decoder_layers} layers"
        return f"{layers}, {self.n_heads} heads, {super().summary()}"


class ScaledHead(nn.Linear):
    """logits = W·(x/√dim), without a bias: x (..., dim) -> (..., V).

    An embedding's vectors have length √dim or so, where an output layer's rows have 1: the scale is
    what lets them be the same matrix. Source: Raffel et al. (2019), section 2.1, and its code.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.in_features**-0.5)


class T5(EncoderDecoder):
    """model(ids, decoder_ids) -> logits (B, T, V); see EncoderDecoder.

    Source: Raffel et al. (2019), "Exploring the Limits of Transfer Learning", section 2.1.
    """

    config: T5Config

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        V, C = config.vocab_size, config.emb_dim
        norm = partial(nn.RMSNorm, C, config.norm_eps)
        self.tok_emb = nn.Embedding(V, C)
        self.drop = nn.Dropout(config.drop_rate)
        self.encoder = _stack(config, norm, decodes=False)
        self.decoder = _stack(config, norm, decodes=True)
        kind = ScaledHead if config.scaled_head else nn.Linear
        shared = config.tie_weights and nn.init.skipping  # it needs no memory
        self.out_head = kind(C, V, bias=False, device="meta" if shared else None)
        if config.tie_weights:
            self.out_head.weight = self.tok_emb.weight
        self.init_weights()

    def init_weights(self) -> None:
        """Draws the matrices as T5 does: queries with less, as scores are not divided by √D."""
        config = self.config
        C, inner = config.emb_dim, config.n_heads * config.head_dim
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                std = C**-0.5 if "position_bias" in name else 1.0
                nn.init.normal_(module.weight, 0.0, std)
            elif isinstance(module, nn.Linear) and module is not self.out_head:
                nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
        for module in self.modules():
            if isinstance(module, Attention):
                queries = module.q.weight if module.cross else module.qkv.weight
                with no_grad():  # the first rows
                    nn.init.normal_(queries[:inner], 0.0, (C * config.head_dim) ** -0.5)
        if not config.tie_weights:
            nn.init.normal_(self.out_head.weight, 0.0, C**-0.5)

    def embed_source(self, ids: Tensor) -> Tensor:
        """(B, S) -> (B, S, C), without positions: the scores have them."""
        return self.drop(self.tok_emb(ids))

    def embed_target(self, ids: Tensor, positions: Tensor) -> Tensor:
        """(B, T) -> (B, T, C), without positions: the scores have them."""
        return self.drop(self.tok_emb(ids))

    @property
    def output_layer(self) -> nn.Module:
        """out_head, with the scale of version 1.0."""
        return self.out_head


class _BiasedStack(Stack):
    """A Stack whose blocks share one position bias, which each pass computes once.

    With gradient checkpointing a block runs again alone, so there each computes its own.
    """

    def forward(self, x: Tensor, cache: Cache | None = None, **options: Any) -> Tensor:
        with nullcontext() if self.gradient_checkpointing else shared_biases():
            return super().forward(x, cache, **options)


def _stack(config: T5Config, norm: Callable[[], nn.Module], decodes: bool) -> Stack:
    """The encoder's or the decoder's blocks, which share one RelativeBias, and the last norm."""
    C, H, rate = config.emb_dim, config.n_heads, config.drop_rate
    shape: dict[str, Any] = {
        "head_dim": config.head_dim,
        "bias": False,
        "scale": 1.0,
        "dropout": rate,
    }
    bias = RelativeBias(
        H, n_buckets=config.n_buckets, max_distance=config.max_distance, bidirectional=not decodes
    )

    def block() -> Block:
        kind = GatedFeedForward if config.gated else FeedForward
        return Block(
            Attention(C, H, causal=decodes, position_bias=bias, **shape),
            kind(C, config.hidden_dim, activation=config.activation, bias=False, dropout=rate),
            norm,
            cross=Attention(C, H, cross=True, **shape) if decodes else None,
            dropout=rate,
        )

    n_layers = config.n_decoder_layers if decodes else config.n_layers
    last = nn.Sequential(norm(), nn.Dropout(rate))
    return _BiasedStack([block() for _ in range(n_layers)], last)


PRESETS = {
    "t5-small": T5Config(),
    "t5-base": T5Config(
        emb_dim=768, hidden_dim=3072, n_layers=12, n_decoder_layers=12, n_heads=12
    ),
    "t5-v1.1-small": T5Config(
        hidden_dim=1024, n_layers=8, n_decoder_layers=8, n_heads=6, activation="gelu_new",
        gated=True, scaled_head=False, tie_weights=False,
    ),
}  # fmt: skip
