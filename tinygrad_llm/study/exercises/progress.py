"""What a learner has done: a small JSON file in the folder of the exercises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files.json_files import read_json_object, write_json
from ...files.paths import local_path
from .catalogue import Exercise, exercises

__all__ = ["Progress"]


class Progress:
    """Exercises that were passed, hints that were shown, and the exercise that was started last.

    derive: the exercises that were started without their formula; quiz: chapter -> best score.

    Raises: ValueError if the file of an earlier session is not valid JSON.
    """

    def __init__(self, folder: Path) -> None:
        self.path = local_path(folder) / "progress.json"
        self.done: list[str] = []
        self.hints: dict[str, int] = {}
        self.current: str | None = None
        self.derive: list[str] = []
        self.quiz: dict[str, int] = {}
        try:
            self._take(read_json_object(self.path))
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise ValueError(
                f"{error}: correct it, or delete it to start again (your exercise files stay)"
            ) from None

    def _take(self, data: dict[str, Any]) -> None:
        """The entries of the file; ValueError if one is of another type."""
        current = data.get("current")
        if not isinstance(current, str | None):
            raise ValueError(f"{self.path} is not valid: 'current' should be a name")
        self.done, self.derive = self._names(data, "done"), self._names(data, "derive")
        self.hints, self.quiz = self._counts(data, "hints"), self._counts(data, "quiz")
        self.current = current

    def _names(self, data: dict[str, Any], key: str) -> list[str]:
        names = data.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{self.path} is not valid: '{key}' should be a list of names")
        return names

    def _counts(self, data: dict[str, Any], key: str) -> dict[str, int]:
        counts = data.get(key, {})
        if not isinstance(counts, dict) or not all(type(n) is int for n in counts.values()):
            raise ValueError(f"{self.path} is not valid: '{key}' should map names to numbers")
        return counts

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"done": self.done, "hints": self.hints, "current": self.current}
        write_json(self.path, data | {"derive": self.derive, "quiz": self.quiz})

    def passed(self, name: str) -> None:
        """Note that an exercise was passed."""
        if name not in self.done:
            self.done.append(name)

    def next_exercise(self, after: str | None = None) -> Exercise | None:
        """The first exercise after `after` that was not passed yet, else the first of all such."""
        every = exercises()
        names = [e.name for e in every]
        start = names.index(after) + 1 if after in names else 0
        return next((e for e in every[start:] + every[:start] if e.name not in self.done), None)
