"""The training loop, one for scripts and for the command line.

    trainer = Trainer(model, optimizer, TokenBatches(tokens, 16, 128), steps=500, folder="runs/a")
    result = trainer.run()

A run that was stopped, by Ctrl-C or by force, continues from its last checkpoint,
equal to the last bit: `trainer.run(resume=True)` on a trainer that was built in the same way.

Its parts: a Setup (step.py) is what makes a step, a Stepper (stepper.py) makes it and explains
numbers that are not finite, a Reporter (reporting.py) shows, a Storage (storage.py) writes and
resumes, and plan.py measures what a run will cost.
"""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..data.batches import ExampleBatches, Stream
from ..files.notebooks import cell_table
from ..models.base import context_length_of
from ..nn import Module
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler
from .averaging import WeightAverage
from .checkpoint import Checkpoint
from .guard import FolderLock, Interruptions
from .live import GRADIENT_STEPS
from .lr_finder import FoundRate, search_rates
from .noise import NoiseScale
from .options import TrainingOptions, did_you_mean, from_keywords
from .plan import Measured, Plan, make_plan, measure
from .progress import Progress, duration
from .ranks import Ranks, part_of_rows
from .reporting import Pace, Reporter, Reports
from .sharding import shard_model
from .step import BadLossError, Loss, Part, Setup, count_targets, model_loss
from .stepper import Stepper
from .storage import Counters, Storage, Stored

__all__ = ["KEYWORDS", "Result", "Trainer"]


@dataclasses.dataclass
class Result:
    """How a run ended: losses in nats per token, times in seconds, where its files are."""

    step: int
    loss: float
    val_loss: float | None
    tokens: int
    seconds: float
    checkpoint: Path | None = None
    plot: Path | None = None

    def _repr_html_(self) -> str:
        """A table in a notebook, and the plot of the losses if there is one."""
        rows = [
            ("steps", f"{self.step:,}"),
            ("training loss", f"{self.loss:.4f}"),
            ("validation loss", "none" if self.val_loss is None else f"{self.val_loss:.4f}"),
            ("tokens", f"{self.tokens:,}"),
            ("time", duration(self.seconds)),
            ("checkpoint", "none" if self.checkpoint is None else str(self.checkpoint)),
        ]
        picture = ""
        if self.plot is not None and self.plot.is_file():
            encoded = base64.b64encode(self.plot.read_bytes()).decode("ascii")
            picture = f'<img alt="the losses of the run" src="data:image/png;base64,{encoded}">'
        return f"{cell_table(rows)}{picture}"


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


_KINDS = (TrainingOptions, Reports, Stored)
KEYWORDS: tuple[str, ...] = tuple(name for kind in _KINDS for name in _names(kind))


def _part(path: str) -> Any:
    """A property that is the attribute of a part of the trainer: "setup.model"."""
    part, name = path.split(".")

    def read(self: Any) -> Any:
        return getattr(getattr(self, part), name)

    def write(self: Any, value: Any) -> None:
        setattr(getattr(self, part), name, value)

    return property(read, write)


