"""Texts cut into overlapping chunks, where possible at the ends of paragraphs, lines and words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["SEPARATORS", "Chunk", "chunks_of", "split_text"]

SEPARATORS = ("\n\n", "\n", " ", "")  # "" cuts between any two characters
MOST = 10**9  # of characters in a chunk


@dataclass(frozen=True)
class Chunk:
    """A part of a document: its text, which document it is from (a title), and its number there."""

    text: str
    source: str
    number: int


def split_text(
    text: str, size: int = 400, overlap: int = 100, separators: Sequence[str] = SEPARATORS
) -> list[str]:
    """Chunks of at most `size` characters; neighbours share at most `overlap` of them.

    The text is cut at the first separator that it contains; pieces that are longer than a chunk are
    cut at the next one, and so on. Then neighbouring pieces are joined while they fit. A separator
    stays at the beginning of the piece after it, blanks around a chunk are dropped, and so are
    chunks of nothing else. A piece of at least `size` characters without any of the separators
    stays as it is: with the default ones that is one character, for size 1.
    Equal to LangChain's RecursiveCharacterTextSplitter with the same arguments.
    Raises: ValueError for a size below 1, or an overlap that is negative or larger than the size.
    """
    if type(size) is not int or not 1 <= size <= MOST:
        raise ValueError(f"a chunk has 1 to {MOST:,} characters, got size {size!r}")
    if type(overlap) is not int or not 0 <= overlap <= size:
        raise ValueError(f"overlap must be from 0 to size, {size}, got {overlap!r}")
    if not separators:
        raise ValueError('give at least one separator, such as "" for a cut anywhere')
    return list(_chunks(text, size, overlap, tuple(separators)))


def chunks_of(
    documents: Iterable[Mapping[str, Any]], size: int = 400, overlap: int = 100,
    separators: Sequence[str] = SEPARATORS,
) -> list[Chunk]:  # fmt: skip
    """The chunks of documents {"text": ..., "title": ...}, in their order; see split_text.

    Raises: ValueError for a document without a text, with its number; as split_text.
    """
    made = []
    for i, document in enumerate(documents):
        text = document.get("text")
        if not isinstance(text, str):
            raise ValueError(f"document {i} has no text")
        source = str(document.get("title", f"document {i}"))
        pieces = split_text(text, size, overlap, separators)
        made += [Chunk(piece, source, number) for number, piece in enumerate(pieces)]
    return made


def _chunks(text: str, size: int, overlap: int, separators: tuple[str, ...]) -> Iterable[str]:
    """`split_text` without its checks."""
    first = next((i for i, s in enumerate(separators) if s in text), len(separators) - 1)
    separator, finer = separators[first], separators[first + 1 :]
    fitting: list[str] = []  # neighbours, each shorter than a chunk
    for piece in _pieces(text, separator):
        if len(piece) < size:
            fitting.append(piece)
            continue
        yield from _joined(fitting, size, overlap)
        fitting = []
        if finer and separator:
            yield from _chunks(piece, size, overlap, finer)
        else:
            yield piece
    yield from _joined(fitting, size, overlap)


def _pieces(text: str, separator: str) -> list[str]:
    """The text cut in front of each separator; into characters for "". None is empty."""
    if not separator:
        return list(text)
    starts = [0, *(match.start() for match in re.finditer(re.escape(separator), text)), len(text)]
    return [text[a:b] for a, b in zip(starts, starts[1:], strict=False) if a < b]


def _joined(pieces: Sequence[str], size: int, overlap: int) -> Iterable[str]:
    """Chunks of neighbouring pieces; the next chunk begins with the last ones of this, if short."""
    first, length = 0, 0  # the chunk so far: pieces[first:i], and its characters
    for i, piece in enumerate(pieces):
        if length + len(piece) > size:
            if first < i:
                yield from _without_blanks(pieces[first:i])
            while first < i and (length > overlap or length + len(piece) > size):
                length -= len(pieces[first])
                first += 1
        length += len(piece)
    if first < len(pieces):
        yield from _without_blanks(pieces[first:])


def _without_blanks(pieces: Sequence[str]) -> list[str]:
    text = "".join(pieces).strip()
    return [text] if text else []
