"""Who computed which micro-batch when, and how much of the time the ranks were idle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..objects import all_gather_object

__all__ = ["Event", "all_events", "bubble_expected", "bubble_measured"]


class Event(NamedTuple):
    """One computation of a stage.

    kind          "F" for a forward pass, "B" for a backward pass
    micro_batch   its number
    start, end    seconds, of a clock that all processes of one machine share
    """

    kind: str
    micro_batch: int
    start: float
    end: float


def all_events(schedule: Any) -> list[list[Event]]:
    """The events of every stage in the schedule's last step; every rank of the group calls it."""
    stage = schedule.stage
    everyones: list[Any] = [None] * stage.num_stages
    all_gather_object(everyones, [tuple(event) for event in schedule.events], stage.group)
    return [[Event(*event) for event in events] for events in everyones]


def bubble_measured(events: Sequence[Sequence[Event]]) -> float:
    """The share of the stages' time in which they did not compute, from the first start to the last
    end of all."""
    flat = [event for stage in events for event in stage]
    length = max(e.end for e in flat) - min(e.start for e in flat)
    busy = sum(e.end - e.start for e in flat)
    return 1.0 - busy / (length * len(events))


def bubble_expected(num_stages: int, n_microbatches: int) -> float:
    """(p − 1)/(m + p − 1) for p equally fast stages and m micro-batches, with GPipe and with 1F1B.

    Each stage computes for m·(F + B) seconds, and waits (p − 1)·(F + B) for the first micro-batch
    to arrive and the last one to come back. Source: Huang et al. 2019, section 2.3.
    """
    p, m = num_stages, n_microbatches
    return (p - 1) / (m + p - 1)
