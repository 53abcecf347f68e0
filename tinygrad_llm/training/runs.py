"""What runs of pretraining and of fine-tuning share: a folder, resuming, the search for a rate."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files.json_files import write_json
from ..files.paths import local_path
from ..files.program import command_line
from ..models.optimizer_numbers import optimizer_numbers
from ..nn import Module
from ..nn.parameter import whole_numel
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler, WarmupCosineLR, WarmupStableDecayLR
from ..text import Tokenizer
from .checkpoint import Checkpoint, checkpoints_in, find_checkpoint
from .guard import FolderLock
from .loop import Trainer
from .options import OptionError, TrainingOptions
from .ranks import Ranks

__all__ = [
    "RunFacts",
    "check_disk",
    "check_same",
    "counting",
    "folder_of",
    "make_schedule",
    "newest_checkpoint",
    "prepare_folder",
    "ranks_of",
    "search_rate",
    "set_total_steps",
    "stop_at",
]


def newest_checkpoint(path: str | Path, note: Callable[[str], None]) -> Checkpoint:
    """`find_checkpoint`; note is called with a line for every newer checkpoint that is damaged."""
    checkpoint = find_checkpoint(path)
    for problem in checkpoint.passed_over:
        note(f"{problem}; going back to {checkpoint.path}")
    return checkpoint


# ------------------------------------------------------------------------------ resuming a run
def folder_of(checkpoint: Checkpoint) -> Path:
    """The run's folder that a checkpoint is in."""
    path = checkpoint.path
    return path.parent.parent if path.parent.name == "checkpoints" else path


