"""Texts with named entities, from files: this package's form, and Label Studio's export.

    [{"text": "東京は…", "entities": [{"name": "東京", "span": [0, 2], "type": "地名"}]}, …]

Label Studio (https://labelstud.io) exports tasks in two forms of JSON: "JSON", with annotations of
each task, and "JSON-MIN", with the labels beside the text. A cancelled annotation does not count;
of several the first one does. Each error names the file, the entry and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...data.bio import Entity
from ...files.untrusted import describe
from ..files import read_entries

__all__ = ["Annotated", "read_annotated"]


class Annotated(NamedTuple):
    """A text and its entities, in the order of the text; places are characters."""

    text: str
    entities: tuple[Entity, ...]


def read_annotated(path: str | Path) -> list[Annotated]:
    """The texts of a .json file (a list) or a .jsonl file, in any of the forms above.

    Raises: ValueError, with the file and the entry: for an entry without a text, an entity outside
    of its text, of length 0, without a type, or whose name is not what stands there, and two that
    overlap; FileNotFoundError.
    """
    rows = []
    for i, entry in enumerate(read_entries(path, ())):
        where = f"{path}: entry {i}"
        text, spans = _parts(entry, where)
        if not isinstance(text, str):
            raise ValueError(f"{where}: its text should be a text, got {describe(text)}")
        if not text.strip():
            raise ValueError(f"{where}: its text is empty")
        entities = sorted(
            _entity(span, text, f"{where}, entity {n}") for n, span in enumerate(spans)
        )
        for before, after in zip(entities, entities[1:], strict=False):
            if after.start < before.end:
                raise ValueError(
                    f"{where}: the entities {text[before.start : before.end]!r} and "
                    f"{text[after.start : after.end]!r} overlap, which tags cannot say: keep one"
                )
        rows.append(Annotated(text, tuple(entities)))
    return rows


def _parts(entry: Mapping[str, Any], where: str) -> tuple[Any, Sequence[Any]]:
    """(text, what it says about entities) of an entry."""
    if "data" in entry:  # Label Studio, JSON
        data = entry["data"]
        if not isinstance(data, Mapping):
            raise ValueError(f"{where}: 'data' should be an object, got {describe(data)}")
        done = [
            a for a in _list(entry.get("annotations", []), where, "annotations")
            if isinstance(a, Mapping) and not a.get("was_cancelled")
        ]  # fmt: skip
        if not done:
            raise ValueError(f"{where} has no annotation: export the labelled tasks only")
        spans = _list(done[0].get("result", []), where, "result")
        labelled = [s for s in spans if isinstance(s, Mapping) and s.get("type") == "labels"]
        return data.get("text"), [s.get("value") for s in labelled]
    if "text" not in entry:
        raise ValueError(
            f"{where} has no 'text'; it has {', '.join(list(entry)[:20]) or 'nothing'}"
        )
    if "entities" in entry:
        return entry["text"], _list(entry["entities"], where, "entities")
    return entry["text"], _list(entry.get("label", []), where, "label")  # JSON-MIN


def _list(value: Any, where: str, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: {name!r} should be a list, got {describe(value)}")
    return value


def _entity(span: Any, text: str, where: str) -> Entity:
    if not isinstance(span, Mapping):
        raise ValueError(f"{where}: it should be an object, got {describe(span)}")
    if "span" in span:
        places, kind, name = span["span"], span.get("type"), span.get("name")
        if not isinstance(places, list) or len(places) != 2:
            raise ValueError(f"{where}: 'span' should be [start, end], got {describe(places)}")
        start, end = places
    else:
        start, end, name = span.get("start"), span.get("end"), span.get("text")
        labels = span.get("labels")
        if not isinstance(labels, list) or len(labels) != 1:
            raise ValueError(f"{where}: 'labels' should be a list of one, got {describe(labels)}")
        kind = labels[0]
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise ValueError(
            f"{where}: it should have a start and an end with 0 <= start < end <= {len(text)}, the "
            f"length of its text, got {describe(start)} and {describe(end)}"
        )
    if not isinstance(kind, str) or not kind.strip():
        raise ValueError(f"{where}: its type should be a name, got {describe(kind)}")
    if name is not None and name != text[start:end]:
        raise ValueError(
            f"{where}: it is called {describe(name)}, but at {start} … {end} the text has "
            f"{describe(text[start:end])}"
        )
    return Entity(start, end, kind)
