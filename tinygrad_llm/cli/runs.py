"""What pretrain and finetune share: a run's folder, resuming it, the search for a rate."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.json_files import write_json
from .errors import BadValue

if TYPE_CHECKING:
    from ..nn import Module
    from ..text import Tokenizer
    from ..training import Checkpoint, Trainer

__all__ = [
    "check_disk",
    "counting",
    "folder_of",
    "kept_options",
    "prepare_folder",
    "refuse_search",
    "search_rate",
    "set_total_steps",
]


# ------------------------------------------------------------------------------ resuming a run
def refuse_search(find_lr: bool) -> None:
    """Raises: BadValue if --find-lr was given with --resume."""
    if find_lr:
        raise BadValue("--find-lr is for a run that has not begun: leave --resume out")


def kept_options(
    checkpoint: Checkpoint, given: Mapping[str, Any], may_change: Collection[str]
) -> dict[str, Any]:
    """The options that a run was started with.

    Raises: BadValue for a given option that differs and is not one of those that may change.
    """
    options = checkpoint.config["options"]
    for name, value in given.items():
        if name not in may_change and value != options.get(name):
            raise BadValue(
                f"--{name.replace('_', '-')} {value}: the checkpoint {checkpoint.path} was made "
                f"with {options.get(name, 'none')}, and a resumed run keeps it; leave the "
                "option out, or start another run"
            )
    return options


def folder_of(checkpoint: Checkpoint) -> Path:
    """The run's folder that a checkpoint is in."""
    path = checkpoint.path
    return path.parent.parent if path.parent.name == "checkpoints" else path


def set_total_steps(trainer: Trainer) -> None:
    """Lets the schedule of a resumed run end at the trainer's last step.

    A resumed run may train for more steps than were planned when its checkpoint was written.
    """
    from ..optim.lr_scheduler import WarmupCosineLR

    assert isinstance(trainer.scheduler, WarmupCosineLR)
    trainer.scheduler.total_steps = trainer.steps


# ------------------------------------------------------------------------------------ its folder
def check_disk(out: str | None, keep: int, model: Module) -> None:
    """Raises: BadValue without room for checkpoints: weights and two moments, `keep` + 1 times."""
    place = Path(out or "runs").absolute()
    while not place.exists():
        place = place.parent
    each = sum(p.nbytes * (3 if p.requires_grad else 1) for p in model.parameters())
    needed = (keep + 1) * each
    free = shutil.disk_usage(place).free
    if needed > free:
        raise BadValue(
            f"--out: {place} has {free / 1e6:,.0f} MB free, and {keep + 1} checkpoints take "
            f"{needed / 1e6:,.0f} MB; take a lower --keep or another disk"
        )


def prepare_folder(
    trainer: Trainer, options: Any, *, name: str, command: str, facts: Mapping[str, Any],
    tokenizer: Tokenizer, resumed: bool,
) -> None:  # fmt: skip
    """Makes the run's folder and writes its config.json, which --config can read.

    options: a dataclass with `out`, which becomes the folder; name: of a folder in runs/ where
    `out` is not given; command: what --resume is added to; facts: what else the checkpoints say.
    """
    from ..training.guard import FolderLock

    folder = Path(options.out) if options.out else _new_folder(Path("runs"), name)
    options.out = str(folder)
    values = dataclasses.asdict(options)
    values = {k: v for k, v in values.items() if v is not None and k != "out"}
    trainer.set_folder(folder)
    trainer.config = {**trainer.config, "options": values, **facts}
    trainer.files = {"tokenizer.json": _tokenizer_file(tokenizer)}
    trainer.resume_command = f"tinygrad-llm {command} --resume {folder}"
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


def _tokenizer_file(tokenizer: Tokenizer) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder, "tokenizer.json"))
        return Path(folder, "tokenizer.json").read_bytes()


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


def search_rate(trainer: Trainer, out: str | None, name: str) -> None:
    """Tries learning rates, says which is good, and draws the losses."""
    note = trainer.progress.note
    rate = trainer.find_learning_rate(progress=counting(note, "trying       {done} of {of} rates"))
    folder = Path(out or "runs")
    folder.mkdir(parents=True, exist_ok=True)
    note(str(rate))
    note(f"plot         {rate.plot(folder / f'{name}-lr.png', f'{name}: loss by learning rate')}")
