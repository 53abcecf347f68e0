"""What the three fine-tuning commands do alike: base, data, model, trainer, folder, report."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
)
from .base import Base, load_base, padding_of
from .options import MAY_CHANGE, FinetuneOptions, resolve

__all__ = ["Finetuning", "run"]

LARGE = 20_000_000  # parameters: from here on the learning rates of GPT-2 are right


def run(
    kind: type[Finetuning], given: dict[str, Any], settings: dict[str, Any], resume: str | None,
    plan: bool, find_lr: bool, plain: bool,
) -> None:  # fmt: skip
    """Starts a run, or goes on with one."""
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

    def __init__(self, options: Any, plain: bool, resumed: Any = None) -> None:
        from ...training.progress import make_progress

        self.o = options
        self.resumed = resumed
        self.progress = make_progress(True if plain else None)
        self.note = self.progress.note
        self.base: Base | None = None
        self.facts: dict[str, Any] = {}

    # ------------------------------------------------------------------- what a subclass does
    @abstractmethod
    def read_data(self) -> None:
        """Reads the data and splits it."""

    @abstractmethod
    def make_model(self) -> Any:
        """The model before LoRA and freezing."""

    @abstractmethod
    def encode(self) -> None:
        """Texts to ids, once there are a tokenizer and a model."""

    @abstractmethod
    def make_trainer(self, **shared: Any) -> Any:
        """The trainer, with these options among others."""

    @abstractmethod
    def report(self, result: Any) -> None:
        """The last lines: how it did, where everything is."""

    def needs_base(self) -> bool:
        """Whether there can be no run without a base."""
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
            self.trainer.scheduler.total_steps = self.trainer.steps
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
        """The base and its tokenizer; the tokenizer alone where the model is in a checkpoint."""
        o = self.o
        if self.resumed is not None:
            from ... import text

            self.tokenizer = text.load_tokenizer(self.resumed.path / "tokenizer.json")
            return
        if o.base is None:
            if self.needs_base():
                raise BadValue(
                    "--base: say what to start from: a run of tinygrad-llm pretrain (such as "
                    "runs/python-reference-1), or gpt2"
                )
            return
        self.base = load_base(o.base, self.note)
        self.tokenizer = self.base.tokenizer
        o.base = self.base.name
        padding_of(self.tokenizer)
        c = self.base.model.config
        self.note(
            f"base         {self.base.told}: {c.n_layers} layers, {c.n_heads} heads, {c.emb_dim} "
            f"channels, context {c.context_length:,}, {self.tokenizer.vocab_size:,} tokens "
            f"({self.tokenizer.name})"
        )

    def add_lora(self) -> None:
        """LoRA layers, new or from an adapter; a new output layer is trained as it is."""
        from ...layers import lora

        o = self.o
        if o.adapter is not None:
            lora.load(self.model, o.adapter)
        elif o.lora:
            whole = ["out_head"] if self.name == "classify" else []
            lora.add(
                self.model, o.lora_rank, o.lora_alpha, o.lora_dropout, o.lora_names.split(","),
                modules_to_save=whole,
            )  # fmt: skip

    def freeze(self) -> None:
        from ...finetune import freeze, train_only

        for patterns, function in ((self.o.train_only, train_only), (self.o.freeze, freeze)):
            if patterns is not None:
                function(self.model, patterns.split(","))

    def build_trainer(self) -> Any:
        """The trainer with what all have in common."""
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
        from ...finetune import count_parameters

        counts = count_parameters(self.model)
        part = counts["trainable"] / counts["total"]
        how = ", in LoRA layers" if self.o.lora or self.o.adapter else ""
        self.note(
            f"weights      {counts['total']:,}, {counts['trainable']:,} of them trained "
            f"({part:.1%}{how})"
        )

    def same_data(self, rows: Any) -> None:
        """Keeps the data's fingerprint; BadValue if a run that goes on had other data."""
        data = json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self.facts = {"rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}
        if self.resumed is not None and self.resumed.config["data"] != self.facts:
            before = self.resumed.config["data"]["rows"]
            raise BadValue(
                f"DATA: {self.o.data} has changed since the run began: it had {before:,} rows, it "
                f"has {len(rows):,}; start another run"
            )

    def more_config(self) -> Mapping[str, Any]:
        """What else its checkpoints have to say."""
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
        """The LoRA layers alone, in PEFT's format."""
        from ...layers import lora

        if lora.layers(self.model):
            lora.save(self.model, self.folder / "adapter", base_model=self.o.base)
            self.note(f"adapter      {Path(self.o.out, 'adapter')}, in PEFT's format")
