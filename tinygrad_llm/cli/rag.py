"""tinygrad-llm rag: index a folder, then ask questions about what is in it."""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from ..files.plain_text import one_line, say
from ..files.program import command_line
from .errors import BadValue, blame
from .options import must_be

__all__ = ["register"]

_INDEX_HELP = """Index the texts of a folder: .txt, .md, .html, and .jsonl with "text" and "title".

Texts are cut into overlapping chunks, and each chunk becomes a vector of MiniLM (English). For
other languages give an encoder with --encoder, or --bm25 for words alone, which needs no model.

\b
Examples:
  tinygrad-llm rag index notes
  tinygrad-llm rag index notes --out notes-index --size 600 --overlap 150
  tinygrad-llm rag index documents-ja --bm25
"""
_ASK_HELP = """Answer a question with the passages of an index, and show where they are from.

Everything runs on this machine: MiniLM looks for the passages, SmolLM2 reads them. If no passage is
close to the question, the command says so and does not answer.

\b
Examples:
  tinygrad-llm rag ask "How long does the tea steep?"
  tinygrad-llm rag ask "How long does the tea steep?" --k 5 --hybrid
  tinygrad-llm rag ask "How long does the tea steep?" --passages       no answer, the passages only
"""


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    group = typer.Typer(help="Answer questions about your own texts.", no_args_is_help=True)
    group.command(name="index", help=_INDEX_HELP)(index)
    group.command(name="ask", help=_ASK_HELP)(ask)
    app.add_typer(group, name="rag")


def index(
    folder: str = typer.Argument(..., help="The folder with the texts."),
    out: str = typer.Option("rag-index", help="The folder of the index."),
    encoder: str = typer.Option("all-minilm-l6-v2", help="Its name, a run of finetune embed, ..."),
    size: int = typer.Option(400, help="The most characters of a chunk."),
    overlap: int = typer.Option(100, help="The most characters that neighbours share."),
    cut: str | None = typer.Option(None, help="Of BM25: rouge (English words), char, ja-mecab."),
    bm25: bool = typer.Option(False, "--bm25", help="Index words alone, without vectors."),
) -> None:
    """Index a folder.

    Raises: BadValue for a folder without texts, or an option that is not allowed.
    """
    from ..evaluation.words import CUTS
    from ..retrieval.documents import read_folder
    from ..retrieval.index import build_index

    must_be("size", 1 <= size <= 10**6, "between 1 and 1,000,000", size)
    must_be("overlap", 0 <= overlap < size, f"from 0 to {size - 1}, below --size", overlap)
    must_be("cut", cut is None or cut in CUTS, f"one of {', '.join(CUTS)}", cut)
    start = time.perf_counter()
    with blame("FOLDER", ValueError):
        documents, n_files, left_out = read_folder(folder)
    for line in left_out:
        say(f"left out: {one_line(line)}", file=sys.stderr)
    embedder = None if bm25 else _encoder(encoder)
    with blame("FOLDER", ValueError):
        made = build_index(documents, embedder, encoder, size, overlap, cut)
    path = made.save(out)
    what = "words alone" if made.vectors is None else f"vectors of {made.vectors.shape[1]} numbers"
    say(
        f"{len(made):,} chunks of {len(documents):,} documents in {n_files:,} files, with {what}: "
        f"{time.perf_counter() - start:.1f} s\n{path}, {path.stat().st_size / 1e6:.1f} MB\n"
        f'next: {command_line("rag", "ask")} "..." --index {out}'
    )


def _encoder(name: str) -> Any:
    """Raises: BadValue if there is no such encoder."""
    from ..finetune.embedding import SentenceEmbedder
    from ..training.checkpoint import StorageError

    with blame("--encoder", ValueError, StorageError):
        try:
            return SentenceEmbedder.load(name)
        except OSError as error:  # a download that failed
            raise ValueError(f"{error}\nor index words alone: --bm25") from error


def ask(
    question: str = typer.Argument(..., help="What you want to know."),
    index: str = typer.Option("rag-index", help="The folder of the index."),
    model: str = typer.Option("smollm2-135m-instruct", help="The chat model that answers."),
    k: int = typer.Option(3, help="Passages for the model."),
    bm25: bool = typer.Option(False, "--bm25", help="Look for words, not for vectors."),
    hybrid: bool = typer.Option(False, "--hybrid", help="Join both lists by their places."),
    threshold: float | None = typer.Option(
        None, help="The least cosine of the best passage for an answer; -1 always answers. [0.35]"
    ),
    tokens: int = typer.Option(100, help="The most tokens of the answer."),
    passages: bool = typer.Option(False, "--passages", help="Show the passages, do not answer."),
) -> None:
    """Answer a question.

    Raises: BadValue for an index that is not there or was made by another encoder, and for options
    that are not allowed.
    """
    from ..retrieval.answers import THRESHOLD, Reader, close_passages
    from ..retrieval.index import load_index

    threshold = THRESHOLD if threshold is None else threshold
    must_be("k", 1 <= k <= 100, "between 1 and 100", k)
    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    must_be("threshold", -1 <= threshold <= 1, "a cosine, from -1 to 1", threshold)
    if bm25 and hybrid:
        raise BadValue("--bm25 and --hybrid exclude each other: give one")
    way = "bm25" if bm25 else "hybrid" if hybrid else None
    with blame("--index", ValueError):
        try:
            loaded = load_index(index)
        except FileNotFoundError as error:
            made = command_line("rag", "index", "FOLDER", "--out", index)
            raise BadValue(f"{str(error).partition(':')[0]}: {made}") from None
        with blame("QUESTION", UnicodeError):
            hits = loaded.search(question, k, way) if question.strip() else []
    if not question.strip():
        raise BadValue("the question is empty")
    close = close_passages(hits, threshold)
    if not close:
        closest = max((p.cosine or 0.0 for p in hits), default=None)
        why = (
            "no passage shares a word with it" if closest is None
            else f"the closest passage has the cosine {closest:.2f}, below {threshold:.2f}"
        )  # fmt: skip
        say(f"The texts do not answer this: {why}.")
        return
    if not passages:
        with blame("--model", ValueError, FileNotFoundError):
            reader = Reader.load(model)
            pieces = reader.stream(question, close, tokens)
        for piece in pieces:
            say(piece, end="")
            sys.stdout.flush()
        say("\n")
    for number, hit in enumerate(hits if passages else close, 1):
        cosine = "" if hit.cosine is None or way is None else f", cosine {hit.cosine:.3f}"
        source = f"{one_line(hit.chunk.source)}, chunk {hit.chunk.number}"
        say(f"[{number}] {source}, score {hit.score:.3f}{cosine}")
        text = one_line(" ".join(hit.chunk.text.split()))
        say(f"    {text if passages else text[:90]}")
