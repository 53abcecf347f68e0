"""BERT (2018), RoBERTa (2019) and DistilBERT (2019): encoders whose tokens see the whole text.

They differ in little: RoBERTa has no second kind of token and counts positions from the first
token that is not padding; DistilBERT has no kinds of tokens at all, and half of the blocks.

Shapes: B batch, T time (tokens), C channels (emb_dim), H heads, V vocabulary, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from .. import nn
from ..functions.creation.ranges import arange
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import ACTIVATIONS, FeedForward
from ..nn import functional as F
from ..tensor import Tensor, wrap
from .base import init_normal
from .config import ModelConfig, choice, flag, fraction, integer, names, optional, positive
from .encoder import (
    ClassifyingEncoder,
    Encoder,
    MaskedEncoder,
    MaskedHead,
    check_classes,
    key_mask,
)

__all__ = [
    "DISTILBERT_PRESETS", "PRESETS", "ROBERTA_PRESETS", "Bert", "BertConfig", "BertForMaskedLM",
    "BertForSequenceClassification", "BertForTokenClassification", "DistilBert", "DistilBertConfig",
    "DistilBertForMaskedLM", "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
    "Roberta", "RobertaConfig", "RobertaForMaskedLM", "RobertaForSequenceClassification",
    "RobertaForTokenClassification",
]  # fmt: skip


_Same = TypeVar("_Same", bound="BertConfig")


@dataclass(frozen=True)
class BertConfig(ModelConfig):
    """The shape of a BERT; the defaults are BERT base.

    vocab_size          how many different tokens there are
    context_length      the most tokens that the model sees
    emb_dim             channels of a token's vector; a multiple of n_heads
    hidden_dim          channels in between in the feed forward
    n_heads, n_layers   attention heads in a block, and blocks
    n_token_types       kinds of tokens: 2 for a first and a second text, 0 for none
    activation          of the feed forward and of the masked head: "gelu" is the exact one
    norm_eps            ε of the norms
    drop_rate           dropout in training of what is added; attention_drop_rate: of the weights
    pad_token_id        for positions that count tokens only (RoBERTa); None: places count
    n_classes           of the heads that classify
    tie_weights         whether the masked head shares the token embedding's weight
    class_names         of the n_classes, in their order; None: they have no names
    classifier_drop_rate
                        dropout before the scores of classes; None: drop_rate

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer(30522)
    context_length: int = integer(512)
    emb_dim: int = integer(768)
    hidden_dim: int = integer(3072)
    n_heads: int = integer(12)
    n_layers: int = integer(12, at_most=1 << 16)
    n_token_types: int = integer(2, at_least=0)
    activation: str = choice(tuple(ACTIVATIONS), "gelu")
    norm_eps: float = positive(1e-12)
    drop_rate: float = fraction(0.1)
    attention_drop_rate: float = fraction(0.1)
    pad_token_id: int | None = optional(integer(None, at_least=0))
    n_classes: int = integer(2, at_most=1 << 20)  # each is named in config.json
    tie_weights: bool = flag(True)
    class_names: tuple[str, ...] | None = optional(names(None))
    classifier_drop_rate: float | None = optional(fraction(None))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.emb_dim % self.n_heads:
            raise ValueError(
                f"{type(self).__name__}: emb_dim must be a multiple of n_heads, got "
                f"emb_dim={self.emb_dim} and n_heads={self.n_heads}"
            )
        check_classes(self)

    def resized(self: _Same, **sizes: Any) -> _Same:
        """The config with these fields; its feed forward is four times as wide as its channels."""
        width = sizes.get("emb_dim", self.emb_dim)
        return replace(self, **{"hidden_dim": 4 * width, **sizes})

    def dropout(self, rate: float) -> dict[str, float | None]:
        """See ModelConfig; attention drops as much."""
        return {"drop_rate": rate, "attention_drop_rate": rate, "classifier_drop_rate": None}

    def least_parameters(self) -> int:
        """The embeddings, and the matrices of the blocks."""
        C = self.emb_dim
        blocks = self.n_layers * (4 * C * C + 2 * C * self.hidden_dim)
        return (self.vocab_size + self.context_length) * C + blocks

    def summary(self) -> str:
        """Layers, heads, channels and context, for one line of output."""
        return f"{self.n_layers} layers, {self.n_heads} heads, {super().summary()}"

    @property
    def n_positions(self) -> int:
        """Rows of the position embedding: RoBERTa's begin after the id of padding."""
        before = 0 if self.pad_token_id is None else self.pad_token_id + 1
        return self.context_length + before


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """The shape of a RoBERTa, see BertConfig; the defaults are RoBERTa base."""

    vocab_size: int = integer(50265)
    n_token_types: int = integer(1, at_least=0)
    norm_eps: float = positive(1e-5)
    pad_token_id: int | None = optional(integer(1, at_least=0))


@dataclass(frozen=True)
class DistilBertConfig(BertConfig):
    """The shape of a DistilBERT, see BertConfig; the defaults are DistilBERT base."""

    n_layers: int = integer(6, at_most=1 << 16)
    n_token_types: int = integer(0, at_least=0)


