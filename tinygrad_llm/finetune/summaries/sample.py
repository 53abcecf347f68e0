"""Reports and their headlines, made by this package: a first data set without any file.

They are simple: who did what where is in the first or the second sentence, between sentences that
do not matter, and the headline says it in the present tense. A model learns it in two minutes.
"""

from __future__ import annotations

import random

__all__ = ["reports"]

_TOWNS = ("Arden", "Bellport", "Corwell", "Dunmore", "Eastham", "Farley", "Glenford", "Harwick")
_WHO = ("the mayor", "the council", "the school", "the museum", "a farmer", "the library",
        "the hospital", "a baker", "the fire brigade", "the theatre")  # fmt: skip
_DID = (  # in the report, in the headline
    ("opened a new {}", "opens new {}"), ("sold an old {}", "sells old {}"),
    ("repaired the {}", "repairs {}"), ("painted the {} green", "paints {} green"),
    ("lost a {}", "loses {}"), ("won a {} in a contest", "wins {}"),
)  # fmt: skip
_WHAT = ("bridge", "boat", "clock", "garden", "tower", "bus", "piano", "well", "kitchen", "roof")
_WHEN = ("On Monday", "Last week", "Yesterday", "On Friday evening", "This morning", "In March")
_WEATHER = ("It rained all day.", "The sun was shining.", "There was snow on the streets.",
            "A strong wind blew.", "Nobody had expected it.")  # fmt: skip
_REACTION = ("Many people came to see it.", "Some neighbours complained about the noise.",
             "The costs are not known yet.", "A band played until midnight.",
             "Children were the first to notice.", "There will be a party on Sunday.")  # fmt: skip


def reports(n: int = 2000, seed: int = 0) -> list[tuple[str, str]]:
    """n different pairs (report, headline).

    Raises: ValueError for more than the words above can make.
    """
    most = len(_TOWNS) * len(_WHO) * len(_DID) * len(_WHAT) * len(_WHEN)
    if not 1 <= n <= most:
        raise ValueError(f"n must be between 1 and {most:,}, got {n}")
    draw = random.Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < n:
        report, headline = _report(draw)
        pairs[report] = headline
    return list(pairs.items())


def _report(draw: random.Random) -> tuple[str, str]:
    town, who, what = draw.choice(_TOWNS), draw.choice(_WHO), draw.choice(_WHAT)
    did, does = draw.choice(_DID)
    when = draw.choice(_WHEN)
    news = f"{when} {who} in {town} {did.format(what)}."
    before = [draw.choice(_WEATHER)] if draw.random() < 0.5 else []
    after = draw.sample(_REACTION, draw.randint(1, 2))
    short = who.removeprefix("the ").removeprefix("a ").capitalize()
    return " ".join([*before, news, *after]), f"{short} in {town} {does.format(what)}"
