"""A small data set of named entities of our own making, for a machine without the published one.

As finetune/sample_texts.py: nothing is stored, the texts are drawn from these words,
the same everywhere.
Half of the names of the last quarter of the texts are new, so that a dictionary does not know them.
"""

from __future__ import annotations

import random
import re

from ...data.bio import Entity
from .files import Annotated

__all__ = ["annotated_texts"]

_BEGINNINGS = "Ka Mo Ri Ta Lu Be No Sa Vi Do Ne Pa".split()
_MIDDLES = "ro ni la ve mi so du ka re".split()
_ENDINGS = {"person": "a o en is".split(), "place": "ville burg stad mouth".split(),
            "company": " & Co| Ltd| Works| Bank".split("|")}  # fmt: skip
_SENTENCES = (
    "{person} moved from {place} to {place} last year.",
    "{company} opens an office in {place}.",
    "In {place} it has rained since Monday.",
    "{person} and {person} work for {company}.",
    "The train to {place} is late again, says {person}.",
    "{company} was sold to {company} for a low price.",
    "Nobody has seen {person} today.",
    "It is warm for the season, and the shops are open.",
)


def annotated_texts(n: int = 800, seed: int = 4) -> list[Annotated]:
    """n texts with persons, places and companies."""
    rng = random.Random(seed)

    def draw(values: list[str]) -> str:
        return values[int(rng.random() * len(values))]

    def name(kind: str) -> str:
        return draw(_BEGINNINGS) + draw(_MIDDLES) + draw(_MIDDLES) + draw(_ENDINGS[kind])

    known = {kind: [name(kind) for _ in range(40)] for kind in _ENDINGS}
    rows = []
    for i in range(n):
        text, entities = "", []
        for part in re.split(r"(\{\w+\})", draw(list(_SENTENCES))):
            kind = part.strip("{}")
            if part == kind:
                text += part
                continue
            new = 4 * i >= 3 * n and rng.random() < 0.5
            value = name(kind) if new else draw(known[kind])
            entities.append(Entity(len(text), len(text) + len(value), kind))
            text += value
        rows.append(Annotated(text, tuple(entities)))
    return rows
