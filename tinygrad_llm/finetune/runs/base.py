"""The model that fine-tuning starts from: a run, or published weights with their tokenizer."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...arrays.devices import to_numpy
from ...files.paths import local_path
from ...layers import quantized
from ...text.pretrained import is_pretrained
from ...training.options import OptionError, blame, did_you_mean
from ...training.runs import newest_checkpoint
from ...weights.formats.gguf import is_gguf
from ...weights.sources import INDEX_FILES, WHOLE_FILES

if TYPE_CHECKING:
    from ...models import LanguageModel
    from ...models.base import PretrainedModel
    from ...text import Tokenizer
    from ...training import Checkpoint

_Some = TypeVar("_Some", bound="PretrainedModel")

__all__ = ["Base", "load_base", "padding_of", "source_tokenizer", "with_dropout"]


@dataclasses.dataclass
class Base:
    """A model with its tokenizer; load_base(name) loads the same weights again."""

    model: Any  # a LanguageModel, or an Encoder where load_base was asked for one
    tokenizer: Tokenizer
    name: str
    description: str  # for one line of output
    published: bool = False  # whether its weights have the names of transformers' model
    source_tokenizer: Tokenizer | None = None  # of an encoder-decoder with two of them

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all weights, those that are quantised too."""
        digest = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().numpy().tobytes())
        for matrix in quantized.matrices(self.model):
            for name, array in matrix.arrays.items():
                digest.update(name.encode())
                digest.update(to_numpy(array).tobytes())
        return digest.hexdigest()


def load_base(
    name: str, note: Callable[[str], None] = print, quantize: str | None = None,
    kinds: type | tuple[type, ...] | None = None,
) -> Base:  # fmt: skip
    """The base of this name: a run, a checkpoint, or published weights by name, folder or file.

    note: is called with a line before a download.
    quantize: the format in which its matrices stay, see models.from_pretrained
    kinds: the classes of models that can be used, such as Encoder; None for LanguageModel
    Raises: OptionError, which says what is wrong with it, or which names there are.
    """
    from ...models.pretrained import PRETRAINED, download_notice
    from ...weights.packaged import PACKAGED

    path = local_path(name)
    known: dict[str, Any] = {**PRETRAINED, **PACKAGED}
    if name in known and not path.exists():
        note(f"base         {download_notice(name) or known[name].description}")
        return _published(name, quantize, kinds)
    if not path.exists():
        near = did_you_mean(name, known)
        raise OptionError(
            f"`base`: {name} does not exist{near}: give a run of tinygrad-llm pretrain (such as "
            f"runs/python-reference-1), one of its checkpoints, {', '.join(PACKAGED)}, gpt2, or a "
            "folder or file of published weights"
        )
    if path.is_file() or _holds_weights(path):
        return _published(path, quantize, kinds)
    checkpoint = newest_checkpoint(path, note)
    model = _model_in(checkpoint, path, kinds)
    if quantize is not None:
        with blame("`quantize`", ValueError):
            quantized.quantize(model, quantize)
    name = str(checkpoint.path)
    base = Base(model, _tokenizer(checkpoint.path), name, f"{name}, step {checkpoint.step:,}")
    base.source_tokenizer = source_tokenizer(checkpoint)
    return base


def _holds_weights(path: Path) -> bool:
    """Whether a folder is as transformers or Meta write it."""
    theirs = any((path / name).is_file() for name in (*WHOLE_FILES, *INDEX_FILES, "params.json"))
    return theirs and not (path / "manifest.json").is_file()


def _published(
    name: str | Path, quantize: str | None, kinds: type | tuple[type, ...] | None
) -> Base:
    """Published weights and their tokenizer; GPT-2's where a folder of its weights has none."""
    from ... import models, text

    with blame("`base`", ValueError, TypeError, FileNotFoundError, RuntimeError):
        if kinds is None:
            model = models.language_model(name, quantize=quantize)
        else:
            model = models.from_pretrained(name, quantize=quantize)
        if kinds is not None and not isinstance(model, kinds):
            raise ValueError(_wrong_kind(f"{name} is", model, kinds))
        path = Path(name)
        if str(name).startswith("gpt2") and not path.exists():
            tokenizer: Tokenizer = text.GPT2Tokenizer()
        elif path.is_dir() and not is_pretrained(path) or path.is_file() and not is_gguf(path):
            tokenizer = _gpt2_tokenizer(model, path)
        else:
            tokenizer = text.from_pretrained(name)
    return Base(model, tokenizer, str(name), str(name), True)


def _gpt2_tokenizer(model: LanguageModel, path: Path) -> Tokenizer:
    """GPT-2's tokenizer for weights without one.

    Raises: OptionError if it does not fit the model.
    """
    from ...text import GPT2Tokenizer

    tokenizer = GPT2Tokenizer()
    if tokenizer.vocab_size != model.config.vocab_size:
        raise OptionError(
            f"`base`: {path} has {model.config.vocab_size:,} tokens and no tokenizer: "
            f"GPT-2's, with {tokenizer.vocab_size:,} tokens, does not fit"
        )
    return tokenizer


def _model_in(
    checkpoint: Checkpoint, path: Path, kinds: type | tuple[type, ...] | None
) -> PretrainedModel:
    """The model in a checkpoint; LoRA layers are merged into its weights.

    Raises: OptionError if it is not of these kinds.
    """
    from ...models import LanguageModel
    from ...models.base import PretrainedModel
    from ...models.exporting import plain
    from ...models.sentence import SentenceEncoder

    model = checkpoint.build_model()
    if isinstance(model, SentenceEncoder):
        model = model.model  # an encoder whose vectors were trained is one to start from
    if not isinstance(model, PretrainedModel):
        raise OptionError(
            f"`base`: {path} is a classifier, which writes no text and has its classes: take the "
            "run that it was made from, or another language model"
        )
    if not isinstance(model, kinds or LanguageModel):
        raise OptionError(f"`base`: {_wrong_kind(f'{path} holds', model, kinds or LanguageModel)}")
    return plain(model)


def _wrong_kind(what: str, model: object, kinds: type | tuple[type, ...]) -> str:
    names = [kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
    needed = " or ".join(names)
    return f"{what} {_article(type(model).__name__)}, and {_article(needed)} is needed"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


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


def source_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """The tokenizer of what an encoder-decoder reads, where it has its own; None elsewhere."""
    from ... import text

    path = checkpoint.path / "source_tokenizer.json"
    return text.load_tokenizer(path) if path.is_file() else None


def padding_of(tokenizer: Tokenizer, encoder: bool = False) -> int:
    """The id that pads texts: of a language model the one that also ends them.

    encoder: whether the model is an encoder, which has [PAD] or <pad>
    Raises: OptionError if the tokenizer has none.
    """
    if encoder:
        if tokenizer.pad_token is None:
            raise OptionError(
                f"the tokenizer ({tokenizer.name}) has no [PAD] or <pad>, with which an encoder's "
                "short texts are filled: take the tokenizer that the encoder was trained with"
            )
        return tokenizer.pad_token
    if tokenizer.eot_token is None:
        raise OptionError(
            f"the tokenizer ({tokenizer.name}) has no <|endoftext|>, which ends texts and pads "
            "them: take a base that was trained with --tokenizer bpe or gpt2"
        )
    return tokenizer.eot_token


def with_dropout(model: _Some, rate: float | None) -> _Some:
    """The same model with another dropout rate; None returns the model itself."""
    return model if rate is None else model.changed(**model.config.dropout(rate))
