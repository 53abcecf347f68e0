"""What of a run is stored: its checkpoints, and how a run continues from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import random
from ..data.batches import Stream
from ..models import registry
from ..nn import Module
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler
from .checkpoint import (
    Checkpoint,
    StorageError,
    checkpoints_in,
    explain_os_error,
    find_checkpoint,
    save_checkpoint,
)
from .metrics import Metrics
from .progress import Progress

__all__ = ["StoredRun"]


class StoredRun:
    """The part of a run that its checkpoints hold. The attributes are set by Trainer."""

    model: Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    stream: Stream
    steps: int
    checkpoint_every: int
    keep: int
    files: dict[str, bytes]
    config: dict[str, Any]
    progress: Progress

    step: int  # how many were made
    tokens: int  # how many were trained on
    seconds: float  # of training so far
    last_loss: float
    val_loss: float | None
    checkpoint: Path | None  # the last one that was written or read

    def set_folder(self, folder: str | Path | None) -> None:
        """Where the files of the run go, if it was not known before."""
        self.folder = None if folder is None else Path(folder)
        self.metrics = Metrics(None if self.folder is None else self.folder / "metrics.jsonl")

    @property
    def checkpoint_folder(self) -> Path | None:
        """The folder of the checkpoints; None for a run that writes nothing."""
        return None if self.folder is None else self.folder / "checkpoints"

    # ------------------------------------------------------------------------------- writing
    def _save(self, final: bool = False) -> None:
        """Writes a checkpoint. A disk that is full stops the run only at its end.

        Raises: StorageError if `final` and it could not be written.
        """
        if self.checkpoint_folder is None:
            return
        state = {
            "tokens": self.tokens,
            "seconds": self.seconds,
            "last_loss": self.last_loss,
            "val_loss": self.val_loss,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": random.get_rng_state(),
            "data": self.stream.state_dict(),
        }
        try:
            self.checkpoint = save_checkpoint(
                self.checkpoint_folder, self.step, self.model, state, self._config(),
                files=self.files, keep=self.keep,
            )  # fmt: skip
            self.metrics.recover()
            if self.metrics.problem is not None:
                line = explain_os_error(self.metrics.problem, self.folder or "")
                self.progress.note(f"{line}; the metrics are kept in memory until there is room")
        except StorageError as error:
            last = f"the last one is {self.checkpoint}" if self.checkpoint else "there is none yet"
            if final:
                raise StorageError(f"{error}; {last}") from error
            self.progress.note(
                f"{error}; {last}. Training continues and tries again at step "
                f"{min(self.steps, self.step + self.checkpoint_every)}: make room until then"
            )

    def _config(self) -> dict[str, Any]:
        """The caller's settings, and what it takes to build the model again."""
        described = registry.describe(self.model)
        return self.config if described is None else {**self.config, "model": described}

    def refuse_old_run(self) -> None:
        """Raises: StorageError if the folder holds checkpoints: a new run may not hide them."""
        old = checkpoints_in(self.checkpoint_folder) if self.checkpoint_folder else []
        if old:
            raise StorageError(
                f"{self.folder} holds a run already ({old[-1].name}): "
                f"continue it (--resume {self.folder}), or take another folder"
            )

    # ------------------------------------------------------------------------------- resuming
    def _resume(self, where: bool | str | Path) -> None:
        """Goes to the place where a checkpoint was taken."""
        path = self.folder if where is True else Path(str(where))
        if path is None:
            raise StorageError("there is nothing to resume: the trainer has no folder")
        try:
            checkpoint = find_checkpoint(path)
        except StorageError:
            if where is not True or checkpoints_in(path / "checkpoints"):
                raise  # there are checkpoints, but all are damaged: the user must know
            return  # nothing was saved yet: begin at the beginning
        self.restore(checkpoint)
        self.progress.note(f"resuming {checkpoint.path} at step {self.step}")

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over weights, optimizer, schedule, data order and random state of a checkpoint.

        Raises: StorageError if it is damaged, or belongs to another model or other data.
        """
        state = checkpoint.state()
        checkpoint.load_into(self.model)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler is not None and state["scheduler"] is not None:
                self.scheduler.load_state_dict(state["scheduler"])
            self.stream.load_state_dict(state["data"])
        except (KeyError, ValueError, TypeError) as error:
            raise StorageError(f"{checkpoint.path} belongs to another run: {error}") from error
        random.set_rng_state(state["random"])
        self.step, self.tokens = checkpoint.step, state["tokens"]
        self.seconds, self.last_loss = state["seconds"], state["last_loss"]
        self.val_loss = state["val_loss"]
        self.checkpoint = checkpoint.path
