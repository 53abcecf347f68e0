"""The training loop, one for scripts and for the command line.

    trainer = Trainer(model, optimizer, TokenBatches(tokens, 16, 128), steps=500, folder="runs/a")
    result = trainer.run()

A run that was stopped, by Ctrl-C or by force, continues from its last checkpoint,
equal to the last bit: `trainer.run(resume=True)` on a trainer that was built in the same way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..data.batches import ExampleBatches, Stream
from ..models.base import context_length_of
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler
from .autopsy import NonFiniteError, diagnose_gradient, diagnose_loss
from .graphed_step import GraphedStep
from .guard import FolderLock, Interruptions
from .lr_finder import FoundRate, find_learning_rate
from .plan import Measured, Plan, make_plan, measure
from .progress import Progress, make_progress
from .reporting import Pace, ReportedRun
from .step import BadLossError, Loss, add_gradients, count_targets, model_loss, to_device_of

__all__ = ["Result", "Trainer"]


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


class Trainer(ReportedRun):
    """Trains a model: accumulation, clipping, validation, samples, metrics, plot, checkpoints.

    model, optimizer    as in PyTorch; a step is zero_grad, gradients, clip, step
    batches             training batches: TokenBatches, a DataLoader, or a list of batches. Each
                        is moved to the model's device just before it is used
    steps               optimizer steps in all
    folder              where metrics.jsonl, loss.png and checkpoints/ go; None writes nothing
    scheduler           learning-rate schedule, stepped after the optimizer
    validation          batches for the validation loss (a sequence; all of them each time)
    loss, count         (model, batch) -> mean loss; batch -> how many targets that is the mean of.
                        The defaults are a language model's: model.loss(inputs, targets), and the
                        targets that are not -100
    accumulation        batches in a step, weighted by their targets
    clip                largest gradient norm; None does not clip
    graph               on a GPU, make a step one launch (`cuda.graphed`), which is faster where
                        launching takes longer than computing: small models. For accumulation=1,
                        Adam or AdamW; batches whose shapes change run without it
    eval_every          steps between validations; sample_every between calls of sample(model)
    checkpoint_every    steps between checkpoints; the newest `keep` are kept
    files               more files for each checkpoint by name (bytes), such as the tokenizer
    config              settings to keep in the checkpoint (what JSON holds)
    bytes_per_token     of the validation text: then bits per byte are reported as well
    report              model -> more numbers by name, at every validation; they are drawn too. The
                        model is in evaluation mode, and no graph is recorded
    unit                what `count` counts, in the singular, for printed lines and pictures
    flops               batch -> floating-point operations of a step, for the plan; None computes
                        them from the number of tokens
    progress            None: a bar in a terminal, plain lines elsewhere. True: plain lines.
                        False: nothing
    resume_command      what the user should type after Ctrl-C to continue

    The random state, the data order and the weights are untouched by plan, validation and samples.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, batches: Iterable[Any], *, steps: int,
        folder: str | Path | None = None, scheduler: LRScheduler | None = None,
        validation: Sequence[Any] | None = None, loss: Loss = model_loss,
        count: Callable[[Any], int] = count_targets, accumulation: int = 1,
        clip: float | None = 1.0, graph: bool = False, eval_every: int | None = None,
        sample: Callable[[Any], str] | None = None, sample_every: int | None = None,
        checkpoint_every: int = 100, keep: int = 3, files: Mapping[str, bytes] | None = None,
        config: Mapping[str, Any] | None = None, bytes_per_token: float | None = None,
        report: Callable[[Any], Mapping[str, float]] | None = None, unit: str = "token",
        flops: Callable[[Any], float] | None = None, progress: bool | Progress | None = None,
        resume_command: str = "run it again with trainer.run(resume=True)",
    ) -> None:  # fmt: skip
        _at_least_one(
            steps=steps, accumulation=accumulation, eval_every=eval_every,
            sample_every=sample_every, checkpoint_every=checkpoint_every, keep=keep,
        )  # fmt: skip
        if graph and accumulation > 1:
            raise ValueError(f"graph=True needs accumulation=1, got {accumulation}")
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.graph = graph
        self._graphed: GraphedStep | None = None  # made at the first step
        self.stream = Stream(batches)
        self.steps = steps
        self.validation = validation
        self.loss, self.count = loss, count
        self.accumulation, self.clip = accumulation, clip
        self.eval_every = eval_every
        self.sample, self.sample_every = sample, sample_every
        self.checkpoint_every, self.keep = checkpoint_every, keep
        self.files, self.config = dict(files or {}), dict(config or {})
        self.bytes_per_token = bytes_per_token
        self.report, self.unit, self.flops = report, unit, flops
        self.progress = make_progress(progress)
        self.progress.unit = f"{unit}s"
        self.resume_command = resume_command

        self.set_folder(folder)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.last_loss = math.nan
        self.val_loss = None
        self.checkpoint = None
        self.measured: Measured | None = None

    # ------------------------------------------------------------------------------- the plan
    def measure(self) -> Measured:
        """Times a few real steps and puts everything back as it was.

        Raises: NonFiniteError if a loss is infinite or NaN.
        """
        if self.measured is None:
            try:
                self.measured = measure(
                    self.model,
                    self.optimizer,
                    self.stream,
                    loss=self.loss,
                    count=self.count,
                    accumulation=self.accumulation,
                    clip=self.clip,
                    flops=self.flops,
                    repeats=8 if isinstance(self.stream.batches, ExampleBatches) else 3,
                )
            except BadLossError as error:
                raise self._bad_loss(error) from error
        return self.measured

    def plan(self) -> Plan:
        """What the steps that are left will cost on this machine, as just measured."""
        measured = self.measure()
        evaluations = (self.steps - self.step) // self._eval_every + 1
        batches = evaluations * len(self.validation) if self.validation is not None else 0
        return make_plan(
            self.model,
            self.steps - self.step,
            context_length_of(self.model) or 0,
            measured,
            forward_passes=batches / self.accumulation,
            unit=f"{self.unit}s",
        )

    def find_learning_rate(self, **options: Any) -> FoundRate:
        """Tries rates on this trainer's batches and puts everything back: see lr_finder."""
        shared: dict[str, Any] = dict(
            loss=self.loss, count=self.count, accumulation=self.accumulation, clip=self.clip
        )
        return find_learning_rate(self.model, self.optimizer, self.stream, **{**shared, **options})

    # -------------------------------------------------------------------------------- the loop
    def run(self, resume: bool | str | Path = False, plan: bool = True) -> Result:
        """Trains up to `steps` and returns the result.

        resume: True continues from the newest valid checkpoint of `folder` if there is one; a path
        names the checkpoint. plan: measure and print the plan first. Ctrl-C (or a SIGTERM) ends
        the step, saves, and raises KeyboardInterrupt (SystemExit); a second one stops immediately.
        Raises: NonFiniteError if a loss or a gradient is NaN or infinite; StorageError if the last
        checkpoint could not be written, or there is nothing to resume.
        """
        self._graphed = None  # weights and state may have moved since
        with (
            FolderLock(self.folder),
            Interruptions(self.progress.note) as interruptions,
            np.errstate(all="ignore"),  # every loss and gradient norm is checked here
        ):
            if resume:
                self._resume(resume)
            elif self.checkpoint is None:
                self.refuse_old_run()
            self.metrics.truncate(self.step if self.checkpoint else -1)
            if plan and self.step < self.steps:
                self.progress.note(str(self.plan()))
            self.progress.start(self.step, self.steps)
            try:
                self._loop(interruptions)
            finally:
                self.progress.stop()
                self.metrics.close()
            plot = self._plot()
            return Result(
                self.step,
                self.last_loss,
                self.val_loss,
                self.tokens,
                self.seconds,
                self.checkpoint,
                plot,
            )

    def _loop(self, interruptions: Interruptions) -> None:
        if self.step == 0 and self.checkpoint is None:
            self._validate()
            self._save()  # so that there is one from the first moment on
        first = self.step
        pace = Pace(self.tokens, self.seconds)
        while self.step < self.steps:
            lr = self.optimizer.param_groups[0]["lr"]
            norm = self._train_step()
            self._report_step(lr, norm, pace, first)
            last = self.step == self.steps
            if last or self.step % self._eval_every == 0:
                self._validate()
            if self.sample is not None and not last and self.step % self._sample_every == 0:
                self._sample()
            if interruptions.signal is not None:
                self._save(final=True)
                self._plot()
                interruptions.stop(f"saved {self.checkpoint or 'nothing'}", self.resume_command)
            if last or self.step % self.checkpoint_every == 0:
                self._save(final=last)

    def _train_step(self) -> float | None:
        """One update; returns the gradient's norm before clipping, None if no target counted."""
        self.model.train()
        loss, norm, targets = self._graphed_step() if self.graph else self._eager_step()
        if norm is not None:
            if self.scheduler is not None:
                self.scheduler.step()
            self.last_loss = loss
        self.step += 1
        self.tokens += targets
        return norm

    def _eager_step(self) -> tuple[float, float | None, int]:
        """(loss, gradient's norm, targets); without a target the norm is None."""
        self.optimizer.zero_grad()
        batches = [self.stream.next() for _ in range(self.accumulation)]
        random_state = random.get_rng_state()
        try:
            loss, targets = add_gradients(self.model, batches, self.loss, self.count)
        except BadLossError as error:
            raise self._bad_loss(error) from error
        if not targets:
            return loss, None, 0
        largest = math.inf if self.clip is None else self.clip
        norm = float(clip_grad_norm_(self.model.parameters(), largest).item())
        if not math.isfinite(norm):
            raise self._bad_gradient(norm, batches, random_state)
        self.optimizer.step()
        return loss, norm, targets

    def _graphed_step(self) -> tuple[float, float | None, int]:
        """As _eager_step, in one launch; the CPU waits for the GPU once."""
        batch = self.stream.next()
        targets = self.count(batch)
        if not targets:
            return math.nan, None, 0
        random_state = random.get_rng_state()
        if self._graphed is None:
            self._graphed = GraphedStep(self.model, self.optimizer, self.loss, self.clip)
        loss, norm = self._graphed(batch)
        if not math.isfinite(norm):
            if not math.isfinite(loss):
                batch = to_device_of(self.model, batch)
                raise self._bad_loss(BadLossError(loss, batch, random_state))
            raise self._bad_gradient(norm, [batch], random_state)
        return loss, norm, targets

    def _bad_loss(self, error: BadLossError) -> NonFiniteError:
        def again() -> None:
            random.set_rng_state(error.random_state)
            self.loss(self.model, error.batch)

        return NonFiniteError(*diagnose_loss(error.value, again), self.step + 1, self.checkpoint)

    def _bad_gradient(
        self, norm: float, batches: Sequence[Any], random_state: Any
    ) -> NonFiniteError:
        """random_state: the default generator's before the batches' losses were computed."""
        random.set_rng_state(random_state)
        batches = [to_device_of(self.model, batch) for batch in batches if self.count(batch)]
        diagnosis = diagnose_gradient(norm, lambda batch: self.loss(self.model, batch), batches)
        return NonFiniteError(*diagnosis, self.step + 1, self.checkpoint)


def _at_least_one(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
