"""tinygrad-llm evaluate: how good a language model is, with intervals and a baseline."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

import typer

from ..files.paths import local_path
from ..files.plain_text import say
from ..training.devices import check_device
from .errors import blame
from .options import must_be

__all__ = ["items_of", "register"]

_HELP = """Measure a language model on a text or on questions.

MODEL is a run, a checkpoint, a folder or file of weights, or the name of a published model.

\b
--task text      perplexity and bits per byte of the text file DATA
--task choice    questions with choices, in three ways: the letter that it writes (letter), the
                 likeliest letter (log_prob), the likeliest answer (teacher_forcing)
--task answer    questions whose answer it writes: exact match, character F1, set F1
                 (as llm-jp-eval defines them)
DATA of questions is a .json, .jsonl or .csv file with the columns question, choice0, choice1, ...
and label (from 0), or question and answer; or jcommonsenseqa-valid.

Each figure has a 95 % interval and a baseline. --against measures another model on the same
examples: a difference whose interval holds 0 may be chance.

\b
Examples:
  tinygrad-llm evaluate runs/first --task text --data book.txt
  tinygrad-llm evaluate smollm2-135m-instruct --task choice --data questions.json --shots 4
  tinygrad-llm evaluate runs/a --against runs/b --task text --data book.txt
