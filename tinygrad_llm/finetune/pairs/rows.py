"""Pairs of texts and questions with answers: from files to rows that know their place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import read_columns

__all__ = ["Row", "read_pairs", "read_questions", "scored", "texts_of"]


@dataclass(frozen=True)
class Row:
    """A text and those that are put beside it, one or several, and what is to be predicted.

    first       the premise, the first sentence, or the question
    seconds     the other sentence; of a question all of its answers
    label       a class's name, a number, or the number of the right answer
    place       where it stands, for messages
    """

    first: str
    seconds: tuple[str, ...]
    label: str | float | int
    place: str = ""


def read_pairs(
    path: str | Path, first: str = "sentence1", second: str = "sentence2", label: str = "label"
) -> list[Row]:
    """The rows of a .csv, .tsv, .json or .jsonl file with two texts and a label, a text.

    Raises: ValueError, which names the place, if a column is missing or a text is empty.
    """
    names = [("first_column", first), ("second_column", second), ("label_column", label)]
    rows = []
    for place, (a, b, value) in read_columns(path, names):
        for name, text in ((first, a), (second, b), (label, value)):
            _need_text(place, name, text)
        rows.append(Row(a, (b,), value.strip(), place))
    return rows


def read_questions(
    path: str | Path, question: str, answers: Sequence[str], label: str
) -> list[Row]:
    """The rows of such a file with a question, its answers, and the right one's number from 0.

    Raises: ValueError, which names the place, if a column is missing, a text is empty, or the
    label is not one of 0 … N − 1.
    """
    names = [("question_column", question), ("label_column", label)]
    names += [("answer_columns", name) for name in answers]
    rows = []
    for place, (text, value, *options) in read_columns(path, names):
        for name, one in zip((question, label, *answers), (text, value, *options), strict=True):
            _need_text(place, name, one)
        if not (value.strip().isdecimal() and int(value) < len(options)):
            raise ValueError(
                f"{place}: {label!r} should be the number of the right answer, 0 … "
                f"{len(options) - 1}, got {value[:60]!r}"
            )
        rows.append(Row(text, tuple(options), int(value), place))
    return rows


def scored(rows: Sequence[Row]) -> list[Row]:
    """The rows with labels as numbers.

    Raises: ValueError, which names the place of a label that is not a finite number.
    """
    made = []
    for row in rows:
        try:
            value = float(row.label)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{row.place}: the label should be a number, got {row.label!r}")
        made.append(Row(row.first, row.seconds, value, row.place))
    return made


def texts_of(row: Row) -> tuple[str, ...]:
    """The texts that may not be in two parts of the data: both of a pair, the question alone."""
    return (row.first, *row.seconds) if len(row.seconds) == 1 else (row.first,)


def _need_text(place: str, name: str, text: str) -> None:
    if not text.strip():
        raise ValueError(f"{place}: {name!r} is empty")
