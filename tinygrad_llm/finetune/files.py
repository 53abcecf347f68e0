"""The user's data: labelled texts and instructions from CSV, TSV, JSON and JSON-lines files.

Every function raises ValueError (FileNotFoundError if there is no file) with the file, the place in
it, and what was expected.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files.json_files import parse_json, read_bounded
from ..files.paths import local_path
from ..files.untrusted import describe
from ..models.encoder import LONGEST_NAME

__all__ = ["class_names", "number_labels", "read_columns", "read_entries", "read_labelled"]

_WHOLE = re.compile(r"-?[0-9]{1,18}")


def _text(path: Path) -> str:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return read_bounded(path, "a file of texts").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error


def read_entries(path: str | Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of a JSON file (a list of objects) or a JSON-lines file (one object per line).

    names: the texts that every entry must have, such as "instruction" and "output"; they must not
    be empty, except "input"
    Raises: ValueError if the file holds no entries, is not valid JSON, or an entry lacks a text.
    """
    path = local_path(path)
    text = _text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson") or _is_lines(text):
        # Only line feeds end a line: JSON leaves U+2028, U+0085 and others in a text as they are.
        lines = enumerate(text.split("\n"), 1)
        entries = [parse_json(t, f"{path}, line {n}") for n, t in lines if t.strip()]
    else:
        entries = parse_json(text, str(path))
    if not isinstance(entries, list):
        kind = type(entries).__name__
        raise ValueError(f"{path} should hold a list of entries, it holds a {kind}")
    if not entries:
        raise ValueError(f"{path} holds no entries")
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: entry {i} should be an object, it is {describe(entry)}")
        for name in names:
            if name not in entry:
                raise ValueError(f"{path}: entry {i} has no {name!r}; it has {_some(entry)}")
        for name in {*names, "input"} & set(entry):
            if not isinstance(entry[name], str):
                raise ValueError(
                    f"{path}: entry {i}: {name!r} should be a text, got {describe(entry[name])}"
                )
            if name != "input" and not entry[name].strip():
                raise ValueError(f"{path}: entry {i}: {name!r} is empty")
    return entries


def _is_lines(text: str) -> bool:
    """Whether a file called .json has an object on every line, as many data sets are published."""
    first, _, rest = text.lstrip().partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and bool(rest.strip())


def read_labelled(
    path: str | Path, text_column: str = "text", label_column: str = "label",
    options: tuple[str, str] = ("text_column", "label_column"),
) -> list[tuple[str, str]]:  # fmt: skip
    """(text, label) of every row of a .csv or .tsv file with a header, a .json or a .jsonl file.

    In JSON a text is a text, a label a text or an integer. A .csv file may quote its fields. In a
    .tsv file, where most programs quote nothing, a quotation mark counts as one only if every field
    that begins with one ends with one too.
    options: the names of the options that choose the two columns, for messages
    Raises: ValueError if the file is empty, lacks a column, or a row has too many or too few.
    """
    path = local_path(path)
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        return _labelled_entries(path, text_column, label_column, options)
    names = list(zip(options, (text_column, label_column), strict=True))
    return [(text, label) for _, (text, label) in _table_columns(path, names)]


def read_columns(
    path: str | Path, names: Sequence[tuple[str, str]]
) -> list[tuple[str, tuple[str, ...]]]:  # fmt: skip
    """(place for messages, the named columns) of every row of a file, as read_labelled reads it.

    names: (the option that chooses a column, "" if none does, and the column's name), such as
        ("first_column", "sentence1")
    In JSON a value is a text or a number, which becomes a text.
    Raises: ValueError if the file is empty, lacks a column, or a value is of another kind.
    """
    path = local_path(path)
    if path.suffix.lower() not in (".json", ".jsonl", ".ndjson"):
        return list(_table_columns(path, names))
    made = []
    for i, entry in enumerate(read_entries(path, ())):
        place, values = f"{path}: entry {i}", []
        for _, name in names:
            if name not in entry:
                raise ValueError(f"{place} {_no_column(name, list(entry), names)}")
            value = entry[name]
            number = isinstance(value, int | float) and math.isfinite(value)
            if isinstance(value, bool) or not (number or isinstance(value, str)):
                raise ValueError(
                    f"{place}: {name!r} should be a text or a number, got {describe(value)}"
                )
            values.append(value if isinstance(value, str) else str(value))
        made.append((place, tuple(values)))
    return made


