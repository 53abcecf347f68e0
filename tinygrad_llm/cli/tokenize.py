"""tinygrad-llm tokenize: text to tokens and back, and tokenizers from texts."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..files.paths import local_path
from ..files.plain_text import say
from .errors import BadValue, blame, newest_checkpoint

if TYPE_CHECKING:
    from ..text import Tokenizer

__all__ = ["register"]

_HELP = """Show how a text becomes tokens, or train a tokenizer.

TEXT is the text itself, or - for standard input. Without --tokenizer, GPT-2's is used.

\b
Examples:
  tinygrad-llm tokenize "Hello, world"
  tinygrad-llm tokenize "Hello, world" --tokenizer runs/first
  tinygrad-llm tokenize --file notes.txt --ids > ids.txt
  tinygrad-llm tokenize --decode "15496 11 995"
  tinygrad-llm tokenize --train tinyshakespeare --vocab-size 1000 --out bpe.json
  tinygrad-llm tokenize --train japanese.txt --kind unigram-mecab --vocab-size 8000
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="tokenize", help=_HELP)(tokenize)


def tokenize(
    text: str | None = typer.Argument(None, help="The text, or - for standard input."),
    file: str | None = typer.Option(None, help="Read the text from this UTF-8 file."),
    tokenizer: str | None = typer.Option(
        None, help="A name, a published model's folder or file, or a run's folder [gpt2]."
    ),
    ids: bool = typer.Option(False, "--ids", help="Print only the ids."),
    as_json: bool = typer.Option(False, "--json", help="Print ids and tokens as JSON."),
    decode: str | None = typer.Option(None, help="Ids to turn into text."),
    train: str | None = typer.Option(
        None, help="Train a tokenizer on this corpus, file or folder."
    ),
    kind: str = typer.Option(
        "bpe", help="What --train makes: bpe, wordpiece, unigram (-mecab), char."
    ),
    vocab_size: int = typer.Option(1024, help="Vocabulary size of all except char."),
    out: str | None = typer.Option(None, help="Where --train writes [tokenizer.json]."),
) -> None:
    """Print a text's tokens, the text of ids, or train a tokenizer.

    Raises: BadValue unless exactly one of these is asked for, or if a file cannot be read.
    """
    sources = {"TEXT": text, "--file": file, "--decode": decode, "--train": train}
    chosen = [name for name, value in sources.items() if value is not None]
    if len(chosen) != 1:
        got = " and ".join(chosen) or "none of them"
        raise BadValue(f"give one of TEXT, --file, --decode and --train, got {got}")
    if train is not None:
        _train(train, kind, vocab_size, local_path(out or "tokenizer.json"))
        return
    loaded = _load(tokenizer or "gpt2")
    if decode is not None:
        with blame("--decode", ValueError, IndexError):
            ids_given = [_id(word) for word in decode.replace(",", " ").split()]
            say(loaded.decode(ids_given))
        return
    if file is not None:
        from ..data import corpora

        with blame("--file", FileNotFoundError, ValueError):
            text = corpora.load(local_path(file)).text
    elif text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadValue(f"standard input is not UTF-8 (byte {error.start})") from error
    with blame("TEXT", ValueError):
        encoded = loaded.encode(text or "", disallowed_special=())
    _print(loaded, text or "", encoded, ids, as_json)


def _print(tokenizer: Tokenizer, text: str, encoded: list[int], ids: bool, as_json: bool) -> None:
    if ids:
        say(" ".join(map(str, encoded)))
        return
    pieces = [tokenizer.token_bytes(i).decode("utf-8", "replace") for i in encoded]
    if as_json:
        say(json.dumps({"ids": encoded, "tokens": pieces}))
        return
    for i, piece in zip(encoded, pieces, strict=True):
        say(f"{i:>8}  {piece!r}")
    n_bytes = len(text.encode("utf-8"))
    each = f", {n_bytes / len(encoded):.2f} bytes per token" if encoded else ""
    say(f"{len(encoded):,} tokens, {len(text):,} characters{each}")


def _id(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(
            f"{word!r} is not a token id: write whole numbers, such as 15496 11 995"
        ) from None


def _load(name: str) -> Tokenizer:
    from .. import text

    path = local_path(name)
    with blame("--tokenizer", ValueError, OSError):
        try:
            if path.is_dir() and not text.is_pretrained(path):
                path = newest_checkpoint(path).path / "tokenizer.json"
            return text.from_pretrained(path if path.exists() else name)
        except FileNotFoundError:
            raise BadValue(f"--tokenizer: there is no file {path}") from None


def _train(corpus: str, kind: str, vocab_size: int, out: Path) -> None:
    from .. import text
    from ..data import corpora

    if kind not in (*text.TRAINED_KINDS, "char"):
        raise BadValue(f"--kind must be {', '.join(text.TRAINED_KINDS)} or char, got {kind}")
    with blame("--train", FileNotFoundError, ValueError):
        source = corpora.load(corpus)
    began = time.perf_counter()
    trained: Tokenizer
    if kind == "char":
        trained = text.CharTokenizer.train(source.text)
    else:
        with blame("--vocab-size", ValueError), blame("--kind", ImportError):
            trained = text.train_tokenizer(kind, source.text, vocab_size)
    seconds = time.perf_counter() - began
    trained.save(out)
    n = len(trained.encode_to_array(source.text, disallowed_special=()))
    say(
        f"{out}: {trained.vocab_size:,} tokens learned in {seconds:.1f} s; {source.name} becomes "
        f"{n:,} tokens, {source.n_bytes / max(1, n):.2f} bytes per token"
    )
