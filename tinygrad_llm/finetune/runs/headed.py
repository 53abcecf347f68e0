"""What the runs of classify and ner share: a model with a new head, from a base or from nothing."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ...models import GPT, GPTConfig, LanguageModel, registry
from ...models.encoder import Encoder
from ...text import Tokenizer
from ...training.options import OptionError, blame, did_you_mean
from .finetuning import Finetuning

__all__ = ["HeadedRun"]

RATE = 0.2  # of dropout in a model with random weights


class HeadedRun(Finetuning):
    """A run whose model is a base or a new model of a name, with a new head.

    The options have `model`, `context_length`, `emb_dim`, `n_heads` and `n_layers`.
    """

    base_kinds = (LanguageModel, Encoder)
    o: Any
    model: Any  # its attribute `model` is the one below the head

    def needs_base(self) -> bool:
        return False

    def encodes(self) -> bool:
        if self.resumed is not None:
            return isinstance(self.model.model, Encoder)
        return super().encodes() if self.o.base is not None else self.o.model in registry.masked()

    @abstractmethod
    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer of the options, for a model without a base.

        Raises: OptionError if it is neither a name nor a file.
        """

    @property
    def drop_rate(self) -> float:
        """The dropout of a model with random weights."""
        return RATE if self.o.drop_rate is None else self.o.drop_rate

    def without_base(self, described: str = "") -> Any:
        """The model of the options with random weights; sets the tokenizer.

        described: in the line about it, before its sizes
        Raises: OptionError if there is no such model or tokenizer, or it cannot have such a shape.
        """
        o = self.o
        self.tokenizer = self.make_tokenizer()
        self.note(
            f"tokenizer    {self.tokenizer.name}, {self.tokenizer.vocab_size:,} tokens\n"
            f"base         none: random weights, {described}{o.n_layers} layers, {o.n_heads} "
            f"heads, {o.emb_dim} channels"
        )
        sizes = {
            "vocab_size": self.tokenizer.vocab_size, "context_length": o.context_length,
            "emb_dim": o.emb_dim, "n_heads": o.n_heads, "n_layers": o.n_layers,
        }  # fmt: skip
        return _new_model(o.model, sizes, self.drop_rate)


def _new_model(name: str, sizes: dict[str, Any], drop_rate: float) -> Any:
    """A model with random weights: of "gpt", "bert" or another name of pretrain's --model.

    sizes: vocab_size, context_length, emb_dim, n_heads and n_layers
    Raises: OptionError if there is no such model, or it cannot have such a shape.
    """
    known = {**registry.trainable(), **registry.masked()}
    if name not in known:
        raise OptionError(f"`model`: there is no model {name}{did_you_mean(name, known)}")
    with blame("`model`", ValueError):
        if name == "gpt":
            return GPT(GPTConfig(**sizes, drop_rate=drop_rate))
        config: Any = known[name].presets["tiny"]
        # texts are padded at the right, so RoBERTa's positions need not skip padding
        own = {"pad_token_id": None} if name == "roberta" else {}
        config = config.resized(**sizes, **own, **config.dropout(drop_rate))
        return registry.build_from(config)
