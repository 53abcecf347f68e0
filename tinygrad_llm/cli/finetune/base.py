"""The model that fine-tuning starts from: a run of pretrain, GPT-2, or a folder of weights."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from ..errors import BadValue, did_you_mean, newest_checkpoint

__all__ = ["Base", "load_base", "padding_of", "with_dropout"]


@dataclasses.dataclass
class Base:
    """A language model with its tokenizer; `name` finds the same weights again."""

    model: Any
    tokenizer: Any
    name: str
    told: str  # one line about it

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all weights."""
        digest = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()


def load_base(name: str, note: Any = print) -> Base:
    """The base of this name: BadValue says what is wrong with it, or what else there is."""
    from ... import models
    from ...models.pretrained import PRETRAINED

    path = Path(name)
    if name in PRETRAINED and not path.exists():
        from ...text import GPT2Tokenizer

        size = PRETRAINED[name].description
        note(f"base         {name}: {size} It is downloaded once, if it is not here")
        return Base(models.from_pretrained(name), GPT2Tokenizer(), name, name)
    if not path.exists():
        near = did_you_mean(name, PRETRAINED) if name.startswith("gpt") else ""
        raise BadValue(
            f"--base: {name} does not exist{near}: give a run of tinygrad-llm pretrain (such as "
            "runs/python-reference-1), one of its checkpoints, gpt2, or a folder with GPT-2's "
            "weights"
        )
    if path.is_file() or (path / "config.json").is_file() and _holds_gpt2(path):
        return _gpt2_files(path)
    found = newest_checkpoint(path)
    model = _language_model(found, path)
    return Base(
        model, _tokenizer(found.path), str(found.path), f"{found.path}, step {found.step:,}"
    )


def _holds_gpt2(path: Path) -> bool:
    return any((path / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def _gpt2_files(path: Path) -> Base:
    from ... import models
    from ...text import GPT2Tokenizer

    try:
        model = models.load_gpt2(path)
    except (ValueError, TypeError, FileNotFoundError, RuntimeError) as error:
        raise BadValue(f"--base: {error}") from error
    tokenizer = GPT2Tokenizer()
    if tokenizer.vocab_size != model.config.vocab_size:
        raise BadValue(
            f"--base: {path} has {model.config.vocab_size:,} tokens, and no tokenizer beside it: "
            f"GPT-2's, with {tokenizer.vocab_size:,}, does not fit"
        )
    return Base(model, tokenizer, str(path), str(path))


def _language_model(found: Any, path: Path) -> Any:
    """The GPT in a checkpoint; LoRA layers are merged into its weights."""
    from ...layers import lora
    from ...models import GPTClassifier

    model = found.build_model()
    if isinstance(model, GPTClassifier):
        raise BadValue(
            f"--base: {path} is a classifier, which writes no text and has its classes: take the "
            "run that it was made from, or another language model"
        )
    if lora.layers(model):
        lora.merge(model)
        lora.remove(model)
    return model


def _tokenizer(path: Path) -> Any:
    from ... import text

    try:
        return text.load_tokenizer(path / "tokenizer.json")
    except FileNotFoundError:
        raise BadValue(
            f"--base: {path} holds no tokenizer.json, so its model cannot read text: take a run "
            "that tinygrad-llm pretrain wrote"
        ) from None
    except ValueError as error:
        raise BadValue(f"--base: {error}") from error


def padding_of(tokenizer: Any) -> int:
    """The id that ends texts and fills them up: BadValue for a tokenizer that has none."""
    if tokenizer.eot_token is None:
        raise BadValue(
            f"the tokenizer ({tokenizer.name}) has no <|endoftext|>, which ends texts and fills "
            "them up: take a base that was trained with --tokenizer bpe or gpt2"
        )
    return tokenizer.eot_token


def with_dropout(model: Any, rate: float | None) -> Any:
    """The same language model with another dropout rate; itself for None."""
    from ...models import GPT
    from ...nn.utils import skip_init

    if rate is None or rate == model.config.drop_rate:
        return model
    made = skip_init(GPT, dataclasses.replace(model.config, drop_rate=rate))
    made.load_state_dict(model.state_dict())
    return made
