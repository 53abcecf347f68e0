"""What the three fine-tuning commands share: base, data, model, trainer, folder, report."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files.json_files import write_json
from ..devices import on_device, set_precision
from ..errors import BadValue, newest_checkpoint
from ..runs import (
    check_disk,
    folder_of,
    kept_options,
    prepare_folder,
    refuse_search,
    search_rate,
    set_total_steps,
)
from .base import Base, load_base, padding_of
from .options import MAY_CHANGE, FinetuneOptions, resolve

if TYPE_CHECKING:
    from ...nn import Module
    from ...text import Tokenizer
    from ...training import Checkpoint, Result, Trainer

__all__ = ["Finetuning", "run"]

LARGE = 20_000_000  # parameters: a model of this size or more gets GPT-2's learning rates


def run(
    kind: type[Finetuning], given: dict[str, Any], settings: dict[str, Any], resume: str | None,
    plan: bool, find_lr: bool, plain: bool,
) -> None:  # fmt: skip
    """Starts a run, or resumes the one in the folder `resume`.

    Raises: BadValue if the checkpoint was written by another command.
    """
    if resume is None:
        kind(resolve(kind.options, settings, given), plain).run(plan, find_lr)
        return
    refuse_search(find_lr)
    checkpoint = newest_checkpoint(resume)
    if checkpoint.config.get("finetune") != kind.name:
        writer = checkpoint.config.get("finetune") or "something else"
        raise BadValue(
            f"--resume: {checkpoint.path} was written by {writer}, not by finetune {kind.name}"
        )
    base = kept_options(checkpoint, {**settings, **given}, MAY_CHANGE)
    options = resolve(kind.options, base, settings, given)
    options.out = str(folder_of(checkpoint))
    kind(options, plain, checkpoint).run(plan)


class Finetuning(ABC):
    """One run. Subclasses read the data, make the trainer, and report at the end."""

    name = ""
    options: type[FinetuneOptions] = FinetuneOptions
    rates = (1e-3, 5e-5)  # learning rate of a small and of a large model
    lora_rates = (4e-3, 2e-4)
    rounds = (4.0, 2.0)  # epochs, likewise

    tokenizer: Tokenizer
    model: Module
    trainer: Trainer

    def __init__(self, options: Any, plain: bool, resumed: Checkpoint | None = None) -> None:
        from ...training.progress import make_progress

        self.o = options
        self.resumed = resumed
        self.progress = make_progress(True if plain else None)
        self.note = self.progress.note
        self.base: Base | None = None
        self.facts: dict[str, Any] = {}

    # ------------------------------------------------------------------- for the subclasses
    @abstractmethod
    def read_data(self) -> None:
        """Reads the data and splits it."""

    @abstractmethod
    def make_model(self) -> Module:
        """The model before LoRA and freezing."""

    @abstractmethod
    def encode(self) -> None:
        """Texts to ids, once there are a tokenizer and a model."""

    @abstractmethod
    def make_trainer(self, **shared: Any) -> Trainer:
        """The trainer, with these options among others."""

    @abstractmethod
    def report(self, result: Result) -> None:
        """Prints the last lines: the results, the places of the files."""

    def needs_base(self) -> bool:
        """Whether a run needs a base."""
        return True

    # ----------------------------------------------------------------------------------- a run
    def run(self, plan_only: bool = False, find_lr: bool = False) -> None:
        from ... import random

        o = self.o
        try:
            self.read_data()
            self.load_base()
            random.manual_seed(o.seed)
            if self.resumed is not None:
                self.model = self.resumed.build_model()
            else:
                self.model = self.make_model()
                self.add_lora()
            on_device(self.model, o.device)
            self.freeze()
            self.encode()
            self.trainer = self.build_trainer()
            set_precision(self.trainer, o.precision)
        except (ValueError, TypeError, FileNotFoundError) as error:
            if isinstance(error, (BadValue, UnicodeError)):
                raise
            raise BadValue(str(error)) from error
        if self.resumed is not None:
            self.trainer.restore(self.resumed)
            set_total_steps(self.trainer)
            self.note(f"resuming     {self.resumed.path}, step {self.resumed.step:,}")
        self.note_weights()
        name = f"{self.name}-{Path(o.data).stem}"
        if plan_only:
            self.note(str(self.trainer.plan()))
            return
        if find_lr:
            search_rate(self.trainer, o.out, name)
            return
        check_disk(o.out, o.keep, self.model)
        prepare_folder(
            self.trainer, o, name=name, command=f"finetune {self.name}",
            facts={"finetune": self.name, "data": self.facts, **self.more_config()},
            tokenizer=self.tokenizer, resumed=self.resumed is not None,
        )  # fmt: skip
        result = self.trainer.run()
        self.save_adapter()
        self.report(result)

    def load_base(self) -> None:
        """The base and its tokenizer; only the tokenizer if the model is in a checkpoint.

        Raises: BadValue without --base.
        """
        o = self.o
        if self.resumed is not None:
            from ... import text

            self.tokenizer = text.load_tokenizer(self.resumed.path / "tokenizer.json")
            return
        if o.base is None:
            if self.needs_base():
                raise BadValue(
                    "--base: name the model to start from: a run of tinygrad-llm pretrain (such as "
                    "runs/python-reference-1), or gpt2"
                )
            return
        self.base = load_base(o.base, self.note)
        self.tokenizer = self.base.tokenizer
        o.base = self.base.name
        padding_of(self.tokenizer)
        self.note(
            f"base         {self.base.description}: {self.base.model.config.summary()}, "
            f"{self.tokenizer.vocab_size:,} tokens ({self.tokenizer.name})"
        )

    def add_lora(self) -> None:
        """LoRA layers, new or from an adapter; a new output layer is trained as it is."""
        from ...layers import lora

        o = self.o
        if o.adapter is not None:
            lora.load(self.model, o.adapter)
        elif o.lora:
            new_layers = ["out_head"] if self.name == "classify" else []
            lora.add(
                self.model, o.lora_rank, o.lora_alpha, o.lora_dropout, o.lora_names.split(","),
                modules_to_save=new_layers,
            )  # fmt: skip

    def freeze(self) -> None:
        """Freezes the weights that --train-only or --freeze name."""
        from ...finetune import freeze, train_only

        for patterns, function in ((self.o.train_only, train_only), (self.o.freeze, freeze)):
            if patterns is not None:
                function(self.model, patterns.split(","))

    def build_trainer(self) -> Trainer:
        """The trainer, with the options that all commands have."""
        o = self.o
        small = sum(p.numel() for p in self.model.parameters()) < LARGE
        if o.lr is None:
            rates = self.lora_rates if o.lora or o.adapter else self.rates
            o.lr = rates[0] if small else rates[1]
        if o.epochs is None and o.steps is None:
            o.epochs = self.rounds[0] if small else self.rounds[1]
        return self.make_trainer(
            epochs=o.epochs or 1.0, steps=o.steps, batch_size=o.batch_size,
            accumulation=o.accumulation, lr=o.lr, min_lr=o.min_lr, warmup=o.warmup,
            weight_decay=o.weight_decay, clip=o.clip, seed=o.seed, eval_every=o.eval_every,
            checkpoint_every=o.checkpoint_every, keep=o.keep, progress=self.progress,
        )  # fmt: skip

    def note_weights(self) -> None:
        """Prints how many weights there are, and how many of them are trained."""
        from ...finetune import count_parameters

        counts = count_parameters(self.model)
        part = counts["trainable"] / counts["total"]
        how = ", in LoRA layers" if self.o.lora or self.o.adapter else ""
        self.note(
            f"weights      {counts['total']:,}, {counts['trainable']:,} of them trained "
            f"({part:.1%}{how})"
        )

    def same_data(self, rows: Any) -> None:
        """Stores the data's fingerprint.

        Raises: BadValue if a resumed run had other data.
        """
        data = json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self.facts = {"rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}
        if self.resumed is not None and self.resumed.config["data"] != self.facts:
            before = self.resumed.config["data"]["rows"]
            raise BadValue(
                f"DATA: {self.o.data} has changed since the run began: it had {before:,} rows, it "
                f"has {len(rows):,}; start another run"
            )

    def more_config(self) -> Mapping[str, Any]:
        """More entries for the config of its checkpoints."""
        return {}

    @property
    def folder(self) -> Path:
        """The run's folder, once it has been made."""
        return Path(self.o.out or "runs")

    def write(self, name: str, value: Any) -> Path:
        """A JSON file in the run's folder; its path."""
        path = self.folder / name
        write_json(path, value)
        return path

    def save_adapter(self) -> None:
        """Writes the LoRA layers, if there are any, in PEFT's format."""
        from ...layers import lora

        if lora.layers(self.model):
            lora.save(self.model, self.folder / "adapter", base_model=self.o.base)
            self.note(f"adapter      {Path(self.o.out, 'adapter')}, in PEFT's format")
