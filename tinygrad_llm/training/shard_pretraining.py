"""A run of pretraining from shards: a corpus that was prepared, and may be larger than memory.

run = ShardPretraining(resolve({"data": "shards", "steps": 500}, {}), progress=False)
result = run.run()
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

from ..data.batches import EvaluationBatches
from ..data.shard_batches import ShardBatches, packed_in_order
from ..data.shards import Shards
from ..files.untrusted import describe
from ..functions.attention import within_documents
from ..functions.creation.filled import zeros
from ..models import registry
from ..tensor import dtypes
from ..text import load_tokenizer
from .loop import Trainer
from .masked import MaskedPretraining
from .options import OptionError, blame
from .presets import PretrainOptions
from .pretraining import Pretraining
from .step import model_loss

__all__ = ["ShardPretraining", "isolated_loss", "kind_of", "sources_of"]

_SHOWN = 20_000  # tokens of the validation documents from which prompts are taken


def kind_of(model: str | None, data: str | None) -> type[Pretraining]:
    """The class of runs for a model and data, as pretrain's --model and --data have them.

    Raises: OptionError for a masked language model with shards.
    """
    if data is not None and model in registry.masked():
        raise OptionError(f"`data`: {model} needs special tokens around each text, which shards "
                          "do not have; train it on CORPUS")  # fmt: skip
    if model in registry.masked():
        return MaskedPretraining
    return Pretraining if data is None else ShardPretraining


def sources_of(data: str) -> tuple[list[str], list[float]]:
    """(folders, weights) of "books=3,code=1" or "books,code".

    Raises: OptionError for an empty name, or a weight that is not a positive number.
    """
    folders, weights = [], []
    for part in data.split(","):
        folder, sign, weight = part.strip().rpartition("=")
        if not sign:
            folder, weight = weight, "1"
        try:
            number = float(weight)
        except ValueError:
            number = 0.0
        if not folder or not 0 < number < float("inf"):
            raise OptionError(
                f"`data` is FOLDER or FOLDER=WEIGHT, several with commas and weights above 0, got "
                f"{describe(part)}"
            )
        folders.append(folder)
        weights.append(number)
    return folders, weights


def _texts_of(shards: Shards) -> list[dict[str, str]]:
    """The texts of a folder of shards; of one without a sources.json only the folder's name.

    Raises: ValueError as Shards.named_sources does.
    """
    unnamed = {"name": shards.folder.resolve().name, "licence": "", "description": ""}
    return shards.named_sources or [unnamed]


def isolated_loss(model: Any, batch: Any) -> Any:
    """The loss of (inputs, documents, targets), where attention stays within each document."""
    inputs, documents, targets = batch
    with within_documents(documents):
        return model.loss(inputs, targets)


isolated_loss.can_be_captured = False  # type: ignore[attr-defined]  # each batch is cut elsewhere


def _packed_loss(model: Any, batch: Any) -> Any:
    """The loss of (inputs, documents, targets), where attention crosses documents."""
    inputs, _, targets = batch
    return model_loss(model, (inputs, targets))


class ShardPretraining(Pretraining):
    """One run, as Pretraining; the tokens come from folders that `prepare` wrote."""

    o: PretrainOptions

    def load_text(self) -> None:
        """Opens the shards.

        Raises: OptionError if they are not there, damaged, or have other tokenizers.
        """
        assert self.o.data is not None
        folders, self.weights = sources_of(self.o.data)
        with blame("`data`", ValueError, OSError):
            self.sources = [Shards(folder) for folder in folders]
            self.named = [row for shards in self.sources for row in _texts_of(shards)]
            tokenizers = {s.tokenizer_path.read_bytes() for s in self.sources}
            if len(tokenizers) > 1:
                raise ValueError(
                    f"{' and '.join(folders)} have different tokenizers: prepare them with "
                    f"--tokenizer {self.sources[0].tokenizer_path}"
                )
            self.tokenizer = load_tokenizer(self.sources[0].tokenizer_path)
            if self.tokenizer.vocab_size != self.sources[0].vocab_size:
                raise ValueError(
                    f"{self.sources[0].tokenizer_path} has {self.tokenizer.vocab_size:,} tokens, "
                    f"the manifest says {self.sources[0].vocab_size:,}"
                )
        self.corpus: Any = SimpleNamespace(name=self.sources[0].folder.resolve().name)

    def split_and_tokenize(self) -> None:
        """Looks whether the shards are long enough, and those of the run.

        Raises: OptionError if they are not.
        """
        o = self.o
        self.text_facts = {
            "name": ", ".join(s.folder.resolve().name for s in self.sources),
            "weights": self.weights,
            "sha256": [hashlib.sha256((s.folder / "manifest.json").read_bytes()).hexdigest()
                       for s in self.sources],
            "sources": self.named,
        }  # fmt: skip
        before = None if self.resumed is None else self.resumed.config.get("text")
        same = ("sha256", "weights")  # a folder may have moved
        if before is not None and any(before.get(k) != self.text_facts[k] for k in same):
            raise OptionError(
                f"`data`: {o.data} are not the shards and weights with which the run began; start "
                "another run"
            )
        for shards in self.sources:
            if len(shards.row()) <= o.context_length:
                raise OptionError(
                    f"`context_length` {o.context_length} is too long for {shards.folder}, which "
                    f"has {len(shards.row()):,} tokens for training"
                )
        validation = [s for s in self.sources if len(s.row("val")) > 1]
        if not validation:
            raise OptionError(
                f"`data`: {o.data} has no documents for validation: prepare it with a larger "
                "--val-fraction, or more than one document"
            )
        self.validation = validation[0]
        row = self.validation.row("val")
        self.val_ids: Any = row
        shown = row[:_SHOWN]
        self.val_text = self.tokenizer.decode(
            [i for i in shown.tolist() if i != self.validation.end]
        )
        with blame("`prompt`", ValueError):
            self.tokenizer.encode(o.prompt or "", disallowed_special=())
        self.bytes_per_token = self.bytes_in_measured()
        self._say_what_is_read()

    def _say_what_is_read(self) -> None:
        note, o = self.progress.note, self.o
        for shards, weight in zip(self.sources, self.weights, strict=True):
            note(
                f"shards       {shards.folder}, {len(shards.row()):,} tokens for training, "
                f"{len(shards.row('val')):,} for validation, weight {weight:g}"
            )
        if len(self.sources) > 1:
            note(f"validation   the held-out documents of {self.validation.folder}")
        note(
            f"tokenizer    {self.tokenizer.name}, {self.tokenizer.vocab_size:,} tokens; batches "
            f"are {o.packing}"
        )
        if self.resumed is not None:
            note(f"resuming     {self.resumed.path}, step {self.resumed.step:,}")

    def make_trainer(self, val_ids: Any) -> Trainer:
        """See Pretraining; validation is made of the same kind of batches."""
        o = self.o
        self.batches = ShardBatches(
            self.sources, o.batch_size, o.context_length, weights=self.weights,
            packing=o.packing, seed=o.seed,
        )  # fmt: skip
        if o.packing == "windows":
            validation: Any = EvaluationBatches(val_ids, o.batch_size, o.context_length)
            loss: Any = model_loss
        else:
            validation = packed_in_order(
                self.validation, o.batch_size, o.context_length, len(val_ids)
            )
            loss = isolated_loss if o.packing == "isolated" else _packed_loss
            if o.packing == "isolated":
                self._check_model()
        return Trainer(
            self.model, self.optimizer, self.batches, o, steps=o.steps or 1,
            validation=validation, loss=loss, sample=lambda model: self.sample(0),
            bytes_per_token=self.bytes_per_token, progress=self.progress,
        )  # fmt: skip

    def _check_model(self) -> None:
        """Raises: OptionError if the model has a layer that cannot stay within documents."""
        two = zeros(1, 2, dtype=dtypes.int64)
        with blame("`packing` isolated", RuntimeError), within_documents(two):
            self.model.places(two, None, None, None)

    def ids_to_compare(self) -> list[Any]:
        return []  # the manifests have the hashes of the shards

    def steps_of_a_pass(self) -> float:
        return len(self.batches) / self.o.accumulation
