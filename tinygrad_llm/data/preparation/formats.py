"""From a file to documents: texts, HTML, JSON lines, packed by gzip or Zstandard.

Nothing in a file is trusted: a packed one may not grow without bounds, a line of JSON may not be
endless, and what cannot be read becomes a line for the user that names the file and the line.
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ...files.json_files import parse_json
from ...files.packages import importing, install_extra
from .encoding import decode
from .settings import Settings
from .sources import Source

__all__ = ["Trouble", "check_packages", "documents_in"]

LARGEST_DOCUMENT = 8 << 20  # bytes of a text; a longer one is cut between paragraphs
LARGEST_LINE = 16 << 20  # bytes of a line of JSON
LARGEST_HTML = 16 << 20
MOST_GROWTH = 200  # times the size of a packed file, beyond the first MiB
_LOOK = 1 << 20  # bytes in which a place to cut is looked for
_BEFORE = 1 << 10  # bytes before a range, more than a separator has
_LEFT_OUT = frozenset(
    "script style nav header footer aside template noscript iframe form svg head".split()
)
_ROWS = frozenset(("br", "li", "tr", "dt", "dd"))
_PARTS = frozenset(
    "p div pre section article blockquote h1 h2 h3 h4 h5 h6 table ul ol dl main figure".split()
)
_BLOCKS = re.compile(r"\n[ \t\n]*\n[ \t\n]*")

Trouble = Callable[[str], None]


def check_packages(sources: list[Source], repair: bool) -> None:
    """Whether the packages are there that these files need.

    Raises: MissingPackage if one is not installed.
    """
    needed = {"ftfy": repair, "bs4": any(s.kind == "html" for s in sources),
              "zstandard": any(s.packed == "zst" for s in sources)}  # fmt: skip
    what = {"ftfy": "repairing texts (or --no-repair)", "bs4": "HTML", "zstandard": "zst files"}
    for name, used in needed.items():
        if used:
            with importing(f"{what[name]} needs {name}", install_extra("prepare")):
                __import__(name)


def documents_in(
    folder: Path, source: Source, begin: int, end: int | None, settings: Settings, trouble: Trouble
) -> Iterator[str]:
    """The documents of a file, or of those of its bytes that begin at `begin` … `end`.

    trouble: called with a line for each thing that cannot be read; the rest is read all the same.
    Raises: what is not the file's fault.
    """
    path = folder / source.path
    try:
        with _opened(path, source) as file:
            if source.kind == "jsonl":
                yield from _from_lines(file, source, begin, end, settings.text_field, trouble)
            elif source.kind == "html":
                yield from _from_html(file, source, trouble)
            else:
                yield from _from_text(file, source, begin, end, settings.separator, trouble)
    except (OSError, EOFError, zlib.error, _TooLarge) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        trouble(f"{source.path}: {reason or type(error).__name__}")
    except Exception as error:  # zstandard's own class is known only when it is installed
        if type(error).__module__.partition(".")[0] != "zstandard":
            raise
        trouble(f"{source.path}: {error}")


class _TooLarge(ValueError):
    """A packed file that grows more than texts do."""


class _Bounded(io.RawIOBase):
    """A packed file as bytes, up to MOST_GROWTH times its own size."""

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.left = file, (1 << 20) + MOST_GROWTH * size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise _TooLarge(
                f"it unpacks to more than {MOST_GROWTH} times its size, which texts do not: "
                "what follows is left out"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


def _opened(path: Path, source: Source) -> BinaryIO:
    if not source.packed:
        return open(path, "rb")
    if source.packed == "gz":
        unpacked: Any = gzip.open(path, "rb")
    else:
        import zstandard

        # a window of more than 128 MiB would be memory that a few bytes ask for
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        unpacked = reader.stream_reader(open(path, "rb"), read_across_frames=True, closefd=True)
    return io.BufferedReader(_Bounded(unpacked, source.size), 1 << 16)


# ------------------------------------------------------------------------------------------ text
def _from_text(
    file: BinaryIO, source: Source, begin: int, end: int | None, separator: str | None,
    trouble: Trouble,
) -> Iterator[str]:  # fmt: skip
    """A text is one document, or those between separators; a long one is cut."""
    mark = None if separator is None else separator.encode()
    encoding: str | None = None
    for data in _pieces(file, begin, end, mark):
        text, encoding = decode(data, encoding)
        if text is None:
            trouble(f"{source.path}: not a text (there are zero bytes in it)")
            return
        if separator is None:
            yield text
        else:
            yield from _between(text, separator)


def _between(text: str, separator: str) -> list[str]:
    """What stands between lines that are the separator."""
    parts: list[str] = []
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.strip() == separator.strip():
            parts.append("\n".join(lines))
            lines = []
        else:
            lines.append(line)
    parts.append("\n".join(lines))
    return [part for part in parts if part.strip()]


def _pieces(file: BinaryIO, begin: int, end: int | None, mark: bytes | None) -> Iterator[bytes]:
    """The bytes from the first cut at or after `begin` to the first one at or after `end`.

    Pieces of about LARGEST_DOCUMENT bytes: cuts are after a separator, between paragraphs, after a
    line, or, where there are none, between two characters of UTF-8.
    """
    waiting = b""
    if begin:  # what stands just before may be the end of a paragraph
        before = min(begin, _BEFORE)
        file.seek(begin - before)
        waiting = file.read(before + _LOOK)
        first = _cut(waiting, before, mark)
        waiting = waiting[first:]
        begin += first - before
    at = begin  # of the first byte in `waiting`
    while end is None or at < end:
        size = LARGEST_DOCUMENT if end is None else min(LARGEST_DOCUMENT, end - at)
        while len(waiting) < size + _LOOK:
            more = file.read(size + _LOOK - len(waiting))
            if not more:
                break
            waiting += more
        if len(waiting) <= size:
            if waiting:
                yield waiting
            return
        cut = _cut(waiting, size, mark)
        yield waiting[:cut]
        waiting = waiting[cut:]
        at += cut


def _cut(data: bytes, at: int, mark: bytes | None) -> int:
    """The first place at or after `at` where a document may end."""
    stop = at + _LOOK
    ends = (b"\n\n", b"\n") if mark is None else (mark + b"\n", b"\n\n", b"\n")
    for end in ends:
        place = data.find(end, max(0, at - len(end)), stop)
        if place >= 0:
            return place + len(end)
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


# ------------------------------------------------------------------------------------------ HTML
def _from_html(file: BinaryIO, source: Source, trouble: Trouble) -> Iterator[str]:
    """The text of a page, without scripts, styles and the links around it."""
    data = file.read(LARGEST_HTML + 1)
    if len(data) > LARGEST_HTML:
        trouble(f"{source.path}: a page of more than {LARGEST_HTML >> 20} MiB, left out")
        return
    text, _ = decode(data, None)
    if text is None:
        trouble(f"{source.path}: not a text (there are zero bytes in it)")
        return
    from bs4 import BeautifulSoup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pages that look like a file's name or like XML
        page = BeautifulSoup(text, "html.parser")
    yield _BLOCKS.sub("\n\n", "".join(_texts(page)))


def _texts(page: Any) -> Iterator[str]:
    """The texts of a page in order, with line ends around blocks. Pages may be nested deeply."""
    from bs4 import CData, NavigableString, Tag

    waiting: list[tuple[Any, str]] = [(page, "")]
    while waiting:
        node, end = waiting.pop()
        if node is None:
            yield end
        elif type(node) in (NavigableString, CData):  # a comment is a subclass
            yield str(node)
        elif isinstance(node, Tag) and node.name not in _LEFT_OUT:
            end = "\n\n" if node.name in _PARTS else ""
            yield "\n" if node.name in _ROWS else end  # one line for each row, no blank ones
            waiting.append((None, end))
            waiting += [(child, "") for child in reversed(node.contents)]


# ------------------------------------------------------------------------------------ JSON lines
def _from_lines(
    file: BinaryIO, source: Source, begin: int, end: int | None, name: str, trouble: Trouble
) -> Iterator[str]:
    """The texts of the lines that begin at `begin` … `end`; a broken line is reported."""
    at = begin
    if begin:  # the line that began before belongs to the range before
        file.seek(begin - 1)
        at = begin - 1 + _rest_of_line(file)
    number = 0
    while end is None or at < end:
        line = file.readline(LARGEST_LINE + 1)
        if not line:
            return
        number += 1
        where = f"{source.path}, " + (f"line {number}" if not begin else f"the line at byte {at:,}")
        at += len(line)
        if len(line) > LARGEST_LINE:
            trouble(f"{where}: longer than {LARGEST_LINE >> 20} MiB, left out")
            if not line.endswith(b"\n"):
                at += _rest_of_line(file)
            continue
        if not line.strip():
            continue
        try:
            value = parse_json(line, where)
            text = value.get(name) if isinstance(value, dict) else None
        except ValueError as error:
            trouble(str(error)[:300])
            continue
        if isinstance(text, str):
            yield text
        else:
            trouble(f"{where}: there is no text under {name!r}")


def _rest_of_line(file: BinaryIO) -> int:
    """Reads to the end of a line; the number of bytes."""
    n = 0
    while piece := file.readline(1 << 20):
        n += len(piece)
        if piece.endswith(b"\n"):
            break
    return n
