"""The user's data: labelled texts and instructions from CSV, TSV, JSON and JSON-lines files.

Every function raises ValueError (FileNotFoundError if there is no file) with the file, the place in
it, and what was expected.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["class_names", "number_labels", "read_entries", "read_labelled"]


def _text(path: Path) -> str:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error


def read_entries(path: str | Path, names: Sequence[str]) -> list[dict[str, str]]:
    """The entries of a JSON file (a list of objects) or a JSON-lines file (one object per line).

    names: the texts that every entry must have, such as "instruction" and "output"; they must not
    be empty, except "input"
    Raises: ValueError if the file holds no entries, is not valid JSON, or an entry lacks a text.
    """
    path = Path(path)
    text = _text(path)
    try:
        entries = _lines(text) if path.suffix.lower() in (".jsonl", ".ndjson") else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        kind = type(entries).__name__
        raise ValueError(f"{path} should hold a list of entries, it holds a {kind}")
    if not entries:
        raise ValueError(f"{path} holds no entries")
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: entry {i} should be an object, it is {entry!r}"[:200])
        for name in names:
            if name not in entry:
                has = ", ".join(entry) or "nothing"
                raise ValueError(f"{path}: entry {i} has no {name!r}; it has {has}")
        for name in {*names, "input"} & set(entry):
            if not isinstance(entry[name], str):
                kind = type(entry[name]).__name__
                raise ValueError(f"{path}: entry {i}: {name!r} should be a text, got {kind}")
            if name != "input" and not entry[name].strip():
                raise ValueError(f"{path}: entry {i}: {name!r} is empty")
    return entries


def _lines(text: str) -> list[Any]:
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return values


def read_labelled(
    path: str | Path, text_column: str = "text", label_column: str = "label"
) -> list[tuple[str, str]]:
    """(text, label) of every row of a .csv or .tsv file with a header, a .json or a .jsonl file.

    Raises: ValueError if the file is empty, lacks a column, or a row has too many or too few.
    """
    path = Path(path)
    columns = (text_column, label_column)
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        for i, entry in enumerate(entries := read_entries(path, ())):
            for name in columns:
                if name not in entry:
                    raise ValueError(f"{path}: entry {i} {_no_column(name, list(entry))}")
        return [(str(entry[text_column]), str(entry[label_column])) for entry in entries]
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter)
    header = next(reader, None)
    if header is None:
        raise ValueError(f"{path} is empty")
    for name in columns:
        if name not in header:
            raise ValueError(f"{path} {_no_column(name, header)}")
    at = [header.index(name) for name in columns]
    rows = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {reader.line_num}: {len(row)} columns, the header has {len(header)}"
            )
        rows.append((row[at[0]], row[at[1]]))
    return rows


def _no_column(name: str, columns: Sequence[str]) -> str:
    has = ", ".join(columns) or "none"
    return f"has no column {name!r}; it has {has} (choose with --text-column and --label-column)"


def class_names(rows: Sequence[tuple[str, str]]) -> list[str]:
    """The labels of the rows, in alphabetical order, or in numerical order if all are numbers."""
    labels = {label for _, label in rows}
    if all(label.lstrip("-").isdecimal() for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def number_labels(
    rows: Sequence[tuple[str, str]], names: Sequence[str]
) -> list[tuple[str, int]]:  # fmt: skip
    """(text, number of the label in names) of each row.

    Raises: ValueError for a label that is not in names, an empty text or label, fewer than two
    classes, and a class without a row.
    """
    if not rows:
        raise ValueError("there are no rows to classify")
    number = {name: i for i, name in enumerate(names)}
    numbered = []
    for i, (text, label) in enumerate(rows):
        if not text.strip():
            raise ValueError(f"row {i} has no text")
        if not label.strip():
            raise ValueError(f"row {i} has no label: {text[:60]!r}")
        if label not in number:
            raise ValueError(f"row {i} has the label {label!r}, the classes are {', '.join(names)}")
        numbered.append((text, number[label]))
    if len(names) < 2:
        raise ValueError(
            f"all rows have the label {names[0]!r}: a classifier needs at least two classes"
        )
    for i, name in enumerate(names):
        if not any(label == i for _, label in numbered):
            raise ValueError(f"no row has the label {name!r}")
    return numbered
