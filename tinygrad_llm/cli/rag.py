"""tinygrad-llm rag: index a folder, then ask questions about what is in it."""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from ..files.paths import local_path
from ..files.plain_text import one_line, say
from ..files.program import command_line
from ..training.progress import duration
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
  tinygrad-llm rag ask "How long does the tea steep?" --rerank runs/rerank-questions-1
"""
_QUESTIONS_HELP = """Make questions by rule from an index, to train a retriever or a reader.

Halves: the second half of a sentence asks for the chunk that it stands in. Gaps: a word in quotes
("word" or 「word」) is replaced by a gap and is the answer. Wrong passages are the best hits of a
search that are not right. With --form passages a row has question, passage, negative1, ...; with
--form instruct the prompt of rag ask, and the answer.

\b
Examples:
  tinygrad-llm rag questions rag-index --out questions.jsonl
  tinygrad-llm finetune rerank questions.jsonl --base all-minilm-l6-v2 --max-length 192
  tinygrad-llm finetune embed questions.jsonl --loss supervised --base all-minilm-l6-v2 \\
      --first-column question --second-column passage --negative-column negative1
  tinygrad-llm rag questions rag-index --kind gaps --form instruct --out gaps.jsonl
  tinygrad-llm finetune instruct gaps.jsonl --base smollm2-135m-instruct --lora
"""


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    group = typer.Typer(help="Answer questions about your own texts.", no_args_is_help=True)
    group.command(name="index", help=_INDEX_HELP)(index)
    group.command(name="ask", help=_ASK_HELP)(ask)
    group.command(name="questions", help=_QUESTIONS_HELP)(questions)
    app.add_typer(group, name="rag")


def index(
    folder: str = typer.Argument(..., help="The folder with the texts."),
    out: str = typer.Option("rag-index", help="The folder of the index."),
    encoder: str = typer.Option("all-minilm-l6-v2", help="Its name, a run of finetune embed, ..."),
    size: int = typer.Option(400, help="The most characters of a chunk."),
    overlap: int = typer.Option(100, help="The most characters that neighbours share."),
    cut: str | None = typer.Option(
        None, help="Of BM25: rouge (English words), pairs (of characters), ja-mecab."
    ),
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
    local_path(out).mkdir(parents=True, exist_ok=True)  # before the long part, which may take hours
    for line in left_out:
        say(f"left out: {one_line(line)}", file=sys.stderr)
    embedder = None if bm25 else _encoder(encoder)
    with blame("FOLDER", ValueError):
        made = build_index(documents, embedder, encoder, size, overlap, cut, _Shown())
    path = made.save(out)
    if made.cut == "pairs" and encoder == "all-minilm-l6-v2" and not bm25:
        say("most letters are not English, MiniLM reads English: --bm25 looks for pairs of "
            "characters, --encoder takes a run of finetune embed", file=sys.stderr)  # fmt: skip
    what = "words alone" if made.vectors is None else f"vectors of {made.vectors.shape[1]} numbers"
    say(
        f"{len(made):,} chunks of {len(documents):,} documents in {n_files:,} files, with {what}: "
        f"{time.perf_counter() - start:.1f} s\n{path}, {path.stat().st_size / 1e6:.1f} MB\n"
        f'next: {command_line("rag", "ask")} "..." --index {out}'
    )


class _Shown:
    """Says on stderr how far an index is, at most every five seconds."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self.last >= 5 and done < total:
            self.last = now
            left = (now - self.start) * (total - done) / done
            say(f"{done:,} of {total:,} chunks, {duration(left)} left", file=sys.stderr)


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
    model: str = typer.Option(
        "smollm2-135m-instruct", help="The chat model that answers, or a run of it."
    ),
    k: int = typer.Option(3, help="Passages for the model."),
    bm25: bool = typer.Option(False, "--bm25", help="Look for words, not for vectors."),
    hybrid: bool = typer.Option(False, "--hybrid", help="Join both lists by their places."),
    rerank: str | None = typer.Option(
        None, help="A run of finetune rerank, which sorts the first 20 hits (or k) anew."
    ),
    threshold: float | None = typer.Option(
        None,
        help="The least cosine of the best passage for an answer [0.35], or without vectors the "
        "least share of the question's words in it [0.2]; -1 always answers.",
    ),
    tokens: int = typer.Option(100, help="The most tokens of the answer."),
    passages: bool = typer.Option(False, "--passages", help="Show the passages, do not answer."),
) -> None:
    """Answer a question.

    Raises: BadValue for an index that is not there or was made by another encoder, and for options
    that are not allowed.
    """
    from ..retrieval.answers import Reader, close_passages, least
    from ..training.checkpoint import StorageError

    must_be("k", 1 <= k <= 100, "between 1 and 100", k)
    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    fits = threshold is None or -1 <= threshold <= 1
    must_be("threshold", fits, "a cosine, from -1 to 1", threshold)
    if bm25 and hybrid:
        raise BadValue("--bm25 and --hybrid exclude each other: give one")
    way = "bm25" if bm25 else "hybrid" if hybrid else None
    hits = _search(_load(index), question, k, way, rerank)
    close = close_passages(hits, threshold)
    if not close:
        closest = max(hits, key=lambda p: p.closeness, default=None)
        if closest is None:
            why = "no passage shares a word with it"
        else:
            what = "the cosine" if closest.share is None else "of its words the share"
            limit = least(closest, threshold)
            why = f"the closest passage has {what} {closest.closeness:.2f}, below {limit:.2f}"
        say(f"The texts do not answer this: {why}.")
        return
    if not passages:
        with blame("--model", ValueError, FileNotFoundError, StorageError):
            reader = Reader.load(model)
            pieces = reader.stream(question, close, tokens)
        for piece in pieces:
            say(piece, end="")
            sys.stdout.flush()
        say("\n")
    by_cosine = way is None and rerank is None  # the score is the cosine then
    for number, hit in enumerate(hits if passages else close, 1):
        cosine = "" if hit.cosine is None or by_cosine else f", cosine {hit.cosine:.3f}"
        source = f"{one_line(hit.chunk.source)}, chunk {hit.chunk.number}"
        say(f"[{number}] {source}, score {hit.score:.3f}{cosine}")
        text = one_line(" ".join(hit.chunk.text.split()))
        say(f"    {text if passages else text[:90]}")


