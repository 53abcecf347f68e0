"""Who sends what: the collectives and messages of several ranks as a picture.

    with study.trace(model) as t:
        model.loss(inputs, targets).backward()
    every = all_exchanges(t.exchanges)        # every rank calls it
    if dist.get_rank() == 0:
        draw_ranks(every, "ranks.png")

Nothing is assumed about how the work is divided: the picture shows what was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...distributed.groups import get_world_size
from ...distributed.objects import all_gather_object
from ...distributed.traffic import Exchange, Message
from ...files.paths import local_path
from ..common.numbers import bytes_text

__all__ = ["Event", "all_exchanges", "bytes_between", "draw_ranks", "events_of"]

COLORS = ("#4c78a8", "#e45756", "#54a24b", "#f58518", "#b279a2", "#72b7b2", "#9d755d")


def all_exchanges(exchanges: Sequence[Exchange], group: Any = None) -> list[list[Exchange]]:
    """Every rank's exchanges, on every rank of the group, which all call this."""
    mine = [
        {
            "what": e.what, "ranks": list(e.ranks), "rank": e.rank, "began": e.began,
            "ended": e.ended, "blocked": e.blocked,
            "messages": [[m.kind, list(m.sent.items()), m.agreement] for m in e.messages],
        }
        for e in exchanges
    ]  # fmt: skip
    every: list[Any] = [None] * get_world_size(group)
    all_gather_object(every, mine, group)
    return [[_exchange(e) for e in of_rank] for of_rank in every]


def _exchange(e: Any) -> Exchange:
    messages = [Message(kind, dict(sent), agreement) for kind, sent, agreement in e["messages"]]
    return Exchange(
        e["what"], tuple(e["ranks"]), e["rank"], e["began"], e["ended"], e["blocked"], messages
    )


@dataclass
class Event:
    """Equal collectives in a row, or messages: one column of the picture.

    count   how many there are
    sent    (from rank, to rank) -> bytes, of all together
    """

    name: str
    ranks: tuple[int, ...]
    began: float
    count: int = 1
    sent: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, exchange: Exchange) -> None:
        """Add what one rank sent."""
        for to, n in exchange.sent().items():
            self.sent[exchange.rank, to] = self.sent.get((exchange.rank, to), 0) + n

    def bytes_of(self, rank: int) -> int:
        """What the rank sent."""
        return sum(n for (source, _), n in self.sent.items() if source == rank)


def events_of(every: Sequence[Sequence[Exchange]]) -> list[Event]:
    """What all ranks did together, in the order of time; equal neighbours are one event.

    A message is one event, where it is sent; receiving it is not another one.
    """
    events: dict[Any, Event] = {}
    for exchanges in every:
        counts: dict[Any, int] = {}
        for e in exchanges:
            if e.name == "recv":
                continue
            alone = e.rank if e.name == "send" else -1
            number = counts[e.ranks, alone] = counts.get((e.ranks, alone), 0) + 1
            if not any(message.sent for message in e.messages if not message.agreement):
                if (e.ranks, alone, number) not in events and not e.messages:
                    continue
            ranks = e.ranks if alone < 0 else tuple(sorted({e.rank, *e.sent()}))
            event = events.setdefault((e.ranks, alone, number), Event(e.name, ranks, e.began))
            event.began = min(event.began, e.began)
            event.add(e)
    ordered = sorted((e for e in events.values() if e.sent), key=lambda e: e.began)
    joined: list[Event] = []
    for event in ordered:
        last = joined[-1] if joined else None
        if last is not None and (last.name, last.ranks, set(last.sent)) == (
            event.name, event.ranks, set(event.sent),
        ):  # fmt: skip
            last.count += event.count
            for key, n in event.sent.items():
                last.sent[key] += n
        else:
            joined.append(event)
    return joined


def bytes_between(every: Sequence[Sequence[Exchange]]) -> list[list[int]]:
    """A row for each sender, a column for each receiver: bytes without those of the agreements."""
    size = len(every)
    total = [[0] * size for _ in range(size)]
    for rank, exchanges in enumerate(every):
        for e in exchanges:
            for to, n in e.sent().items():
                total[rank][to] += n
    return total


