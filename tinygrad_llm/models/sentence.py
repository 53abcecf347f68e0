"""A sentence encoder: an encoder whose tokens' vectors become one vector for the text.

Shapes: B batch, T time (tokens), C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..nn import functional as F
from ..tensor import Tensor
from . import registry
from .base import Model
from .config import Config, ModelConfig, choice, config_of
from .encoder import Encoder, pooled

__all__ = ["SentenceEncoder", "SentenceEncoderConfig"]


@dataclass(frozen=True)
class SentenceEncoderConfig(Config):
    """The shape of a sentence encoder.

    model    the config of the encoder that it is made of
    pool     "mean" of all tokens' vectors, without padding; or that of the "first" token

    Raises: ValueError or TypeError, which names the wrong value.
    """

    model: ModelConfig = config_of(ModelConfig)
    pool: str = choice(("mean", "first"), "mean")


class SentenceEncoder(Model):
    """Token ids (B, T) in, a vector for each text out (B, C), not normalised.

    model: an encoder; of one with a head a copy without it. pool: see SentenceEncoderConfig.
    Raises: TypeError if `model` is not an encoder. Source: Reimers and Gurevych (2019),
    "Sentence-BERT", section 3.
    """

    config: SentenceEncoderConfig

    def __init__(self, model: Encoder, pool: str = "mean") -> None:
        super().__init__()
        if not isinstance(model, Encoder):
            raise TypeError(f"SentenceEncoder expects an encoder, got {type(model).__name__}")
        self.config = SentenceEncoderConfig(model.config, pool)
        self.model = model.body()

    @classmethod
    def from_config(cls, config: SentenceEncoderConfig) -> SentenceEncoder:
        """A new sentence encoder of this shape, with random weights."""
        return registry.build_around(cls, config)

    @property
    def context_length(self) -> int:
        """The most tokens that the model sees."""
        return self.model.context_length

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The vector of each text: ids (B, T) -> (B, C).

        attention_mask: (B, T), 1 for tokens and 0 for padding; None: every token counts
        Raises: ValueError or IndexError as Encoder.hidden_states.
        """
        x = self.model.hidden_states(ids, attention_mask)  # (B, T, C)
        return pooled(x, self.config.pool, attention_mask)  # (B, T, C) -> (B, C)

    def embed(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The vectors with the length 1: ids (B, T) -> (B, C); products of two are cosines."""
        return F.normalize(self(ids, attention_mask), dim=-1)
