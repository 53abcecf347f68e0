"""What a learner has done: a small JSON file beside the exercises."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .catalogue import Exercise, exercises

__all__ = ["Progress"]


class Progress:
    """Exercises that were passed, hints that were shown, and the exercise that was begun last."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "progress.json"
        data: dict[str, Any] = {}
        try:
            data = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            pass
        except ValueError:
            raise ValueError(
                f"{self.path} is no valid JSON: mend it, or delete it to begin anew (your "
                "exercises themselves stay)"
            ) from None
        known = data if isinstance(data, dict) else {}
        self.done: list[str] = list(known.get("done", []))
        self.hints: dict[str, int] = dict(known.get("hints", {}))
        self.current: str | None = known.get("current")

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"done": self.done, "hints": self.hints, "current": self.current}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=1), "utf-8")
        os.replace(temporary, self.path)

    def passed(self, name: str) -> None:
        """Note that an exercise was passed."""
        if name not in self.done:
            self.done.append(name)

    def next_exercise(self, after: str | None = None) -> Exercise | None:
        """The first exercise behind `after` that was not passed yet, else the first of all."""
        every = exercises()
        names = [e.name for e in every]
        start = names.index(after) + 1 if after in names else 0
        return next((e for e in every[start:] + every[:start] if e.name not in self.done), None)
