"""A run of pretraining from its options: text, tokenizer, model, trainer, and its results.

run = Pretraining(resolve({"corpus": "notes.txt", "steps": 500}, {}), progress=False)
result = run.run()
run.sample(0)                                   # a text by the model
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any

from .. import random
from .. import text as texts
from ..data import corpora
from ..data.batches import EvaluationBatches, TokenBatches
from ..files.program import command_line
from ..files.untrusted import describe
from ..generation import generate_steps
from ..models import registry
from ..text import Tokenizer
from .analysis import perplexity
from .checkpoint import Checkpoint
from .devices import on_device, set_precision
from .loop import Result, Trainer
from .memory_needed import check_batch
from .options import OptionError, blame
from .presets import PretrainOptions, model_config, resolve
from .progress import Progress, make_progress
from .ranks import ALONE
from .runs import (
    RunFacts,
    check_disk,
    check_same,
    folder_of,
    make_schedule,
    prepare_folder,
    ranks_of,
    search_rate,
    set_total_steps,
    stop_at,
)
from .settings import kept_options
from .weight_decay import make_optimizer

__all__ = ["Pretraining", "beginning"]

_VALIDATION_TOKENS = 200_000  # at most: enough for three digits of the loss
_NAMED_FILES = 8  # of a folder's files that are left out
_PASSES = 30  # over the text at most, when the steps are chosen by time


class Pretraining:
    """One run: text, tokenizer, model and trainer from the options, then the report at its end.

    options: checked; a run without a folder gets a new one in runs/. progress: see make_progress;
    resumed: the checkpoint from which the run continues, see `continued`.
    """

    def __init__(
        self, options: PretrainOptions, progress: bool | Progress | None = None,
        resumed: Checkpoint | None = None,
    ) -> None:  # fmt: skip
        self.began = time.perf_counter()
        self.o = options
        self.resumed = resumed
        self.progress = make_progress(progress)
        self.begun: Callable[[str], None] = lambda command: None  # called with how to resume it
        self.ranks = ALONE

    @classmethod
    def continued(
        cls, checkpoint: Checkpoint, given: dict[str, Any], config: dict[str, Any],
        progress: bool | Progress | None = None,
    ) -> Pretraining:  # fmt: skip
        """The run of a checkpoint, from there on, with the given options over those of a file.

        Raises: OptionError if it is not a run of pretraining, or for an option that may not change.
        """
        if "options" not in checkpoint.config or "finetune" in checkpoint.config:
            raise OptionError(
                f"`resume`: {checkpoint.path} was not written by {command_line('pretrain')}"
            )
        base = kept_options(checkpoint, {**config, **given}, PretrainOptions)
        options = resolve(given, config, base)
        if options.steps is not None and options.steps < checkpoint.step:
            raise OptionError(
                f"`steps` {options.steps}: the run is at step {checkpoint.step} already"
            )
        options.folder = folder_of(checkpoint)
        return cls(options, progress, checkpoint)

    def run(self) -> Result:
        """Trains, and returns the result; what it did is shown.

        Raises: OptionError for options that do not fit the text; what Trainer.run raises.
        """
        self.prepare()
        return self.complete()

    def complete(self, until: int | None = None, report: bool = True) -> Result:
        """What `run` does once all is prepared.

        until: the step after which it stops, as if it had been interrupted there; its schedule is
        that of all steps. report: whether the last lines are shown.
        """
        self.choose_steps()
        stop_at(self.trainer, until)
        with self.ranks.together():
            if self.ranks.first:
                check_disk(
                    self.o.folder, self.o.keep, self.model, self.resumed, self.o.optimizer,
                    self.o.ema is not None,
                )  # fmt: skip
        facts = RunFacts(self.corpus.name, "pretrain", self.tokenizer, {"text": self.text_facts})
        prepare_folder(self.trainer, self.o, facts, self.resumed is not None)
        self.begun(self.trainer.resume_command)
        result = self.trainer.run()
        with self.ranks.whole(self.model):
            if self.ranks.first and report:
                self.report(result)
        return result

    def join(self) -> None:
        """Makes this run one of the processes of the group, if there is one.

        Raises: OptionError if the options ask for several, and there is one.
        """
        self.ranks = ranks_of(self.o)
        if not self.ranks.first:
            self.progress = make_progress(False)

    def plan(self) -> None:
        """Shows what the run would cost; nothing is written."""
        self.prepare()
        self.choose_steps()
        self.progress.note(str(self.trainer.plan()))

    def find_learning_rate(self) -> None:
        """Shows which learning rate is good, and draws the losses of those that were tried."""
        self.prepare()
        search_rate(self.trainer, self.o.folder, self.corpus.name)

    def prepare(self) -> None:
        """Text, tokenizer, model and trainer.

        Raises: OptionError for options that do not fit the text.
        """
        self.join()
        if self.ranks.several:
            self.progress.note(self.ranks.line())
        with self.ranks.together():
            with self.ranks.first_before_others():
                self.load_text()
            self.split_and_tokenize()
            self.build()
        if self.ranks.several:
            check_same(self.ranks, self.text_facts, *self.ids_to_compare())
            self.trainer.join(self.ranks)

    def load_text(self) -> None:
        """Reads the corpus.

        Raises: OptionError if it is not there.
        """
        with blame("`corpus`", FileNotFoundError, ValueError):
            try:
                self.corpus = corpora.load(self.o.corpus)
            except FileNotFoundError as error:
                if self.resumed is None:
                    raise
                raise FileNotFoundError(
                    f"{error}; if the text has moved, name its new place beside the run"
                ) from error
        for line in self.corpus.skipped[:_NAMED_FILES]:
            self.progress.note(f"left out     {line}")
        if len(self.corpus.skipped) > _NAMED_FILES:
            n = len(self.corpus.skipped) - _NAMED_FILES
            self.progress.note(f"left out     and {n:,} more")

    # -------------------------------------------------------------------------- text to tokens
    def split_and_tokenize(self) -> None:
        """The last part of the text is for validation; the tokenizer learns from the first part.

        Raises: OptionError if a part is too short for the context, or the text has changed since
        the run began.
        """
        o, text = self.o, self.corpus.text
        cut = round(len(text) * (1.0 - o.val_fraction))
        train_text, self.val_text = text[:cut], text[cut:]
        self.text_facts = {
            "name": self.corpus.name,
            "characters": len(text),
            "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        }
        if self.resumed is not None:
            before = self.resumed.config.get("text")
            before = before if isinstance(before, dict) else {}
            if before.get("sha256") != self.text_facts["sha256"]:
                raise OptionError(
                    f"`corpus`: the text {o.corpus} has changed since the run began: it had "
                    f"{describe(before.get('characters'))} characters, it has {len(text)}; start "
                    "another run"
                )
        size = len(train_text.encode("utf-8"))
        if size <= o.context_length:
            raise OptionError(
                f"`context_length` {o.context_length} is too long for this text: its training "
                f"part has {size:,} bytes, and a token is a byte or more; take a shorter context "
                "or a longer text"
            )
        self.tokenizer = self.make_tokenizer(train_text)
        with blame("`tokenizer`", ValueError):
            self.train_ids = self.tokenizer.encode_to_array(train_text, disallowed_special=())
            self.val_ids = self.tokenizer.encode_to_array(self.val_text, disallowed_special=())
        if len(self.train_ids) <= o.context_length:
            raise OptionError(
                f"`context_length` {o.context_length} is too long for this text: its training "
                f"part has {len(self.train_ids):,} tokens, and one more than the context is "
                "needed; take a shorter context or a longer text"
            )
        if len(self.val_ids) < 2:
            raise OptionError(
                f"`val_fraction` {o.val_fraction:g} of this text leaves {len(self.val_ids)} tokens "
                "for validation, 2 are needed; take a larger fraction or a longer text"
            )
        with blame("`prompt`", ValueError):
            self.tokenizer.encode(o.prompt or "", disallowed_special=())
        self.bytes_per_token = self.bytes_in_token()
        self.progress.note(
            f"text         {self.corpus.name}, {len(text):,} characters ({self.corpus.licence})\n"
            f"tokenizer    {o.tokenizer}, {self.tokenizer.vocab_size:,} tokens; the text is "
            f"{len(self.train_ids):,} for training and {len(self.val_ids):,} for validation"
        )
        if self.resumed is not None:
            self.progress.note(f"resuming     {self.resumed.path}, step {self.resumed.step:,}")
            if o.steps == self.resumed.step:
                self.progress.note(
                    f"finished     all {o.steps:,} steps were done before; a larger --steps "
                    "trains on"
                )

    def bytes_in_token(self) -> float | None:
        """bytes_in_measured, for bits per byte.

        None if the tokens do not hold the whole text, as WordPiece's without its spaces or words
        that are unknown: the loss says nothing of what is left out.
        """
        if self.tokenizer.decode(self.val_ids.tolist()) != self.val_text:
            return None
        return self.bytes_in_measured()

    def bytes_in_measured(self) -> float:
        """Bytes per token of those that the validation loss is of."""
        measured = self.val_ids[:_VALIDATION_TOKENS]
        return self.tokenizer.count_bytes(measured) / len(measured)

    def ids_to_compare(self) -> list[Any]:
        """The arrays of tokens that must be equal on all ranks."""
        return [self.train_ids, self.val_ids]

    def special_tokens(self) -> dict[str, Any]:
        """The keywords with which a new tokenizer gets the special tokens that the model needs."""
        return {}

    def make_tokenizer(self, train_text: str) -> Tokenizer:
        """The tokenizer of the options, or the one that a resumed run has.

        Raises: OptionError if there is none of this name.
        """
        o = self.o
        if self.resumed is not None:
            return texts.load_tokenizer(self.resumed.path / "tokenizer.json")
        if o.tokenizer in texts.TRAINED_KINDS:
            with blame("`vocab_size`", ValueError), blame("`tokenizer`", ImportError):
                return texts.train_tokenizer(
                    o.tokenizer, train_text, o.vocab_size, **self.special_tokens()
                )
        if o.tokenizer == "char":
            return texts.CharTokenizer.train(self.corpus.text, **self.special_tokens())
        if o.tokenizer == "gpt2":
            return texts.GPT2Tokenizer()
        with blame("`tokenizer`", ValueError, OSError):
            try:
                return texts.load_tokenizer(o.tokenizer)
            except FileNotFoundError:
                raise OptionError(
                    f"`tokenizer`: {o.tokenizer} is neither bpe, wordpiece, "
                    "unigram, char or gpt2 nor a file"
                ) from None

    # ------------------------------------------------------------------------ model and trainer
    def build(self) -> None:
        """Model, optimizer and trainer. Every random number follows from the seed.

        Raises: OptionError for a batch that does not fit the memory that is free.
        """
        o = self.o
        check_batch(o)
        random.manual_seed(o.seed)
        config = model_config(o, self.tokenizer.vocab_size)
        self.model: Any = self.new_model(config)
        on_device(self.model, o.device, self.ranks)
        if o.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self.optimizer = make_optimizer(
            o.optimizer, self.model, o.shard, lr=o.lr, betas=(o.beta1, o.beta2),
            weight_decay=o.weight_decay,
        )  # fmt: skip
        self.trainer = self.make_trainer(self.val_ids[:_VALIDATION_TOKENS])
        set_precision(self.trainer, o.precision)

    def new_model(self, config: Any) -> Any:
        """A model of this shape with random weights."""
        return registry.build_from(config)

    def make_trainer(self, val_ids: Any) -> Trainer:
        """The trainer of the options, with batches of the text; val_ids: those for validation."""
        o = self.o
        return Trainer(
            self.model,
            self.optimizer,
            TokenBatches(self.train_ids, o.batch_size, o.context_length, seed=o.seed),
            o,
            steps=o.steps or 1,
            validation=EvaluationBatches(val_ids, o.batch_size, o.context_length),
            sample=lambda model: self.sample(0),
            bytes_per_token=self.bytes_per_token,
            progress=self.progress,
        )

    def steps_of_a_pass(self) -> float:
        """How many steps read the whole text once."""
        return len(self.train_ids) / self.trainer.measure().tokens

    def choose_steps(self) -> None:
        """Sets as many steps as fit into the minutes, as measured, and the schedule for them."""
        o, trainer = self.o, self.trainer
        if o.steps is None:
            assert o.minutes is not None
            seconds = trainer.measure().seconds
            passed = self.ranks.same(time.perf_counter() - self.began)
            left = o.minutes * 60.0 - passed
            # The cost of a validation in steps; all validations together get a tenth of the time.
            assert trainer.validation is not None
            validation = len(trainer.validation) / o.accumulation / 3.0
            validations = max(1, min(10, int(0.1 * left / seconds / validation)))
            if o.eval_every is None:
                left -= (validations + 1) * validation * seconds
            o.steps = max(10, int(left / seconds) // 10 * 10)
            a_pass = self.steps_of_a_pass()
            most = max(200, round(_PASSES * a_pass))
            if o.steps > most:
                o.steps = most
                self.progress.note(
                    f"note         the text is short: {most} steps pass over it "
                    f"{most / a_pass:.0f} times, with more the model would memorize it; --steps "
                    "trains for longer"
                )
            o.eval_every = o.eval_every or -(-o.steps // validations)
            o.minutes = None
            self.progress.note(f"steps        {o.steps:,} (--steps {o.steps} repeats this run)")
        assert o.lr is not None
        trainer.steps = o.steps
        trainer.options.eval_every = o.eval_every
        trainer.scheduler = make_schedule(self.optimizer, o)
        if self.resumed is not None:
            trainer.restore(self.resumed)
            set_total_steps(trainer)

    # ------------------------------------------------------------------------------ its results
    def sample(self, number: int) -> str:
        """A text by the model. The prompts are the beginnings of lines of the validation text."""
        o = self.o
        prompt = o.prompt if o.prompt is not None else beginning(self.val_text, number)
        ids = self.tokenizer.encode(prompt, disallowed_special=())
        new = generate_steps(
            self.model, [ids], o.sample_tokens, temperature=o.temperature, top_k=o.top_k,
            seed=o.seed + number, stop_tokens=self.tokenizer.eot_token,
        )  # fmt: skip
        stream = self.tokenizer.stream(ids)  # WordPiece's spaces depend on what stands before
        shown = [stream.push(int(ids_of_step[0].item())) for ids_of_step in new]
        return "".join([prompt, *shown, stream.finish()])

    def next_command(self) -> str:
        """What can be done with the run."""
        return f'{command_line("generate", self.o.folder)} --prompt "..."'

    def report(self, result: Result) -> None:
        """Prints the last lines: loss, samples, the places of plot and checkpoint."""
        assert result.val_loss is not None
        note = self.progress.note
        for number in range(3):
            note(f"\nsample {number + 1}")
            self.progress.sample(self.sample(number))
        note(
            f"\n{self.losses(result.val_loss)}\n"
            f"plot              {result.plot}\n"
            f"checkpoint        {result.checkpoint}"
        )

    def losses(self, val_loss: float) -> str:
        """The lines of the report on the validation loss, in nats per token."""
        if self.bytes_per_token is None:
            bits = f"unknown: tokens of {self.tokenizer.name} do not hold the whole text"
        else:
            bits = f"{val_loss / math.log(2.0) / self.bytes_per_token:.4f}"
        return (
            f"validation loss   {val_loss:.4f} (nats per token)\n"
            f"perplexity        {perplexity(val_loss):,.1f}\n"
            f"bits per byte     {bits}"
        )


def beginning(text: str, number: int, n_words: int = 3) -> str:
    """The first words of a line, from a place in the text that depends on the number."""
    rows = [line.split(" ") for line in text.splitlines()]
    prose = [words for words in rows if len(words) >= 5 and words[0].isalpha()]
    usable = prose or [words for words in rows if "".join(words)] or [[text or "\n"]]
    return " ".join(usable[(2 * number + 1) * len(usable) // 6 % len(usable)][:n_words])
