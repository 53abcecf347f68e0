"""Span corruption: a text with holes, and what stood in them. How T5 is pretrained.

    text     Thank you for inviting me to your party last week
    input    Thank you <X> me to your party <Y> week
    target   <X> for inviting <Y> last <Z>

A hole is a run of tokens. In the input a sentinel stands in its place, each hole its own; the
target lists sentinels and tokens of the holes. So the decoder writes 15 % of a text, not all of it.
Source: Raffel et al. (2019), sections 3.1.4 and 3.3.4; the numbers and cuts are those of T5's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..random import Generator, default_generator

__all__ = ["Corrupted", "SpanLengths", "corrupt_spans", "random_spans", "span_lengths", "uncorrupt"]

DENSITY, MEAN_LENGTH = 0.15, 3.0


class SpanLengths(NamedTuple):
    """What span corruption makes of a text, in tokens.

    text: of the text; noise: those in holes; spans: how many holes; input and target: tokens of
    both sequences, with an end token each
    """

    text: int
    noise: int
    spans: int
    input: int
    target: int


def span_lengths(n: int, density: float = DENSITY, mean_length: float = MEAN_LENGTH) -> SpanLengths:
    """How long input and target of a text of n tokens are: 568 tokens make 512 and 114.

    density: the share of tokens in holes, between 0 and 1; mean_length: tokens of a hole
    At least one token is in a hole and one is not.
    Raises: ValueError for a text of fewer than 2 tokens, or numbers outside these ranges.
    """
    if n < 2:
        raise ValueError(f"a text needs 2 tokens, one to keep and one to hide, got {n}")
    if not 0.0 < density < 1.0 or not mean_length >= 1.0:
        raise ValueError(
            f"density must be between 0 and 1 and mean_length 1 or more, got {density} and "
            f"{mean_length}"
        )
    noise = min(max(round(n * density), 1), n - 1)
    spans = min(max(round(noise / mean_length), 1), noise, n - noise)
    return SpanLengths(n, noise, spans, n - noise + spans + 1, noise + spans + 1)


def random_spans(
    n: int, density: float = DENSITY, mean_length: float = MEAN_LENGTH,
    generator: Generator | None = None,
) -> np.ndarray:  # fmt: skip
    """Which of n tokens are in holes: bool (n). The text begins with a token that stays.

    Kept tokens and hidden tokens are each cut at random into as many runs as there are holes, all
    ways to cut being equally likely; the runs alternate.
    Raises: ValueError as span_lengths.
    """
    lengths = span_lengths(n, density, mean_length)
    generator = default_generator if generator is None else generator
    hidden = _cut(lengths.noise, lengths.spans, generator)
    kept = _cut(n - lengths.noise, lengths.spans, generator)
    runs = np.stack([kept, hidden], 1).ravel()  # (K) and (K) -> (2K), alternating
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _cut(n: int, pieces: int, generator: Generator) -> np.ndarray:
    """Lengths (pieces), 1 or more each, that add up to n."""
    places = np.sort(generator.randperm(n - 1)[: pieces - 1]) + 1
    return np.diff(np.concatenate([[0], places, [n]]))


class Corrupted(NamedTuple):
    """Ids of the text with sentinels in its holes, and of what stood in them."""

    input: list[int]
    target: list[int]


def corrupt_spans(
    ids: Sequence[int], hidden: Sequence[bool] | np.ndarray, sentinels: Sequence[int],
    end: int | None = None,
) -> Corrupted:  # fmt: skip
    """Input and target of a text whose tokens are hidden where `hidden` is true.

    ids, hidden: the text's tokens (n), and for each whether it is in a hole
    sentinels: ids of <extra_id_0>, <extra_id_1>, ..., one for each hole; where the text goes on
        behind the last hole, one more ends the target, if there is one
    end: the id that ends both, or None
    Raises: ValueError if lengths differ or there are fewer sentinels than holes.
    """
    marks = np.asarray(hidden, bool)
    if marks.shape != (len(ids),):
        raise ValueError(f"hidden must say yes or no for each of {len(ids)} tokens: {marks.shape}")
    starts = marks & ~np.concatenate([[False], marks[:-1]])  # (n)
    n_holes = int(starts.sum())
    if n_holes > len(sentinels):
        raise ValueError(f"{n_holes} holes need {n_holes} sentinels, got {len(sentinels)}")
    kept: list[int] = []
    target: list[int] = []
    hole = -1
    for token, is_hidden, begins in zip(ids, marks.tolist(), starts.tolist(), strict=True):
        if begins:
            hole += 1
            kept.append(sentinels[hole])
            target.append(sentinels[hole])
        (target if is_hidden else kept).append(token)
    if len(ids) and not marks[-1] and n_holes < len(sentinels):
        target.append(sentinels[n_holes])
    ends = [] if end is None else [end]
    return Corrupted([*kept, *ends], [*target, *ends])


def uncorrupt(input: Sequence[int], target: Sequence[int], sentinels: Sequence[int]) -> list[int]:
    """The text of an input whose holes are filled from a target, without end tokens of either.

    A sentinel of the input that the target does not have is a hole without tokens. What the target
    has before its first sentinel is left out.
    """
    fillings = spans_of(target, sentinels)
    known = set(sentinels)
    text: list[int] = []
    for token in input:
        text.extend(fillings.get(token, []) if token in known else [token])
    return text


def spans_of(target: Sequence[int], sentinels: Sequence[int]) -> dict[int, list[int]]:
    """The tokens behind each sentinel of a target; of a sentinel written twice the first ones."""
    known = set(sentinels)
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in target:
        if token in known:
            current = []
            spans.setdefault(token, current)
        else:
            current.append(token)
    return spans