def _load(index: str) -> Any:
    """Raises: BadValue if there is no such index, or it is damaged."""
    from ..retrieval.index import load_index

    with blame("--index", ValueError):
        try:
            return load_index(index)
        except FileNotFoundError as error:
            made = command_line("rag", "index", "FOLDER", "--out", index)
            raise BadValue(f"{str(error).partition(':')[0]}: {made}") from None


def _search(index: Any, question: str, k: int, way: str | None, rerank: str | None) -> Any:
    """The k best passages, sorted anew by the run `rerank` if there is one.

    Raises: BadValue for a blank question, another encoder, or a run that cannot be used.
    """
    from ..retrieval.reranking import DEPTH, reranked
    from ..training.checkpoint import StorageError

    if not question.strip():
        raise BadValue("the question is empty")
    with blame("--index", ValueError), blame("QUESTION", UnicodeError):
        hits = index.search(question, k if rerank is None else max(k, DEPTH), way)
    if rerank is None:
        return hits
    with blame("--rerank", ValueError, StorageError, FileNotFoundError):
        return reranked(question, hits, rerank, k)


def questions(
    index: str = typer.Argument("rag-index", help="The folder of the index."),
    out: str = typer.Option("questions.jsonl", help="The file that is written, JSON lines."),
    kind: str = typer.Option("halves", help="halves of sentences, or gaps for quoted words."),
    form: str = typer.Option("passages", help="passages, or instruct: prompts and answers."),
    n: int = typer.Option(1000, help="The most questions."),
    negatives: int = typer.Option(3, help="Wrong passages of each question."),
    way: str = typer.Option("bm25", help="How wrong ones are found: bm25, vectors or hybrid."),
    unanswerable: float = typer.Option(
        0.2, help="Of instruct: the share of questions without the right passage."
    ),
    seed: int = typer.Option(123, help="Of the order and of the places of passages."),
) -> None:
    """Make questions for training.

    Raises: BadValue for an index that is not there, without sentences, or options that are not
    allowed.
    """
    from ..files.json_files import write_json_lines
    from ..retrieval.index import WAYS
    from ..retrieval.questions import cloze_questions, half_questions
    from ..retrieval.training_data import hard_negatives, instruction_rows, passage_rows

    rules = {"halves": half_questions, "gaps": cloze_questions}
    must_be("kind", kind in rules, "halves or gaps", kind)
    must_be("form", form in ("passages", "instruct"), "passages or instruct", form)
    must_be("n", 1 <= n <= 10**6, "between 1 and 1,000,000", n)
    must_be("negatives", 1 <= negatives <= 100, "between 1 and 100", negatives)
    must_be("way", way in WAYS, f"one of {', '.join(WAYS)}", way)
    must_be("unanswerable", 0 <= unanswerable <= 1, "a share, from 0 to 1", unanswerable)
    must_be("seed", 0 <= seed < 2**32, "between 0 and 4,294,967,295", seed)
    if form == "instruct" and kind != "gaps":
        raise BadValue("--form instruct needs --kind gaps: a half of a sentence has no answer")
    if local_path(out).exists():
        raise BadValue(f"{out} is there already: give another --out")
    loaded = _load(index)
    made = rules[kind](loaded.chunks, None, n, seed)
    if not made:
        what = "no sentence with a quoted word" if kind == "gaps" else "no sentence"
        raise BadValue(f"{index} has {what}: a sentence of 8 to 40 words ends with a full stop")
    with blame("--negatives", ValueError):
        wrong = hard_negatives(loaded, made, negatives, way, seed)
    if form == "instruct":
        rows = instruction_rows(loaded, made, wrong, unanswerable, seed)
    else:
        rows = passage_rows(loaded, made, wrong)
    path = write_json_lines(out, rows)
    then = "instruct" if form == "instruct" else "rerank"
    say(f"{len(rows):,} questions in {path}\nnext: {command_line('finetune', then)} {path}")
