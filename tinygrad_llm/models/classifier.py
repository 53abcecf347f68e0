"""A language model that classifies texts: a new output layer has a row for each class.

One vector must stand for the whole text; `pool` says which:

    "last"       the vector at the last place, T − 1, a token of the text or padding
    "last_real"  the vector of the last token before the padding
    "first"      the vector of the first token; it saw the text only if causal=False
    "mean"       the mean of the vectors of all tokens before the padding

Shapes: B batch, T time (tokens), C channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .. import nn
from ..arrays.capture import capturing
from ..arrays.devices import xp_of
from ..arrays.ids import remember_range
from ..functions.creation.ranges import arange
from ..nn import functional as F
from ..tensor import Tensor, wrap
from . import registry
from .base import LanguageModel, Model
from .config import Config, ModelConfig, choice, config_of, flag, integer

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

    model           the config of the language model that it is made of
    n_classes       how many classes there are; labels are 0 … n_classes − 1
    pool            which vector stands for the text: "last", "last_real", "first" or "mean"
    causal          whether a token sees only those before it (as in a GPT) or all of the text;
                    with causal=False no token sees padding
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

    model: any language model. It becomes part of the classifier (its attribute `model`) and loses
    its output layer; `GPTClassifier.from_gpt(model, ...)` takes a copy.
    n_classes, pool, causal, pad_token_id: see GPTClassifierConfig.
    The new output layer, out_head, is drawn as nn.Linear draws its weights.
    Raises: TypeError if `model` is not a language model.
    """

    config: GPTClassifierConfig

    def __init__(
        self, model: LanguageModel, n_classes: int = 2, pool: str = "last_real",
        causal: bool = True, pad_token_id: int = END_OF_TEXT,
    ) -> None:  # fmt: skip
        super().__init__()
        _need_language_model("GPTClassifier", model)
        self.config = GPTClassifierConfig(model.config, n_classes, pool, causal, pad_token_id)
        self.model = model
        self.out_head = nn.Linear(model.config.emb_dim, self.config.n_classes)
        model.out_head = nn.Identity()

    @classmethod
    def from_config(cls, config: GPTClassifierConfig) -> GPTClassifier:
        """A new classifier of this shape, its language model too, with random weights."""
        shape = {each.name: getattr(config, each.name) for each in fields(config)}
        return cls(**{**shape, "model": registry.build_from(config.model)})

    @classmethod
    def from_gpt(
        cls, gpt: LanguageModel, n_classes: int = 2, pool: str = "last_real", causal: bool = True,
        pad_token_id: int = END_OF_TEXT, drop_rate: float | None = None,
    ) -> GPTClassifier:  # fmt: skip
        """A classifier with a language model's weights (copies: it stays as it is) and a new head.

        drop_rate: dropout in training; None for the model's. After manual_seed(s) the head equals
        nn.Linear(C, n_classes).
        Raises: TypeError if `gpt` is not a language model.
        """
        _need_language_model("GPTClassifier.from_gpt", gpt)
        copy = gpt.changed() if drop_rate is None else gpt.changed(drop_rate=drop_rate)
        model = cls(copy, n_classes, pool, causal, pad_token_id)
        parameter = next(iter(gpt.parameters()))
        model.out_head.to(parameter.dtype).to(parameter.device)
        return model

    @property
    def context_length(self) -> int:
        """The most tokens that the model sees."""
        return self.model.context_length

    def _mask(self, lengths: Tensor, T: int) -> Tensor | None:
        """None for the causal mask; else (B, 1, 1, T): every token may look at all real ones."""
        if self.config.causal:
            return None
        real = arange(T, device=lengths.device) < lengths.unsqueeze(1)  # (T) < (B, 1) -> (B, T)
        return real[:, None, None, :]  # (B, 1, 1, T)

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
        x = self.model.hidden_states(idx, mask=self._mask(lengths, T))  # (B, T, C)
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


def _need_language_model(caller: str, model: object) -> None:
    if not isinstance(model, LanguageModel):
        raise TypeError(f"{caller} expects a language model, got {type(model).__name__}")
