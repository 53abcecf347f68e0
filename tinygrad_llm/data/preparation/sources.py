"""The files of a folder, in one order on every machine, and the units into which they are cut.

A unit is what one process reads at a time: several small files, one large file, or a range of a
large text. Units follow from the names and sizes of the files alone.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

__all__ = ["Source", "Unit", "find_sources", "unit_bytes", "units_of"]

KINDS = {
    "txt": "text", "text": "text", "md": "text", "markdown": "text", "rst": "text", "py": "text",
    "html": "html", "htm": "html", "xhtml": "html", "jsonl": "jsonl", "ndjson": "jsonl",
}  # fmt: skip
PACKED = ("gz", "zst")
_SMALLEST, _LARGEST, _UNITS = 4 << 20, 256 << 20, 256


class Source(NamedTuple):
    """A file. path: below the folder, with /; kind: text, html or jsonl; packed: gz, zst or ""."""

    path: str
    size: int
    kind: str
    packed: str


class Unit(NamedTuple):
    """Files that are read one after the other, or the bytes begin … end of a single one."""

    sources: tuple[Source, ...]
    begin: int = 0
    end: int | None = None


def find_sources(folder: Path, outside: Path | None = None) -> tuple[list[Source], Counter[str]]:
    """(the files that can be read, by name; what was left out and why, with counts).

    Names that start with a dot, symbolic links, folders that may not be read, and all that is
    neither a file nor a folder are left out: a link may lead anywhere. outside: a folder that is
    not looked into, the results'.
    Raises: FileNotFoundError or NotADirectoryError if it is not a folder, PermissionError if it may
    not be read.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        raise kind(f"{folder} {what}: name a folder of texts")
    sources: list[Source] = []
    skipped: Counter[str] = Counter()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except PermissionError:
            if place == folder:
                raise
            skipped["folder that may not be read"] += 1
            continue
        for entry in entries:
            if entry.name.startswith("."):
                skipped["hidden"] += 1
            elif entry.is_symlink():
                skipped["symbolic link"] += 1
            elif entry.is_dir(follow_symlinks=False):
                if outside is None or not outside.exists() or not os.path.samefile(
                    entry.path, outside
                ):  # fmt: skip
                    waiting.append(Path(entry.path))
            else:
                _add(Path(entry.path), folder, sources, skipped)
    return sorted(sources), skipped


def _add(path: Path, folder: Path, sources: list[Source], skipped: Counter[str]) -> None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        skipped["not a file"] += 1
        return
    *_, last = ["", *path.name.lower().split(".")]
    packed = last if last in PACKED else ""
    name = path.name[: -len(packed) - 1] if packed else path.name
    suffix = name.lower().rpartition(".")[2] if "." in name else ""
    kind = KINDS.get(suffix)
    if kind is None:
        skipped[f".{last} file" if "." in path.name and len(last) <= 12 else "other file"] += 1
    elif status.st_size == 0:
        skipped["empty"] += 1
    else:
        sources.append(Source(path.relative_to(folder).as_posix(), status.st_size, kind, packed))


def unit_bytes(sources: list[Source]) -> int:
    """The size of a unit: a 256th of all, between 4 and 256 MiB."""
    total = sum(source.size for source in sources)
    return min(max(total // _UNITS, _SMALLEST), _LARGEST)


def units_of(sources: list[Source], size: int | None = None) -> list[Unit]:
    """The units of the files in their order; size: bytes of a unit, see unit_bytes."""
    size = size or unit_bytes(sources)
    units: list[Unit] = []
    few: list[Source] = []

    def close() -> None:
        if few:
            units.append(Unit(tuple(few)))
            few.clear()

    for source in sources:
        if source.size > size and not source.packed and source.kind != "html":
            close()
            for begin in range(0, source.size, size):
                units.append(Unit((source,), begin, min(begin + size, source.size)))
        else:
            if sum(other.size for other in few) + source.size > size:
                close()
            few.append(source)
    close()
    return units
