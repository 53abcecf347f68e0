"""ModernBERT (2024): an encoder with rotary positions, gated feed forward and local attention.

Every third block looks at the whole text, the others at 64 tokens to each side. Norms stand before
the parts, and nothing has a bias except the output layer.

Shapes: B batch, T time (tokens), C channels (emb_dim), H heads, V vocabulary, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .. import nn
from ..arrays.devices import xp_of
from ..functions.creation.ranges import arange
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import ACTIVATIONS, GatedFeedForward
from ..layers.rotary import Rotary
from ..tensor import Tensor, wrap
from ..weights.families.mixed import FULL, SLIDING
from .base import init_normal
from .config import (
    ModelConfig,
    choice,
    choices,
    flag,
    fraction,
    integer,
    mapping,
    names,
    optional,
    positive,
)
from .encoder import (
    ClassifyingEncoder,
    Encoder,
    MaskedEncoder,
    MaskedHead,
    check_classes,
    key_mask,
)

__all__ = [
    "PRESETS", "ModernBert", "ModernBertConfig", "ModernBertForMaskedLM",
    "ModernBertForSequenceClassification", "ModernBertForTokenClassification",
]  # fmt: skip


@dataclass(frozen=True)
class ModernBertConfig(ModelConfig):
    """The shape of a ModernBERT; the defaults are ModernBERT base.

    vocab_size        how many different tokens there are
    context_length    the most tokens that the model sees
    emb_dim           channels of a token's vector; a multiple of n_heads
    hidden_dim        channels in between in the feed forward
    n_heads, n_layers attention heads in a block, and blocks
    layer_types       "full_attention" or "sliding_attention" for each block; every third is full
                      if None
    window            tokens that a sliding block sees, half of them to each side
    rope_base         how slowly the slowest pair of channels turns in full blocks, local_rope_base
                      in sliding ones; rope_scaling: of full blocks, as Rotary takes it
    activation        of the feed forward; head_activation: of the masked head
    norm_eps          ε of the norms; norm_bias: whether they have a bias
    attention_bias, ff_bias, head_bias, out_bias
                      whether matrices of attention, feed forward, masked head and output have one
    drop_rate         dropout of the embeddings in training
    tie_weights       whether the masked head shares the token embedding's weight
    n_classes         of the heads that classify
    pool              which vector they see of a text: the "first" token's, or the "mean" of all
    class_names       of the n_classes, in their order; None: they have no names
    classifier_drop_rate
                      dropout before the scores of classes; None: drop_rate

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer(50368)
    context_length: int = integer(8192)
    emb_dim: int = integer(768)
    hidden_dim: int = integer(1152)
    n_heads: int = integer(12)
    n_layers: int = integer(22, at_most=1 << 16)
    layer_types: tuple[str, ...] | None = optional(choices((FULL, SLIDING), None))
    window: int = integer(128)
    rope_base: float = positive(160000.0)
    rope_scaling: Mapping[str, Any] | None = optional(mapping(None))
    local_rope_base: float = positive(10000.0)
    activation: str = choice(tuple(ACTIVATIONS), "gelu")
    head_activation: str = choice(tuple(ACTIVATIONS), "gelu")
    norm_eps: float = positive(1e-5)
    norm_bias: bool = flag(False)
    attention_bias: bool = flag(False)
    ff_bias: bool = flag(False)
    head_bias: bool = flag(False)
    out_bias: bool = flag(True)
    drop_rate: float = fraction(0.0)
    tie_weights: bool = flag(True)
    n_classes: int = integer(2, at_most=1 << 20)  # each is named in config.json
    pool: str = choice(("first", "mean"), "first")
    class_names: tuple[str, ...] | None = optional(names(None))
    classifier_drop_rate: float | None = optional(fraction(None))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.emb_dim % self.n_heads:
            raise ValueError(
                f"ModernBertConfig: emb_dim must be a multiple of n_heads, got "
                f"emb_dim={self.emb_dim} and n_heads={self.n_heads}"
            )
        if self.layer_types is None:
            kinds = tuple(SLIDING if i % 3 else FULL for i in range(self.n_layers))
            object.__setattr__(self, "layer_types", kinds)  # the dataclass is frozen
        if len(self.kinds) != self.n_layers:
            raise ValueError(
                f"ModernBertConfig: layer_types must name {self.n_layers} blocks, got "
                f"{len(self.kinds)} names"
            )
        for kind in (FULL, SLIDING):
            self.rotary(kind)  # raises for an odd head_dim, and for a scaling that is not known
        check_classes(self)

    def dropout(self, rate: float) -> dict[str, float | None]:
        """See ModelConfig."""
        return {"drop_rate": rate, "classifier_drop_rate": None}

    @property
    def n_token_types(self) -> int:
        """Kinds of tokens: none, only [SEP] separates a first text from a second."""
        return 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """layer_types, never None."""
        return self.layer_types or ()

    def rotary(self, kind: str) -> Rotary:
        """The angles that all blocks of this kind share."""
        full = kind == FULL
        return Rotary(
            self.emb_dim // self.n_heads,
            base=self.rope_base if full else self.local_rope_base,
            scaling=self.rope_scaling if full else None,
        )

    def resized(self, **sizes: Any) -> ModernBertConfig:
        """The config with these fields; the feed forward is one and a half times as wide."""
        width = sizes.get("emb_dim", self.emb_dim)
        return replace(self, **{"hidden_dim": 3 * width // 2, "layer_types": None, **sizes})

    def least_parameters(self) -> int:
        """The embedding, and the matrices of the blocks."""
        C = self.emb_dim
        return self.vocab_size * C + self.n_layers * (4 * C * C + 3 * C * self.hidden_dim)

    def summary(self) -> str:
        """Layers, heads, channels and context, for one line of output."""
        return f"{self.n_layers} layers, {self.n_heads} heads, {super().summary()}"


class ModernBert(Encoder):
    """ids (B, T) -> hidden states (B, T, C).

    Source: Warner et al. (2024), "Smarter, Better, Faster, Longer", section 2.
    """

    config: ModernBertConfig

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        C = config.emb_dim
        norm = partial(nn.LayerNorm, C, config.norm_eps, bias=config.norm_bias)
        self.tok_emb = nn.Embedding(config.vocab_size, C)
        self.emb_norm = norm()
        self.drop_emb = nn.Dropout(config.drop_rate)
        rotary = {kind: config.rotary(kind) for kind in (FULL, SLIDING)}
        self.trf_blocks = nn.ModuleList(
            self._block(config, norm, rotary[kind]) for kind in config.kinds
        )
        self.trf_blocks[0].norm1 = nn.Identity()  # the embedding's norm stands right before it
        self.final_norm = norm()
        init_normal(self)

    @staticmethod
    def _block(config: ModernBertConfig, norm: Any, rotary: Rotary) -> Block:
        C = config.emb_dim
        return Block(
            Attention(C, config.n_heads, bias=config.attention_bias, rotary=rotary, causal=False),
            GatedFeedForward(
                C, config.hidden_dim, activation=config.activation, bias=config.ff_bias
            ),
            norm,
        )

    def hidden_states(
        self, ids: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """A vector for each token of ids (B, T): (B, T, C); see Encoder.

        Raises: ValueError for token_type_ids, which it does not have; as Encoder.
        """
        if token_type_ids is not None:
            raise ValueError("this model has no kinds of tokens: leave out token_type_ids")
        B, T = self.check_ids(ids)
        x = self.drop_emb(self.emb_norm(self.tok_emb(ids)))  # (B, T, C)
        real = key_mask(attention_mask, B, T)
        places = xp_of(ids.array).arange(T)  # (T)
        half = self.config.window // 2
        near = wrap(abs(places[:, None] - places) <= half)  # (T, T)
        local = near if real is None else near & real  # (T, T) & (B, 1, 1, T) -> (B, 1, T, T)
        masks = [real if kind == FULL else local for kind in self.config.kinds]
        x = self.through_blocks(x, masks, positions=arange(T, device=ids.device))
        return self.final_norm(x)


def _transform(config: ModernBertConfig) -> MaskedHead:
    """What comes before the output layer of every head."""
    norm = partial(nn.LayerNorm, config.emb_dim, config.norm_eps, bias=config.norm_bias)
    return MaskedHead(config.emb_dim, config.head_activation, norm, bias=config.head_bias)


class ModernBertForMaskedLM(MaskedEncoder, ModernBert):
    """Masked ids in, logits of every place out."""

    body_class = ModernBert

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.add_head(_transform(config), config.out_bias)
        if not config.tie_weights:
            nn.init.normal_(self.out_head.weight, 0.0, 0.02)
        init_normal(self.transform)


class ModernBertForTokenClassification(ClassifyingEncoder, ModernBert):
    """ids (B, T) -> a score for each class of each token (B, T, K); `transform` comes before them.

    Source: the class of this name in transformers.
    """

    body_class = ModernBert

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.transform = _transform(config)
        self.add_classifier(self.transform)

    def transformed(self, x: Tensor) -> Tensor:
        return self.transform(x)


class ModernBertForSequenceClassification(ModernBertForTokenClassification):
    """ids (B, T) -> a score for each class (B, K), from the vector that config.pool names.

    Source: the class of this name in transformers.
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.pool = config.pool


PRESETS = {
    "tiny": ModernBertConfig(512, 64, 64, 96, 4, 3, window=32),
    "modernbert-base": ModernBertConfig(),
    "modernbert-large": ModernBertConfig(emb_dim=1024, hidden_dim=2624, n_heads=16, n_layers=28),
}