def make_schedule(optimizer: Optimizer, options: Any) -> LRScheduler:
    """The schedule of a run of pretraining: a warm-up, then a cosine, WSD or a constant rate.

    options: lr, min_lr, warmup (a tenth of the steps at most), steps, optimizer, schedule, decay
    """
    o = options
    warmup = min(o.warmup, o.steps // 10)
    kind = o.schedule or ("constant" if o.optimizer == "schedule-free" else "cosine")
    least: Any = o.lr / 10.0 if o.min_lr is None else o.min_lr
    rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    if any(rate != o.lr for rate in rates):  # µP: each group falls by the same factor
        least = [least * (rate / o.lr) for rate in rates]
    if kind == "cosine":
        return WarmupCosineLR(optimizer, warmup, o.steps, least)
    fall = min(round(o.decay * o.steps), o.steps - warmup) if kind == "wsd" else 0
    return WarmupStableDecayLR(optimizer, warmup, o.steps, fall, least)


def set_total_steps(trainer: Trainer) -> None:
    """Lets the schedule of a resumed run end at the trainer's last step.

    A resumed run may train for more steps than were planned when its checkpoint was written.
    """
    if isinstance(trainer.scheduler, WarmupCosineLR | WarmupStableDecayLR):
        trainer.scheduler.total_steps = trainer.steps


def stop_at(trainer: Trainer, step: int | None) -> None:
    """Lets a run end after this step, if that is not None, with the schedule of all its steps."""
    if step is not None:
        trainer.steps = min(trainer.steps, max(step, trainer.step))


# ------------------------------------------------------------------------------------ its folder
def check_disk(
    out: str | Path | None, keep: int, model: Module, resumed: Checkpoint | None = None,
    optimizer: str = "adamw", averaged: bool = False,
) -> None:  # fmt: skip
    """Checks that the disk has room for `keep` + 1 checkpoints: weights and optimizer of each.

    optimizer: one of OPTIMIZERS, whose state is counted; averaged: whether there is an average of
    the weights beside them

    resumed: the checkpoint from which a run continues. It and older ones need no room any more, for
    new ones will replace them; newer ones are kept elsewhere, so they free none.
    Raises: OptionError without it.
    """
    place = local_path(out or "runs").absolute()
    names = [path.name for path in checkpoints_in(place / "checkpoints")]
    there = len(names)
    if resumed is not None and resumed.path.name in names:
        there = names.index(resumed.path.name) + 1
    while not place.exists():
        place = place.parent
    parameters = list(model.parameters())
    trained = sum(whole_numel(p) for p in parameters if p.requires_grad)
    size = max((p.array.itemsize for p in parameters), default=0)
    each = sum(whole_numel(p) * p.array.itemsize for p in parameters)
    each += size * (optimizer_numbers(model, optimizer, saved=True) + (trained if averaged else 0))
    count = max(1, keep + 1 - there)
    needed = count * each
    free = shutil.disk_usage(place).free
    if needed > free:
        raise OptionError(
            f"`folder`: {place} has {free / 1e6:,.0f} MB free, and {count} checkpoints take "
            f"{needed / 1e6:,.0f} MB; take a lower `keep` or another disk"
        )


@dataclasses.dataclass
class RunFacts:
    """What the files of a run say beside its options.

    name: of a folder in runs/ where none is given; command: what --resume is added to, such as
    "finetune dpo"; tokenizer: stored in every checkpoint; facts: more entries for its config;
    tokenizers: more of them, stored as NAME.json.
    """

    name: str
    command: str
    tokenizer: Tokenizer
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokenizers: Mapping[str, Tokenizer] = dataclasses.field(default_factory=dict)


def prepare_folder(
    trainer: Trainer, options: TrainingOptions, run: RunFacts, resumed: bool
) -> None:
    """Makes the run's folder and writes its config.json, which --config can read.

    options: their `folder` is set to it. Of several ranks the first makes it.
    Raises: StorageError if another run is in it.
    """
    ranks = trainer.setup.ranks
    with ranks.together():
        if ranks.first and not options.folder:
            options.folder = _new_folder(Path("runs"), run.name)
    folder = local_path(ranks.same(str(options.folder)))
    options.folder = folder
    values = options.stored()
    trainer.set_folder(folder)
    trainer.config = {**trainer.config, "options": values, **run.facts}
    trainer.files = _tokenizer_files({"tokenizer": run.tokenizer, **run.tokenizers})
    trainer.resume_command = command_line(*run.command.split(), "--resume", folder)
    with ranks.together():
        if ranks.first:
            with FolderLock(folder):
                if not resumed:
                    trainer.refuse_old_run()
                write_json(folder / "config.json", values)


def _new_folder(parent: Path, name: str) -> Path:
    """runs/NAME-1, or the next number that is free. Made here, so that two runs never share one."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (parent / f"{name}-{number}").mkdir()
            return parent / f"{name}-{number}"
        except FileExistsError:
            number += 1


def _tokenizer_files(tokenizers: Mapping[str, Tokenizer]) -> dict[str, bytes]:
    """tokenizer.json, and tokenizer_config.json of a published one, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, tokenizer in tokenizers.items():
            tokenizer.save(Path(folder, f"{name}.json"))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


# ------------------------------------------------------------------------------- while it works
def counting(note: Callable[[str], None], text: str) -> Callable[[int, int], None]:
    """A function (done, of) that notes the text, with both numbers, at most every 5 seconds."""
    shown = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 5.0 and done < of:
            shown = time.monotonic()
            note(text.format(done=done, of=of))

    return progress


def ranks_of(options: Any) -> Ranks:
    """The processes that make a run, as `ranks` of its options says.

    Raises: OptionError if other processes were asked for, and there are none.
    """
    ranks = Ranks.here()
    if ranks.several:
        options.ranks = ranks.size
    elif options.ranks > 1:
        raise OptionError(
            f"`ranks` {options.ranks}, and this is one process: start it with tinygrad-llm launch "
            "--nproc-per-node, and call distributed.init_process_group before the run"
        )
    return ranks


def check_same(ranks: Ranks, *facts: Any) -> None:
    """Checks that all ranks read the same data; facts: what JSON holds, and arrays of ids.

    Raises: OptionError on the ranks whose data are not those of rank 0.
    """
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.tobytes() if isinstance(fact, np.ndarray) else json.dumps(fact).encode())
    expected = ranks.same(digest.hexdigest())
    with ranks.together():
        if digest.hexdigest() != expected:
            raise OptionError(
                f"`ranks`: rank {ranks.rank} has read other data than rank 0: all need the same "
                "files"
            )


def search_rate(trainer: Trainer, out: str | Path | None, name: str) -> None:
    """Tries learning rates, says which is good, and draws the losses."""
    note = trainer.progress.note
    if trainer.setup.ranks.several:
        note(trainer.setup.ranks.line())
    rate = trainer.find_learning_rate(progress=counting(note, "trying       {done} of {of} rates"))
    if not trainer.setup.ranks.first:
        return
    folder = local_path(out or "runs")
    folder.mkdir(parents=True, exist_ok=True)
    note(str(rate))
    note(f"plot         {rate.plot(folder / f'{name}-lr.png', f'{name}: loss by learning rate')}")
