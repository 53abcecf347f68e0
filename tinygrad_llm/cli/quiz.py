"""tinygrad-llm quiz: how many questions a model behind a server answers, and what that costs."""

from __future__ import annotations

import random
from typing import Any

import typer

from ..files.plain_text import one_line, say
from .chat_flags import FLAGS, asked, client_of, need_budget, note
from .errors import blame
from .evaluate import items_of
from .options import must_be, with_flags

__all__ = ["register"]

_HELP = """Ask a language model the questions of a quiz, over HTTP.

DATA is a .json, .jsonl or .csv file with the columns question and answer, or question, choice0,
choice1, ... and label (from 0); or jcommonsenseqa-valid. The quiz is asked without examples; with
--shots it is asked again after so many questions with their answers, and with --index again with
passages of a folder of `rag index`. Each way has its score, its difference to the first way, and
its cost.

Every reply is kept in --out: after a failure or Ctrl-C the same command asks only for the rest.

\b
Examples:
  tinygrad-llm quiz questions.json --model llama3 --server http://localhost:11434 --protocol ollama
  tinygrad-llm quiz questions.json --model llama3 --shots 4 --index rag-index --k 3 --plan
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="quiz", help=_HELP)(with_flags(quiz, FLAGS))


def quiz(
    data: str = typer.Argument(..., help="A file of questions, or jcommonsenseqa-valid."),
    shots: int = typer.Option(0, help="Also ask after so many questions with answers."),
    index: str | None = typer.Option(None, help="Also ask with passages of this index."),
    k: int = typer.Option(3, help="Passages for a question."),
    limit: int | None = typer.Option(100, help="The most questions; those after the shots."),
    out: str = typer.Option("quiz", help="A folder for replies and results."),
    plan: bool = typer.Option(False, "--plan", help="Only print what it would cost."),
    **more: Any,
) -> None:
    """Print the scores, with intervals and the cost.

    Raises: BadValue for options, a file or a server that cannot be used.
    """
    from ..evaluation.quiz import Quiz

    must_be("limit", limit is None or limit >= 1, "at least 1", limit)
    must_be("k", 1 <= k <= 100, "between 1 and 100", k)
    client = client_of(more, f"{out}/replies")
    with blame("DATA", ValueError):
        items = items_of(data, False)
    must_be("shots", 0 <= shots < len(items), f"from 0 to {len(items) - 1}", shots)
    random.Random(0).shuffle(items)
    shown, chosen = items[:shots], items[shots:][:limit]
    ways: dict[str, dict[str, Any]] = {"zero-shot": {}}
    if shots:
        ways[f"{shots}-shot"] = {"shots": shown}
    if index is not None:
        ways["retrieval"] = {"passages": _passages(index, chosen, k)}
    asking = Quiz(client)
    conversations = [c for way in ways.values() for c in asking.all_messages(chosen, **way)]
    expected = client.estimate(conversations, more["reply_tokens"])
    say(f"at most      {expected}")
    need_budget(more, expected)
    if plan:
        return
    with asked(out):
        results = {name: asking.ask(chosen, **way, note=note) for name, way in ways.items()}
    _show(chosen, results)
    _store(out, client, results)


def _passages(index: str, items: list[Any], k: int) -> list[list[str]]:
    """The texts of the k best passages for each question.

    Raises: BadValue if there is no such index.
    """
    from ..retrieval.index import load_index

    with blame("--index", ValueError, FileNotFoundError):
        loaded = load_index(index)
    return [[hit.chunk.text for hit in loaded.search(item.question, k)] for item in items]


def _show(items: list[Any], results: dict[str, Any]) -> None:
    from ..evaluation.questions import LETTERS
    from ..evaluation.quiz import SCORES
    from ..evaluation.reports import choice_baselines, common_answer, report

    first = next(iter(results.values()))
    say(f"questions    {len(items):,}")
    for score in first.scores:
        for way, result in results.items():
            made = report(result.scores[score], first.scores[score])
            difference = "" if result is first else f", {made.difference} more than zero-shot"
            say(f"{score:<12} {made.score}  {way}{difference}")
        if score in SCORES:
            baseline = report(common_answer(items, SCORES[score])).score
            say(f"{'':<12} {baseline}  baseline: always the commonest answer")
    if items[0].choices:
        for name, rows in choice_baselines(items).items():
            say(f"{'':<12} {report(rows).score}  baseline: {name}")
    for way, result in results.items():
        if result.unread:
            last = LETTERS[max(len(item.choices) for item in items) - 1]
            say(f"{result.unread} replies of {way} without a letter from A to {last} are wrong")
        say(f"{way:<12} {result.usage}")


def _store(out: str, client: Any, results: dict[str, Any]) -> None:
    from ..files.json_files import finite, write_json
    from ..files.paths import local_path

    folder = local_path(out)
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        way: {
            "scores": {name: rows.tolist() for name, rows in result.scores.items()},
            "replies": result.replies, "usage": str(result.usage),
        } for way, result in results.items()
    }  # fmt: skip
    about = {"model": client.model, "server": client.address, "ways": stored}
    write_json(folder / "results.json", finite(about))
    say(f"results      {one_line(str(folder / 'results.json'))}")
