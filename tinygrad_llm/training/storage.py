"""What of a run is stored: its checkpoints, and how a run continues from one."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import random
from ..files.paths import local_path
from ..files.untrusted import translated
from ..models import registry
from .checkpoint import (
    Checkpoint,
    StorageError,
    checkpoints_in,
    explain_os_error,
    find_checkpoint,
    save_checkpoint,
)
from .divided_checkpoint import save_divided
from .live import LiveFiles
from .loggers import make_logger
from .metrics import Metrics
from .optimizer_state import load_whole_state, whole_state
from .options import TrainingOptions, blame
from .progress import Progress
from .ranks import ALONE, Ranks
from .state_check import check_state
from .step import Setup

__all__ = ["Counters", "Storage", "Stored"]


@dataclasses.dataclass
class Counters:
    """How far a run is: steps made, tokens trained on, seconds of training, its last losses."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    last_loss: float = math.nan
    val_loss: float | None = None


@dataclasses.dataclass
class Stored:
    """What the caller adds to the files of a run.

    files: more files for each checkpoint by name, such as the tokenizer; config: settings to keep
    in the checkpoint (what JSON holds); resume_command: what the user should type to continue.
    """

    files: Mapping[str, bytes] | None = None
    config: Mapping[str, Any] | None = None
    resume_command: str = "run it again with trainer.run(resume=True)"


