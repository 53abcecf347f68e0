"""Training, validation and test rows: the same random draws as pandas, without pandas.

`df.sample(n, random_state=s)` takes the first n numbers of a permutation that NumPy's legacy
generator draws from the seed s: RandomState(s).permutation(len(df))[:n]. NumPy never changes that
stream (NEP 19), so the rows are the same on every machine and with every version.
"""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..data import corpora
from ..files.paths import local_path

__all__ = [
    "SPAM_LABELS",
    "balanced",
    "group_split",
    "random_split",
    "read_sms_spam",
    "sample",
    "sms_spam_splits",
    "split_in_order",
    "usable_pairs",
]

T = TypeVar("T")
SPAM_LABELS = {"ham": 0, "spam": 1}


def sample(rows: Sequence[T], n: int | None = None, seed: int = 123) -> list[T]:
    """n of the rows in random order, each at most once: as df.sample(n, random_state=seed).

    n: None for all, as df.sample(frac=1, random_state=seed).
    Raises: ValueError if there are fewer than n rows.
    """
    n = len(rows) if n is None else n
    if not 0 <= n <= len(rows):
        raise ValueError(f"can't sample {n} of {len(rows)} rows without taking one twice")
    order = np.random.RandomState(seed).permutation(len(rows))[:n]  # (n)
    return [rows[i] for i in order]


def balanced(
    rows: Sequence[T], label: Callable[[T], Any] | None = None, seed: int = 123
) -> list[T]:
    """As many rows of every label as there are of the rarest one.

    label: row -> label; None for the last item of the row, as in (text, label)

    Labels with more rows are sampled, each with this seed, and come first, the most frequent label
    first; the rarest label's rows follow in their order. For two labels that is
    pd.concat([frequent.sample(len(rare), random_state=seed), rare]).
    Raises: ValueError without rows.
    """
    label_of: Callable[[Any], Any] = label or operator.itemgetter(-1)
    groups: dict[Any, list[T]] = {}
    for row in rows:
        groups.setdefault(label_of(row), []).append(row)
    if not groups:
        raise ValueError("there are no rows to balance")
    n = min(map(len, groups.values()))
    chosen: list[T] = []
    for group in sorted(groups.values(), key=len, reverse=True):
        chosen += group if len(group) == n else sample(group, n, seed)
    return chosen


def _check_fractions(**fractions: float) -> None:
    for name, fraction in fractions.items():
        if not 0 <= fraction <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {fraction}")
    if sum(fractions.values()) > 1 + 1e-9:
        raise ValueError(f"{' and '.join(fractions)} are more than 1 together: {fractions}")


def random_split(
    rows: Sequence[T], train: float = 0.7, validation: float = 0.1, seed: int = 123
) -> tuple[list[T], list[T], list[T]]:
    """(train, validation, test): shuffled with the seed, then cut; all other rows are for the test.

    The first two get int(fraction·n) rows.
    Raises: ValueError for fractions out of range.
    """
    _check_fractions(train=train, validation=validation)
    shuffled = sample(rows, None, seed)
    first = int(len(rows) * train)
    second = first + int(len(rows) * validation)
    return shuffled[:first], shuffled[first:second], shuffled[second:]


def group_split(
    rows: Sequence[T], keys: Callable[[T], Sequence[str]], train: float = 0.7,
    validation: float = 0.1, seed: int = 123,
) -> tuple[list[T], list[T], list[T]]:  # fmt: skip
    """random_split of groups: rows that share a key, such as a sentence, stay in one part.

    keys: row -> its keys. Rows are of one group if a chain of shared keys joins them, so that no
    text of the test was seen in training. A part has int(fraction·n) rows, or as many more as the
    group has that crosses the border.
    Raises: ValueError for fractions out of range.
    """
    _check_fractions(train=train, validation=validation)
    parent = list(range(len(rows)))

    def group_of(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_with: dict[str, int] = {}
    for i, row in enumerate(rows):
        for key in keys(row):
            parent[group_of(i)] = group_of(first_with.setdefault(key, i))
    groups: dict[int, list[T]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(group_of(i), []).append(row)
    parts: tuple[list[T], list[T], list[T]] = ([], [], [])
    room = [int(len(rows) * train), int(len(rows) * validation), len(rows)]
    place = 0
    for group in sample(list(groups.values()), None, seed):
        while len(parts[place]) >= room[place]:
            place += 1
        parts[place].extend(group)
    return parts


def split_in_order(
    rows: Sequence[T], train: float = 0.85, test: float = 0.1
) -> tuple[list[T], list[T], list[T]]:
    """(train, validation, test) in the order of the rows: train first, then test, then validation.

    Train and test get int(fraction·n) rows, validation all others: of 1,100 rows 935, 55 and 110.
    Raises: ValueError for fractions out of range.
    """
    _check_fractions(train=train, test=test)
    rows = list(rows)
    first = int(len(rows) * train)
    second = first + int(len(rows) * test)
    return rows[:first], rows[second:], rows[first:second]


def usable_pairs(entries: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The preferences from which something can be learned, in their order.

    Left out are those whose "chosen" and "rejected" are the same, or one of them empty: 6 of the
    1,100 pairs of instruction-preferences.
    """
    return [
        entry
        for entry in entries
        if entry["chosen"] != entry["rejected"] and entry["chosen"] and entry["rejected"]
    ]


# --------------------------------------------------------------------------------- sms-spam
def read_sms_spam(path: str | Path | None = None) -> list[tuple[str, int]]:
    """(message, label) of every row of the SMS Spam Collection; label 1 is spam, 0 is not.

    path: the file; None for corpora.path("sms-spam"), which downloads it if needed

    Read as pandas.read_csv(sep="\\t") reads it: a message that begins with a double quote continues
    to the next double quote, over line ends. So the file's 5,574 lines are 5,572 rows, 747 of them
    spam.
    Raises: ValueError, which names a line that is not a label, a tab and a message.
    """
    path = corpora.path("sms-spam") if path is None else local_path(path)
    rows = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t")
        for row in reader:
            if not row:
                continue
            if len(row) != 2 or row[0] not in SPAM_LABELS:
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected ham or spam, a tab and a message, "
                    f"got {chr(9).join(row)[:60]!r}"
                )
            rows.append((row[1], SPAM_LABELS[row[0]]))
    return rows


def sms_spam_splits(
    path: str | Path | None = None, seed: int = 123
) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[tuple[str, int]]]:
    """(train, validation, test) rows (message, label), half of them spam: 1,045, 149 and 300.

    path: see read_sms_spam
    """
    return random_split(balanced(read_sms_spam(path), seed=seed), seed=seed)
