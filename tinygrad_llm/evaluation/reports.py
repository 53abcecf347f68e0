"""A model on a test set: the score with its interval, a baseline, and another model beside it."""

from __future__ import annotations

import bisect
import lzma
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..models.base import LanguageModel
from ..text import Tokenizer
from .intervals import Interval, bootstrap, paired_difference
from .likelihood import measure_text
from .questions import Item

__all__ = [
    "Report", "bits_per_byte", "choice_baselines", "common_answer", "compressed_bits_per_byte",
    "parts_of", "perplexity", "report", "text_rows",
]  # fmt: skip

PARTS = 32
_NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Report:
    """score: with its interval; difference: to another model on the same examples, if there is one.

    An interval of the difference without 0 says that it is not chance.
    """

    score: Interval
    difference: Interval | None = None


def report(
    ours: np.ndarray, theirs: np.ndarray | None = None,
    statistic: Callable[[np.ndarray], float] | None = None,
) -> Report:  # fmt: skip
    """The report of rows (N) or (N, K), one for each example; statistic: None for the mean.

    One example has a score and no interval.
    """
    if len(ours) < 2:
        value = float(ours.mean() if statistic is None else statistic(ours))
        return Report(Interval(value, math.nan, math.nan), None if theirs is None else _NOTHING)
    paired = None if theirs is None else paired_difference(ours, theirs, statistic)
    return Report(bootstrap(ours, statistic), paired)


# ------------------------------------------------------------------------------------- a text
def parts_of(text: str, n: int = PARTS) -> list[str]:
    """The text in up to n parts of about the same length, each of whole lines."""
    lines = text.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines]).tolist()  # (lines)
    marks = {bisect.bisect_left(ends, len(text) * i / n) + 1 for i in range(1, n + 1)}
    places = [0, *sorted(min(mark, len(lines)) for mark in marks)]
    parts = ["".join(lines[a:b]) for a, b in zip(places, places[1:], strict=False)]
    return [part for part in parts if part]


def text_rows(
    model: LanguageModel, tokenizer: Tokenizer, parts: Sequence[str], **options: int
) -> np.ndarray:
    """(nats, tokens, bytes) of each part: float64 (N, 3); options: those of measure_text.

    Parts are measured apart, so that two models, whose tokens differ, have the same examples.
    """
    each = [measure_text(model, tokenizer, part, **options) for part in parts]
    return np.array([(one.nats, one.n_tokens, one.n_bytes) for one in each], np.float64)


def bits_per_byte(rows: np.ndarray) -> float:
    """Of the rows (N, 3) of text_rows: a statistic."""
    nats, _, n_bytes = rows.sum(0).tolist()  # (N, 3) -> (3)
    return nats / math.log(2) / n_bytes


def perplexity(rows: np.ndarray) -> float:
    """Of the rows (N, 3) of text_rows: a statistic. Tokenizers differ: compare bits per byte."""
    nats, tokens, _ = rows.sum(0).tolist()  # (N, 3) -> (3)
    return math.exp(min(709.0, nats / tokens))


def compressed_bits_per_byte(text: str) -> float:
    """Bits per byte of the text as LZMA writes it: a baseline that knows no language."""
    data = text.encode("utf-8", "surrogatepass")
    size = min(max(len(data), 4096), 1 << 23)  # the encoder takes about ten times as much memory
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": size}]
    return 8 * len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters)) / len(data)


# ---------------------------------------------------------------------------------- questions
def choice_baselines(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """What answers without reading score for each item: float64 (N).

    chance: any choice; same place: the place where the right answer is most often, as if known
    """
    place = Counter(item.label for item in items).most_common(1)[0][0]
    return {
        "chance": np.array([1.0 / len(item.choices) for item in items]),
        f"always {place + 1}.": np.array([float(item.label == place) for item in items]),
    }


def common_answer(items: Sequence[Item], metric: Callable[[str, str], float]) -> np.ndarray:
    """What the commonest of the right answers scores for each item: float64 (N), a baseline."""
    common = Counter(item.answer for item in items).most_common(1)[0][0]
    return np.array([metric(common, item.answer) for item in items])
