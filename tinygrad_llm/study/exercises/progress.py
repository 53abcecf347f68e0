"""What a learner has done: a small JSON file in the folder of the exercises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...files.atomic import atomic_write
from .catalogue import Exercise, exercises

__all__ = ["Progress"]


class Progress:
    """Exercises that were passed, hints that were shown, and the exercise that was started last.

    Raises: ValueError if the file of an earlier session is not valid JSON.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "progress.json"
        data: dict[str, Any] = {}
        try:
            data = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            pass
        except ValueError:
            raise ValueError(
                f"{self.path} is not valid JSON: correct it, or delete it to start again (your "
                "exercise files stay)"
            ) from None
        known = data if isinstance(data, dict) else {}
        self.done: list[str] = list(known.get("done", []))
        self.hints: dict[str, int] = dict(known.get("hints", {}))
        self.current: str | None = known.get("current")

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"done": self.done, "hints": self.hints, "current": self.current}
        with atomic_write(self.path) as file:
            file.write(json.dumps(data, indent=1).encode())

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
