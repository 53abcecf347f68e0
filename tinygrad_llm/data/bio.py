"""Named entities as spans of characters, and as BIO tags of tokens.

    to_bio([Entity(0, 5, "place")], [(0, 3), (3, 5), (6, 9)])    # (["B-place", "I-place", "O"], [])
    from_bio(["B-place", "I-place", "O"])                        # [Entity(0, 2, "place")]

B-X begins an entity of the type X, I-X continues it, O is outside of all (Ramshaw and Marcus, 1995,
"Text chunking using transformation-based learning", in the form that is called IOB2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Entity", "bio_labels", "bio_rules", "from_bio", "in_characters", "to_bio"]

Span = tuple[int, int]


class Entity(NamedTuple):
    """A span of a text, or of a row of tokens, and its type; `end` is the first place after it."""

    start: int
    end: int
    type: str

    def overlaps(self, other: Entity) -> bool:
        """Whether the two have a place in common."""
        return self.start < other.end and other.start < self.end


def bio_labels(types: Sequence[str]) -> list[str]:
    """The tags of these types: O, then B and I of each."""
    return ["O", *(f"{part}-{name}" for name in types for part in "BI")]


def bio_rules(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which tags may stand first (K), and which may follow which (K, K), row before column; bool.

    I-X may follow B-X and I-X alone, and not stand first. `layers.crf.Allowed(*bio_rules(labels))`.
    """
    parts = [_parts(label) for label in labels]
    first = np.array([part != "I" for part, _ in parts])
    following = np.array(
        [[part != "I" or (before != "O" and of == name) for part, name in parts]
         for before, of in parts]
    )  # fmt: skip
    return first, following


def to_bio(entities: Sequence[Entity], spans: Sequence[Span]) -> tuple[list[str], list[Entity]]:
    """The tag of each token, and the entities that tags cannot say exactly.

    entities: in characters; spans: (start, end) of each token in characters, in their order
    An entity has all tokens that overlap it. It cannot be said exactly if it begins or ends within
    a token, if it has no token, or if a token belongs to an entity before it already (it then has
    the tokens that are left).
    """
    tags, inexact = ["O"] * len(spans), []
    for entity in sorted(entities):
        places = [
            n for n, (a, b) in enumerate(spans)
            if a < entity.end and entity.start < b and tags[n] == "O"
        ]  # fmt: skip
        for n in places:
            tags[n] = f"{'B' if n == places[0] else 'I'}-{entity.type}"
        covered = (spans[places[0]][0], spans[places[-1]][1]) if places else None
        if covered != (entity.start, entity.end):
            inexact.append(entity)
    return tags, inexact


def from_bio(tags: Sequence[str], strict: bool = False) -> list[Entity]:
    """The entities that tags say, in tokens.

    strict: an entity begins with B alone, as IOB2 has it, and an I that follows neither B nor I of
        its type says nothing. Otherwise such an I begins an entity, as in conlleval, the script of
        CoNLL-2000 and 2003. The package seqeval has both: mode="strict" and its default.
    Raises: ValueError for a tag that is not O, B-… or I-….
    """
    entities: list[Entity] = []
    start, current = 0, ""
    for n, (part, name) in enumerate([*map(_parts, tags), ("O", "")]):
        continues = part == "I" and name == current and current != ""
        if current and not continues:
            entities.append(Entity(start, n, current))
            current = ""
        if part == "B" or (part == "I" and not continues and not strict):
            start, current = n, name
    return entities


def in_characters(entities: Sequence[Entity], spans: Sequence[Span]) -> list[Entity]:
    """Entities in tokens as entities in characters; spans: those of the tokens."""
    return [Entity(spans[e.start][0], spans[e.end - 1][1], e.type) for e in entities]


def _parts(tag: str) -> tuple[str, str]:
    part, dash, name = tag.partition("-")
    if tag == "O" or (part in ("B", "I") and dash and name):
        return part, name
    raise ValueError(f"expected O, B-type or I-type, got {tag!r}")
