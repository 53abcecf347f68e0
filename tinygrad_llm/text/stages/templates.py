"""Post-processors: the special tokens around a text, or around two, as in tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...files.untrusted import describe
from .part import Part

__all__ = ["Template", "build_template", "template_of"]

MOST_PIECES = 64
Row = tuple[str | tuple[int, ...], int]  # "A", "B" or ids; and the type id
_PLAIN: list[Row] = [("A", 0)]
_PLAIN_PAIR: list[Row] = [("A", 0), ("B", 1)]


class Template:
    """Special tokens around one text (A), or two (A and B).

    single, pair: in order "A", "B" or ids, each with the type id of its tokens
    """

    def __init__(self, single: Sequence[Row] = _PLAIN, pair: Sequence[Row] = _PLAIN_PAIR) -> None:
        self.single, self.pair = list(single), list(pair)

    def around(
        self, ids: Sequence[int], pair_ids: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """The ids with the special tokens around them, and the type id of each token."""
        texts = {"A": list(ids), "B": list(pair_ids or ())}
        all_ids: list[int] = []
        types: list[int] = []
        for what, type_id in self.single if pair_ids is None else self.pair:
            new = texts[what] if isinstance(what, str) else what
            all_ids += new
            types += [type_id] * len(new)
        return all_ids, types

    def ids(self) -> list[int]:
        """Every special id that the template adds."""
        return [i for what, _ in [*self.single, *self.pair] if isinstance(what, tuple)
                for i in what]  # fmt: skip


def template_of(before: Sequence[int], after: Sequence[int]) -> Template:
    """The template that puts ids before and after every text."""
    start, end = (tuple(before), 0), (tuple(after), 0)
    second: list[Row] = [(tuple(before), 1), ("B", 1), (tuple(after), 1)]
    single: list[Row] = [start, ("A", 0), end]
    keep = [row for row in single if row[0]]
    return Template(keep, keep + [row for row in second if row[0]])


def build_template(part: Part | None) -> Template:
    """The template that a description stands for; without one nothing is added.

    Raises: ValueError if the type is not known or a field is wrong.
    """
    if part is None or part.type == "ByteLevel":
        return Template()
    if part.type == "Sequence":
        others = [p for p in part.parts("processors") if p.type != "ByteLevel"]
        if len(others) > 1:
            raise ValueError(f"{part.where}: more than one post-processor that adds tokens")
        return build_template(others[0] if others else None)
    if part.type in ("BertProcessing", "RobertaProcessing"):
        return _bert(part, part.type == "RobertaProcessing")
    if part.type != "TemplateProcessing":
        raise part.unknown(
            ["ByteLevel", "Sequence", "BertProcessing", "RobertaProcessing", "TemplateProcessing"]
        )
    ids = _special_ids(part)
    return Template(_rows(part, "single", ids), _rows(part, "pair", ids))


def _bert(part: Part, roberta: bool) -> Template:
    end, start = ((_named_id(part, name),) for name in ("sep", "cls"))
    single: list[Row] = [(start, 0), ("A", 0), (end, 0)]
    if roberta:
        return Template(single, [*single, (end, 0), ("B", 0), (end, 0)])
    return Template(single, [*single, ("B", 1), (end, 1)])


def _named_id(part: Part, name: str) -> int:
    pair = part.get(name, list)
    if len(pair) != 2 or type(pair[1]) is not int or pair[1] < 0:
        raise ValueError(f"{part.where}: {name!r} should be a token and its id")
    return pair[1]


def _special_ids(part: Part) -> dict[str, tuple[int, ...]]:
    ids = {}
    for name, fields in part.get("special_tokens", dict, {}).items():
        values: Any = Part(fields, f"{part.where}, {describe(name)}").get("ids", list)
        if len(values) > MOST_PIECES or not all(type(i) is int and i >= 0 for i in values):
            raise ValueError(f"{part.where}: the ids of {describe(name)} should be numbers")
        ids[name] = tuple(values)
    return ids


def _rows(part: Part, name: str, ids: dict[str, tuple[int, ...]]) -> list[Row]:
    rows: list[Row] = []
    for piece in part.parts(name):
        sequence, special = piece.part("Sequence"), piece.part("SpecialToken")
        one = sequence or special
        if one is None:
            raise ValueError(f"{piece.where} is neither a Sequence nor a SpecialToken")
        what = one.get("id", str)
        type_id = one.integer("type_id", 0, 1 << 16, 0)
        if sequence and what in ("A", "B"):
            rows.append((what, type_id))
        elif special and what in ids:
            rows.append((ids[what], type_id))
        else:
            raise ValueError(f"{piece.where}: {describe(what)} is not declared")
    return rows
