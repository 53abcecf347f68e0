"""A training run of this machine over HTTP: its numbers and texts, pause and continue.

Everything is read from the files in the run's folder (see training/live.py); the run itself is
another process, which is neither slowed down nor endangered by it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files.json_files import finite, parse_json
from ..training.live import GRADIENTS, PAUSE, SAMPLES, STATE
from .fields import ApiError
from .served import Served
from .service import body_of

__all__ = ["LineReader", "WatchedRun", "resume", "pause", "status"]

MOST_POINTS = 600  # of a curve
MOST_LAYERS = 60  # points of the layers' gradients
MOST_SAMPLES = 5
MOST_CHARACTERS = 4000  # of a sample
_FRESH = 30.0  # seconds in which a run whose process cannot be seen has written something


class LineReader:
    """The JSON objects of a file of lines that grows; what was read is not read again.

    A file that became shorter, or was replaced by another, is read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self._read, self._file, self._rest = 0, 0, b""

    def update(self) -> list[dict[str, Any]]:
        """All lines so far; a last one that is not whole waits for the next time."""
        try:
            with open(self.path, "rb") as file:
                now = os.fstat(file.fileno())
                if now.st_ino != self._file or now.st_size < self._read:
                    self.lines, self._read, self._rest, self._file = [], 0, b"", now.st_ino
                file.seek(self._read)
                data = file.read()
        except OSError:
            return self.lines
        self._read += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for text in whole:
            with suppress(ValueError):
                line = parse_json(text.decode("utf-8", "replace"), self.path.name)
                if isinstance(line, dict) and type(line.get("step")) is int:
                    self.lines.append(line)
        return self.lines


class WatchedRun:
    """A run's folder, whose path no client learns; it may be empty until the run begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self._metrics, self._samples, self._gradients = (
            LineReader(folder / name) for name in ("metrics.jsonl", SAMPLES, GRADIENTS)
        )

    def state(self) -> dict[str, Any]:
        """`state`, step and steps: "waiting" before the run begins, "stopped" if it was killed."""
        try:
            with open(self.folder / STATE, "rb") as file:
                known = parse_json(file.read().decode("utf-8", "replace"), STATE)
        except (OSError, ValueError):
            known = None
        if not isinstance(known, dict):
            return {"state": "waiting", "step": 0, "steps": 0, "pause_asked": False}
        state = known.get("state")
        if state not in ("running", "paused", "stopped", "ended"):
            state = "stopped"
        if state in ("running", "paused") and not self._lives(known.get("process")):
            state = "stopped"
        numbers = {
            name: known[name] if type(known.get(name)) is int else 0 for name in ("step", "steps")
        }
        return {"state": state, **numbers, "pause_asked": (self.folder / PAUSE).exists()}

    def _lives(self, process: Any) -> bool:
        """Whether the run's process is there, or has just written something."""
        if os.name == "posix" and type(process) is int and process > 0:
            try:
                os.kill(process, 0)
                return True
            except PermissionError:
                return True
            except (OSError, OverflowError):
                pass
        try:
            return time.time() - os.stat(self._metrics.path).st_mtime < _FRESH
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """What the page shows: state, curves of at most MOST_POINTS points, samples, gradients."""
        state, metrics = self.state(), self._metrics.update()
        losses = [line for line in metrics if _is_number(line.get("loss"))]
        validation = [line for line in metrics if _is_number(line.get("val_loss"))]
        last = losses[-1] if losses else {}
        gradients = thinned(self._gradients.update(), MOST_LAYERS)
        state["step"] = max(state["step"], last.get("step", 0))
        names = ("step", "loss", "grad_norm", "lr")
        samples = [
            {"step": line["step"], "text": str(line.get("text", ""))[:MOST_CHARACTERS]}
            for line in self._samples.update()[-MOST_SAMPLES:]
        ]
        return finite({
            "object": "run", "name": self.name, **state,
            "tokens": last.get("tokens"), "seconds": last.get("seconds"), "lr": last.get("lr"),
            "tokens_per_second": _rate(losses),
            "losses": [[line.get(n) for n in names] for line in thinned(losses, MOST_POINTS)],
            "validation": [[line["step"], line["val_loss"]]
                           for line in thinned(validation, MOST_POINTS)],
            "samples": samples,
            "gradients": [[line["step"], line["norms"]] for line in gradients
                          if isinstance(line.get("norms"), dict)],
        })  # fmt: skip

    def ask(self, pause: bool) -> None:
        """Ask the run to wait after its step, or to continue.

        Raises: ApiError with 409 if it does not run.
        """
        if self.state()["state"] not in ("running", "paused"):
            raise ApiError(409, "this run does not train now", code="not_running")
        try:
            if pause:
                (self.folder / PAUSE).touch()
            else:
                (self.folder / PAUSE).unlink(missing_ok=True)
        except OSError:
            raise ApiError(500, "the run's folder cannot be written") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def thinned(lines: Sequence[Any], most: int) -> list[Any]:
    """At most about `most` of the lines, evenly spaced, the last one among them."""
    every = -(-len(lines) // most) if lines else 1
    return list(lines[::-1][::every][::-1])


def _rate(losses: Sequence[dict[str, Any]]) -> float | None:
    """Tokens per second over the last lines."""
    rows = [x for x in losses[-50:]
            if _is_number(x.get("tokens")) and _is_number(x.get("seconds"))]  # fmt: skip
    if len(rows) < 2 or rows[-1]["seconds"] <= rows[0]["seconds"]:
        return None
    rate: float = (rows[-1]["tokens"] - rows[0]["tokens"]) / (
        rows[-1]["seconds"] - rows[0]["seconds"]
    )
    return rate


def _run(served: Served) -> WatchedRun:
    if served.run is None:
        raise ApiError(404, "this server watches no run: start it with --run FOLDER")
    run: WatchedRun = served.run
    return run


async def status(served: Served, http: Any) -> dict[str, Any]:
    """The numbers and texts of the run so far."""
    run = _run(served)
    async with served.reading:
        return await asyncio.to_thread(run.status)


async def pause(served: Served, http: Any) -> dict[str, Any]:
    """Ask the run to wait; it saves a checkpoint and stops between two steps."""
    await body_of(http, served.limits)
    _run(served).ask(True)
    return _run(served).state()


async def resume(served: Served, http: Any) -> dict[str, Any]:
    """Ask the run to continue."""
    await body_of(http, served.limits)
    _run(served).ask(False)
    return _run(served).state()
