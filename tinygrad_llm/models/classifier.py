"""A model that classifies texts, a GPT or a BERT: a new output layer has a row for each class.

One vector must stand for the whole text; `pool` says which:

    "last"       the vector at the last place, T − 1, a token of the text or padding
    "last_real"  the vector of the last token before the padding
    "first"      the vector of the first token, BERT's [CLS]; it saw the text only if causal=False
    "mean"       the mean of the vectors of all tokens before the padding

Shapes: B batch, T time (tokens), C channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn, random
from ..arrays.capture import capturing
from ..arrays.devices import xp_of
from ..arrays.ids import remember_range
from ..functions.creation.ranges import arange
from ..nn import functional as F
from ..tensor import Tensor, wrap
from . import registry
from .base import LanguageModel, Model
from .config import Config, ModelConfig, choice, config_of, flag, integer
from .encoder import Encoder

__all__ = ["POOLS", "GPTClassifier", "GPTClassifierConfig", "real_lengths"]

POOLS = ("last", "last_real", "first", "mean")
END_OF_TEXT = 50256  # GPT-2's id of <|endoftext|>, its padding too


def real_lengths(ids: Tensor, pad_token_id: int = END_OF_TEXT) -> Tensor:
    """The number of tokens in each row before the padding at its end: (B, T) -> (B) int64.

    A row of padding alone counts as 1, so that `length - 1` is always the place of a token.
    """
    real = ids.array != pad_token_id  # (B, T)
    T = real.shape[-1]
    trailing = real[..., ::-1].argmax(-1)  # (B, T) -> (B): padding after the last real token
    lengths = (T - trailing) * real.any(-1)
    return wrap(lengths.clip(1, None).astype(np.int64))


@dataclass(frozen=True)
class GPTClassifierConfig(Config):
    """The shape of a classifier.

    model           the config of the language model or encoder that it is made of
    n_classes       how many classes there are; labels are 0 … n_classes − 1
    pool            which vector stands for the text: "last", "last_real", "first" or "mean"
    causal          whether a token sees only those before it (as in a GPT) or all of the text (as
                    in an encoder); with causal=False no token sees padding
    pad_token_id    the id that pads short texts

    Raises: ValueError or TypeError, which names the wrong value.
    """

    model: ModelConfig = config_of(ModelConfig)
    n_classes: int = integer(2, at_least=2)
    pool: str = choice(POOLS, "last_real")
    causal: bool = flag(True)
    pad_token_id: int = integer(END_OF_TEXT, at_least=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pad_token_id < self.model.vocab_size:
            raise ValueError(
                f"GPTClassifierConfig: pad_token_id must be a token of the vocabulary, 0 … "
                f"{self.model.vocab_size - 1}, got {self.pad_token_id}"
            )


class GPTClassifier(Model):
    """Token ids (B, T) in, a score for each class out (B, K); `loss` for training.

    model: any language model or encoder. It becomes part of the classifier (its attribute `model`)
    and loses its output layer; `GPTClassifier.from_gpt(model, ...)` takes a copy.
    n_classes, pool, causal, pad_token_id: see GPTClassifierConfig. None for pool is "last_real", or
    "first" of an encoder; None for causal is True, or False of an encoder.
    The new output layer, out_head, is drawn as nn.Linear draws its weights.
    Raises: TypeError if `model` is neither; ValueError for causal=True of an encoder.
    """

    config: GPTClassifierConfig

    def __init__(
        self, model: LanguageModel | Encoder, n_classes: int = 2, pool: str | None = None,
        causal: bool | None = None, pad_token_id: int = END_OF_TEXT,
    ) -> None:  # fmt: skip
        super().__init__()
        _need_model("GPTClassifier", model)
        encodes = isinstance(model, Encoder)
        if encodes and causal:
            raise ValueError(
                f"a {type(model).__name__} is an encoder, whose tokens see the whole text: "
                "causal=True is for language models"
            )
        self.config = GPTClassifierConfig(
            model.config, n_classes,
            ("first" if encodes else "last_real") if pool is None else pool,
            not encodes if causal is None else causal, pad_token_id,
        )  # fmt: skip
        self.model = without_head(model)
        self.out_head = nn.Linear(model.config.emb_dim, self.config.n_classes)

    @classmethod
    def from_config(cls, config: GPTClassifierConfig) -> GPTClassifier:
        """A new classifier of this shape, its model too, with random weights."""
        return registry.build_around(cls, config)

    @classmethod
    def from_gpt(
        cls, gpt: LanguageModel | Encoder, n_classes: int = 2, pool: str | None = None,
        causal: bool | None = None, pad_token_id: int = END_OF_TEXT, drop_rate: float | None = None,
    ) -> GPTClassifier:  # fmt: skip
        """A classifier with a model's weights (copies: it stays as it is) and a new head.

        gpt: any language model or encoder; pool, causal: see GPTClassifier
        drop_rate: dropout in training; None for the model's. After manual_seed(s) the head equals
        nn.Linear(C, n_classes).
        Raises: TypeError if `gpt` is neither; ValueError for causal=True of an encoder.
        """
        _need_model("GPTClassifier.from_gpt", gpt)
        model = cls(copied_body(gpt, drop_rate), n_classes, pool, causal, pad_token_id)
        parameter = next(iter(gpt.parameters()))
        model.out_head.to(parameter.dtype).to(parameter.device)
        return model

    @property
    def context_length(self) -> int:
        """The most tokens that the model sees."""
        return self.model.context_length

    def _hidden_states(self, idx: Tensor, lengths: Tensor) -> Tensor:
        """The vectors of tokens (B, T), of which the first `lengths` (B) are real: (B, T, C)."""
        if self.config.causal:
            return self.model.hidden_states(idx)
        T = idx.shape[1]
        real = arange(T, device=lengths.device) < lengths.unsqueeze(1)  # (T) < (B, 1) -> (B, T)
        if isinstance(self.model, Encoder):
            return self.model.hidden_states(idx, real)
        return self.model.hidden_states(idx, mask=real[:, None, None, :])  # (B, 1, 1, T)

    def features(self, idx: Tensor) -> Tensor:
        """The vector that stands for each text: (B, T) -> (B, C).

        Raises: IndexError or ValueError as LanguageModel.hidden_states does; ValueError for texts
        without tokens.
        """
        if idx.dim() == 2 and idx.shape[1] == 0:
            raise ValueError("a text without tokens cannot be classified")
        pool, pad = self.config.pool, self.config.pad_token_id
        lengths = real_lengths(idx, pad)  # (B)
        T = idx.shape[-1]
        if pool != "last" and idx.dim() == 2 and capturing.graph is None:  # a captured shape stays
            T = max(1, *lengths.tolist())
            idx = idx[:, :T]  # columns of padding alone change nothing
        x = self._hidden_states(idx, lengths)  # (B, T, C)
        if pool == "first":
            return x[:, 0]  # (B, C)
        if pool == "last":
            return x[:, -1]  # (B, C)
        if pool == "last_real":
            last = lengths - 1  # (B)
            remember_range(last.array, set(), T - 1)  # so that a GPU need not be asked
            return x[arange(x.shape[0], device=x.device), last]  # (B, C)
        places = xp_of(idx.array).arange(T)  # (T)
        weight = (places < lengths.array[:, None]) / lengths.array[:, None]  # (B, T)
        return (x * wrap(weight[..., None].astype(x.array.dtype))).sum(1)  # (B, T, C) -> (B, C)

    def forward(self, idx: Tensor) -> Tensor:
        """The score of each class: (B, T) -> (B, K)."""
        return self.out_head(self.features(idx))

    def loss(self, idx: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
        """The mean cross-entropy of labels (B) for the texts idx (B, T); 0-d.

        Raises: IndexError if a label is not a class.
        """
        return F.cross_entropy(self(idx), labels, ignore_index=ignore_index)


def without_head(model: LanguageModel | Encoder) -> LanguageModel | Encoder:
    """A language model itself, which loses its output layer, or an encoder's body."""
    if isinstance(model, Encoder):
        return model.body()
    model.out_head = nn.Identity()
    return model


def copied_body(model: LanguageModel | Encoder, drop_rate: float | None) -> Any:
    """A copy of a language model, or of an encoder without its head.

    drop_rate: dropout in training; None for the model's
    """
    with random.fork_rng():  # an encoder without its head is built anew
        body = model.body() if isinstance(model, Encoder) else model
    return body.changed(**({} if drop_rate is None else model.config.dropout(drop_rate)))


def _need_model(caller: str, model: object) -> None:
    if not isinstance(model, LanguageModel | Encoder):
        raise TypeError(
            f"{caller} expects a language model or an encoder, got {type(model).__name__}"
        )
