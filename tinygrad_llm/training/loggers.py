"""Numbers of a run for TensorBoard and Weights & Biases, beside the JSON lines.

    tinygrad-llm pretrain --log tensorboard     then: tensorboard --logdir runs
    tinygrad-llm pretrain --log wandb           offline; `wandb sync FOLDER` sends it later

Both write files in the run's folder; nothing goes over a network.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..files.atomic import atomic_write
from ..files.packages import MissingPackage, install_extra

__all__ = ["LOGGERS", "Logger", "TensorBoard", "WeightsAndBiases", "make_logger"]


class Logger(Protocol):
    """Where numbers of a run go."""

    def log(self, numbers: Mapping[str, Any]) -> None:
        """One line of the metrics: `step`, and numbers by name."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Event files in `folder`/tensorboard; what an earlier part wrote after `step` is hidden."""

    def __init__(self, folder: Path, step: int, config: Mapping[str, Any]) -> None:
        event_pb2 = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._protos: Any = (
            event_pb2,
            importlib.import_module("tensorboard.compat.proto.summary_pb2"),
        )
        writer: Any = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        self._writer = writer.EventFileWriter(str(folder / "tensorboard"), flush_secs=5)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step + 1, session_log=start)

    def _write(self, step: int, **what: Any) -> None:
        event = self._protos[0].Event(wall_time=time.time(), step=step, **what)
        self._writer.add_event(event)

    def log(self, numbers: Mapping[str, Any]) -> None:
        """One line of the metrics: each number is a curve of its name."""
        value = self._protos[1].Summary.Value
        values = [value(tag=name, simple_value=number) for name, number in _curves(numbers)]
        self._write(numbers["step"], summary=self._protos[1].Summary(value=values))

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases in `folder`/wandb, offline unless WANDB_MODE says otherwise.

    A run that is continued has the same id, which stands in `folder`/wandb/id.
    """

    def __init__(self, folder: Path, step: int, config: Mapping[str, Any]) -> None:
        wandb: Any = importlib.import_module("wandb")
        place = folder / "wandb"
        place.mkdir(parents=True, exist_ok=True)
        known = place / "id"
        if not known.exists():
            with atomic_write(known) as file:
                file.write(secrets.token_hex(4).encode("ascii"))
        self._run = wandb.init(
            dir=str(folder), name=folder.name, id=known.read_text("ascii"), resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"), config=dict(config),
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip

    def log(self, numbers: Mapping[str, Any]) -> None:
        """One line of the metrics."""
        self._run.log(dict(_curves(numbers)), step=numbers["step"])

    def close(self) -> None:
        """Write what is still in memory."""
        self._run.finish()


def _curves(numbers: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(k, float(v)) for k, v in numbers.items() if k != "step" and v is not None]


_KINDS: dict[str, Callable[..., Logger]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
LOGGERS = ("none", *_KINDS)


def make_logger(
    name: str, folder: Path | None, step: int, config: Mapping[str, Any]
) -> Logger | None:
    """The logger of this name, None for "none", for a run in `folder` that continues at `step`.

    Raises: MissingPackage if its package is not installed; ValueError if the
    run has no folder.
    """
    if name == "none":
        return None
    if folder is None:
        raise ValueError(f'log="{name}" writes files: the run needs a folder')
    if importlib.util.find_spec(name) is None:
        raise MissingPackage(f"--log {name} needs its package: {install_extra(name)}")
    return _KINDS[name](folder, step, config)