def draw_ranks(
    every: Sequence[Sequence[Exchange]], file: Any = None, title: str = "", most: int = 16
) -> Any:
    """The picture: a line for each rank, a column for each event, and bytes from rank to rank.

    every: the exchanges of every rank, in rank order (`all_exchanges`)
    title: above the picture; most: columns that are shown, the first and the last
    Returns `file`, a PNG, or matplotlib's figure if it is None.
    Raises: ValueError if nothing was sent.
    """
    from matplotlib.figure import Figure

    events, size = events_of(every), len(every)
    if not events:
        raise ValueError("draw_ranks: nothing was sent between ranks")
    more = len(events) - most
    if more > 0:
        events = [*events[: most // 2], *events[-(most - most // 2) :]]
    width = max(1.15 * len(events) + 1.2, 5.0)
    side = 0.75 * size + 1.2
    figure = Figure(figsize=(width + side + 0.6, max(0.75 * size + 1.9, 3.2)), layout="constrained")
    lanes, matrix = figure.subplots(1, 2, width_ratios=(width, side))
    _lanes(lanes, events, size, most // 2 if more > 0 else None, more)
    _matrix(matrix, bytes_between(every), figure)
    if title:
        figure.suptitle(title)
    if file is None:
        return figure
    figure.savefig(local_path(file), dpi=90, bbox_inches="tight")
    return file


def _lanes(axes: Any, events: Sequence[Event], size: int, gap: int | None, more: int) -> None:
    """Ranks as lines, events as columns with their bytes, messages as arrows."""
    names = list(dict.fromkeys(event.name for event in events))
    for rank in range(size):
        axes.axhline(rank, color="#bbbbbb", lw=1, zorder=0)
    for x, event in enumerate(events):
        color = COLORS[names.index(event.name) % len(COLORS)]
        times = f" × {event.count}" if event.count > 1 else ""
        axes.text(x, -0.55, event.name + times, rotation=30, ha="left", va="bottom", fontsize=9)
        if event.name == "send":
            for source, to in event.sent:
                arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.8}
                arrow |= {"shrinkA": 9, "shrinkB": 2}
                axes.annotate("", (x, to), (x, source), zorder=1, arrowprops=arrow)
        else:
            ends = min(event.ranks), max(event.ranks)
            axes.plot([x, x], ends, color=color, lw=1.8, zorder=1)
        for rank in event.ranks:
            n = event.bytes_of(rank)
            if n:
                box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": color}
                place = {"ha": "center", "va": "center", "fontsize": 8, "zorder": 3}
                axes.text(x, rank, bytes_text(n), bbox=box, **place)
            else:
                axes.plot([x], [rank], "o", color=color, ms=4, zorder=3)
    if gap is not None:
        axes.axvline(gap - 0.5, color="#888888", ls=":", lw=1)
        axes.set_xlabel(f"in order of time; {more} more columns at the dotted line")
    else:
        axes.set_xlabel("in order of time; in the boxes: bytes that the rank sends")
    axes.set_xlim(-0.6, max(len(events), 3) + 0.1)
    axes.set_ylim(size - 0.5, -1.9)
    axes.set_yticks(range(size), [f"rank {rank}" for rank in range(size)])
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _matrix(axes: Any, total: Sequence[Sequence[int]], figure: Any) -> None:
    """Bytes from each rank to each other one."""
    largest = max(map(max, total))
    axes.imshow(total, cmap="Blues", vmin=0, vmax=2.5 * largest)
    for source, row in enumerate(total):
        for to, n in enumerate(row):
            if source != to:
                axes.text(to, source, bytes_text(n) if n else "0", ha="center", va="center",
                          fontsize=7.5)  # fmt: skip
    ticks = range(len(total))
    axes.set_xticks(ticks, ticks)
    axes.set_yticks(ticks, ticks)
    axes.set_xlabel("to rank")
    axes.set_ylabel("from rank")
    axes.set_title("in all", fontsize=10)
