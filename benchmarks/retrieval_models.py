"""What `python -m benchmarks retrieval` trains: a cross-encoder, a bi-encoder, a reader.

All of them learn from questions by rule on one half of the topics of Python's reference, and are
tested on the other half. The runs are those of the commands, in a folder that is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tinygrad_llm.files.json_files import write_json_lines
from tinygrad_llm.retrieval import Index
from tinygrad_llm.retrieval.questions import (
    Question,
    cloze_questions,
    half_questions,
    split_by_source,
    title_questions,
)
from tinygrad_llm.retrieval.training_data import hard_negatives, instruction_rows, passage_rows

__all__ = ["Parts", "parts", "write_data"]


class Parts(NamedTuple):
    """Questions of the topics for training, and of the others for the test."""

    train: dict[str, list[Question]]
    test: dict[str, list[Question]]


def parts(index: Index, texts: list[str], headings: dict[str, str]) -> Parts:
    """Gaps, halves and headings, each cut by topic."""
    made = Parts({}, {})
    for name, questions in (
        ("gaps", cloze_questions(index.chunks, texts, 10**6)),
        ("halves", half_questions(index.chunks, texts, 10**6)),
        ("headings", title_questions(index.chunks, headings)),
    ):
        made.train[name], made.test[name] = split_by_source(questions, index.chunks)
    return made


def write_data(index: Index, made: Parts, folder: Path) -> tuple[Path, Path]:
    """The files for finetune rerank and embed, and for finetune instruct."""
    rows = []
    for name, most in (("gaps", 1), ("halves", 1), ("headings", 5)):
        questions = made.train[name]
        rows += passage_rows(index, questions, hard_negatives(index, questions, 3, "hybrid"), most)
    gaps = made.train["gaps"]
    entries = instruction_rows(index, gaps, hard_negatives(index, gaps, 2, "hybrid"))
    folder.mkdir(parents=True, exist_ok=True)
    return (
        write_json_lines(folder / "passages.jsonl", rows),
        write_json_lines(folder / "instruct.jsonl", entries),
    )
