"""What lies in the folder of a preparation while it works, unit by unit.

work/units.json         settings and files: a run is resumed only where both are equal
work/00000.text         the documents of unit 0 after cleaning, one after the other, UTF-8
work/00000.npz          where each ends, hashes and minima
work/00000.json         counts; it is written last: the unit is done
work/00000.kept.npz     which documents and paragraphs stay; work/kept.json: all are decided
work/00000.tokens.json  the unit's tokens are in train-00000.bin and val-00000.bin
Each file is there whole or not at all, so a process that is killed at any time loses one unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...files.atomic import atomic_write
from ...files.json_files import read_json_object, write_json

__all__ = ["Store"]


class Store:
    """The files of the units in OUT/work. folder: OUT, which has the results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"

    def path(self, number: int, ending: str) -> Path:
        """work/00012.ENDING"""
        return self.work / f"{number:05}.{ending}"

    def shard(self, part: str, number: int, ending: str) -> Path:
        """train-00012.ENDING"""
        return self.folder / f"{part}-{number:05}.{ending}"

    def done(self, number: int, ending: str = "json") -> bool:
        """Whether a unit's file is there."""
        return self.path(number, ending).exists()

    def write_arrays(self, number: int, ending: str, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays as an .npz file, whole or not at all."""
        with atomic_write(self.path(number, ending)) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def arrays(self, number: int, *names: str, ending: str = "npz") -> list[np.ndarray]:
        """Some of the arrays of a unit."""
        with np.load(self.path(number, ending), allow_pickle=False) as file:
            return [file[name] for name in names]

    def write_facts(self, number: int, ending: str, facts: dict[str, Any]) -> None:
        """Write a unit's counts."""
        write_json(self.path(number, ending), facts, indent=0)

    def facts(self, number: int, ending: str = "json") -> dict[str, Any]:
        """A unit's counts."""
        return read_json_object(self.path(number, ending))

    def texts(self, number: int) -> Iterator[str]:
        """The documents of a unit, one at a time."""
        (ends,) = self.arrays(number, "ends")
        begin = 0
        with open(self.path(number, "text"), "rb") as file:
            for end in ends.tolist():
                yield file.read(end - begin).decode("utf-8")
                begin = end

    def remove_parts(self) -> None:
        """Remove what killed processes left half written. Nobody else may write here."""
        for folder in (self.folder, self.work):
            for path in folder.glob(".*.part") if folder.is_dir() else ():
                path.unlink(missing_ok=True)
