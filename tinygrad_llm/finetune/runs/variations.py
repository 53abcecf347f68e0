"""The spam experiment in 19 variations, and classifiers of long texts side by side: two tables.

    Variations(resolved(VariationsOptions, {"folder": "runs/variations"}), print).run()
    Comparison(resolved(CompareOptions, {"data": "reuters-r8"}), print).run()

The variations follow Raschka, "Build a Large Language Model (From Scratch)" (2024), chapter 6 and
its additional experiments: the size of the model, the token that stands for the text, which layers
are trained, the context, padding, the causal mask, ignore_index, LoRA, and random weights.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...files.atomic import atomic_write
from ...files.paths import local_path
from ...training.checkpoint import checkpoints_in, find_checkpoint
from ...training.options import OptionError, blame
from ...training.presets import resolve
from ...training.pretraining import Pretraining
from ...training.settings import resolved
from ..options import ClassifyOptions
from ..table_options import CompareOptions, VariationsOptions, row_numbers
from .base import load_base
from .classify import Classify
from .tables import Row, Table, open_table

__all__ = ["Comparison", "Variations", "variations"]

SIZES = ("small", "medium", "large", "xl")
Note = Callable[[str], None]


class Variations:
    """The 19 rows. options: checked; note: is called with lines of output."""

    def __init__(self, options: VariationsOptions, note: Note = print) -> None:
        self.o, self.note = options, note
        self.o.folder = options.folder or "runs/variations"

    def run(self) -> dict[str, dict[str, Any]]:
        """Fills the table, and returns its rows.

        Raises: OptionError for options that do not fit together.
        """
        with open_table(self.o.folder or "", "variations", self.o):
            return self._filled()

    def _filled(self) -> dict[str, dict[str, Any]]:
        """The bases, then the table; its folder is locked."""
        o = self.o
        shared = {
            "data": o.data, "epochs": o.epochs, "seed": o.seed, "most": o.most, "batch_size": 8,
            "max_length": o.max_length, "pool": "last", "drop_rate": 0.0, "worst": 0,
            "checkpoint_every": 10**9,
        }  # fmt: skip
        bases = o.bases.split(",") if o.bases else self._pretrained(shared)
        if len(bases) > len(SIZES):
            raise OptionError(f"`bases`: {len(bases)} were given, 4 are the most")
        rows = variations(bases, *self._shape(bases[0]))
        only = None if o.rows is None else row_numbers(o.rows, len(rows))
        facts = {"bases": o.bases, "pretrain_steps": o.pretrain_steps}
        return Table(
            o.folder or "", rows, shared, self.note, facts=facts, only=only,
            heading="Accuracies of a classifier of spam and variations of it",
        ).fill()  # fmt: skip

    def _shape(self, base: str) -> tuple[dict[str, Any], int]:
        """What random weights of the base's shape need, and the context of the base."""
        config = load_base(base, self.note).model.config
        fields = dataclasses.asdict(config)
        sizes = {name: fields[name] for name in ("emb_dim", "n_heads", "n_layers")}
        return {**sizes, "tokenizer": self._tokenizer(base)}, config.context_length

    def _tokenizer(self, base: str) -> str:
        """The base's tokenizer as ClassifyOptions names it."""
        if base.startswith("gpt2"):
            return "gpt2"
        path = local_path(base) / "tokenizer.json"
        return str(path if path.is_file() else local_path(load_base(base).name) / "tokenizer.json")

    def _pretrained(self, shared: dict[str, Any]) -> list[str]:
        """Four runs of pretraining on the texts that are neither for validation nor for the test.

        No label is used. A run that is there already is not repeated.
        """
        o = self.o
        parts = Classify(resolved(ClassifyOptions, {**shared, "folder": None}), False)
        with blame("`data`", ValueError, FileNotFoundError, ImportError):
            parts.read_data()
        held_out = {text for text, _ in [*parts.val, *parts.test]}
        folder = local_path(o.folder or "")
        folder.mkdir(parents=True, exist_ok=True)
        corpus = folder / "corpus.txt"
        _write(corpus, "\n".join(text for text in parts.texts if text not in held_out) + "\n")
        made = []
        for number, size in enumerate(SIZES):
            run = folder / "bases" / size
            made.append(str(run))
            if (run / "done").is_file():
                continue
            self.note(f"pretraining the {size} base")
            width = (o.emb_dim * (number + 2) // 2 + 7) // 8 * 8  # times 1, 1.5, 2 and 2.5
            options = resolve({
                "corpus": str(corpus), "folder": str(run), "steps": o.pretrain_steps,
                "emb_dim": width, "n_heads": 4, "n_layers": o.n_layers + number,
                "context_length": o.context_length, "vocab_size": o.vocab_size, "drop_rate": 0.0,
                "batch_size": 8, "eval_every": o.pretrain_steps, "seed": o.seed, "lr": 2e-3,
                "sample_tokens": 1, "sample_every": 10**9, "qkv_bias": True,
            }, {})  # fmt: skip
            if checkpoints_in(run):  # it was stopped
                Pretraining.continued(find_checkpoint(run), {}, {}, False).run()
            else:
                shutil.rmtree(run, ignore_errors=True)
                Pretraining(options, False).run()
            _write(run / "done", f"{o.pretrain_steps} steps\n")
        return made


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "replace"))


