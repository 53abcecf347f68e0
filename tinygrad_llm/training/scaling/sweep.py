"""A sweep: one model for each size and each number of tokens, trained in the same way.

sweep = Sweep(resolved(SweepOptions, {"data": "shards", "sizes": "1x16,2x32", "seeds": 3}))
rows = sweep.run(print)          # resumes where it was stopped
"""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...files.paths import local_path
from ...files.untrusted import describe
from ..autopsy import NonFiniteError
from ..checkpoint import checkpoints_in, find_checkpoint
from ..ledger import Ledger
from ..options import (
    AT_LEAST_1,
    POSITIVE,
    SEED,
    SHARE_BELOW_1,
    OptionError,
    Options,
    Rule,
    option,
)
from ..presets import PretrainOptions, resolve
from ..progress import duration, make_progress
from ..shard_pretraining import kind_of
from .processes import share

__all__ = ["Point", "Sweep", "SweepOptions", "numbers_of", "sizes_of"]

_HEAD = 16  # channels of an attention head, or all that there are
_UP_TO_100 = Rule(lambda v: 1 <= v <= 100, "between 1 and 100")
_UP_TO_1000 = Rule(lambda v: 1 <= v <= 1000, "between 1 and 1,000")
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}


@dataclasses.dataclass
class SweepOptions(Options):
    """The options of a sweep; those of its runs are pretraining's."""

    corpus: str = option(
        "python-reference", "A data set, a file or a folder.", None, "data", argument=True
    )
    data: str | None = option(
        None, "In place of CORPUS: shards of prepare.", None, "data", about_default="CORPUS"
    )
    tokenizer: str = option("char", "Of CORPUS: char, bpe, gpt2, or a file.", None, "model")
    vocab_size: int = option(512, "Of bpe.", AT_LEAST_1, "model")
    sizes: str = option(
        "1x16,2x24,2x40,3x64,4x96,5x128", "Models, layers x channels, with commas.", None, "model"
    )
    tokens: str = option(
        "400k,800k,1.6M,3.2M", "Tokens that each of them reads, with commas.", None, "length"
    )
    context_length: int = option(64, "Tokens that a model sees.", AT_LEAST_1, "model")
    batch_size: int = option(16, "Windows in a batch.", AT_LEAST_1)
    lr: float = option(2e-3, "Highest learning rate at 64 channels.", POSITIVE)
    lr_power: float = option(0.75, "It changes as (64 / channels) to this power.")
    warmup: float = option(0.1, "Share of a run's steps in which the rate rises.", SHARE_BELOW_1)
    optimizer: str = option("adamw", "See pretrain.")
    seed: int = option(1, "Of weights, data order and intervals.", SEED)
    seeds: int = option(
        1, "Runs of each size and number of tokens, with other seeds.", _UP_TO_100, "length",
        may_change=True,
    )  # fmt: skip
    jobs: int = option(
        1, "Processes that train at the same time, of one thread each if several.", _UP_TO_1000,
        "machine", may_change=True,
    )  # fmt: skip
    resamples: int = option(200, "Fits of resampled runs, for intervals.", AT_LEAST_1, "report")
    repeats: bool = option(False, "Allow runs that read their text more than once.", None, "data")
    folder: str | None = option(
        None, "The sweep's folder; one that is there goes on [runs/sweep].", None, "files",
        name="out", about_default="runs/sweep",
    )  # fmt: skip

    def check(self) -> None:
        """Also: sizes and numbers of tokens.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        sizes_of(self.sizes)
        numbers_of(self.tokens)
        if not -4 <= self.lr_power <= 4:
            raise OptionError(f"`lr_power` must be between -4 and 4, got {self.lr_power:g}")


def sizes_of(text: str) -> list[tuple[int, int]]:
    """(layers, channels) of "1x16,2x32".

    Raises: OptionError for another text, or a size that stands there twice.
    """
    sizes = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d{0,3})x([1-9]\d{0,5})\s*", part)
        if match is None:
            raise OptionError(
                f"`sizes` are layers x channels with commas, such as 2x32,4x64, got "
                f"{describe(part)}"
            )
        layers, channels = int(match[1]), int(match[2])
        if channels > _HEAD and channels % 8:
            raise OptionError(f"`sizes`: {channels} channels must be a multiple of 8")
        sizes.append((layers, channels))
    if len(set(sizes)) < len(sizes):
        raise OptionError(f"`sizes`: one stands twice in {describe(text)}")
    return sizes


def numbers_of(text: str) -> list[int]:
    """The numbers of "500k,1.5M", in their order.

    Raises: OptionError for another text, or a number that stands there twice.
    """
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMbBgG]?)\s*", part)
        number = float(match[1]) * _UNITS[match[2].lower()] if match else 0.0
        if not 1 <= number <= 1e15:
            raise OptionError(f"`tokens` are numbers such as 500k,1M,2M, got {describe(part)}")
        numbers.append(round(number))
    if len(set(numbers)) < len(numbers):
        raise OptionError(f"`tokens`: one stands twice in {describe(text)}")
    return numbers


class Point(NamedTuple):
    """One run of a sweep: layers, channels, how many steps it makes, and its seed."""

    layers: int
    channels: int
    steps: int
    seed: int

    @property
    def cost(self) -> int:
        """About how long it takes, in no unit."""
        return self.layers * self.channels**2 * self.steps


class Sweep:
    """All runs of a sweep; what is done is read from the folder.

    One process begins with the smallest run, so that something is known soon. Several begin with
    the largest, so that none of them waits for it at the end.
    options: checked
    """

    def __init__(self, options: SweepOptions) -> None:
        self.o = options
        self.folder = local_path(options.folder or "runs/sweep")
        each = options.batch_size * options.context_length  # tokens of a step
        steps = [max(1, math.ceil(n / each)) for n in numbers_of(options.tokens)]
        sizes = sizes_of(options.sizes)
        seeds = range(options.seed, options.seed + options.seeds)
        self.points = [
            Point(*size, n, seed) for size in sizes for n in sorted(set(steps)) for seed in seeds
        ]
        self.points.sort(key=lambda p: p.cost, reverse=options.jobs > 1)

    def options_of(self, point: Point) -> PretrainOptions:
        """What pretrain would be called with.

        Raises: OptionError for a model that cannot be.
        """
        o = self.o
        head = _HEAD if point.channels % _HEAD == 0 else 8
        text: dict[str, Any] = {"data": o.data}
        if o.data is None:
            text = {"corpus": o.corpus, "tokenizer": o.tokenizer, "vocab_size": o.vocab_size}
        return resolve(
            {
                **text, "n_layers": point.layers, "emb_dim": point.channels,
                "n_heads": max(1, point.channels // head), "drop_rate": 0.0,
                "context_length": o.context_length, "batch_size": o.batch_size,
                "steps": point.steps, "lr": o.lr * (64.0 / point.channels) ** o.lr_power,
                "warmup": int(o.warmup * point.steps), "optimizer": o.optimizer,
                "seed": point.seed,
                "eval_every": point.steps, "sample_every": point.steps, "sample_tokens": 0,
                "checkpoint_every": 2000, "keep": 1,
                "folder": str(self.folder_of(point)),
            },
            {},
        )  # fmt: skip

    def folder_of(self, point: Point) -> Path:
        """Where the files of a run are."""
        name = f"{point.layers}x{point.channels}-{point.steps}-{point.seed}"
        return self.folder / "runs" / name

    def ledger(self) -> Ledger:
        """The results, to be opened."""
        about = {**dataclasses.asdict(self.o), "folder": None}
        changing = ("sizes", "tokens", "seeds", "jobs", "resamples", "repeats")
        return Ledger(self.folder, "sweep", about, changing)

    def plan(self, note: Callable[[str], None]) -> float:
        """Measures a few steps of each size; returns the seconds of all runs, and says them.

        Raises: OptionError as `run` does.
        """
        total = 0.0
        for layers, channels in sorted(
            {(p.layers, p.channels) for p in self.points}, key=lambda size: size[0] * size[1] ** 2
        ):
            points = [p for p in self.points if (p.layers, p.channels) == (layers, channels)]
            options = self.options_of(points[0])
            options.folder = None
            run = kind_of(options.model, options.data)(options, False)
            run.prepare()
            self._passes(run, max(p.steps for p in points))
            measured = run.trainer.measure()
            validation = len(run.trainer.validation) / 3.0
            steps = sum(p.steps + 2 * validation for p in points)
            total += steps * measured.seconds
            note(
                f"{layers}x{channels:<8} {run.model.n_parameters():>11,} parameters, "
                f"{measured.seconds * 1e3:7.1f} ms per step, "
                f"{duration(steps * measured.seconds)} for {len(points)} runs"
            )
        n = min(self.o.jobs, len(self.points))
        among = "" if n == 1 else f", {duration(total / n)} in {n} processes"
        note(
            f"all          {len(self.points)} runs, about {duration(total)} on this machine{among}"
        )
        return total

    def run(self, note: Callable[[str], None]) -> list[dict[str, Any]]:
        """Trains what is missing; returns a row for each run that the folder knows, those that were
        asked for before among them.

        note: called with a line for each run
        Raises: OptionError for options that do not fit the text, and, unless `repeats` is set, for
        runs that would read it more than once.
        """
        with self.ledger() as ledger:
            left = [p for p in self.points if ledger.find(**p._asdict()) is None]

            def add_row(point: Point, result: dict[str, Any]) -> None:
                row = ledger.add(**point._asdict(), **result)
                shutil.rmtree(self.folder_of(point), ignore_errors=True)
                loss = "diverged" if row["loss"] is None else f"loss {row['loss']:.4f}"
                done = sum(ledger.find(**p._asdict()) is not None for p in self.points)
                note(
                    f"{done:>3} of {len(self.points):<5} {point.layers}x{point.channels:<5} "
                    f"{row['parameters']:>10,} parameters {row['tokens']:>12,} tokens  seed "
                    f"{point.seed}  {loss}  {duration(row['seconds'])}"
                )

            if min(self.o.jobs, len(left)) > 1:
                share(self.train, left, self.o.jobs, add_row)
            else:
                for point in left:
                    add_row(point, self.train(point))
            return list(ledger.rows)

    def _passes(self, run: Any, steps: int) -> float:
        """How many times so many steps read the text.

        Raises: OptionError if that is more than once, unless `repeats` is set.
        """
        passes = float(steps / run.steps_of_a_pass())
        if passes > 1.0 and not self.o.repeats:
            raise OptionError(
                f"`tokens`: {steps:,} steps read the text {passes:.1f} times, and a repeated "
                "text counts for less than a new one: take fewer tokens, more text, or `repeats`"
            )
        return passes

    def train(self, point: Point) -> dict[str, Any]:
        """One run, from its last checkpoint if there is one; what is known of it.

        Raises: OptionError if it would read its text more than once, unless `repeats` is set.
        """
        options, folder = self.options_of(point), self.folder_of(point)
        kind = kind_of(options.model, options.data)
        quiet = make_progress(False)
        if checkpoints_in(folder / "checkpoints"):
            run = kind.continued(find_checkpoint(folder), {}, {}, quiet)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            run = kind(options, quiet)
        began = time.perf_counter()
        run.prepare()
        passes = self._passes(run, point.steps)
        loss, train_loss = None, None  # of a run that diverges
        with suppress(NonFiniteError):
            result = run.complete(report=False)
            loss, train_loss = result.val_loss, result.loss
        tokens = point.steps * options.batch_size * options.context_length
        per_token = run.model.flops_per_token(options.context_length)
        outside = sum(
            p.numel() for name, p in run.model.named_parameters() if "emb" in name.split(".")[-2]
        )
        return {
            "parameters": run.model.n_parameters(), "matrices": run.model.n_parameters() - outside,
            "tokens": tokens, "flops": tokens * per_token, "passes": passes,
            "loss": loss, "train_loss": train_loss,
            "bytes_per_token": run.bytes_per_token, "lr": options.lr,
            "seconds": time.perf_counter() - began,
        }  # fmt: skip
