"""Results of many runs in one folder, a JSON line each: a kill loses the last one at most.

with Ledger("searches/a", "search", {"seed": 1}) as ledger:
    if ledger.find(trial=3) is None:
        ledger.add(trial=3, score=1.52)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..files.json_files import finite, json_bytes, parse_json, read_json_object, write_json
from ..files.paths import local_path
from ..files.untrusted import describe
from .guard import FolderLock
from .options import OptionError

__all__ = ["Ledger"]

_ABOUT, _ROWS = "about.json", "results.jsonl"


class Ledger:
    """A folder with about.json, what was asked for, and results.jsonl, what is known so far.

    kind: of the command that fills it; about: what must be the same for going on, as JSON has it;
    may_change: names of it that may differ, such as a larger number of trials. Within a `with`
    block the folder is locked for this process.
    Raises: OptionError if the folder holds something else, or was begun with other values;
    StorageError if another process has the lock.
    """

    def __init__(
        self, folder: str | Path, kind: str, about: dict[str, Any], may_change: tuple[str, ...] = ()
    ) -> None:
        self.folder = local_path(folder)
        self.kind, self.may_change = kind, may_change
        self.about: dict[str, Any] = parse_json(json_bytes(about).decode(), "the options")
        self.rows: list[dict[str, Any]] = []
        self._lock = FolderLock(self.folder)

    def __enter__(self) -> Ledger:
        if self.folder.exists() and not self.folder.is_dir():
            raise OptionError(f"`folder`: {self.folder} is a file: name a folder")
        self._lock.__enter__()
        try:
            self._open()
        except BaseException:
            self._lock.__exit__()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        self._lock.__exit__(*exc)

    def _open(self) -> None:
        """Raises: OptionError for a folder that holds something else."""
        path = self.folder / _ABOUT
        if path.is_file():
            self._compare(path)
        elif any(not file.name.startswith(".") for file in self.folder.iterdir()):
            raise OptionError(f"`folder`: {self.folder} is not empty, and holds no {self.kind}: "
                              "take a new folder")  # fmt: skip
        write_json(path, {"kind": self.kind, "about": self.about})
        self.rows = self._read()

    def _compare(self, path: Path) -> None:
        try:
            stored = read_json_object(path)
        except ValueError as error:
            raise OptionError(f"`folder`: {error}; take a new folder") from error
        before = stored.get("about")
        if stored.get("kind") != self.kind or not isinstance(before, dict):
            raise OptionError(
                f"`folder`: {self.folder} holds {describe(stored.get('kind'))}, and no {self.kind}:"
                " take a new folder"
            )
        for name in sorted({*before, *self.about} - set(self.may_change)):
            if before.get(name) != self.about.get(name):
                raise OptionError(
                    f"`folder`: {self.folder} was begun with {name} "
                    f"{describe(before.get(name))}, not {describe(self.about.get(name))}: "
                    "continue with the same options, or take a new folder"
                )

    def _read(self) -> list[dict[str, Any]]:
        """The whole lines. One that a kill cut short is cut off, so that the next begins a line."""
        path = self.folder / _ROWS
        if not path.is_file():
            return []
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)
        rows = []
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                row = parse_json(line.decode("utf-8"), f"{path}, line {number}")
            except ValueError as error:
                raise OptionError(f"`folder`: {error}; take a new folder") from error
            if not isinstance(row, dict):
                raise OptionError(f"`folder`: {path}, line {number} is {describe(row)}")
            rows.append(row)
        return rows

    def find(self, **names: Any) -> dict[str, Any] | None:
        """The last row with these values, or None."""
        matching = (row for row in reversed(self.rows) if names.items() <= row.items())
        return next(matching, None)

    def add(self, **row: Any) -> dict[str, Any]:
        """Writes a row to the disk, NaN and infinity as null; returns it as it can be read."""
        line = json_bytes(finite(row))
        with open(self.folder / _ROWS, "ab", buffering=0) as file:
            file.write(line + b"\n")
            os.fsync(file.fileno())
        stored: dict[str, Any] = parse_json(line.decode("utf-8"), "a row")
        self.rows.append(stored)
        return stored
