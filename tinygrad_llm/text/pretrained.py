"""from_pretrained: a published tokenizer from a folder, a file, a name, or a GGUF's metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.paths import local_path
from ..files.untrusted import translated
from .gpt2 import GPT2Tokenizer
from .readers.gguf_vocabulary import read_gguf_tokenizer
from .readers.sentencepiece import read_sentencepiece
from .readers.tiktoken_ranks import looks_like_ranks, read_tiktoken
from .readers.vocabulary_text import read_merges_folder, read_vocab_txt
from .stages.part import TokenizerError
from .tokenizer import Tokenizer, load_tokenizer

__all__ = ["from_pretrained", "is_pretrained"]

_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def from_pretrained(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> Tokenizer:
    """The tokenizer of a published model.

    source: a folder with tokenizer.json, tokenizer.model (SentencePiece's, or tiktoken's ranks as
        Llama 3 has them), vocab.txt, or vocab.json and merges.txt; one of these files; a .gguf
        file; the metadata of one, a dict; or a name: "gpt2", or one of weights.packaged
    pattern, special_tokens: for a file of tiktoken's ranks that is not Llama 3's (see
        read_tiktoken)

    Files are read, never run, and not trusted: a damaged one is an error that names it.
    Raises: FileNotFoundError if there is no such file; ValueError if it is damaged or asks for
    something that is not known here.
    """
    if isinstance(source, Mapping):
        return read_gguf_tokenizer(source)
    ranks = {"pattern": pattern, "special_tokens": special_tokens}
    path = local_path(source)
    if path.is_dir():
        path = _in_folder(path)
    if not path.exists():
        if str(source) == "gpt2":
            return GPT2Tokenizer()
        path = _named(str(source))
        path = _in_folder(path) if path.is_dir() else path
    return _file(path, ranks)


def _named(name: str) -> Path:
    """The file or folder of published weights with this name, which holds their tokenizer.

    Raises: FileNotFoundError if there is no such name.
    """
    from ..weights.packaged import PACKAGED, find

    if name in PACKAGED:
        return find(name)
    raise FileNotFoundError(
        f"{name[:200]} does not exist: a tokenizer is a folder or file of a published model, or "
        f"one of the names gpt2, {', '.join(PACKAGED)}"
    )


def is_pretrained(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a tokenizer that from_pretrained reads."""
    return _file_in(local_path(folder)) is not None


def _file_in(folder: Path) -> Path | None:
    """The file in a folder that says most, or the folder itself for vocab.json and merges.txt."""
    others = [*sorted(folder.glob("*.gguf")), *sorted(folder.glob("*.tiktoken"))]
    names = [folder / name for name in ("tokenizer.json", *_SENTENCEPIECE, "vocab.txt")]
    for path in (*names, *others[:1], folder / "vocab.bpe"):
        if path.is_file():
            return path
    older = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return folder if older else None


def _in_folder(folder: Path) -> Path:
    path = _file_in(folder)
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no tokenizer.json, {', '.join(_SENTENCEPIECE)}, vocab.txt, vocab.json "
            "with merges.txt, .gguf file, or file of tiktoken's ranks"
        )
    return path


def _file(path: Path, ranks: dict[str, Any]) -> Tokenizer:
    with translated(str(path), TokenizerError, "holds no tokenizer that can be read"):
        return _read(path, ranks)


def _read(path: Path, ranks: dict[str, Any]) -> Tokenizer:
    from ..weights.formats.gguf import GGUFFile, is_gguf

    if path.is_dir():
        return read_merges_folder(path)
    if is_gguf(path):
        return read_gguf_tokenizer(GGUFFile(path).metadata, str(path))
    if path.suffix == ".json" or path.name == "vocab.bpe":
        return load_tokenizer(path)
    if path.name == "vocab.txt":
        return read_vocab_txt(path)
    if path.suffix == ".tiktoken" or looks_like_ranks(path):
        return read_tiktoken(path, **ranks)
    return read_sentencepiece(path)
