"""The model that fine-tuning starts from: a run of pretrain, GPT-2, or a folder of weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...files.paths import local_path
from ...training.options import OptionError, blame, did_you_mean
from ...training.runs import newest_checkpoint

if TYPE_CHECKING:
    from ...models import LanguageModel
    from ...text import Tokenizer
    from ...training import Checkpoint

__all__ = ["Base", "load_base", "padding_of", "with_dropout"]


@dataclasses.dataclass
class Base:
    """A language model with its tokenizer; load_base(name) loads the same weights again."""

    model: LanguageModel
    tokenizer: Tokenizer
    name: str
    description: str  # for one line of output

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all weights."""
        digest = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()


def load_base(name: str, note: Callable[[str], None] = print) -> Base:
    """The base of this name: a run, a checkpoint, "gpt2" …, or a folder of GPT-2's weights.

    note: is called with a line before a download.
    Raises: OptionError, which says what is wrong with it, or which names there are.
    """
    from ... import models
    from ...models.pretrained import PRETRAINED

    path = local_path(name)
    if name in PRETRAINED and not path.exists():
        from ...text import GPT2Tokenizer

        size = PRETRAINED[name].description
        note(f"base         {name}: {size} It is downloaded if it is not in the cache folder")
        return Base(models.from_pretrained(name), GPT2Tokenizer(), name, name)
    if not path.exists():
        near = did_you_mean(name, PRETRAINED) if name.startswith("gpt") else ""
        raise OptionError(
            f"`base`: {name} does not exist{near}: give a run of tinygrad-llm pretrain (such as "
            "runs/python-reference-1), one of its checkpoints, gpt2, or a folder with GPT-2's "
            "weights"
        )
    if path.is_file() or (path / "config.json").is_file() and _holds_gpt2(path):
        return _gpt2_files(path)
    checkpoint = newest_checkpoint(path, note)
    model = _language_model(checkpoint, path)
    name = str(checkpoint.path)
    return Base(model, _tokenizer(checkpoint.path), name, f"{name}, step {checkpoint.step:,}")


def _holds_gpt2(path: Path) -> bool:
    return any((path / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def _gpt2_files(path: Path) -> Base:
    from ... import models
    from ...text import GPT2Tokenizer

    model: LanguageModel
    with blame("`base`", ValueError, TypeError, FileNotFoundError, RuntimeError):
        model = models.from_pretrained(path)
    tokenizer = GPT2Tokenizer()
    if tokenizer.vocab_size != model.config.vocab_size:
        raise OptionError(
            f"`base`: {path} has {model.config.vocab_size:,} tokens and no tokenizer: "
            f"GPT-2's, with {tokenizer.vocab_size:,} tokens, does not fit"
        )
    return Base(model, tokenizer, str(path), str(path))


def _language_model(checkpoint: Checkpoint, path: Path) -> LanguageModel:
    """The language model in a checkpoint; LoRA layers are merged into its weights."""
    from ...layers import lora
    from ...models import LanguageModel

    model = checkpoint.build_model()
    if not isinstance(model, LanguageModel):
        raise OptionError(
            f"`base`: {path} is a classifier, which writes no text and has its classes: take the "
            "run that it was made from, or another language model"
        )
    if lora.layers(model):
        lora.merge(model)
        lora.remove(model)
    return model


def _tokenizer(path: Path) -> Tokenizer:
    from ... import text

    with blame("`base`", ValueError):
        try:
            return text.load_tokenizer(path / "tokenizer.json")
        except FileNotFoundError:
            raise OptionError(
                f"`base`: {path} holds no tokenizer.json, so its model cannot read text: take a "
                "run that tinygrad-llm pretrain wrote"
            ) from None


def padding_of(tokenizer: Tokenizer) -> int:
    """The id that ends texts and pads them.

    Raises: OptionError if the tokenizer has none.
    """
    if tokenizer.eot_token is None:
        raise OptionError(
            f"the tokenizer ({tokenizer.name}) has no <|endoftext|>, which ends texts and pads "
            "them: take a base that was trained with --tokenizer bpe or gpt2"
        )
    return tokenizer.eot_token


def with_dropout(model: LanguageModel, rate: float | None) -> LanguageModel:
    """The same language model with another dropout rate; None returns the model itself."""
    return model if rate is None else model.changed(drop_rate=rate)
