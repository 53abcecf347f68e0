"""A model that tags tokens: an encoder, or a language model that sees the whole text, and a head.

Shapes: B batch, T time (tokens), C channels, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import nn
from ..arrays.devices import to_numpy
from ..autograd.grad_mode import no_grad
from ..data.batches import IGNORED
from ..data.bio import bio_labels, bio_rules
from ..layers.crf import CRF, Allowed, viterbi
from ..nn import functional as F
from ..tensor import Tensor
from . import registry
from .base import LanguageModel, Model
from .classifier import copied_body, without_head
from .config import Config, ModelConfig, config_of, flag, fraction, integer, names
from .encoder import Encoder

__all__ = ["Tagger", "TaggerConfig"]


@dataclass(frozen=True)
class TaggerConfig(Config):
    """The shape of a tagger.

    model           the config of the model that it is made of
    types           the names of the entities' types; the tags are O, then B and I of each type
    crf             whether a CRF scores the tags of a text together
    pad_token_id    the id that pads short texts at their end; no token sees it
    drop_rate       dropout in training before the head

    Raises: ValueError or TypeError, which names the wrong value.
    """

    model: ModelConfig = config_of(ModelConfig)
    types: tuple[str, ...] = names()
    crf: bool = flag(True)
    pad_token_id: int = integer(0, at_least=0)
    drop_rate: float = fraction(0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad_token_id >= self.model.vocab_size:
            raise ValueError(
                f"TaggerConfig: pad_token_id must be a token of the vocabulary, 0 … "
                f"{self.model.vocab_size - 1}, got {self.pad_token_id}"
            )

    @property
    def labels(self) -> list[str]:
        """The tags in their order: O, B-type, I-type, …"""
        return bio_labels(self.types)


class Tagger(Model):
    """Token ids (B, T) in, a score for each tag of each token out (B, T, K).

    model: an encoder, or a language model, whose causal mask is left out: tokens see the whole text
        and no padding. It becomes part of the tagger and loses its output layer.
    types, crf, pad_token_id, drop_rate: see TaggerConfig.
    Raises: TypeError if `model` is neither.
    Source: Lample et al. (2016), "Neural architectures for named entity recognition", in which the
    encoder was an LSTM.
    """

    config: TaggerConfig

    def __init__(
        self, model: LanguageModel | Encoder, types: Sequence[str], crf: bool = True,
        pad_token_id: int = 0, drop_rate: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(model, Encoder | LanguageModel):
            raise TypeError(
                f"Tagger expects an encoder or a language model, got {type(model).__name__}"
            )
        self.config = TaggerConfig(model.config, tuple(types), crf, pad_token_id, drop_rate)
        self.model = without_head(model)
        K = len(self.config.labels)
        self.drop_head = nn.Dropout(drop_rate)
        self.out_head = nn.Linear(model.config.emb_dim, K)
        self.crf = CRF(K, batch_first=True) if crf else None
        self._allowed = Allowed(*bio_rules(self.config.labels))

    @classmethod
    def from_config(cls, config: TaggerConfig) -> Tagger:
        """A new tagger of this shape, its model too, with random weights."""
        return registry.build_around(cls, config)

    @classmethod
    def from_base(
        cls, base: LanguageModel | Encoder, types: Sequence[str], crf: bool = True,
        pad_token_id: int = 0, drop_rate: float | None = None,
    ) -> Tagger:  # fmt: skip
        """A tagger with a model's weights (copies: it stays as it is) and a new head.

        drop_rate: dropout in training; None for the model's own, and 0.1 before the head
        Raises: TypeError if `base` is neither a language model nor an encoder.
        """
        rate = 0.1 if drop_rate is None else drop_rate
        model = cls(copied_body(base, drop_rate), tuple(types), crf, pad_token_id, rate)
        parameter = next(iter(base.parameters()))
        for new in (model.out_head, model.crf):
            if new is not None:
                new.to(parameter.dtype).to(parameter.device)
        return model

    @property
    def context_length(self) -> int:
        """The most tokens that the model sees."""
        return self.model.context_length

    @property
    def labels(self) -> list[str]:
        """The tags in their order."""
        return self.config.labels

    def forward(self, ids: Tensor) -> Tensor:
        """The score of each tag: (B, T) -> (B, T, K)."""
        real = ids != self.config.pad_token_id  # (B, T)
        if isinstance(self.model, Encoder):
            x = self.model.hidden_states(ids, attention_mask=real)  # (B, T, C)
        else:
            x = self.model.hidden_states(ids, mask=real[:, None, None, :])  # (B, T, C)
        return self.out_head(self.drop_head(x))

    def loss(self, ids: Tensor, labels: Tensor, ignore_index: int = IGNORED) -> Tensor:
        """The mean loss of the labels (B, T), in nats per token, without those of padding; 0-d.

        Without a CRF it is the cross-entropy of each token's tag, with one −log p of a text's tags
        together, summed over texts and divided by the number of tokens.
        Raises: ValueError with a CRF, if an ignored label stands before one that counts.
        """
        scores = self(ids)  # (B, T, K)
        if self.crf is None:
            flat = scores.flatten(0, 1), labels.flatten()  # (B·T, K), (B·T)
            return F.cross_entropy(*flat, ignore_index=ignore_index)
        scores = scores.to(self.crf.transitions.dtype)  # in mixed precision a half
        return -self.crf(scores, labels, labels != ignore_index, reduction="token_mean")

    @no_grad()
    def decode(self, ids: Tensor, constrained: bool = True) -> list[list[int]]:
        """The tags of each text, without padding: ids (B, T) -> B lists.

        constrained: only paths in which I-X follows B-X or I-X; also without a CRF
        """
        lengths = to_numpy((ids.array != self.config.pad_token_id).sum(1))  # (B)
        scores = self(ids)
        allowed = self._allowed if constrained else None
        if self.crf is not None:
            scores = scores.to(self.crf.transitions.dtype)
            return self.crf.decode(scores, ids != self.config.pad_token_id, allowed)
        emissions = to_numpy(scores.array).astype(np.float32)  # (B, T, K)
        none = np.zeros(len(self.labels), np.float32)
        return viterbi(emissions, none[:, None] + none, none, none, lengths, allowed)
