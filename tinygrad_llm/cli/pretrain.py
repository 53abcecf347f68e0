"""tinygrad-llm pretrain: a language model from text alone."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import typer

from .devices import can_graph, on_device, set_precision
from .errors import BadValue, blame, newest_checkpoint
from .options import (
    MAY_CHANGE,
    MODEL_KEYS,
    NOT_STORED,
    PretrainOptions,
    presets_table,
    read_config,
    resolve,
)
from .runs import (
    check_disk,
    folder_of,
    kept_options,
    prepare_folder,
    refuse_search,
    search_rate,
    set_total_steps,
)

if TYPE_CHECKING:
    from ..text import Tokenizer
    from ..training import Checkpoint, Result

__all__ = ["register"]

_VALIDATION_TOKENS = 200_000  # at most: enough for three digits of the loss
_PASSES = 30  # over the text at most, when the steps are chosen by time

_HELP = f"""Train a language model on text, from random weights.

CORPUS is the name of a data set (python-reference, tinyshakespeare, the-verdict), a UTF-8 file, or
a folder of them. Without any option this trains on Python's language reference for about three
minutes.

\b
Examples:
  tinygrad-llm pretrain
  tinygrad-llm pretrain my_notes.txt --minutes 10
  tinygrad-llm pretrain tinyshakespeare --tokenizer char --steps 1000
  tinygrad-llm pretrain --preset medium --out runs/first
  tinygrad-llm pretrain --resume runs/first
  tinygrad-llm pretrain --config settings.toml --plan
  tinygrad-llm pretrain --preset medium --find-lr
  tinygrad-llm pretrain --preset large --device cuda --precision bfloat16

\b
Presets (--preset):
{presets_table()}

Every option can also be in a JSON or TOML file, --config FILE (emb_dim = 128). The command line
takes precedence over the file, and the file over the preset.
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="pretrain", help=_HELP)(pretrain)


def pretrain(
    corpus: str | None = typer.Argument(None, help="A data set, a file or a folder."),
    preset: str | None = typer.Option(None, help="Size and time: see above."),
    minutes: float | None = typer.Option(None, help="Time to train."),
    steps: int | None = typer.Option(None, help="Or: steps to train."),
    tokenizer: str | None = typer.Option(None, help="bpe, char, gpt2, or a file."),
    vocab_size: int | None = typer.Option(None, help="Vocabulary size of bpe."),
    context_length: int | None = typer.Option(None, help="Tokens the model sees."),
    emb_dim: int | None = typer.Option(None, help="Channels."),
    n_heads: int | None = typer.Option(None, help="Attention heads."),
    n_layers: int | None = typer.Option(None, help="Transformer blocks."),
    drop_rate: float | None = typer.Option(None, help="Dropout."),
    qkv_bias: bool | None = typer.Option(None, "--qkv-bias/--no-qkv-bias"),
    tie_weights: bool | None = typer.Option(None, "--tie-weights/--no-tie-weights"),
    gradient_checkpointing: bool | None = typer.Option(
        None,
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory, more time, the same numbers.",
    ),
    batch_size: int | None = typer.Option(None, help="Windows in a batch."),
    accumulation: int | None = typer.Option(None, help="Batches in a step."),
    lr: float | None = typer.Option(None, help="Highest learning rate."),
    min_lr: float | None = typer.Option(None, help="Last learning rate [lr / 10]."),
    warmup: int | None = typer.Option(None, help="Steps until the highest rate."),
    beta1: float | None = typer.Option(None, help="AdamW's first decay."),
    beta2: float | None = typer.Option(None, help="AdamW's second decay."),
    weight_decay: float | None = typer.Option(None, help="AdamW's, on matrices."),
    clip: float | None = typer.Option(None, help="Largest gradient norm."),
    val_fraction: float | None = typer.Option(None, help="Text kept for validation."),
    eval_every: int | None = typer.Option(None, help="Steps between validations."),
    sample_every: int | None = typer.Option(None, help="Steps between samples."),
    prompt: str | None = typer.Option(None, help="How samples begin."),
    sample_tokens: int | None = typer.Option(None, help="Tokens in a sample."),
    temperature: float | None = typer.Option(None, help="Of samples; 0 is greedy."),
    top_k: int | None = typer.Option(None, help="Sample from the k likeliest."),
    seed: int | None = typer.Option(None, help="Of weights, data order and dropout."),
    device: str | None = typer.Option(None, help="cpu, cuda or cuda:1 [cpu]."),
    graph: bool | None = typer.Option(
        None, "--graph/--no-graph", help="On a GPU: a step is one launch [if possible]."
    ),
    precision: str | None = typer.Option(None, help="On a GPU: float32, tf32, bfloat16."),
    out: str | None = typer.Option(None, help="The run's folder [runs/CORPUS-N]."),
    checkpoint_every: int | None = typer.Option(None, help="Steps between checkpoints."),
    keep: int | None = typer.Option(None, help="Checkpoints kept."),
    config: str | None = typer.Option(None, help="A JSON or TOML file of options."),
    resume: str | None = typer.Option(None, help="Resume the run in this folder."),
    plan: bool = typer.Option(False, "--plan", help="Only print what it would cost."),
    find_lr: bool = typer.Option(False, "--find-lr", help="Only look for a good --lr."),
    plain: bool = typer.Option(False, "--plain", help="Plain lines, no live bar."),
) -> None:
    given = {k: v for k, v in locals().items() if v is not None and k not in NOT_STORED}
    settings = read_config(config) if config else {}
    if resume is None:
        Pretraining(resolve(given, settings), plain).run(plan_only=plan, find_lr=find_lr)
        return
    refuse_search(find_lr)
    _go_on(resume, given, settings, plain).run(plan_only=plan)