class Bert(Encoder):
    """ids (B, T) -> hidden states (B, T, C): embeddings, then blocks with norms behind each part.

    Source: Devlin et al. (2018), "BERT", section 3.
    """

    config: BertConfig

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        C, norm = config.emb_dim, partial(nn.LayerNorm, config.emb_dim, config.norm_eps)
        self.tok_emb = nn.Embedding(config.vocab_size, C)
        self.pos_emb = nn.Embedding(config.n_positions, C)
        kinds = config.n_token_types
        self.type_emb = nn.Embedding(kinds, C) if kinds else None
        self.emb_norm = norm()
        self.drop_emb = nn.Dropout(config.drop_rate)
        self.trf_blocks = nn.ModuleList(
            Block(
                Attention(C, config.n_heads, causal=False, dropout=config.attention_drop_rate),
                FeedForward(C, config.hidden_dim, activation=config.activation),
                norm, norm_place="post", dropout=config.drop_rate,
            )
            for _ in range(config.n_layers)
        )  # fmt: skip
        init_normal(self)

    def hidden_states(
        self, ids: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """A vector for each token of ids (B, T): (B, T, C); see Encoder.

        Raises: ValueError for token_type_ids without an embedding of them; as Encoder.
        """
        B, T = self.check_ids(ids)
        x = self.tok_emb(ids) + self.pos_emb(self._positions(ids))  # (B, T, C)
        if self.type_emb is not None:
            kinds = ids * 0 if token_type_ids is None else token_type_ids  # (B, T)
            x = x + self.type_emb(kinds)
        elif token_type_ids is not None:
            raise ValueError("this model has no kinds of tokens: leave out token_type_ids")
        x = self.drop_emb(self.emb_norm(x))
        return self.through_blocks(x, key_mask(attention_mask, B, T))

    def _positions(self, ids: Tensor) -> Tensor:
        """The row of pos_emb of each token: (T), or (B, T) where padding is not counted."""
        pad = self.config.pad_token_id
        if pad is None:
            return arange(ids.shape[1], device=ids.device)  # (T)
        real = (ids.array != pad).astype("int64")  # (B, T)
        return wrap(real.cumsum(-1) * real + pad)  # (B, T)


class BertForMaskedLM(MaskedEncoder, Bert):
    """Masked ids in, logits of every place out: the model that BERT is trained as."""

    body_class: type[Encoder] = Bert

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        norm = partial(nn.LayerNorm, config.emb_dim, config.norm_eps)
        self.add_head(MaskedHead(config.emb_dim, config.activation, norm))
        if not config.tie_weights:
            nn.init.normal_(self.out_head.weight, 0.0, 0.02)
        init_normal(self.transform)


class Roberta(Bert):
    """RoBERTa: BERT trained longer, its positions counted without padding (Liu et al., 2019)."""


class DistilBert(Bert):
    """DistilBERT: half of BERT's blocks, taught by BERT (Sanh et al., 2019)."""


class RobertaForMaskedLM(BertForMaskedLM):
    """Roberta with the head of a masked language model."""

    body_class = Roberta


class DistilBertForMaskedLM(BertForMaskedLM):
    """DistilBert with the head of a masked language model."""

    body_class = DistilBert


class BertForSequenceClassification(ClassifyingEncoder, Bert):
    """ids (B, T) -> a score for each class (B, K), from the first token's vector.

    `pooler` is tanh(W·x₀ + b), trained with BERT to tell whether two texts follow each other.
    Source: Devlin et al. (2018), "BERT", section 4.1.
    """

    body_class: type[Encoder] = Bert
    pool = "first"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.pooler = nn.Linear(config.emb_dim, config.emb_dim)
        self.add_classifier(self.pooler)

    def transformed(self, x: Tensor) -> Tensor:
        return self.pooler(x).tanh()


class BertForTokenClassification(ClassifyingEncoder, Bert):
    """ids (B, T) -> a score for each class of each token (B, T, K).

    Source: Devlin et al. (2018), "BERT", section 5.3.
    """

    body_class: type[Encoder] = Bert

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.add_classifier()


class RobertaForSequenceClassification(BertForSequenceClassification):
    """Roberta with scores of a text: BERT's head, with dropout before `pooler` too.

    Source: RobertaClassificationHead of transformers.
    """

    body_class = Roberta

    def transformed(self, x: Tensor) -> Tensor:
        return super().transformed(self.drop_head(x))


class RobertaForTokenClassification(BertForTokenClassification):
    """Roberta with scores of each token."""

    body_class = Roberta


class DistilBertForSequenceClassification(BertForSequenceClassification):
    """DistilBert with scores of a text: `pooler` is relu(W·x₀ + b).

    Source: the class of this name in transformers.
    """

    body_class = DistilBert

    def transformed(self, x: Tensor) -> Tensor:
        return F.relu(self.pooler(x))


class DistilBertForTokenClassification(BertForTokenClassification):
    """DistilBert with scores of each token, with drop_rate before them as the class of this name
    in transformers has it.
    """

    body_class = DistilBert

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.drop_head = nn.Dropout(config.drop_rate)


_TINY: dict[str, Any] = dict(
    vocab_size=512, context_length=64, emb_dim=64, hidden_dim=256, n_heads=4, n_layers=2
)
PRESETS = {
    "tiny": BertConfig(**_TINY),
    "bert-base-uncased": BertConfig(),
    "bert-large-uncased": BertConfig(emb_dim=1024, hidden_dim=4096, n_heads=16, n_layers=24),
    "minilm-l6": BertConfig(emb_dim=384, hidden_dim=1536, n_layers=6),
    "roberta-base": RobertaConfig(),
    "distilbert-base": DistilBertConfig(),
}
ROBERTA_PRESETS = {"tiny": RobertaConfig(**_TINY)}
DISTILBERT_PRESETS = {"tiny": DistilBertConfig(**_TINY)}