def _table_columns(
    path: Path, names: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, tuple[str, ...]]]:  # fmt: skip
    """As read_columns, of a .csv or .tsv file."""
    rows = _rows(path)
    _, header = next(rows, (0, None))
    if header is None:
        raise ValueError(f"{path} is empty")
    at = []
    for _, name in names:
        if name not in header:
            raise ValueError(f"{path} {_no_column(name, header, names)}")
        if header.count(name) > 1:
            raise ValueError(f"{path} has the column {name!r} {header.count(name)} times")
        at.append(header.index(name))
    empty = True
    for line, row in rows:
        if not row:
            continue
        empty = False
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(row)} columns, the header has {len(header)}"
            )
        yield f"{path}, line {line}", tuple(row[i] for i in at)
    if empty:
        raise ValueError(f"{path} has a header and no rows")


def _labelled_entries(
    path: Path, text_column: str, label_column: str, options: tuple[str, str]
) -> list[tuple[str, str]]:
    """(text, label) of every entry of a file of JSON."""
    labelled = []
    for i, entry in enumerate(read_entries(path, ())):
        for name in (text_column, label_column):
            if name not in entry:
                names = list(zip(options, (text_column, label_column), strict=True))
                raise ValueError(f"{path}: entry {i} {_no_column(name, list(entry), names)}")
        text, label = entry[text_column], entry[label_column]
        if not isinstance(text, str):
            raise ValueError(
                f"{path}: entry {i}: {text_column!r} should be a text, got {describe(text)}"
            )
        if not isinstance(label, str) and type(label) is not int:
            raise ValueError(
                f"{path}: entry {i}: {label_column!r} should be a text or an integer, got "
                f"{describe(label)}"
            )
        labelled.append((text, str(label)))
    return labelled


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, fields) of every row of a .csv or .tsv file.

    Raises: ValueError with the line if quotation marks are not closed.
    """
    text = _text(path)
    tabs = path.suffix.lower() in (".tsv", ".tab")
    marks = not tabs or _quoted_throughout(text)
    longest = csv.field_size_limit(len(text) + 1)  # a text may be longer than csv's 131,072
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_MINIMAL if marks else csv.QUOTE_NONE,
            strict=True,
        )
        begin = 1
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueError(
                    f"{path}: the row that begins on line {begin} cannot be read: {error}. A field "
                    'with a quotation mark is written in quotation marks, and the mark twice: """'
                ) from error
            begin = reader.line_num + 1
            yield reader.line_num, row
    finally:
        csv.field_size_limit(longest)


def _quoted_throughout(text: str) -> bool:
    """Whether every field of a .tsv file that begins with a quotation mark ends with one too."""
    for line in text.split("\n"):
        for field in line.rstrip("\r").split("\t") if '"' in line else ():
            inner = field[1:-1].replace('""', "")
            if field.startswith('"') and (len(field) < 2 or field[-1] != '"' or '"' in inner):
                return False
    return True


def _some(names: Iterable[str], most: int = 20) -> str:
    """The names for an error message, of many the first ones."""
    names = list(names)
    listed = ", ".join(name[:60] for name in names[:most])
    return f"{listed} and {len(names) - most:,} more" if len(names) > most else listed or "nothing"


def _no_column(name: str, columns: Sequence[str], names: Sequence[tuple[str, str]]) -> str:
    problem = f"has no column {name!r}; it has {_some(columns)}"
    flags = [f"--{option.replace('_', '-')}" for option, _ in names if option]
    if not flags:
        return problem
    *others, last = dict.fromkeys(flags)
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"{problem} (choose with {listed})"


def class_names(rows: Sequence[tuple[str, str]]) -> list[str]:
    """The labels of the rows, in alphabetical order, or in numerical order if all are numbers."""
    labels = {label for _, label in rows}
    if all(_WHOLE.fullmatch(label) for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def number_labels(
    rows: Sequence[tuple[str, str]], names: Sequence[str]
) -> list[tuple[str, int]]:  # fmt: skip
    """(text, number of the label in names) of each row.

    Raises: ValueError for a label that is not in names, an empty text or label, a label of more
    than LONGEST_NAME characters, fewer than two classes, and a class without a row.
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
        if len(label) > LONGEST_NAME:
            raise ValueError(
                f"row {i} has a label of {len(label):,} characters ({label[:60]!r}...), at most "
                f"{LONGEST_NAME:,} are expected: is it a column of texts?"
            )
        if label not in number:
            raise ValueError(f"row {i} has the label {label!r}, the classes are {_some(names)}")
        numbered.append((text, number[label]))
    if len(names) < 2:
        raise ValueError(
            f"all rows have the label {names[0]!r}: a classifier needs at least two classes"
        )
    used = {label for _, label in numbered}
    for i, name in enumerate(names):
        if i not in used:
            raise ValueError(f"no row has the label {name!r}")
    return numbered
