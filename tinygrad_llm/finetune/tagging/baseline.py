"""The baseline of a tagger: the names that were entities in the training texts, looked up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from ...data.bio import Entity
from .files import Annotated

__all__ = ["EntityDictionary"]


class EntityDictionary:
    """Names of entities and the type that each had most often, looked up in a text.

    rows: the training texts. A name counts if it was an entity in at least half of the places where
    it stands in them. Of the names that begin at a place the longest is taken.
    """

    def __init__(self, rows: Sequence[Annotated]) -> None:
        types: dict[str, Counter[str]] = defaultdict(Counter)
        for text, entities in rows:
            for e in entities:
                types[text[e.start : e.end]][e.type] += 1
        seen: Counter[str] = Counter()
        longest = max(map(len, types), default=0)
        for text, _ in rows:
            for i in range(len(text)):
                for n in range(1, min(longest, len(text) - i) + 1):
                    if text[i : i + n] in types:
                        seen[text[i : i + n]] += 1
        self.types = {
            name: max(sorted(counts), key=counts.__getitem__)
            for name, counts in types.items()
            if 2 * counts.total() >= seen[name]
        }
        self.longest = max(map(len, self.types), default=0)

    def tag(self, text: str) -> list[Entity]:
        """The entities that it knows in a text, from left to right."""
        entities, at = [], 0
        while at < len(text):
            lengths = range(min(self.longest, len(text) - at), 0, -1)
            n = next((n for n in lengths if text[at : at + n] in self.types), 0)
            if n:
                entities.append(Entity(at, at + n, self.types[text[at : at + n]]))
            at += n or 1
        return entities
