"""tinygrad-llm tokenize: text to tokens and back, and tokenizers from texts."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import typer

from .errors import BadValue, newest_checkpoint

__all__ = ["register"]

_HELP = """Show how a text becomes tokens, or train a tokenizer.

TEXT is the text itself, or - for standard input. Without --tokenizer it is cut by GPT-2's.

\b
Examples:
  tinygrad-llm tokenize "Hello, world"
  tinygrad-llm tokenize "Hello, world" --tokenizer runs/first
  tinygrad-llm tokenize --file notes.txt --ids > ids.txt
  tinygrad-llm tokenize --decode "15496 11 995"
  tinygrad-llm tokenize --train tinyshakespeare --vocab-size 1000 --out bpe.json
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="tokenize", help=_HELP)(tokenize)


def tokenize(
    text: str | None = typer.Argument(None, help="The text, or - for standard input."),
    file: str | None = typer.Option(None, help="Take the text of this UTF-8 file."),
    tokenizer: str | None = typer.Option(
        None, help="gpt2, a tokenizer's file, or a run's folder [gpt2]."
    ),
    ids: bool = typer.Option(False, "--ids", help="Print the ids alone."),
    as_json: bool = typer.Option(False, "--json", help="Print ids and tokens as JSON."),
    decode: str | None = typer.Option(None, help="Ids, back to text."),
    train: str | None = typer.Option(None, help="Learn from this corpus, file, folder."),
    kind: str = typer.Option("bpe", help="What --train makes: bpe or char."),
    vocab_size: int = typer.Option(1024, help="Tokens that bpe learns."),
    out: str | None = typer.Option(None, help="Where --train writes [tokenizer.json]."),
) -> None:
    chosen = [name for name, value in (("TEXT", text), ("--file", file), ("--decode", decode),
                                       ("--train", train)) if value is not None]  # fmt: skip
    if len(chosen) != 1:
        got = " and ".join(chosen) or "none of them"
        raise BadValue(f"give one of TEXT, --file, --decode and --train, got {got}")
    if train is not None:
        _train(train, kind, vocab_size, Path(out or "tokenizer.json"))
        return
    made = _load(tokenizer or "gpt2")
    if decode is not None:
        try:
            print(made.decode([_id(word) for word in decode.replace(",", " ").split()]))
        except (ValueError, IndexError) as error:
            raise BadValue(f"--decode: {error}") from error
        return
    if file is not None:
        from ..data import corpora

        try:
            text = corpora.load(Path(file)).text
        except (FileNotFoundError, ValueError) as error:
            raise BadValue(f"--file: {error}") from error
    elif text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadValue(f"standard input is not UTF-8 (byte {error.start})") from error
    try:
        encoded = made.encode(text or "", disallowed_special=())
    except ValueError as error:
        raise BadValue(f"TEXT: {error}") from error
    _print(made, text or "", encoded, ids, as_json)


def _print(tokenizer: Any, text: str, encoded: list[int], ids: bool, as_json: bool) -> None:
    if ids:
        print(" ".join(map(str, encoded)))
        return
    pieces = [tokenizer.token_bytes(i).decode("utf-8", "replace") for i in encoded]
    if as_json:
        print(json.dumps({"ids": encoded, "tokens": pieces}))
        return
    for i, piece in zip(encoded, pieces, strict=True):
        shown = repr(piece)
        encoding = sys.stdout.encoding or "utf-8"
        print(f"{i:>8}  {shown.encode(encoding, 'replace').decode(encoding)}")
    n_bytes = len(text.encode("utf-8"))
    each = f", {n_bytes / len(encoded):.2f} bytes a token" if encoded else ""
    print(f"{len(encoded):,} tokens, {len(text):,} characters{each}")


def _id(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word!r} is no token id: give whole numbers, as 15496 11 995") from None


def _load(name: str) -> Any:
    from .. import text

    path = Path(name)
    try:
        if name == "gpt2" and not path.exists():
            return text.GPT2Tokenizer()
        if path.is_dir() and not (path / "vocab.bpe").exists():
            path = newest_checkpoint(path).path / "tokenizer.json"
        return text.load_tokenizer(path)
    except FileNotFoundError:
        raise BadValue(f"--tokenizer: there is no file {path}") from None
    except (ValueError, OSError) as error:
        raise BadValue(f"--tokenizer: {error}") from error


def _train(corpus: str, kind: str, vocab_size: int, out: Path) -> None:
    from .. import text
    from ..data import corpora

    if kind not in ("bpe", "char"):
        raise BadValue(f"--kind must be bpe or char, got {kind}")
    try:
        source = corpora.load(corpus)
    except (FileNotFoundError, ValueError) as error:
        raise BadValue(f"--train: {error}") from error
    began = time.perf_counter()
    made: Any
    if kind == "char":
        made = text.CharTokenizer.train(source.text)
    else:
        try:
            made = text.BPETokenizer.train(source.text, vocab_size)
        except ValueError as error:
            raise BadValue(f"--vocab-size: {error}") from error
    seconds = time.perf_counter() - began
    made.save(out)
    n = len(made.encode_to_array(source.text, disallowed_special=()))
    print(
        f"{out}: {made.vocab_size:,} tokens learned in {seconds:.1f} s; {source.name} becomes "
        f"{n:,} tokens, {source.n_bytes / max(1, n):.2f} bytes a token"
    )
