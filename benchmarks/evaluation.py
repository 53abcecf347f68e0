"""python -m benchmarks evaluation MODEL ...: language models side by side, as EVALUATION.md has it.

Perplexity and bits per byte of texts; questions with choices in three ways and with written
answers, after a few with their answers. Each figure has its 95 % interval, and each model its
paired difference to the first one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.data import corpora
from tinygrad_llm.evaluation import exact_match
from tinygrad_llm.evaluation.questions import METHODS, Item, answer_choices, answer_texts, right
from tinygrad_llm.evaluation.reports import (
    bits_per_byte,
    choice_baselines,
    common_answer,
    compressed_bits_per_byte,
    parts_of,
    perplexity,
    report,
    text_rows,
)
from tinygrad_llm.finetune.runs.base import load_base

from . import common, machine
from .general_questions import general_questions

SMOLLM2 = "smollm2-135m-instruct"


class Column(NamedTuple):
    """Rows (N) or (N, 3) of each model, None where it cannot; statistic: None for the mean."""

    name: str
    rows: list[np.ndarray | None]
    statistic: Any = None


def text_column(models: list[Any], name: str, text: str) -> list[Column]:
    """Bits per byte and perplexity of one text by each model."""
    parts = parts_of(text)
    rows: list[np.ndarray | None] = []
    for base in models:
        try:
            rows.append(text_rows(base.model, base.tokenizer, parts))
        except ValueError as error:  # a character that its tokenizer does not know
            print(f"{base.name} cannot read {name}: {error}")
            rows.append(None)
    return [Column(f"{name}: bits per byte", rows, bits_per_byte),
            Column(f"{name}: perplexity", rows, perplexity)]  # fmt: skip


def question_columns(models: list[Any], items: list[Item], shots: list[Item]) -> list[Column]:
    """Right answers by each way, and by writing, of each model."""
    columns = []
    for method in (*METHODS, "written"):
        rows: list[np.ndarray | None] = []
        for base in models:
            begin = time.perf_counter()
            try:
                rows.append(_answered(base, items, shots, method))
            except ValueError as error:
                print(f"{base.name} cannot answer by {method}: {error}")
                rows.append(None)
                continue
            seconds = (time.perf_counter() - begin) / len(items)
            print(f"{base.name}, {method}: {seconds:.3f} s per question", flush=True)
        columns.append(Column(method, rows))
    return columns


def _answered(base: Any, items: list[Item], shots: list[Item], method: str) -> np.ndarray:
    if method == "written":
        texts = answer_texts(base.model, base.tokenizer, items, shots=shots, max_new_tokens=12)
        scores = [exact_match(t.rstrip("."), i.answer) for t, i in zip(texts, items, strict=True)]
        return np.array(scores)
    answers = answer_choices(base.model, base.tokenizer, items, method, shots=shots)
    return right(answers, items)


def show(names: list[str], columns: list[Column], baselines: dict[str, dict[str, str]]) -> None:
    """Print the table of scores, and that of differences to the first model."""
    print("\n| model | " + " | ".join(c.name for c in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for i, name in enumerate(names):
        cells = ["-" if c.rows[i] is None else str(report(c.rows[i], None, c.statistic).score)
                 for c in columns]  # fmt: skip
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, cells in baselines.items():
        print(f"| {name} | " + " | ".join(cells.get(c.name, "") for c in columns) + " |")
    if len(names) == 1:
        return
    columns = [c for c in columns if c.statistic is not perplexity]  # of different tokens
    print(f"\n| minus {names[0]} | " + " | ".join(c.name for c in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for i, name in enumerate(names[1:], 1):
        cells = []
        for c in columns:
            ours, first = c.rows[i], c.rows[0]
            if ours is None or first is None:
                cells.append("-")
            else:
                cells.append(str(report(ours, first, c.statistic).difference))
        print(f"| {name} | " + " | ".join(cells) + " |")


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = common.parser("evaluation", __doc__)
    parser.add_argument("models", nargs="*", default=[SMOLLM2], help="runs, folders, names")
    parser.add_argument("--text", action="append", default=[], help="a file; may be repeated")
    parser.add_argument("--limit", type=int, default=96, help="questions")
    parser.add_argument("--shots", type=int, default=4)
    options = parser.parse_args(argv)
    print(machine.describe())
    models = [load_base(name) for name in options.models]
    names = [Path(name).name for name in options.models]
    texts = {"the-verdict": corpora.load("the-verdict").text} if not options.text else {
        Path(path).stem: Path(path).read_text("utf-8") for path in options.text
    }  # fmt: skip
    items = general_questions()
    shots, items = items[: options.shots], items[options.shots :][: options.limit]
    columns: list[Column] = []
    lzma: dict[str, str] = {}
    for name, text in texts.items():
        columns += text_column(models, name, text)
        lzma[f"{name}: bits per byte"] = f"{compressed_bits_per_byte(text):.3f}"
    columns += question_columns(models, items, shots)
    chance, *_ = choice_baselines(items).items()
    baselines = {
        "LZMA": lzma,
        chance[0]: {method: f"{chance[1].mean():.3f}" for method in METHODS},
        "commonest answer": {"written": f"{common_answer(items, exact_match).mean():.3f}"},
    }
    show(names, columns, baselines)
    return {c.name: {n: None if r is None else r.tolist() for n, r in
                     zip(names, c.rows, strict=True)} for c in columns}  # fmt: skip
