"""Texts in two languages, a sentence in each line: named sets, and your files.

read_parallel(corpora.path("enja-test.ja"), corpora.path("enja-test.en"))     # (source, target)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files.downloads import RemoteFile
from ..files.paths import local_path

__all__ = ["ENJA", "ENJA_PARTS", "PARALLEL", "pair_lines", "read_parallel"]

ENJA = "small-parallel-enja"
ENJA_PARTS = {"train": "50,000", "dev": "500", "test": "500"}

_ENJA_FILES = {
    "train.ja": (
        2784447,
        "fc81a1434349ec98a449d7ae9cd2530057f689637684ecfed3501ea6a8a07ecc",
    ),
    "train.en": (
        1701356,
        "148b05dcd28638fe20ee84f2b1127001c80982be352007dda241fb759adadc76",
    ),
    "dev.ja": (27781, "cd534f56b8639dc130f86a365e5ec0aa70042000bdd740a622fbbf8b6be4acca"),
    "dev.en": (17054, "04a2673449770657fd5e3b963cb856be3130923212b6db8ac7eaeef18f06c041"),
    "test.ja": (27793, "d37dc460a81b064e4106c8913eb11fa300da05cf3f58a7a5bbfec7e20947ddef"),
    "test.en": (17301, "45edb380749ec2b49cca7618fc5a7595fc9f791180672ba466b90c873a4aa8bf"),
}


def _enja(name: str, n_bytes: int, sha256: str) -> RemoteFile:
    part, language = name.split(".")
    words = {"ja": "Japanese", "en": "English"}[language]
    return RemoteFile(
        file_name=f"small_parallel_enja/{name}",
        addresses=(f"https://raw.githubusercontent.com/odashi/small_parallel_enja/master/{name}",),
        sha256=sha256,
        n_bytes=n_bytes,
        licence="CC BY 2.0 FR (of the Tanaka corpus, from which it was selected)",
        description=f"{ENJA_PARTS[part]} {words} sentences of 4 to 16 words, cut into words.",
    )


PARALLEL: dict[str, RemoteFile] = {
    f"enja-{name}": _enja(name, *facts) for name, facts in _ENJA_FILES.items()
}


def read_parallel(source: str | Path, target: str | Path) -> list[tuple[str, str]]:
    """(source, target) of two files with a sentence in each line; empty pairs are left out.

    Raises: ValueError if a file is not UTF-8, if they have different numbers of lines, or if one
    sentence of a pair is empty; FileNotFoundError.
    """
    return pair_lines(_lines(source), _lines(target), f"{source} and {target}")


def pair_lines(sources: Sequence[str], targets: Sequence[str], where: str) -> list[tuple[str, str]]:
    """(source, target) of lines side by side.

    Raises: ValueError as read_parallel.
    """
    if len(sources) != len(targets):
        raise ValueError(
            f"{where} have {len(sources):,} and {len(targets):,} lines: line n of one must be the "
            "translation of line n of the other"
        )
    rows = []
    for i, (source, target) in enumerate(zip(sources, targets, strict=True), 1):
        source, target = source.strip(), target.strip()
        if bool(source) != bool(target):
            raise ValueError(f"{where}: line {i} is empty in one of them")
        if source:
            rows.append((source, target))
    if not rows:
        raise ValueError(f"{where} hold no sentences")
    return rows


def _lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, ended by line feeds only."""
    file = local_path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    return text.rstrip("\n").split("\n")