def variations(bases: list[str], shape: dict[str, Any], context: int) -> list[Row]:
    """The 19 rows (fewer with fewer bases) for bases from small to large.

    shape: the options of a model of the small base's shape; context: of the small base
    """
    n = shape["n_layers"]
    last = f"trf_blocks.{n - 1},final_norm,out_head"
    two = ",".join(f"trf_blocks.{i}" for i in range(max(0, n - 2), n)) + ",final_norm,out_head"
    start: dict[str, Any] = {"base": bases[0], "train_only": last}
    every: dict[str, Any] = {"base": bases[0]}
    alone = {**start, "pool": "last_real", "batch_size": 1}
    random_weights = {**shape, "context_length": context}
    rows = [
        Row("last token, last block", start),
        Row("first token", {**start, "pool": "first"}),
        Row("output layer only", {**start, "train_only": "out_head"}),
        Row("last two blocks", {**start, "train_only": two}),
        Row("all layers", every),
        *(
            Row(f"{size} model, all layers", {"base": base})
            for size, base in zip(SIZES[1:], bases[1:], strict=False)
        ),
        Row("random weights, all layers", random_weights),
        Row("LoRA", {**every, "lora": True, "lora_rank": 8}),
        *(
            [Row("LoRA of the largest model", {"base": bases[-1], "lora": True, "lora_rank": 8})]
            if len(bases) > 1 else []
        ),
        Row("padded to the whole context", {**start, "max_length": context}),
        Row("no padding, batches of 1", alone),
        Row("no padding, batches of 1, accumulation 8", {**alone, "accumulation": 8}),
        Row("last real token", {**start, "pool": "last_real"}),
        Row("no causal mask", {**start, "causal": False, "pool": "last_real"}),
        Row("ignore_index of padding", {**start, "ignore_padding": True}),
        Row("mean of all real tokens", {**start, "pool": "mean"}),
        Row("mean, no causal mask, all layers", {**every, "pool": "mean", "causal": False}),
    ]  # fmt: skip
    return rows


class Comparison:
    """Shapes of models, random weights, on long texts. options: checked; note: as Variations."""

    def __init__(self, options: CompareOptions, note: Note = print) -> None:
        self.o, self.note = options, note
        self.o.data = options.data or "20newsgroups"
        self.o.folder = options.folder or f"runs/compare-{local_path(self.o.data).stem}"

    def run(self) -> dict[str, dict[str, Any]]:
        """Fills the table, and returns its rows.

        Raises: OptionError for a name that is not known, or data that is missing.
        """
        o = self.o
        shared = {
            "data": o.data, "epochs": o.epochs, "seed": o.seed, "most": o.most, "worst": 0,
            "emb_dim": o.emb_dim, "n_layers": o.n_layers, "context_length": o.context_length,
            "vocab_size": o.vocab_size, "max_length": o.max_length, "drop_rate": 0.1,
            "checkpoint_every": 10**9, "pool": "mean",
        }  # fmt: skip
        rows = [
            Row(f"{model}, long texts {way}", {"model": model, "long_texts": way})
            for model in o.models.split(",") for way in o.long_texts.split(",")
        ]  # fmt: skip
        with open_table(o.folder or "", "compare", o):
            return Table(
                o.folder or "", rows, shared, self.note,
                heading=f"Accuracies on {o.data}, models from random weights",
            ).fill()  # fmt: skip