class Storage:
    """The files of a run: checkpoints and metrics in its folder, or nothing without a folder.

    `checkpoint` is the last one that was written or read.
    """

    def __init__(self, options: TrainingOptions, stored: Stored, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.ranks: Ranks = ALONE
        self.files = dict(stored.files or {})
        self.config = dict(stored.config or {})
        self.resume_command = stored.resume_command
        self.checkpoint: Path | None = None
        self.set_folder(options.folder)

    def set_folder(self, folder: str | Path | None) -> None:
        """Where the files of the run go, if it was not known before."""
        self.folder = None if folder is None else local_path(folder)
        self.metrics = Metrics(None if self.folder is None else self.folder / "metrics.jsonl")
        self.live = LiveFiles(self.folder)

    @property
    def checkpoint_folder(self) -> Path | None:
        """The folder of the checkpoints; None for a run that writes nothing."""
        return None if self.folder is None else self.folder / "checkpoints"

    # ------------------------------------------------------------------------------- writing
    def save(self, setup: Setup, counters: Counters, final: bool = False) -> None:
        """Writes a checkpoint. A disk that is full stops the run only at its end.

        Raises: StorageError if `final` and it could not be written.
        """
        if self.checkpoint_folder is None:
            return
        state = {
            "tokens": counters.tokens,
            "seconds": counters.seconds,
            "last_loss": counters.last_loss,
            "val_loss": counters.val_loss,
            "scheduler": None if setup.scheduler is None else setup.scheduler.state_dict(),
            "average": None if setup.average is None else setup.average.state_dict(),
            "noise_scale": None if setup.noise is None else setup.noise.state_dict(),
            "random": random.get_rng_state(),
            "random_of_ranks": self.ranks.random_states(),
            "data": setup.stream.state_dict(),
        }
        if not self.ranks.sharded:
            state["optimizer"] = whole_state(setup.optimizer, self.ranks)
        with self.ranks.together():
            if self.ranks.sharded or self.ranks.first:
                self._write(setup, counters, state, final)
        written = self.ranks.same(None if self.checkpoint is None else str(self.checkpoint))
        self.checkpoint = None if written is None else Path(written)

    def _files(self, setup: Setup, counters: Counters, state: Mapping[str, Any]) -> Path | None:
        """Writes the files of a checkpoint; its folder, on the ranks that know it.

        Raises: StorageError from the disk.
        """
        folder, keep, config = self.checkpoint_folder, self.options.keep, self._config(setup)
        assert folder is not None
        if self.ranks.sharded:
            return save_divided(
                self.ranks, folder, counters.step, setup.model, setup.optimizer, state, config,
                self.files, keep,
            )  # fmt: skip
        return save_checkpoint(
            folder, counters.step, setup.model, state, config, files=self.files, keep=keep
        )

    def _write(
        self, setup: Setup, counters: Counters, state: Mapping[str, Any], final: bool
    ) -> None:
        """Writes a checkpoint; all ranks call it where the parameters are divided.

        Raises: StorageError if `final` and it could not be written.
        """
        try:
            self.checkpoint = self._files(setup, counters, state)
            self.metrics.recover()
            if self.metrics.problem is not None:
                line = explain_os_error(self.metrics.problem, self.folder or "")
                self.progress.note(f"{line}; the metrics are kept in memory until there is room")
        except StorageError as error:
            last = f"the last one is {self.checkpoint}" if self.checkpoint else "there is none yet"
            if final:
                raise StorageError(f"{error}; {last}") from error
            again = min(self.options.steps or 0, counters.step + self.options.checkpoint_every)
            self.progress.note(
                f"{error}; {last}. Training continues and tries again at step {again}: make room "
                "until then"
            )

    def begin(self, step: int) -> None:
        """Before the first step: the files of the run continue from its checkpoint, at `step`.

        After going back to an older checkpoint the newer ones, with a copy of the metrics, go to a
        folder beside them, where they can be resumed. Otherwise the new ones would count as older,
        and be removed first.
        Raises: StorageError if the disk refuses.
        """
        if not self.ranks.first:  # rank 0 writes the files
            self.metrics, self.live = Metrics(), LiveFiles(None)
            return
        newer = self._newer()
        if newer and self.folder is not None:
            try:
                aside = self._leave(newer, self.folder)
            except OSError as error:
                raise StorageError(explain_os_error(error, self.folder)) from error
            self.progress.note(
                f"{len(newer)} newer checkpoint{'s' * (len(newer) != 1)} of this run: moved to "
                f"{aside}"
            )
        self.metrics.truncate(step if self.checkpoint else -1)
        self.live.begin(step if self.checkpoint else -1, self.options.steps or 0)
        with blame("`log`", ValueError):
            self.metrics.logger = make_logger(self.options.log, self.folder, step, self.config)

    def end(self, step: int) -> None:
        """After the last step that is made: closes what the metrics are written to."""
        self.live.end(step, self.options.steps or 0)
        self.metrics.close()
        self.metrics.close_logger()
        if (problem := self.metrics.logger_problem) is not None:
            self.progress.note(f"--log {self.options.log} has stopped: {problem}")

    def _newer(self) -> list[Path]:
        """The checkpoints of this run that are newer than the one that it continues from."""
        folder, last = self.checkpoint_folder, self.checkpoint
        if folder is None or last is None or not folder.exists():
            return []
        if not last.parent.samefile(folder):  # of another run
            return []
        paths = checkpoints_in(folder)
        names = [path.name for path in paths]
        return paths[names.index(last.name) + 1 :] if last.name in names else []

    def _leave(self, newer: list[Path], folder: Path) -> Path:
        number = 1
        while (aside := folder / f"checkpoints-left-{number}").exists():
            number += 1
        aside.mkdir()
        if self.metrics.path is not None and self.metrics.path.exists():
            shutil.copyfile(self.metrics.path, aside / self.metrics.path.name)
        for path in newer:
            path.rename(aside / path.name)
        return aside

    def _config(self, setup: Setup) -> dict[str, Any]:
        """The caller's settings, and what it takes to build the model again."""
        described = registry.describe(setup.model)
        return self.config if described is None else {**self.config, "model": described}

    def check_config(self) -> None:
        """Raises: ValueError if the config holds what JSON cannot, with the place in it."""
        _check_json(self.config, "config")

    def refuse_old_run(self) -> None:
        """Raises: StorageError if the folder holds checkpoints: a new run may not hide them."""
        old = checkpoints_in(self.checkpoint_folder) if self.checkpoint_folder else []
        if old:
            raise StorageError(
                f"{self.folder} holds a run already ({old[-1].name}): "
                f"continue it (--resume {self.folder}), or take another folder"
            )

    # ------------------------------------------------------------------------------- resuming
    def resume(self, where: bool | str | Path, setup: Setup, counters: Counters) -> None:
        """Goes to the place where a checkpoint was taken.

        Raises: StorageError if there is none, unless `where` is True and nothing was saved yet.
        """
        path = self.folder if where is True else local_path(str(where))
        if path is None:
            raise StorageError("there is nothing to resume: the trainer has no folder")
        try:
            checkpoint = find_checkpoint(path)
        except StorageError:
            if where is not True or checkpoints_in(path / "checkpoints"):
                raise  # there are checkpoints, but all are damaged: the user must know
            return  # nothing was saved yet: begin at the beginning
        self.restore(checkpoint, setup, counters)
        self.progress.note(f"resuming {checkpoint.path} at step {counters.step}")

    def restore(self, checkpoint: Checkpoint, setup: Setup, counters: Counters) -> None:
        """Takes over weights, optimizer, schedule, data order and random state of a checkpoint.

        Raises: StorageError if it is damaged, or belongs to another model or other data.
        """
        state = checkpoint.state()
        checkpoint.load_into(setup.model)
        with translated(f"{checkpoint.path}: its training state:", StorageError, ""):
            check_state(state, setup)
        with translated(f"{checkpoint.path} belongs to another run:", StorageError, ""):
            load_whole_state(setup.optimizer, state["optimizer"])
            if setup.scheduler is not None and state["scheduler"] is not None:
                setup.scheduler.load_state_dict(state["scheduler"])
                if hasattr(setup.scheduler, "get_lr"):
                    setup.scheduler.get_lr()  # numbers with which it cannot compute fail here
            if setup.average is not None:
                setup.average.load_state_dict(state["average"])
            if setup.noise is not None:
                setup.noise.load_state_dict(state.get("noise_scale"))
            setup.stream.load_state_dict(state["data"])
            random.set_rng_state(state["random"])
            states = state.get("random_of_ranks") or []
            self.ranks.continue_random(states, state["random"], checkpoint.step)
        counters.step = checkpoint.step
        for name in ("tokens", "seconds", "last_loss", "val_loss"):
            setattr(counters, name, state[name])
        self.checkpoint = checkpoint.path


def _check_json(value: Any, where: str) -> None:
    """Raises: ValueError with the place of the first value that JSON cannot hold."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_json(inner, f"{where}[{name!r}]")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_json(inner, f"{where}[{i}]")
    else:
        try:
            json.dumps(value, allow_nan=False)
        except (ValueError, TypeError):
            raise ValueError(
                f"{where} is {value!r}, which a checkpoint cannot hold: JSON has texts, finite "
                "numbers, true, false, null, lists and objects; leave it out, or store it as a text"
            ) from None
