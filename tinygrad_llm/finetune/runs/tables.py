"""Tables of classifiers: each row is a whole run of finetune classify with its own options.

    Table("runs/variations", rows, shared, print).fill()

A row is written as soon as its run has ended. A table that was stopped continues with the first
row that is missing.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...evaluation import Interval, bootstrap
from ...files.atomic import atomic_write
from ...files.json_files import finite, read_json_object, write_json
from ...files.paths import local_path
from ...files.untrusted import describe
from ...training.guard import FolderLock
from ...training.loop import Result
from ...training.options import OptionError
from ...training.settings import resolved
from ..classification import evaluate_classifier
from ..counts import CountsBaseline
from ..freeze import count_parameters
from ..options import ClassifyOptions
from .classify import Classify

__all__ = ["BASELINE", "Row", "Table", "begin_table", "open_table", "table_options"]

BASELINE = "word counts, logistic regression"
OPTIONS = "options.json"
CHOICES = {"rows", "models", "long_texts"}  # of rows: a table may get more of them


@dataclasses.dataclass(frozen=True)
class Row:
    """One variation: its name in the table, and what differs from the options of all rows."""

    name: str
    options: Mapping[str, Any]


@contextmanager
def open_table(folder: str | Path, name: str, options: Any) -> Iterator[None]:
    """Within it the folder of a table is made, and locked for this process.

    Raises: OptionError as begin_table; StorageError if another process fills the table.
    """
    _refuse_run(local_path(folder))
    with FolderLock(local_path(folder)):
        begin_table(folder, name, options)
        yield


def _refuse_run(folder: Path) -> None:
    if (folder / "checkpoints").exists():
        raise OptionError(f"`folder`: {folder} holds a run: take another folder")


def begin_table(folder: str | Path, name: str, options: Any) -> None:
    """Makes the folder of a table, and stores of which command it is, with which options.

    name: of the command; options: a dataclass
    Raises: OptionError for a folder that holds a run or a table of another command.
    """
    folder = local_path(folder)
    path = folder / OPTIONS
    _refuse_run(folder)
    stored = {key: value for key, value in dataclasses.asdict(options).items() if key != "folder"}
    if path.is_file() and {file.name for file in folder.iterdir()} - {OPTIONS, ".lock"}:
        before = table_options(folder, name)
        if any(before.get(key) != stored[key] for key in stored.keys() - CHOICES):
            raise OptionError(
                f"`folder`: {folder} holds a table of other options: take another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"finetune": name, "options": stored})


def table_options(folder: str | Path, name: str) -> dict[str, Any]:
    """The options that a table in this folder was begun with, and the folder itself.

    Raises: OptionError if it holds no table of finetune `name`.
    """
    path = local_path(folder) / OPTIONS
    if not path.is_file():
        raise OptionError(f"`resume`: {folder} holds no table of finetune {name}")
    stored = read_json_object(path)
    options = stored.get("options")
    if stored.get("finetune") != name or not isinstance(options, dict):
        raise OptionError(
            f"`resume`: {path} was written by finetune {describe(stored.get('finetune'))}, not by "
            f"finetune {name}"
        )
    return {**options, "folder": str(folder)}


class _Measured(Classify):
    """A run that keeps the accuracies of all three parts in place of a report."""

    def report(self, result: Result) -> None:
        train, val, test = (
            evaluate_classifier(self.model, data, self.names, owners=None if i < 2 else self.owners)
            for i, data in enumerate(self.sets)
        )
        counts = count_parameters(self.model)
        self.measured = {
            "train": train.accuracy, "validation": val.accuracy, "seconds": result.seconds,
            "trained": counts["trainable"], "weights": counts["total"], **_test(test.interval),
        }  # fmt: skip


def _test(interval: Interval) -> dict[str, Any]:
    return {"test": interval.value, "interval": [interval.low, interval.high]}


class Table:
    """A table in a folder: table.json with its rows, and a page of the same name for people.

    rows: all variations, numbered from 1; shared: options of ClassifyOptions for all of them; note:
    is called with lines of output; heading: the first line of the page; facts: more about how it
    was made, which a resumed table must share; only: the numbers of the rows to run, None for all.
    Raises: OptionError if the folder holds a table of other rows or options.
    """

    def __init__(
        self, folder: str | Path, rows: Sequence[Row], shared: Mapping[str, Any],
        note: Callable[[str], None] = print, *, heading: str = "Classifiers",
        facts: Mapping[str, Any] | None = None, only: Collection[int] | None = None,
    ) -> None:  # fmt: skip
        self.only = range(1, len(rows) + 1) if only is None else only
        self.folder, self.rows, self.shared = local_path(folder), list(rows), dict(shared)
        self.note, self.heading = note, heading
        expected = {"shared": self.shared, "facts": dict(facts or {}),
                  "rows": {row.name: dict(row.options) for row in self.rows}}  # fmt: skip
        self.path = self.folder / "table.json"
        self.stored: dict[str, Any] = {"options": expected, "done": {}}
        if self.path.is_file():
            self.stored = read_json_object(self.path)
            before = self.stored.get("options", {})
            if {**before, "rows": None} != {**expected, "rows": None}:
                raise OptionError(
                    f"`folder`: {self.folder} holds a table of other options: take another folder"
                )
            for name, options in before.get("rows", {}).items():
                if expected["rows"].setdefault(name, options) != options:
                    raise OptionError(f"`folder`: {self.folder} has the row {name} otherwise")
            self.stored["options"] = expected

    def fill(self) -> dict[str, dict[str, Any]]:
        """Runs the rows of `only` that are missing, and returns all: name -> what was measured.

        Raises: OptionError for options that a run refuses.
        """
        done: dict[str, dict[str, Any]] = self.stored["done"]
        for number, row in enumerate(self.rows, 1):
            if number not in self.only:
                continue
            if row.name in done:
                self.note(f"row {number:>2}/{len(self.rows)}  {row.name}: done before")
                continue
            began = time.perf_counter()
            made = self._run(row)
            done[row.name] = made.measured
            if BASELINE not in done:
                done[BASELINE] = _baseline(made)
            self._write()
            m = made.measured
            self.note(
                f"row {number:>2}/{len(self.rows)}  {row.name}: test {m['test']:.2%}, "
                f"{time.perf_counter() - began:.0f} s"
            )
        self.note("\n" + self.markdown())
        return done

    def _run(self, row: Row) -> _Measured:
        folder = self.folder / "row"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
        options = {**self.shared, **row.options, "folder": str(folder)}
        run = _Measured(resolved(ClassifyOptions, options), False)
        run.run()
        shutil.rmtree(folder, ignore_errors=True)
        return run

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path, finite(self.stored))
        with atomic_write(self.path.with_suffix(".md")) as file:
            file.write(self.markdown().encode("utf-8"))

    def markdown(self) -> str:
        """The table so far; the baseline is its last row."""
        lines = [
            self.heading, "",
            "| | variation | train | validation | test | 95 % interval | trained | seconds |",
            "|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        done = self.stored["done"]
        numbered = [(str(number), row.name) for number, row in enumerate(self.rows, 1)]
        for number, name in (*numbered, ("", BASELINE)):
            if name not in done:
                continue
            m = done[name]
            low, high = m["interval"]
            lines.append(
                f"| {number} | {name} | {m['train']:.1%} | "
                f"{m['validation']:.1%} | {m['test']:.1%} | {low:.1%} to {high:.1%} | "
                f"{m['trained']:,} | {m['seconds']:.1f} |"
            )
        return "\n".join(lines) + "\n"


def _baseline(run: Classify) -> dict[str, Any]:
    """The regression on word counts, on the parts of a run."""
    began = time.perf_counter()
    made = CountsBaseline.fit(run.train, run.val, len(run.names), seed=run.o.seed)
    train, val, test = (made.right(rows) for rows in (run.train, run.val, run.test))
    weights = made.weight.weight.numel() + made.bias.numel()
    return {
        "train": float(np.mean(train)), "validation": float(np.mean(val)),
        "seconds": time.perf_counter() - began, "trained": weights, "weights": weights,
        **_test(bootstrap(test)),
    }  # fmt: skip
