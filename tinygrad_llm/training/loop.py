"""The training loop, one for scripts and for the command line.

    trainer = Trainer(model, optimizer, TokenBatches(tokens, 16, 128), steps=500, folder="runs/a")
    result = trainer.run()

A run that was stopped, by Ctrl-C or by force, goes on from its last checkpoint bit for bit:
`trainer.run(resume=True)` on a trainer that was built in the same way.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import random
from ..autograd.grad_mode import no_grad
from ..data.batches import ExampleBatches, Stream
from ..nn.utils import clip_grad_norm_
from .autopsy import NonFiniteError, diagnose_gradient, diagnose_loss
from .checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoints_in,
    explain_os_error,
    find_checkpoint,
    save_checkpoint,
)
from .graphed_step import GraphedStep
from .guard import FolderLock, Interruptions
from .lr_finder import FoundRate, find_learning_rate
from .metrics import Metrics
from .plan import Measured, Plan, make_plan, measure
from .progress import Progress, make_progress
from .step import (
    BadLossError,
    Loss,
    add_gradients,
    beside,
    count_targets,
    evaluate,
    model_loss,
)

__all__ = ["Result", "Trainer"]

T = TypeVar("T")


@dataclasses.dataclass
class Result:
    """How a run ended: losses in nats a token, times in seconds, where its files are."""

    step: int
    loss: float
    val_loss: float | None
    tokens: int
    seconds: float
    checkpoint: Path | None = None
    plot: Path | None = None


class Trainer:
    """Trains a model: accumulation, clipping, validation, samples, metrics, plot, checkpoints.

    model, optimizer    as in PyTorch; a step is zero_grad, gradients, clip, step
    batches             training batches: TokenBatches, a DataLoader, or a list of batches. Each
                        is moved to the model's device when its turn comes
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
                        Adam or AdamW; batches whose shapes change run as they are
    eval_every          steps between validations; sample_every between calls of sample(model)
    checkpoint_every    steps between checkpoints; the newest `keep` are kept
    files               more files for each checkpoint by name (bytes), such as the tokenizer
    config              settings to keep in the checkpoint (what JSON holds)
    bytes_per_token     of the validation text: then bits a byte are reported as well
    report              model -> more numbers by name, asked at every validation and drawn; the
                        model is in evaluation mode, outside the graph
    unit                what `count` counts, in the singular, for what is printed and drawn
    flops               batch -> floating-point operations of a step, for the plan; a language
                        model's tokens tell them
    progress            None: a bar in a terminal, plain lines elsewhere. True: plain lines.
                        False: nothing
    resume_command      what Ctrl-C tells the user to type

    The random state, the data order and the weights are untouched by plan, validation and samples.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        batches: Iterable[Any],
        *,
        steps: int,
        folder: str | Path | None = None,
        scheduler: Any = None,
        validation: Any = None,
        loss: Loss = model_loss,
        count: Callable[[Any], int] = count_targets,
        accumulation: int = 1,
        clip: float | None = 1.0,
        graph: bool = False,
        eval_every: int | None = None,
        sample: Callable[[Any], str] | None = None,
        sample_every: int | None = None,
        checkpoint_every: int = 100,
        keep: int = 3,
        files: Mapping[str, bytes] | None = None,
        config: Mapping[str, Any] | None = None,
        bytes_per_token: float | None = None,
        report: Callable[[Any], Mapping[str, float]] | None = None,
        unit: str = "token",
        flops: Callable[[Any], float] | None = None,
        progress: bool | Progress | None = None,
        resume_command: str = "run it again with trainer.run(resume=True)",
    ) -> None:
        for name, value in (
            ("steps", steps),
            ("accumulation", accumulation),
            ("eval_every", eval_every),
            ("sample_every", sample_every),
            ("checkpoint_every", checkpoint_every),
            ("keep", keep),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
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
        self.val_loss: float | None = None
        self.checkpoint: Path | None = None
        self.measured: Measured | None = None

    def set_folder(self, folder: str | Path | None) -> None:
        """Where the files of the run go, if it was not known before."""
        self.folder = None if folder is None else Path(folder)
        self.metrics = Metrics(None if self.folder is None else self.folder / "metrics.jsonl")

    # ------------------------------------------------------------------------------- the plan
    def measure(self) -> Measured:
        """Times a few real steps and puts everything back as it was."""
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

    @property
    def steps_per_epoch(self) -> float | None:
        """Steps in which all of the training data is gone through, None where it does not say."""
        batches = self.stream.batches
        return len(batches) / self.accumulation if hasattr(batches, "__len__") else None

    @property
    def _eval_every(self) -> int:
        return self.eval_every or max(1, self.steps // 10)

    @property
    def _sample_every(self) -> int:
        return self.sample_every or max(1, self.steps // 5)

    def plan(self) -> Plan:
        """What the steps that are left will cost on this machine, as just measured."""
        measured = self.measure()
        context = getattr(getattr(self.model, "config", None), "context_length", 0)
        evaluations = (self.steps - self.step) // self._eval_every + 1
        batches = evaluations * len(self.validation) if self.validation is not None else 0
        return make_plan(
            self.model,
            self.steps - self.step,
            context,
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

        resume: True goes on from the newest valid checkpoint of `folder` if there is one; a path
        names the checkpoint. plan: measure and print the plan first. Ctrl-C (or a SIGTERM) ends
        the step, saves, and raises KeyboardInterrupt (SystemExit); a second one stops at once.
        NonFiniteError stops a run whose loss or gradient is no number any more; CheckpointError
        tells that the last checkpoint could not be written.
        """
        self._graphed = None  # weights and state may have moved since
        with (
            FolderLock(self.folder),
            Interruptions(self.progress.note) as interruptions,
            np.errstate(all="ignore"),  # every loss and gradient norm is looked at here
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
        began, offset = time.perf_counter(), self.seconds
        recent = began, self.tokens
        rate = 0.0
        while self.step < self.steps:
            lr = self.optimizer.param_groups[0]["lr"]
            norm = self._train_step()
            now = time.perf_counter()
            self.seconds = offset + now - began
            if now - recent[0] > 0.5 or not rate:
                measured = (self.tokens - recent[1]) / max(now - recent[0], 1e-9)
                rate = measured if not rate else 0.7 * rate + 0.3 * measured
                recent = now, self.tokens
            numbers = {"step": self.step, "tokens": self.tokens, "loss": self.last_loss, "lr": lr}
            if norm is not None:  # else there was no target in the step
                self.metrics.log(**numbers, grad_norm=norm, seconds=round(self.seconds, 3))
            left = (now - began) / max(1, self.step - first) * (self.steps - self.step)
            self.progress.step(self.step, self.last_loss, lr, rate, left)
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
        if self.graph:
            return self._graphed_step()
        self.optimizer.zero_grad()
        batches = [self.stream.next() for _ in range(self.accumulation)]
        random_state = random.get_rng_state()
        try:
            mean, targets = add_gradients(self.model, batches, self.loss, self.count)
        except BadLossError as error:
            raise self._bad_loss(error) from error
        norm = None
        if targets:
            norm = self._clip()
            if not math.isfinite(norm):
                random.set_rng_state(random_state)
                batches = [beside(self.model, batch) for batch in batches if self.count(batch)]
                told = diagnose_gradient(norm, lambda batch: self.loss(self.model, batch), batches)
                raise NonFiniteError(*told, self.step + 1, self.checkpoint)
            self.optimizer.step()
            if self.scheduler is not None:
                self.scheduler.step()
            self.last_loss = mean
        self.step += 1
        self.tokens += targets
        return norm

    def _graphed_step(self) -> float | None:
        """As _train_step, in one launch; the GPU is waited for once."""
        batch = self.stream.next()
        targets, norm = self.count(batch), None
        if targets:
            random_state = random.get_rng_state()
            if self._graphed is None:
                self._graphed = GraphedStep(self.model, self.optimizer, self.loss, self.clip)
            loss, norm = self._graphed(batch)
            if not math.isfinite(norm):
                there = beside(self.model, batch)
                if not math.isfinite(loss):
                    raise self._bad_loss(BadLossError(loss, there, random_state))
                random.set_rng_state(random_state)
                told = diagnose_gradient(norm, lambda b: self.loss(self.model, b), [there])
                raise NonFiniteError(*told, self.step + 1, self.checkpoint)
            if self.scheduler is not None:
                self.scheduler.step()
            self.last_loss = loss
        self.step += 1
        self.tokens += targets
        return norm

    def _bad_loss(self, error: BadLossError) -> NonFiniteError:
        def again() -> None:
            random.set_rng_state(error.random_state)
            self.loss(self.model, error.batch)

        told = diagnose_loss(error.value, again)
        return NonFiniteError(*told, self.step + 1, self.checkpoint)

    def _clip(self) -> float:
        largest = math.inf if self.clip is None else self.clip
        return float(clip_grad_norm_(self.model.parameters(), largest).item())

    # ------------------------------------------------------------------- looking at the model
    def _validate(self) -> None:
        if self.validation is None:
            return
        self.val_loss, _ = evaluate(self.model, self.validation, self.loss, self.count)
        numbers = {"step": self.step, "tokens": self.tokens, "val_loss": self.val_loss}
        text = f"step {self.step}: validation loss {self.val_loss:.4f}"
        if self.bytes_per_token:
            bits = self.val_loss / math.log(2.0) / self.bytes_per_token
            numbers["bits_per_byte"] = bits
            text += f", {bits:.3f} bits a byte"
        for name, value in self._reported().items():
            numbers[name] = value
            text += f", {name.removeprefix('val_').replace('_', ' ')} {value:.4f}"
        self.metrics.log(**numbers, seconds=round(self.seconds, 3))
        self.progress.note(text)

    def _reported(self) -> Mapping[str, float]:
        return {} if self.report is None else self._looking(self.report)

    def _sample(self) -> None:
        assert self.sample is not None
        self.progress.sample(self._looking(self.sample))

    def _looking(self, look: Callable[[Any], T]) -> T:
        """look(model) in evaluation mode, outside the graph; nothing random is used up."""
        before = random.get_rng_state()
        was_training = self.model.training
        self.model.eval()
        try:
            with no_grad():
                return look(self.model)
        finally:
            self.model.train(was_training)
            random.set_rng_state(before)

    def _plot(self) -> Path | None:
        if self.folder is None or not self.metrics.lines:
            return None
        from .plots import plot_losses

        try:
            title = f"{self.folder.name}, step {self.step}"
            return plot_losses(
                self.metrics.lines, self.folder / "loss.png", title, unit=self.unit,
                steps_per_epoch=self.steps_per_epoch,
            )  # fmt: skip
        except (OSError, ImportError) as error:
            self.progress.note(f"no plot was drawn: {error}")
            return None

    # ---------------------------------------------------------------------------- checkpoints
    @property
    def checkpoint_folder(self) -> Path | None:
        return None if self.folder is None else self.folder / "checkpoints"

    def _save(self, final: bool = False) -> None:
        """Writes a checkpoint. A disk that refuses stops the run only at its end."""
        folder = self.checkpoint_folder
        if folder is None:
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
                folder,
                self.step,
                self.model,
                state,
                self._config(),
                files=self.files,
                keep=self.keep,
            )
            self.metrics.recover()
            if self.metrics.problem is not None:
                line = explain_os_error(self.metrics.problem, self.folder or "")
                self.progress.note(f"{line}; the metrics are kept in memory until there is room")
        except CheckpointError as error:
            last = f"the last one is {self.checkpoint}" if self.checkpoint else "there is none yet"
            if final:
                raise CheckpointError(f"{error}; {last}") from error
            self.progress.note(
                f"{error}; {last}. Training goes on and tries again at step "
                f"{min(self.steps, self.step + self.checkpoint_every)}: make room until then"
            )

    def _config(self) -> dict[str, Any]:
        """The caller's settings, and what it takes to build the model again."""
        config = getattr(self.model, "config", None)
        if not dataclasses.is_dataclass(config) or isinstance(config, type):
            return self.config
        kind = {"class": type(self.model).__name__, "config": dataclasses.asdict(config)}
        return {**self.config, "model": kind}

    def refuse_old_run(self) -> None:
        """CheckpointError if the folder holds checkpoints: a new run must not bury an old one."""
        if self.folder is None or not checkpoints_in(self.folder / "checkpoints"):
            return
        step = checkpoints_in(self.folder / "checkpoints")[-1].name
        raise CheckpointError(
            f"{self.folder} holds a run already ({step}): "
            f"go on with it (--resume {self.folder}), or take another folder"
        )

    def _resume(self, where: bool | str | Path) -> None:
        """Goes to the place where a checkpoint was taken."""
        path = self.folder if where is True else Path(str(where))
        if path is None:
            raise CheckpointError("there is nothing to resume: the trainer has no folder")
        try:
            found = find_checkpoint(path)
        except CheckpointError:
            if where is not True or checkpoints_in(path / "checkpoints"):
                raise  # there are some, but none is whole: the user has to know
            return  # nothing was saved yet: begin at the beginning
        self.restore(found)
        self.progress.note(f"resuming {found.path} at step {self.step}")

    def restore(self, found: Checkpoint) -> None:
        """Takes over weights, optimizer, schedule, data order and random state of a checkpoint."""
        state = found.state()
        found.load_into(self.model)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler is not None and state["scheduler"] is not None:
                self.scheduler.load_state_dict(state["scheduler"])
            self.stream.load_state_dict(state["data"])
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{found.path} belongs to another run: {error}") from error
        random.set_rng_state(state["random"])
        self.step, self.tokens = found.step, state["tokens"]
        self.seconds, self.last_loss = state["seconds"], state["last_loss"]
        self.val_loss = state["val_loss"]
        self.checkpoint = found.path
