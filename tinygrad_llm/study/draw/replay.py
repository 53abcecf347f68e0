"""A page that replays moments: which arrays are where, and what changed, one moment after another.

    Replay("all_reduce on two ranks", [Moment("forward", "Before", ...), ...]).html("page.html")

The explanations of collectives (a place for each rank) and of caches (a place for what is stored)
are shown so; the numbers are arrays that the engine computed, and the page computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...files.paths import local_path
from ..common.formulas import with_lines
from ..common.html import FilePath, InNotebooks, data, escape, leads, written
from ..common.html import page as whole
from .data import Arrays

__all__ = ["Held", "Moment", "Replay"]

CONTROLS = """<nav class="controls" aria-label="steps">
<button id="first" type="button" aria-label="to the start">|◀</button>
<button id="back" type="button" aria-label="one step back">◀</button>
<input id="slider" type="range" min="0" value="0" step="1" aria-label="step">
<button id="next" type="button" aria-label="one step forward">▶</button>
<button id="whole" type="button" aria-label="to the end">▶|</button>
<button id="play" type="button">play</button>
<output id="where" for="slider"></output>
<span class="soft words">← → one step, Home and End</span>
</nav>"""


@dataclass
class Held:
    """An array at a place.

    rows    a word for each row of it: "token 2"
    origins for each element the numbers of the places that its value comes from, or None
    new     whether it is there since this moment
    """

    caption: str
    array: Any
    rows: Sequence[str] = ()
    origins: np.ndarray | None = None
    new: bool = False


@dataclass
class Moment:
    """One step of a replay.

    phase   "forward", "append", ...: the line above the numbers shows where it is
    plain   in plain words; exact: as a formula or as code
    places  name -> what is held there
    sent    (from which place, to which, what), in order; None where nothing could be sent
    """

    phase: str
    title: str
    plain: str
    exact: str
    places: dict[str, list[Held]]
    sent: list[tuple[str, str, str]] | None = field(default=None)


class Replay(InNotebooks):
    """Moments as a page with buttons, a slider and keys.

    steps   the moments
    about   a sentence above them
    ranks   how many places have a separate colour, which their numbers keep; 0 for none
    """

    frame_height = 720

    def __init__(self, title: str, steps: Sequence[Moment], about: str, ranks: int = 0) -> None:
        self.title, self.steps, self.about, self.ranks = title, list(steps), about, ranks

    def contents(self) -> dict[str, Any]:
        """Everything that the page's script needs, in JSON's types."""
        arrays = Arrays()
        moments = [
            {
                "phase": moment.phase,
                "title": moment.title,
                "plain": moment.plain,
                "exact": with_lines(moment.exact) if moment.exact else "",
                "places": [
                    [name, [_shown(held, arrays) for held in every]]
                    for name, every in moment.places.items()
                ],
                "sent": moment.sent,
            }
            for moment in self.steps
        ]
        return {"moments": moments, "arrays": arrays.list}

    def html(self, file: FilePath | None = None, links: Mapping[str, str] | None = None) -> str:
        """The page as HTML, which is written if `file` is given.

        links: word -> address, shown at the top
        """
        phases = list(dict.fromkeys(moment.phase for moment in self.steps))
        listed = "".join(f'<li data-phase="{escape(p)}">{escape(p)}</li>' for p in phases)
        colours = "".join(
            f'<span style="--key: var(--rank{r})">from rank {r}</span>' for r in range(self.ranks)
        )
        if colours:
            colours = f'<p class="legend">{colours}<span class="sum">from several</span></p>'
        body = f"""<main class="training replay">
{leads(links)}<h1>{escape(self.title)}</h1>
<p class="soft">{escape(self.about)} Every number was computed by the engine; the page replays it.
</p>
{CONTROLS}
<ol id="phases" aria-label="phase">{listed}</ol>
{colours}
<section id="now" aria-live="polite"></section>
<section id="places"></section>
</main>
{data("replay", self.contents())}"""
        text = whole(
            self.title,
            body,
            styles=("heat.css", "draw.css", "training.css", "replay.css"),
            scripts=("heat.js", "charts.js", "replay.js"),
        )
        return written(text, file)

    def save(self, file: FilePath) -> list[Any]:
        """Write FILE, which ends in .html or gets that ending; returns its path in a list.

        Raises: ValueError for another ending.
        """
        path = local_path(file)
        if path.suffix not in (".html", ""):
            raise ValueError(f"a replay is written as .html, not {path.suffix}: {path}")
        path = path.with_suffix(".html")
        self.html(path)
        return [path]

    def __repr__(self) -> str:
        return f"<Replay of {len(self.steps)} moments: .html(file) writes it>"


def _shown(held: Held, arrays: Arrays) -> dict[str, Any]:
    origins = None
    if held.origins is not None:
        flat = held.origins.reshape(len(held.origins), -1, _columns(held.array))  # (ranks, rows, .)
        origins = [
            [np.flatnonzero(flat[:, i, j]).tolist() for j in range(flat.shape[2])]
            for i in range(flat.shape[1])
        ]
    return {
        "caption": held.caption,
        "array": arrays.add(held.array),
        "rows": list(held.rows),
        "origins": origins,
        "new": held.new,
    }


def _columns(array: Any) -> int:
    shape = np.shape(array)
    return shape[-1] if shape else 1
