"""The data of finetune summarize: docstrings in parts, and texts with holes beside the pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ...data.docstrings import Docstring, python_docstrings
from ...data.spans import corrupt_spans, random_spans, span_lengths
from ...random import Generator
from ..sequences.data import PairDataset
from ..splits import sample

__all__ = [
    "DOCSTRINGS", "Pairs", "add_pairs", "add_spans", "docstring_parts", "restored_sentences",
]  # fmt: skip

DOCSTRINGS = "python-docstrings"
Pairs = list[tuple[str, str]]  # (text, summary)


def docstring_parts(
    val_fraction: float, test_fraction: float, seed: int = 123
) -> tuple[Pairs, Pairs, Pairs]:
    """(training, validation, test) pairs of python_docstrings, modules and packages whole.

    A text is the name of a function, its arguments, and all that follows the docstring's first
    paragraph; the summary is this paragraph. Where nothing follows, the pair is for training only.
    Functions of one module are often described in nearly
    the same words, so no module is in two parts.
    Raises: FileNotFoundError as python_docstrings.
    """
    rows = python_docstrings()
    groups: dict[str, list[Docstring]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    whole = sum(bool(row.rest) for row in rows)
    most = (test_fraction * whole, val_fraction * whole)
    parts: tuple[list[Docstring], ...] = ([], [], [])  # test, validation, training
    for group in sample(sorted(groups), None, seed):
        complete = [row for row in groups[group] if row.rest]
        for part, limit in zip(parts, most, strict=False):
            if complete and len(part) + len(complete) <= limit:
                part.extend(complete)
                break
        else:
            parts[2].extend(groups[group])
    test, val, train = (
        [(f"{row.name}: {row.rest}".rstrip(), row.summary) for row in sample(part, None, seed)]
        for part in parts
    )
    return train, val, test


def restored_sentences(pairs: Sequence[tuple[str, str]], per_pair: float, seed: int) -> Pairs:
    """Sentences of the pairs with words missing, each beside the whole sentence.

    per_pair: how many for each pair, which may be a fraction; fewer where there are not so many
    Sentences have 4 to 20 words, or letters in a script without blanks; 30 % are hidden, a _ in the
    place of each run. To write a sentence out the model must copy it, which it does not learn from
    a few thousand summaries alone. It is the objective that T5's paper names BERT-style (Raffel et
    al., 2019, section 3.3.1).
    """
    sentences = dict.fromkeys(
        sentence.strip()
        for text, summary in pairs
        for sentence in (summary, *_SENTENCE_END.split(text.partition(": ")[2] or text))
    )
    possible = [each for each in sentences if 4 <= len(_units(each)) <= 20]
    generator = Generator().manual_seed(seed)
    order = generator.randperm(len(possible))[: int(per_pair * len(pairs))]
    return [(_with_gaps(possible[i], generator), possible[i]) for i in order.tolist()]


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=。)")


def _units(sentence: str) -> list[str]:
    """The words of a sentence; its letters where a script has no blanks."""
    return sentence.split() if " " in sentence or sentence.isascii() else list(sentence)


def _with_gaps(sentence: str, generator: Generator) -> str:
    units = _units(sentence)
    hidden = random_spans(len(units), 0.3, 1.5, generator).tolist()
    shown: list[str] = []
    for unit, gone, before in zip(units, hidden, [False, *hidden], strict=False):
        if not gone:
            shown.append(unit)
        elif not before:
            shown.append("_")
    return (" " if " " in sentence else "").join(shown)


def add_pairs(
    data: PairDataset, sources: Sequence[list[int]], targets: Sequence[list[int]]
) -> None:
    """Adds pairs of ids, each with its end, behind those of a data set."""
    data.sources.extend(sources)
    data.targets.extend(targets)
    lengths = [(len(a), len(b)) for a, b in zip(sources, targets, strict=True)]
    data.lengths = np.concatenate([data.lengths, np.array(lengths, np.int64).reshape(-1, 2)])


def add_spans(
    data: PairDataset, sentinels: Sequence[int], end: int, per_pair: float, seed: int
) -> int:
    """Adds span-corrupted sources to the pairs of a data set; returns how many.

    sentinels, end: see corrupt_spans; per_pair: how many for each pair, which may be a fraction
    A source with more holes than sentinels is left out.
    """
    generator = Generator().manual_seed(seed)
    n = int(per_pair * len(data))
    order = np.concatenate(
        [generator.randperm(len(data)) for _ in range(-(-n // len(data)))] or [np.zeros(0, int)]
    )
    added = []
    for i in order[:n].tolist():
        ids = data.sources[i][:-1]  # without the end
        if len(ids) >= 2 and span_lengths(len(ids)).spans <= len(sentinels):
            added.append(corrupt_spans(ids, random_spans(len(ids), generator=generator),
                                       sentinels, end))  # fmt: skip
    add_pairs(data, [each.input for each in added], [each.target for each in added])
    return len(added)