"""
_TASKS = ("text", "choice", "answer")


class _Model(NamedTuple):
    """A language model and its tokenizer, with the name that the user gave."""

    name: str
    model: Any
    tokenizer: Any


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="evaluate", help=_HELP)(evaluate)


def evaluate(
    model: str = typer.Argument(..., help="The model to measure."),
    data: str = typer.Option(..., help="A file, or jcommonsenseqa-valid."),
    task: str = typer.Option("text", help="text, choice or answer."),
    against: str | None = typer.Option(None, help="Another model, on the same examples."),
    method: str = typer.Option("all", help="Of choice: letter, log_prob, teacher_forcing or all."),
    shots: int = typer.Option(0, help="Questions shown with their answers."),
    limit: int | None = typer.Option(200, help="The most questions; those after the shots."),
    window: int | None = typer.Option(None, help="Of text: tokens seen at a time. [the context]"),
    stride: int | None = typer.Option(None, help="Of text: tokens between windows. [the window]"),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
) -> None:
    """Print the figures.

    Raises: BadValue for a value, a file or a model that cannot be used.
    """
    from ..evaluation.questions import METHODS

    must_be("task", task in _TASKS, ", ".join(_TASKS), task)
    must_be("method", method in ("all", *METHODS), f"all, {', '.join(METHODS)}", method)
    must_be("shots", 0 <= shots <= 100, "from 0 to 100", shots)
    must_be("limit", limit is None or limit >= 1, "at least 1", limit)
    for flag, value in {"window": window, "stride": stride}.items():
        must_be(flag, value is None or value >= 1, "at least 1", value)
    check_device(device)
    with blame("--data", ValueError):
        text = _text(data) if task == "text" else ""
        items = [] if task == "text" else items_of(data, task == "choice")
    if task != "text":
        must_be("shots", shots < len(items), f"below the {len(items)} questions", shots)
        random.Random(0).shuffle(items)
    names = [name for name in (model, against) if name is not None]
    models = [_load(name, device) for name in names]
    shown, asked = items[:shots], items[shots:][:limit]
    with blame("--data", ValueError):
        if task == "text":
            given = {"window": window, "stride": stride}
            _measure_text(models, text, {k: v for k, v in given.items() if v is not None})
        elif task == "choice":
            _ask_choices(models, asked, shown, METHODS if method == "all" else (method,))
        else:
            _ask_answers(models, asked, shown)


def _load(name: str, device: str) -> _Model:
    from ..finetune.runs.base import load_base

    base = load_base(name, say)
    return _Model(name, base.model.to(device), base.tokenizer)


def _text(data: str) -> str:
    """The text of a file.

    Raises: ValueError if it is empty or not UTF-8.
    """
    from ..files.json_files import read_bounded

    try:
        text = read_bounded(local_path(data), "a text").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{data} is not UTF-8: {error}") from None
    if not text.strip():
        raise ValueError(f"{data} is empty")
    return text


def items_of(data: str, with_choices: bool) -> list[Any]:
    """The questions of a file.

    Raises: ValueError if columns are missing or a row cannot be used.
    """
    from ..data import corpora
    from ..evaluation.questions import Item
    from ..finetune.files import read_columns
    from ..finetune.pairs.rows import read_questions

    path = local_path(data)
    if data in corpora.NAMED and not path.exists():
        path = corpora.path(data)
    n = _choices_in(path)
    if n:
        names = [f"choice{i}" for i in range(n)]
        rows = read_questions(path, "question", names, "label")
        return [Item.of_choices(row.first, row.seconds, int(row.label)) for row in rows]
    if with_choices:
        raise ValueError(f"{data} has no columns choice0 and choice1")
    columns = [("", "question"), ("", "answer")]
    return [Item(question, answer) for _, (question, answer) in read_columns(path, columns)]


def _choices_in(path: Path) -> int:
    """How many of the columns choice0, choice1, ... the first row of a file has."""
    from ..finetune.files import read_columns

    n = 0
    while n < 26:
        try:
            read_columns(path, [("choice", f"choice{n}")])
        except ValueError:
            break
        n += 1
    return n


def _show(label: str, results: list[Any], models: list[_Model], places: int = 3) -> None:
    """Print a figure of each model, and their difference."""
    from ..evaluation.reports import report

    ours, *theirs = (rows for rows, _ in results)
    statistic = results[0][1]
    made = report(ours, theirs[0] if theirs else None, statistic)
    say(f"{label:<16} {made.score}  {models[0].name}")
    if theirs:
        say(f"{'':<16} {report(theirs[0], None, statistic).score}  {models[1].name}")
        assert made.difference is not None
        chance = "may be chance" if 0.0 in made.difference else "not chance"
        say(f"{'':<16} {made.difference}  difference: {chance}")


def _measure_text(models: list[_Model], text: str, options: dict[str, int]) -> None:
    from ..evaluation import reports

    parts = reports.parts_of(text)
    rows = [reports.text_rows(m.model, m.tokenizer, parts, **options) for m in models]
    say(f"text         {len(text.encode('utf-8', 'surrogatepass')):,} bytes in {len(parts)} parts, "
        "each measured apart")  # fmt: skip
    _show("bits per byte", [(r, reports.bits_per_byte) for r in rows], models)
    say(f"{'':<16} {reports.compressed_bits_per_byte(text):.3f}  baseline: compressed by LZMA")
    for one, own in zip(models, rows, strict=True):
        figure = reports.report(own, None, reports.perplexity).score
        say(f"{'perplexity':<16} {figure}  {one.name}, of {own[:, 1].sum():,.0f} tokens; "
            f"baseline: {one.model.config.vocab_size:,} tokens by chance")  # fmt: skip


def _ask_choices(
    models: list[_Model], items: list[Any], shots: list[Any], methods: tuple[str, ...]
) -> None:
    from ..evaluation import questions, reports

    say(f"questions    {len(items):,}, after {len(shots)} with their answers")
    for method in methods:
        _note_cut(models, items, shots, method != "teacher_forcing")
        results, unread = [], 0
        for one in models:
            answers = questions.answer_choices(
                one.model, one.tokenizer, items, method, shots=shots
            )  # fmt: skip
            unread += sum(answer is None for answer in answers)
            results.append((questions.right(answers, items), None))
        _show(method, results, models)
        if unread:
            say(f"{'':<16} {unread} answers without a letter count as wrong")
    for name, rows in reports.choice_baselines(items).items():
        say(f"{name:<16} {reports.report(rows).score}  baseline")


def _ask_answers(models: list[_Model], items: list[Any], shots: list[Any]) -> None:
    from ..evaluation import questions, reports

    say(f"questions    {len(items):,}, after {len(shots)} with their answers")
    _note_cut(models, items, shots, False)
    import numpy as np

    texts = [questions.answer_texts(m.model, m.tokenizer, items, shots=shots) for m in models]
    for name, metric in questions.METRICS.items():
        rows = [
            np.array([metric(text, item.answer) for text, item in zip(own, items, strict=True)])
            for own in texts
        ]
        _show(name, [(each, None) for each in rows], models)
        baseline = reports.report(reports.common_answer(items, metric))
        say(f"{'':<16} {baseline.score}  baseline: always the commonest answer")


def _note_cut(
    models: list[_Model], items: list[Any], shots: list[Any], with_letters: bool
) -> None:  # fmt: skip
    """Say how many prompts are longer than a model's context."""
    from ..evaluation.questions import Words, prompt_of

    for one in models:
        limit = one.model.context_length
        n = sum(
            len(one.tokenizer.encode(prompt_of(item, shots, Words(), with_letters),
                                     disallowed_special=())) > limit
            for item in items
        )  # fmt: skip
        if n:
            say(f"{n} of {len(items)} prompts are longer than {one.name}'s context of {limit} "
                "tokens: their beginnings are cut; take fewer --shots")  # fmt: skip