class Trainer:
    """Trains a model: accumulation, clipping, validation, samples, metrics, plot, checkpoints.

    model, optimizer    as in PyTorch; a step is zero_grad, gradients, clip, step
    batches             training batches: TokenBatches, a DataLoader, or a list of batches. Each
                        is moved to the model's device just before it is used
    options             TrainingOptions: steps, accumulation, clip, ...; OPTIONS.md lists them
    scheduler           learning-rate schedule, stepped after the optimizer
    validation          batches for the validation loss (a sequence; all of them each time)
    loss, count         (model, batch) -> mean loss; batch -> how many targets that is the mean of.
                        The defaults are a language model's: model.loss(inputs, targets), and the
                        targets that are not -100
    part                (batch, rank, ranks) -> the examples that are a rank's, see `join`
    keywords            any field of TrainingOptions, in place of `options` or over it, of Reports
                        (sample, report, progress, ...) and of Stored (files, config, ...)

    The random state, the data order and the weights are untouched by plan, validation and samples.
    Raises: TypeError for a keyword that is none of those, without `steps`, and if the model has no
    `loss` and none is passed; OptionError, a ValueError, for a value that is not allowed.
    """

    model, optimizer, stream = _part("setup.model"), _part("setup.optimizer"), _part("setup.stream")
    loss, count = _part("setup.loss"), _part("setup.count")
    scheduler, accumulation = _part("setup.scheduler"), _part("setup.accumulation")
    step, tokens = _part("counters.step"), _part("counters.tokens")
    last_loss, val_loss = _part("counters.last_loss"), _part("counters.val_loss")
    steps = _part("options.steps")
    validation, progress = _part("reporter.validation"), _part("storage.progress")
    folder, metrics = _part("storage.folder"), _part("storage.metrics")
    files, config = _part("storage.files"), _part("storage.config")
    checkpoint, resume_command = _part("storage.checkpoint"), _part("storage.resume_command")

    def __init__(
        self, model: Module, optimizer: Optimizer, batches: Iterable[Any],
        options: TrainingOptions | None = None, *, scheduler: LRScheduler | None = None,
        validation: Sequence[Any] | None = None, loss: Loss = model_loss,
        count: Callable[[Any], int] = count_targets, part: Part = part_of_rows, **keywords: Any,
    ) -> None:  # fmt: skip
        if loss is model_loss and not callable(getattr(model, "loss", None)):
            raise TypeError(
                f"{type(model).__name__} has no method loss(inputs, targets): pass loss=, a "
                "function (model, batch) -> mean loss as a 0-d tensor, and count=, batch -> the "
                "number of its targets"
            )
        for name in keywords:
            if name not in KEYWORDS:
                known = [*KEYWORDS, "scheduler", "validation", "loss", "count", "part"]
                raise TypeError(f"Trainer has no option {name!r}{did_you_mean(name, known)}")
        plain, reports, stored = (
            {k: v for k, v in keywords.items() if k in _names(kind)} for kind in _KINDS
        )
        self.options = from_keywords("Trainer", TrainingOptions, options, plain)
        if self.options.steps is None:
            raise TypeError("Trainer needs steps, the number of optimizer steps: steps=500")
        o = self.options
        self.setup = Setup(
            model, optimizer, Stream(batches), loss, count, o.accumulation, o.clip, scheduler,
            part=part,
        )  # fmt: skip
        self.setup.average = None if o.ema is None else WeightAverage(model, o.ema)
        self.setup.noise = NoiseScale() if o.noise_scale else None
        self.counters = Counters()
        asked = Reports(**reports)
        self.storage = Storage(o, Stored(**stored), asked.shown())
        self.stepper = Stepper(self.setup, o.graph, self.storage.progress.note)
        self.reporter = Reporter(asked, o, self.setup, self.storage, self.counters, validation)
        self.measured: Measured | None = None

    def join(self, ranks: Ranks) -> None:
        """Makes this trainer one of several, built in the same way in as many processes.

        Each takes its part of every batch; weights and losses are those of one process. Rank 0,
        whose weights all begin with, writes files and shows lines. Dropout's masks differ between
        the ranks.
        """
        shard_model(self.model, self.optimizer, getattr(self.options, "shard", "none"), ranks)
        self.setup.join(ranks)
        self.storage.ranks = ranks
        ranks.begin_alike(self.model)
        ranks.seed_from(random.get_rng_state())
        if not ranks.first:
            self.storage.progress = Progress()
            self.stepper.note = self.storage.progress.note

    def set_folder(self, folder: str | Path | None) -> None:
        """Where the files of the run go, if it was not known before."""
        self.storage.set_folder(folder)

    def refuse_old_run(self) -> None:
        """Raises: StorageError if the folder holds checkpoints: a new run may not hide them."""
        self.storage.refuse_old_run()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over weights, optimizer, schedule, data order and random state of a checkpoint.

        Raises: StorageError if it is damaged, or belongs to another model or other data.
        """
        self.storage.restore(checkpoint, self.setup, self.counters)

    # ------------------------------------------------------------------------------- the plan
    def measure(self) -> Measured:
        """Times a few real steps and puts everything back as it was.

        Raises: NonFiniteError if a loss is infinite or NaN.
        """
        if self.measured is None:
            sizes_differ = isinstance(self.stream.batches, ExampleBatches)
            flops = self.reporter.reports.flops
            try:
                self.measured = measure(self.setup, flops, repeats=8 if sizes_differ else 3)
            except BadLossError as error:
                raise self.stepper.bad_loss(error, self.step + 1, self.checkpoint) from error
        return self.measured

    def plan(self) -> Plan:
        """What the steps that are left will cost on this machine, as just measured."""
        measured = self.measure()
        self._set_ramp()
        left = self.steps - self.step
        batches_left = sum(map(self.setup.batches_of, range(self.step + 1, self.steps + 1)))
        evaluations = left // self.options.validation_steps + 1
        batches = evaluations * len(self.validation) if self.validation is not None else 0
        return make_plan(
            self.model,
            left,
            context_length_of(self.model) or 0,
            measured,
            forward_passes=batches / self.accumulation,
            unit=f"{self.reporter.reports.unit}s",
            share=batches_left / (left * self.accumulation) if left else 1.0,
        )

    def _set_ramp(self) -> None:
        """The steps in which the batches of a step rise, now that the number of all is known."""
        self.setup.ramp = round(self.options.batch_ramp * self.steps)

    def find_learning_rate(self, **options: Any) -> FoundRate:
        """Tries rates on this trainer's batches and puts everything back: see search_rates."""
        return search_rates(self.setup, **options)

    # -------------------------------------------------------------------------------- the loop
    def run(self, resume: bool | str | Path = False, plan: bool = True) -> Result:
        """Trains up to `steps` and returns the result.

        resume: True continues from the newest valid checkpoint of `folder` if there is one; a path
        names the checkpoint. plan: measure and print the plan first. Ctrl-C (or a SIGTERM) ends
        the step, saves, and raises KeyboardInterrupt (SystemExit); a second one stops immediately.
        Raises: NonFiniteError if a loss, a gradient or a saved weight is NaN or infinite;
        StorageError if the last checkpoint could not be written, or there is nothing to resume;
        ValueError if the config holds what a checkpoint cannot.
        """
        ranks = self.setup.ranks
        with ranks.together():
            self.storage.check_config()
        self.stepper.forget_graphs()
        self._set_ramp()
        with (
            ranks.together_around(FolderLock(self.folder if ranks.first else None)),
            Interruptions(self.progress.note) as interruptions,
            np.errstate(all="ignore"),  # every loss and gradient norm is checked here
        ):
            ranks.interruptions = interruptions
            ranks.pause_asked = self.storage.live.pause_asked
            with ranks.together():
                if resume:
                    self.storage.resume(resume, self.setup, self.counters)
                elif self.checkpoint is None:
                    self.refuse_old_run()
            with ranks.together():
                self.storage.begin(self.step)
            if plan and self.step < self.steps:
                expected = self.plan()
                self.progress.note(str(expected))
                self.reporter.flops_per_unit = expected.flops / max(1, expected.tokens)
                self.reporter.peak = self.measure().peak
            self.progress.start(self.step, self.steps)
            try:
                self._loop(interruptions)
            finally:
                self.progress.stop()
                self.storage.end(self.step)
            plot = self.reporter.plot()
            c = self.counters
            return Result(
                c.step, c.last_loss, c.val_loss, c.tokens, c.seconds, self.checkpoint, plot
            )

    def _loop(self, interruptions: Interruptions) -> None:
        options = self.options
        if self.step == 0 and self.checkpoint is None:
            self._validate()
            self._save()  # so that there is one from the first moment on
        first = self.step
        pace = Pace(self.tokens, self.counters.seconds)
        while self.step < self.steps:
            lr = self.optimizer.param_groups[0]["lr"]
            norm = self._train_step()
            self.reporter.step(lr, norm, pace, first)
            if norm is not None and self.step % GRADIENT_STEPS == 0:
                self.reporter.gradients(norm)
            last = self.step == self.steps
            if last or self.step % options.validation_steps == 0:
                self._validate()
            if not last and self.step % options.sample_steps == 0:
                self._sample()
            if (stop := self.setup.ranks.asked_to_stop(interruptions.signal)) is not None:
                self._save(final=True)
                self.reporter.plot()
                interruptions.signal = stop
                interruptions.stop(f"saved {self.checkpoint or 'nothing'}", self.resume_command)
            if due := last or self.step % options.checkpoint_every == 0:
                self._save(final=last)
            if not last and self.setup.ranks.asked_to_pause(self.storage.live.pause_asked):
                pace.skip(self._pause(interruptions, saved=due))

    def _pause(self, interruptions: Interruptions, saved: bool) -> float:
        """Saves, and waits until nobody asks for it any more or a signal comes; the seconds.

        A run that is killed while it waits continues from here, with nothing lost.
        """
        live, began = self.storage.live, time.perf_counter()
        if not saved:
            self._save()
        self.progress.note(
            f"paused at step {self.step}, saved; to continue: rm {live.folder}/pause"
        )
        live.state("paused", self.step, self.steps)
        while live.pause_asked() and interruptions.signal is None:
            time.sleep(0.05)
        self.setup.ranks.same(None)  # the others wait for rank 0 here
        live.state("running", self.step, self.steps)
        return time.perf_counter() - began

    def _train_step(self) -> float | None:
        """One update; returns the gradient's norm before clipping, None if no target counted."""
        made = self.stepper.step(self.step + 1, self.checkpoint)
        if made.norm is not None:
            self.last_loss = made.loss
        self.step += 1
        self.tokens += made.targets
        return made.norm

    def _validate(self) -> None:
        """Raises: NonFiniteError if the validation loss is NaN or infinite."""
        self.setup.averaged()
        if not self.reporter.validate():
            self._stop_if_diverged(self.validation)

    def _sample(self) -> None:
        """Shows a text by the model.

        Raises: NonFiniteError in place of the error of a sample by a model that has diverged.
        """
        if self.reporter.reports.sample is None:
            return
        self.setup.averaged()
        self._stop_if_diverged(())
        ranks = self.setup.ranks
        with ranks.whole(self.model):
            if not ranks.first:
                return
            try:
                self.reporter.sample()
            except (RuntimeError, ValueError, ArithmeticError):
                error = self.stepper.diverged(self.step, self.checkpoint, None)
                if error is not None:
                    raise error from None
                raise

    def _save(self, final: bool = False) -> None:
        """Raises: NonFiniteError if a weight is NaN or infinite: every checkpoint is a good one."""
        if self.folder is not None:  # the same on all ranks
            self.setup.averaged()
            self._stop_if_diverged(())
            self.storage.save(self.setup, self.counters, final)

    def _stop_if_diverged(self, batches: Sequence[Any] | None) -> None:
        """Raises: NonFiniteError if the weights or the losses of these batches are not finite."""
        ranks = self.setup.ranks
        whole = nullcontext() if batches == () else ranks.whole(self.model)
        with whole, ranks.together():
            error = self.stepper.diverged(self.step, self.checkpoint, batches)
            if error is not None:
                raise error