def _go_on(
    resume: str, given: dict[str, Any], settings: dict[str, Any], plain: bool
) -> Pretraining:
    """The run in a folder, from its newest checkpoint on.

    Raises: BadValue if it is not a run of pretrain, or for an option that may not change.
    """
    checkpoint = newest_checkpoint(resume)
    if "finetune" in checkpoint.config:
        name = checkpoint.config["finetune"]
        raise BadValue(
            f"--resume: {checkpoint.path} belongs to finetune: tinygrad-llm finetune {name} "
            f"--resume {resume} continues it"
        )
    if "options" not in checkpoint.config:
        raise BadValue(f"--resume: {checkpoint.path} was not written by tinygrad-llm pretrain")
    base = kept_options(checkpoint, {**settings, **given}, MAY_CHANGE)
    options = resolve(given, settings, base)
    if options.steps is not None and options.steps < checkpoint.step:
        raise BadValue(f"--steps {options.steps}: the run is at step {checkpoint.step} already")
    options.out = str(folder_of(checkpoint))
    return Pretraining(options, plain, checkpoint)


class Pretraining:
    """One run: text, tokenizer, model and trainer from the options, then the report at its end."""

    def __init__(
        self, options: PretrainOptions, plain: bool, resumed: Checkpoint | None = None
    ) -> None:
        from ..training.progress import make_progress

        self.began = time.perf_counter()
        self.o = options
        self.resumed = resumed
        self.progress = make_progress(True if plain else None)

    def run(self, plan_only: bool = False, find_lr: bool = False) -> None:
        from ..data import corpora

        o = self.o
        with blame("CORPUS", FileNotFoundError, ValueError):
            self.corpus = corpora.load(o.corpus)
        self.split_and_tokenize()
        self.build()
        if find_lr:
            search_rate(self.trainer, o.out, self.corpus.name)
            return
        self.choose_steps()
        if plan_only:
            self.progress.note(str(self.trainer.plan()))
            return
        check_disk(o.out, o.keep, self.model)
        prepare_folder(
            self.trainer, o, name=self.corpus.name, command="pretrain",
            facts={"text": self.text_facts}, tokenizer=self.tokenizer,
            resumed=self.resumed is not None,
        )  # fmt: skip
        result = self.trainer.run()
        self.report(result)

    # -------------------------------------------------------------------------- text to tokens
    def split_and_tokenize(self) -> None:
        """The last part of the text is for validation; the tokenizer learns from the first part.

        Raises: BadValue if a part is too short for the context, or the text has changed since the
        run began.
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
            before = self.resumed.config["text"]
            if before["sha256"] != self.text_facts["sha256"]:
                raise BadValue(
                    f"CORPUS: the text {o.corpus} has changed since the run began: it had "
                    f"{before['characters']:,} characters, it has {len(text):,}; start another run"
                )
        size = len(train_text.encode("utf-8"))
        if size <= o.context_length:
            raise BadValue(
                f"--context-length {o.context_length} is too long for this text: its training "
                f"part has {size:,} bytes, and a token is a byte or more; take a shorter context "
                "or a longer text"
            )
        self.tokenizer = self.make_tokenizer(train_text)
        with blame("--tokenizer", ValueError):
            self.train_ids = self.tokenizer.encode_to_array(train_text, disallowed_special=())
            self.val_ids = self.tokenizer.encode_to_array(self.val_text, disallowed_special=())
        if len(self.train_ids) <= o.context_length:
            raise BadValue(
                f"--context-length {o.context_length} is too long for this text: its training "
                f"part has {len(self.train_ids):,} tokens, and one more than the context is "
                "needed; take a shorter context or a longer text"
            )
        if len(self.val_ids) < 2:
            raise BadValue(
                f"--val-fraction {o.val_fraction:g} of this text leaves {len(self.val_ids)} tokens "
                "for validation, 2 are needed; take a larger fraction or a longer text"
            )
        with blame("--prompt", ValueError):
            self.tokenizer.encode(o.prompt or "", disallowed_special=())
        self.bytes_per_token = len(self.val_text.encode("utf-8")) / len(self.val_ids)
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

    def make_tokenizer(self, train_text: str) -> Tokenizer:
        from .. import text

        o = self.o
        if self.resumed is not None:
            return text.load_tokenizer(self.resumed.path / "tokenizer.json")
        if o.tokenizer == "bpe":
            with blame("--vocab-size", ValueError):
                return text.BPETokenizer.train(train_text, o.vocab_size)
        if o.tokenizer == "char":
            return text.CharTokenizer.train(self.corpus.text)
        if o.tokenizer == "gpt2":
            return text.GPT2Tokenizer()
        with blame("--tokenizer", ValueError, OSError):
            try:
                return text.load_tokenizer(o.tokenizer)
            except FileNotFoundError:
                raise BadValue(
                    f"--tokenizer: {o.tokenizer} is neither bpe, char or gpt2 nor a file"
                ) from None

    # ------------------------------------------------------------------------ model and trainer
    def build(self) -> None:
        """Model, optimizer and trainer. Every random number follows from the seed."""
        from .. import random
        from ..models.gpt import GPT, GPTConfig
        from ..optim import AdamW
        from ..training import EvaluationBatches, TokenBatches, Trainer, decay_groups

        o = self.o
        random.manual_seed(o.seed)
        shape = {name: getattr(o, name) for name in MODEL_KEYS}
        self.model = GPT(GPTConfig(vocab_size=self.tokenizer.vocab_size, **shape))
        on_device(self.model, o.device)
        if o.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        groups = decay_groups(self.model.parameters(), o.weight_decay)
        self.optimizer = AdamW(groups, lr=o.lr, betas=(o.beta1, o.beta2))
        self.trainer = Trainer(
            self.model,
            self.optimizer,
            TokenBatches(self.train_ids, o.batch_size, o.context_length, seed=o.seed),
            steps=o.steps or 1,
            validation=EvaluationBatches(
                self.val_ids[:_VALIDATION_TOKENS], o.batch_size, o.context_length
            ),
            accumulation=o.accumulation,
            clip=o.clip,
            graph=can_graph(o.device, o.accumulation, o.gradient_checkpointing)
            if o.graph is None
            else o.graph,
            eval_every=o.eval_every,
            sample=lambda model: self.sample(0),
            sample_every=o.sample_every,
            checkpoint_every=o.checkpoint_every,
            keep=o.keep,
            bytes_per_token=self.bytes_per_token,
            progress=self.progress,
        )
        set_precision(self.trainer, o.precision)

    def choose_steps(self) -> None:
        """Sets as many steps as fit into the minutes, as measured, and the schedule for them."""
        from ..optim.lr_scheduler import WarmupCosineLR

        o, trainer = self.o, self.trainer
        if o.steps is None:
            assert o.minutes is not None
            seconds = trainer.measure().seconds
            left = o.minutes * 60.0 - (time.perf_counter() - self.began)
            # The cost of a validation in steps; all validations together get a tenth of the time.
            assert trainer.validation is not None
            validation = len(trainer.validation) / o.accumulation / 3.0
            validations = max(1, min(10, int(0.1 * left / seconds / validation)))
            if o.eval_every is None:
                left -= (validations + 1) * validation * seconds
            o.steps = max(10, int(left / seconds) // 10 * 10)
            a_pass = len(self.train_ids) / trainer.measure().tokens  # in steps
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
        trainer.steps = o.steps
        least = o.lr / 10.0 if o.min_lr is None else o.min_lr
        warmup = min(o.warmup, o.steps // 10)
        trainer.scheduler = WarmupCosineLR(self.optimizer, warmup, o.steps, least)
        if self.resumed is not None:
            trainer.restore(self.resumed)
            set_total_steps(trainer)

    # ------------------------------------------------------------------------------ its results
    def sample(self, number: int) -> str:
        """A text by the model. The prompts are the beginnings of lines of the validation text."""
        from .generate import steps

        o = self.o
        prompt = o.prompt if o.prompt is not None else _prompt(self.val_text, number)
        ids = self.tokenizer.encode(prompt, disallowed_special=())
        choice = {"temperature": o.temperature, "top_k": o.top_k}
        stop = self.tokenizer.eot_token
        new = list(steps(self.model, ids, o.sample_tokens, stop, o.seed + number, choice))
        return prompt + self.tokenizer.decode(new)

    def report(self, result: Result) -> None:
        """Prints the last lines: loss, samples, the places of plot and checkpoint."""
        import math

        from ..training import perplexity

        assert result.val_loss is not None
        note = self.progress.note
        for number in range(3):
            note(f"\nsample {number + 1}")
            self.progress.sample(self.sample(number))
        bits = result.val_loss / math.log(2.0) / self.bytes_per_token
        note(
            f"\nvalidation loss   {result.val_loss:.4f} (nats per token)\n"
            f"perplexity        {perplexity(result.val_loss):,.1f}\n"
            f"bits per byte     {bits:.4f}\n"
            f"plot              {result.plot}\n"
            f"checkpoint        {result.checkpoint}\n"
            f'next              tinygrad-llm generate {self.o.out} --prompt "..."'
        )


def _prompt(text: str, number: int) -> str:
    """The first three words of a line, from a place in the text that depends on the number."""
    rows = [line.split(" ") for line in text.splitlines()]
    prose = [words for words in rows if len(words) >= 5 and words[0].isalpha()]
    usable = prose or [words for words in rows if "".join(words)] or [[text or "\n"]]
    return " ".join(usable[(2 * number + 1) * len(usable) // 6 % len(usable)][:3])
