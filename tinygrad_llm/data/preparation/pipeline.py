"""The one definition of what happens to a text, stage by stage; each stage is a pure function.

bytes -> text          formats.py, encoding.py
text -> text           CHANGES: repair, normalise, Japanese, boilerplate, personal data
text -> documents      a long text is cut between paragraphs, settings.most_characters each
document -> reason     FILTERS: language, length, symbols, repetition
documents -> kept      repeats.py: exact and near-duplicates, of documents and paragraphs
documents -> tokens    tokens.py: training and validation by the hash of a document
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .encoding import repaired
from .minhash import signatures
from .normalise import japanese, plain, without_gutenberg
from .personal import scrubbed
from .quality import language_of, symbol_share
from .settings import Settings
from .shingles import shingles_of

__all__ = [
    "CHANGES",
    "FILTERS",
    "Documents",
    "changed",
    "cut",
    "hash_of",
    "looked_at",
    "paragraphs_of",
    "refused",
]

_ENOUGH_RUNS = 100  # shingles from which on a document can be called repetitive
_HASH = 8  # bytes: two of 10⁸ different documents share a hash with probability 3e-4


class Change(NamedTuple):
    """A stage from text to text. on: settings -> whether it is wanted."""

    name: str
    on: Callable[[Settings], bool]
    change: Callable[[str], str]


class Filter(NamedTuple):
    """A stage that refuses documents: (text, settings) -> whether it is to be left out."""

    name: str
    refuses: Callable[[str, Settings], bool]


CHANGES = (
    Change("repair", lambda s: s.repair, repaired),
    Change("normalise", lambda s: True, plain),
    Change("japanese", lambda s: s.japanese, japanese),
    Change("boilerplate", lambda s: s.boilerplate, without_gutenberg),
    Change("scrub", lambda s: s.scrub, scrubbed),
)

FILTERS = (
    Filter("length", lambda text, s: len(text) < s.least_characters),
    Filter("symbols", lambda text, s: symbol_share(text) > s.most_symbols),
    Filter(
        "language",
        lambda text, s: s.languages is not None and language_of(text) not in s.kept_languages(),
    ),
)


def changed(text: str, settings: Settings) -> str:
    """The text after every stage of CHANGES that the settings want."""
    for stage in CHANGES:
        if stage.on(settings):
            text = stage.change(text)
    return text


def refused(text: str, settings: Settings) -> str | None:
    """The name of the first of FILTERS that refuses a document; None if all let it pass."""
    for stage in FILTERS:
        if stage.refuses(text, settings):
            return stage.name
    return None


def paragraphs_of(text: str) -> list[str]:
    """The paragraphs of a document: what empty lines separate. Joined by them they are the text."""
    return text.split("\n\n")


def cut(text: str, longest: int) -> list[str]:
    """A text as documents of about `longest` characters, cut between paragraphs or lines.

    Where a line is longer the cut is within it. The last one has up to a quarter more.
    """
    pieces = []
    begin = 0
    while len(text) - begin > longest + longest // 4:
        stop = begin + longest
        place = next(
            (p for end in ("\n\n", "\n", " ", "。") if (p := _last(text, end, begin, stop)) > 0),
            stop,
        )
        pieces.append(text[begin:place].strip("\n"))
        begin = place
    pieces.append(text[begin:].strip("\n"))
    return [piece for piece in pieces if piece]


def _last(text: str, end: str, begin: int, stop: int) -> int:
    """The place after the last `end` in the second half of begin … stop; −1 without one."""
    place = text.rfind(end, (begin + stop) // 2, stop)
    return place if place < 0 else place + len(end)


def hash_of(text: str) -> int:
    """64 bits of BLAKE2b; never 0."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_HASH).digest()
    return int.from_bytes(digest, "little") or 1


class Documents(NamedTuple):
    """N documents that passed, and what repeats.py needs to know of them.

    texts; hashes (N) uint64; paragraphs (N): how many each has; paragraph_hashes (M) uint64, 0
    where a paragraph is too short to count; minima (N, K) and paragraph_minima (M, K), uint32, with
    0 rows unless near-duplicates are wanted; repetitive: how many more were refused.
    """

    texts: list[str]
    hashes: np.ndarray
    paragraphs: np.ndarray
    paragraph_hashes: np.ndarray
    minima: np.ndarray
    paragraph_minima: np.ndarray
    kept: np.ndarray  # (n) bool: which of the documents that came in these are


def looked_at(texts: list[str], settings: Settings) -> Documents:
    """The documents that do not repeat themselves too much, and their hashes and minima."""
    kept = np.ones(len(texts), bool)
    near = settings.documents == "near"
    minima = np.empty((0, 0), np.uint32)
    if near or settings.most_repetition < 1:
        runs, starts = shingles_of(texts)
        for i, text_runs in enumerate(_parts(runs, starts)):
            if len(text_runs) >= _ENOUGH_RUNS:
                most = settings.most_repetition
                kept[i] = len(text_runs) - _distinct(text_runs) <= most * len(text_runs)
        if near:
            minima = signatures(runs, starts)[kept]
    texts = [text for text, good in zip(texts, kept, strict=True) if good]
    split = [paragraphs_of(text) for text in texts]
    flat = [paragraph for each in split for paragraph in each]
    least = settings.least_paragraph
    hashes = [hash_of(p) if len(p) >= least else 0 for p in flat] if settings.paragraphs != "keep" \
        else [0] * len(flat)  # fmt: skip
    paragraph_minima = np.empty((0, 0), np.uint32)
    if settings.paragraphs == "near":
        paragraph_minima = signatures(*shingles_of(flat))
    return Documents(
        texts,
        np.fromiter(map(hash_of, texts), np.uint64, len(texts)),
        np.fromiter(map(len, split), np.int64, len(split)),
        np.array(hashes, np.uint64),
        minima, paragraph_minima, kept,
    )  # fmt: skip


def _parts(values: np.ndarray, starts: np.ndarray) -> Iterator[np.ndarray]:
    edges: Iterable[int] = starts.tolist()
    begin = 0
    for end in list(edges)[1:]:
        yield values[begin:end]
        begin = end


def _distinct(values: np.ndarray) -> int:
    """How many different values there are."""
    ordered = np.sort(values)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
