"""What the three kinds of fine-tuning runs share: base, data, model, trainer, folder, report.

run = Classify(resolved(ClassifyOptions, {"data": "reviews.csv"}), progress=False)
result = run.run()
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ... import random
from ...data import corpora
from ...files.downloads import DownloadError, cache_folder
from ...files.json_files import finite, write_json
from ...files.paths import local_path
from ...files.program import command_line
from ...files.untrusted import describe
from ...layers import lora
from ...nn import Module
from ...text import Tokenizer, load_tokenizer
from ...training.checkpoint import Checkpoint
from ...training.devices import on_device, set_precision
from ...training.loop import Result, Trainer
from ...training.options import OptionError
from ...training.progress import Progress, make_progress
from ...training.ranks import ALONE
from ...training.runs import (
    RunFacts,
    check_disk,
    check_same,
    folder_of,
    prepare_folder,
    ranks_of,
    search_rate,
    set_total_steps,
    stop_at,
)
from ...training.settings import kept_options, resolved
from ..freeze import count_parameters, freeze, train_only
from ..sample_texts import SAMPLE
from .base import Base, load_base, padding_of

__all__ = ["Finetuning"]


class Finetuning(ABC):
    """One run. Subclasses read the data, make the trainer, and report at the end.

    options: checked; a run without a folder gets a new one in runs/. progress: see make_progress;
    resumed: the checkpoint from which the run continues, see `continued`.
    """

    name = ""
    options: Any = None  # the dataclass of its options
    new_layers: tuple[str, ...] = ()  # that the base does not have: with LoRA trained as they are
    base_kinds: type | tuple[type, ...] | None = None  # classes of bases; None for LanguageModel

    tokenizer: Tokenizer
    style: str  # of prompts; classify has none
    model: Module
    trainer: Trainer

    def __init__(
        self, options: Any, progress: bool | Progress | None = None,
        resumed: Checkpoint | None = None,
    ) -> None:  # fmt: skip
        self.o = options
        self.resumed = resumed
        self.progress = make_progress(progress)
        self.note = self.progress.note
        self.begun: Callable[[str], None] = lambda command: None  # called with how to resume it
        self.ranks = ALONE
        self.base: Base | None = None
        self.published = False  # whether the base's weights have the names of transformers' model
        self.facts: dict[str, Any] = {}

    @classmethod
    def continued(
        cls, checkpoint: Checkpoint, given: dict[str, Any], config: dict[str, Any],
        progress: bool | Progress | None = None,
    ) -> Finetuning:  # fmt: skip
        """The run of a checkpoint, from there on, with the given options over those of a file.

        Raises: OptionError if it is a run of another kind, or for an option that may not change.
        """
        if checkpoint.config.get("finetune") != cls.name:
            writer = checkpoint.config.get("finetune") or "something else"
            raise OptionError(
                f"`resume`: {checkpoint.path} was written by {writer}, not by finetune {cls.name}"
            )
        base = kept_options(checkpoint, {**config, **given}, cls.options)
        options = resolved(cls.options, base, config, given)
        options.folder = folder_of(checkpoint)
        return cls(options, progress, checkpoint)

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
    def make_trainer(self) -> Trainer:
        """The trainer of the options."""

    @abstractmethod
    def report(self, result: Result) -> None:
        """Prints the last lines: the results, the places of the files."""

    def encodes(self) -> bool:
        """Whether the model is an encoder, whose tokenizer has [PAD], [CLS] and [SEP]."""
        from ...models.encoder import Encoder

        return self.base is not None and isinstance(self.base.model, Encoder)

    def padding(self) -> int:
        """The id that pads texts.

        Raises: OptionError if the tokenizer has none.
        """
        return padding_of(self.tokenizer, self.encodes())

    def needs_base(self) -> bool:
        """Whether a run needs a base."""
        return True

    # ----------------------------------------------------------------------------------- a run
    def run(self) -> Result:
        """Trains, and returns the result; what it did is shown.

        Raises: OptionError for options that do not fit the data; what Trainer.run raises.
        """
        self.prepare()
        return self.complete()

    def complete(self, until: int | None = None, report: bool = True) -> Result:
        """What `run` does once all is prepared; see Pretraining.complete."""
        stop_at(self.trainer, until)
        with self.ranks.together():
            if self.ranks.first:
                check_disk(self.o.folder, self.o.keep, self.model, self.resumed)
        facts = {
            "finetune": self.name, "data": self.facts, "published": self.published,
            **self.more_config(),
        }  # fmt: skip
        command = f"finetune {self.name}"
        run = RunFacts(self.folder_name, command, self.tokenizer, facts, self.more_tokenizers())
        prepare_folder(self.trainer, self.o, run, self.resumed is not None)
        self.begun(self.trainer.resume_command)
        result = self.trainer.run()
        with self.ranks.whole(self.model):
            if self.ranks.first:
                self.save_adapter()
                if report:
                    self.report(result)
        return result

    def join(self) -> None:
        """Makes this run one of the processes of the group, if there is one.

        Raises: OptionError if the options ask for several, and there is one.
        """
        self.ranks = ranks_of(self.o)
        if not self.ranks.first:
            self.progress = make_progress(False)
            self.note = self.progress.note

    def plan(self) -> None:
        """Shows what the run would cost; nothing is written."""
        self.prepare()
        self.note(str(self.trainer.plan()))

    def find_learning_rate(self) -> None:
        """Shows which learning rate is good, and draws the losses of those that were tried."""
        self.prepare()
        search_rate(self.trainer, self.o.folder, self.folder_name)

    @property
    def folder_name(self) -> str:
        """The beginning of the name of a new folder in runs/."""
        return f"{self.name}-{local_path(self.o.data).stem}"

    def prepare(self) -> None:
        """Data, base, model and trainer.

        Raises: OptionError for options that do not fit together or to the data.
        """
        self.join()
        if self.ranks.several:
            self.note(self.ranks.line())
        with self.ranks.together():
            try:
                self._build()
            except (ValueError, TypeError, FileNotFoundError, ImportError) as error:
                if isinstance(error, (OptionError, UnicodeError)):
                    raise
                raise OptionError(str(error)) from error
        if self.ranks.several:
            check_same(self.ranks, self.facts, self.tokenizer.vocab_size)
            self.trainer.join(self.ranks)
        if self.resumed is not None:
            self.trainer.restore(self.resumed)
            set_total_steps(self.trainer)
            self.note(f"resuming     {self.resumed.path}, step {self.resumed.step:,}")
        self.note_weights()

    def _build(self) -> None:
        o = self.o
        with self.ranks.first_before_others():  # which may download something
            self.read_data()
            self.load_base()
        random.manual_seed(o.seed)
        if self.resumed is not None:
            self.model = self.resumed.build_model()
        else:
            self.model = self.make_model()
            self.add_lora()
        on_device(self.model, o.device, self.ranks)
        self.freeze()
        self.encode()
        self.trainer = self.make_trainer()
        tuned: Any = self.trainer.options
        o.lr = tuned.lr
        if o.steps is None:
            o.epochs = tuned.epochs
        set_precision(self.trainer, o.precision)

    def load_base(self) -> None:
        """The base and its tokenizer; only the tokenizer if the model is in a checkpoint.

        Raises: OptionError without --base.
        """
        o = self.o
        if self.resumed is not None:
            self.tokenizer = load_tokenizer(self.resumed.path / "tokenizer.json")
            self.published = self.resumed.config.get("published") is True
            return
        if o.base is None:
            if self.needs_base():
                raise OptionError(
                    "`base`: name the model to start from: a run of tinygrad-llm pretrain (such as "
                    "runs/python-reference-1), or gpt2"
                )
            return
        self.base = load_base(o.base, self.note, o.quantize, self.base_kinds)
        self.tokenizer = self.base.tokenizer
        o.base, self.published = self.base.name, self.base.published
        self.padding()  # raises if there is none
        self.note(
            f"base         {self.base.description}: {self.base.model.config.summary()}, "
            f"{self.tokenizer.vocab_size:,} tokens ({self.tokenizer.name})"
        )

    def add_lora(self) -> None:
        """LoRA layers, new or from an adapter; a new output layer is trained as it is."""
        o = self.o
        if o.adapter is not None:
            lora.load(self.model, o.adapter)
        elif o.lora:
            lora.add(
                self.model, o.lora_rank, o.lora_alpha, o.lora_dropout, o.lora_names.split(","),
                modules_to_save=list(self.new_layers),
            )  # fmt: skip

    def freeze(self) -> None:
        """Freezes the weights that --train-only or --freeze name."""
        for patterns, function in ((self.o.train_only, train_only), (self.o.freeze, freeze)):
            if patterns is not None:
                function(self.model, patterns.split(","))

    def note_weights(self) -> None:
        """Prints how many weights there are, and how many of them are trained."""
        counts = count_parameters(self.model)
        part = counts["trainable"] / counts["total"]
        how = ", in LoRA layers" if self.o.lora or self.o.adapter else ""
        if self.o.quantize is not None:
            how += f" on {self.o.quantize}"
        self.note(
            f"weights      {counts['total']:,}, {counts['trainable']:,} of them trained "
            f"({part:.1%}{how})"
        )

    def published_or_sample(self, name: str) -> str:
        """The data set of this name, or sample_texts if it cannot be downloaded now.

        Raises: DownloadError if a file is there and is the wrong one.
        """
        try:
            corpora.path(name)
        except DownloadError as error:
            if (cache_folder() / corpora.NAMED[name].file_name).exists():
                raise
            reason = str(error).split("\n")[0].rstrip(":")
            command = command_line("finetune", self.name, name)
            self.note(
                f"data         {reason}.\n             So this run uses a sample: simple texts "
                f"made by this package, easier than {name}\n"
                f"             ({command} insists on {name})"
            )
            return SAMPLE
        return name

    def same_data(self, rows: Any) -> None:
        """Stores the data's fingerprint.

        Raises: OptionError if a resumed run had other data.
        """
        data = json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self.facts = {"rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}
        if self.resumed is not None and self.resumed.config.get("data") != self.facts:
            before = self.resumed.config.get("data")
            n_rows = before.get("rows") if isinstance(before, dict) else None
            raise OptionError(
                f"`data`: {self.o.data} has changed since the run began: it had "
                f"{describe(n_rows)} rows, it has {len(rows)}; start another run"
            )

    def more_config(self) -> Mapping[str, Any]:
        """More entries for the config of its checkpoints."""
        return {}

    def more_tokenizers(self) -> Mapping[str, Tokenizer]:
        """More tokenizers that its checkpoints store, by name."""
        return {}

    @property
    def folder(self) -> Path:
        """The run's folder, once it has been made."""
        return local_path(self.o.folder or "runs")

    def write(self, name: str, value: Any) -> Path:
        """A JSON file in the run's folder, with null for a number that is not defined; its path."""
        path = self.folder / name
        write_json(path, finite(value))
        return path

    def save_adapter(self) -> None:
        """Writes the LoRA layers, if there are any, in PEFT's format."""
        if lora.layers(self.model):
            published = self.published and not self.new_layers
            lora.save(
                self.model, self.folder / "adapter", base_model=self.o.base, published=published
            )
            self.note(f"adapter      {self.folder / 'adapter'}, in PEFT's format")
