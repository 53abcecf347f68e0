"""The Transformer of "Attention Is All You Need" (2017): a source is read, a translation written.

nn.Transformer holds the same layers without embeddings, positions, output layer and caches.

Shapes: B batch, S source, T target, C channels (emb_dim), H heads, D head_dim, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from .. import nn
from ..functions.creation.ranges import arange
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import ACTIVATIONS, FeedForward
from ..layers.positions import SinusoidalPositions
from ..tensor import Tensor
from .config import ModelConfig, choice, flag, fraction, integer, optional, positive
from .encoder_decoder import EncoderDecoder, Stack

__all__ = ["PRESETS", "Transformer", "TransformerConfig"]


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """The shape of a Transformer; the defaults are the paper's base model.

    vocab_size        how many tokens the target's language has
    source_vocab_size how many the source's has; None: both texts share vocabulary and embedding
    context_length    the most tokens of a source or target
    emb_dim           channels of a token's vector (d_model)
    hidden_dim        channels in between in the feed forward (d_ff)
    n_layers          blocks of the encoder; n_decoder_layers: of the decoder
    n_heads           attention heads in a block
    head_dim          channels of a head (d_k = d_v); emb_dim / n_heads if None
    activation        of the feed forward
    norm_first        norms before the parts in place of behind them
    final_norm        a norm behind the last block, as nn.Transformer has and the paper does not
    norm_eps          ε of the norms
    drop_rate         dropout in training: of embeddings, attention weights and what is added
    tie_weights       whether the output layer shares the target embedding's weight
    start_token_id    what a target begins with; pad_token_id: what pads

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer(37000)
    source_vocab_size: int | None = optional(integer(None))
    context_length: int = integer(512)
    emb_dim: int = integer(512)
    hidden_dim: int = integer(2048)
    n_layers: int = integer(6, at_most=1 << 16)
    n_decoder_layers: int = integer(6, at_most=1 << 16)
    n_heads: int = integer(8)
    head_dim: int | None = optional(integer(None))
    activation: str = choice(tuple(ACTIVATIONS), "relu")
    norm_first: bool = flag(False)
    final_norm: bool = flag(True)
    norm_eps: float = positive(1e-5)
    drop_rate: float = fraction(0.1)
    tie_weights: bool = flag(True)
    start_token_id: int = integer(2, at_least=0)
    pad_token_id: int = integer(0, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim is None and self.emb_dim % self.n_heads:
            raise ValueError(
                f"TransformerConfig: emb_dim must be a multiple of n_heads unless head_dim is "
                f"given, got emb_dim={self.emb_dim} and n_heads={self.n_heads}"
            )
        self.check_tokens("start_token_id", "pad_token_id")

    def least_parameters(self) -> int:
        """The embeddings, and the matrices of the blocks."""
        C = self.emb_dim
        inner = C if self.head_dim is None else self.n_heads * self.head_dim
        block = 4 * C * inner + 2 * C * self.hidden_dim
        blocks = self.n_layers * block + self.n_decoder_layers * (block + 4 * C * inner)
        return (self.vocab_size + (self.source_vocab_size or 0)) * C + blocks

    def summary(self) -> str:
        """Layers, heads, channels and context, for one line of output."""
        layers = f"{self.n_layers} + {self.n_decoder_layers} layers"
        return f"{layers}, {self.n_heads} heads, {super().summary()}"


class Transformer(EncoderDecoder):
    """model(ids, decoder_ids) -> logits (B, T, V); see EncoderDecoder.

    A token's vector is √C times its embedding, plus the sinusoids of its position.
    Source: Vaswani et al. (2017), section 3.
    """

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        V, C = config.vocab_size, config.emb_dim
        own = config.source_vocab_size
        self.tok_emb = nn.Embedding(V, C)
        self.source_emb = nn.Embedding(own, C) if own else None
        self.positions = SinusoidalPositions(C)
        self.drop = nn.Dropout(config.drop_rate)
        self.encoder = _stack(config, decodes=False)
        self.decoder = _stack(config, decodes=True)
        self.out_head = nn.Linear(C, V, bias=False)
        if config.tie_weights:
            self.out_head.weight = self.tok_emb.weight
        self.init_weights()

    def init_weights(self) -> None:
        """Draws matrices as nn.Transformer does, uniform by Xavier; embeddings from N(0, 1/C)."""
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for embedding in (self.tok_emb, self.source_emb):
            if embedding is not None:
                nn.init.normal_(embedding.weight, 0.0, self.config.emb_dim**-0.5)
        if not self.config.tie_weights:
            nn.init.xavier_uniform_(self.out_head.weight)

    def _embedded(self, embedding: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
        x = embedding(ids) * math.sqrt(self.config.emb_dim)  # (B, T, C)
        return self.drop(x + self.positions(positions, x.dtype))

    def embed_source(self, ids: Tensor) -> Tensor:
        """(B, S) -> (B, S, C): vectors of tokens and of their places."""
        embedding = self.tok_emb if self.source_emb is None else self.source_emb
        return self._embedded(embedding, ids, arange(ids.shape[1], device=ids.device))

    def embed_target(self, ids: Tensor, positions: Tensor) -> Tensor:
        """(B, T) -> (B, T, C): vectors of tokens and of their places, (T) or (B, T)."""
        return self._embedded(self.tok_emb, ids, positions)

    @property
    def output_layer(self) -> nn.Module:
        """out_head."""
        return self.out_head


def _stack(config: TransformerConfig, decodes: bool) -> Stack:
    """The encoder's or the decoder's blocks and the norm behind them."""
    C, H, rate = config.emb_dim, config.n_heads, config.drop_rate
    norm = partial(nn.LayerNorm, C, config.norm_eps)
    D = config.head_dim

    def block() -> Block:
        return Block(
            Attention(C, H, head_dim=D, causal=decodes, dropout=rate),
            FeedForward(C, config.hidden_dim, activation=config.activation, dropout=rate),
            norm,
            norm_place="pre" if config.norm_first else "post",
            cross=Attention(C, H, head_dim=D, cross=True, dropout=rate) if decodes else None,
            dropout=rate,
        )

    n_layers = config.n_decoder_layers if decodes else config.n_layers
    return Stack([block() for _ in range(n_layers)], norm() if config.final_norm else nn.Identity())


PRESETS = {
    "transformer-base": TransformerConfig(),
    "transformer-big": TransformerConfig(emb_dim=1024, hidden_dim=4096, n_heads=16, drop_rate=0.3),
    "tiny": TransformerConfig(
        vocab_size=4000, context_length=64, emb_dim=128, hidden_dim=256, n_layers=2,
        n_decoder_layers=2, n_heads=4,
    ),
}  # fmt: skip
