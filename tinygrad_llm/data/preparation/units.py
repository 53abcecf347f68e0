"""The first pass over a unit: its files are read and cleaned, and what is left is stored."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...files.atomic import atomic_write
from .formats import documents_in
from .pipeline import Documents, changed, cut, looked_at, refused
from .settings import Settings
from .shingles import code_points
from .sources import Unit
from .store import Store

__all__ = ["clean_unit"]

_TOGETHER = 1 << 20  # characters that are looked at together
_MOST_TROUBLES = 100  # lines that are kept of a unit; more are counted


class _Row:
    """What is counted of one file, or range of a file."""

    def __init__(self) -> None:
        self.texts = self.documents = self.kept = 0
        self.left_out: Counter[str] = Counter()


def clean_unit(folder: Path, unit: Unit, number: int, settings: Settings, store: Store) -> None:
    """Read and clean a unit, and store what is left; a unit that is done is left as it is."""
    if store.done(number):
        return
    troubles: list[str] = []
    rows = [_Row() for _ in unit.sources]
    parts: list[Documents] = []
    ends: list[np.ndarray] = []
    characters = np.zeros(0, np.uint32)
    size = 0
    with atomic_write(store.path(number, "text")) as file:
        for owners, texts in _batches(folder, unit, settings, rows, troubles):
            part = looked_at(texts, settings)
            for owner, kept in zip(owners, part.kept.tolist(), strict=True):
                rows[owner].kept += kept
                rows[owner].left_out["repetition"] += not kept
            data = [text.encode("utf-8", "replace") for text in part.texts]
            file.write(b"".join(data))
            lengths = np.fromiter(map(len, data), np.int64, len(data))
            ends.append(size + np.cumsum(lengths))
            size += int(lengths.sum())
            if settings.tokenizer == "char":
                points = code_points("".join(part.texts)).astype(np.uint32)
                characters = np.union1d(characters, points)
            parts.append(part._replace(texts=[]))
    store.write_arrays(number, "npz", _joined(parts, ends, characters))
    facts = {
        "rows": [_row(folder, unit, source, row)
                 for source, row in zip(unit.sources, rows, strict=True)],
        "troubles": troubles[:_MOST_TROUBLES],
        "more_troubles": max(0, len(troubles) - _MOST_TROUBLES),
        "bytes": size,
    }  # fmt: skip
    store.write_facts(number, "json", facts)


def _batches(
    folder: Path, unit: Unit, settings: Settings, rows: list[_Row], troubles: list[str]
) -> Iterator[tuple[list[int], list[str]]]:
    """Documents that passed the filters, about _TOGETHER characters at a time, and whose they are.

    rows are counted on, troubles added.
    """
    owners: list[int] = []
    texts: list[str] = []
    waiting = 0
    for owner, source in enumerate(unit.sources):
        row = rows[owner]
        for text in documents_in(folder, source, unit.begin, unit.end, settings, troubles.append):
            row.texts += 1
            for document in cut(changed(text, settings), settings.most_characters) or [""]:
                row.documents += 1
                reason = refused(document, settings)
                if reason is not None:
                    row.left_out[reason] += 1
                    continue
                owners.append(owner)
                texts.append(document)
                waiting += len(document)
                if waiting >= _TOGETHER:
                    yield owners, texts
                    owners, texts, waiting = [], [], 0
    if texts:
        yield owners, texts


def _joined(
    parts: list[Documents], ends: list[np.ndarray], characters: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of all parts, one after the other."""
    names = ("hashes", "paragraphs", "paragraph_hashes", "minima", "paragraph_minima")
    if not parts:
        empty = {name: np.zeros(0, np.uint64) for name in names}
        return {**empty, "ends": np.zeros(0, np.int64), "characters": characters}
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return {**joined, "ends": np.concatenate(ends), "characters": characters}


def _row(folder: Path, unit: Unit, source: Any, row: _Row) -> dict[str, Any]:
    """The line of sources.jsonl."""
    begin, end = unit.begin, source.size if unit.end is None else unit.end
    return {
        "path": source.path, "begin": begin, "end": end,
        "sha256": _sha256(folder / source.path, begin, end),
        "texts": row.texts, "documents": row.documents, "passed": row.kept,
        "left_out": {name: n for name, n in sorted(row.left_out.items()) if n},
    }  # fmt: skip


def _sha256(path: Path, begin: int, end: int) -> str | None:
    """Of the bytes begin … end; None of a file that cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            file.seek(begin)
            while begin < end and (data := file.read(min(1 << 20, end - begin))):
                digest.update(data)
                begin += len(data)
    except OSError:
        return None
    return digest.hexdigest()
