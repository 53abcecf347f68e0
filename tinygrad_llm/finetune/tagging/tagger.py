"""Data sets of tagged tokens, the trainer of a tagger, and the entities of a text.

for entity in tag(text, "runs/ner-1"):
    print(text[entity.start : entity.end], entity.type)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...data.batches import IGNORED
from ...data.bio import Entity, from_bio, in_characters, to_bio
from ...evaluation.entities import EntityReport, entity_report
from ...models.base import device_of, evaluation
from ...models.costs import flops_per_token
from ...models.tagger import Tagger
from ...tensor import Tensor, wrap
from ...text import Tokenizer
from ...text.tokenizer import check_text
from ...training.loop import Trainer
from ...utils.data import Dataset
from ..buckets import padded_length
from ..options import TuningOptions
from ..task_models import Run, TaskModel, text_first
from ..trainers import batches_in_order, check_length
from ..tuning import Rates, TrainingData, Tuning
from .files import Annotated
from .tokens import placed

__all__ = ["TaggingDataset", "collate_tagging", "evaluate_tagger", "tag", "tagging_trainer"]

Example = tuple[list[int], list[int]]  # ids, labels


class TaggingDataset(Dataset[Example]):
    """Example i is (ids, labels) of text i, one label for each token.

    rows: texts with their entities; labels: the tags in their order, see Tagger.labels
    limit: tokens of a text at most; longer texts are cut at the end

    `inexact` are the entities that tags of these tokens cannot say, (text, entity) pairs: their
    borders lie within a token, or behind the limit. `cut` says how many texts are cut.
    Raises: ValueError without rows, for an unknown type, or a text that cannot be encoded.
    """

    def __init__(
        self, rows: Sequence[Annotated], tokenizer: Tokenizer, labels: Sequence[str],
        limit: int | None = None,
    ) -> None:  # fmt: skip
        if not rows:
            raise ValueError("there are no texts to tag")
        number = {label: k for k, label in enumerate(labels)}
        self.rows = list(rows)
        self.examples: list[Example] = []
        self.inexact: list[tuple[int, Entity]] = []
        self.cut = 0
        for i, (text, entities) in enumerate(rows):
            try:
                ids, spans = placed(text, tokenizer, limit)
            except ValueError as error:
                raise ValueError(f"row {i}: {error}") from error
            if not ids:
                raise ValueError(f"row {i}: the text {text!r} has no tokens")
            tags, inexact = to_bio(entities, spans)
            unknown = next((t for t in tags if t not in number), None)
            if unknown is not None:
                raise ValueError(f"row {i}: the type {unknown[2:]!r} is not one of the training's")
            self.examples.append((ids, [number[t] for t in tags]))
            self.inexact += [(i, entity) for entity in inexact]
            self.cut += bool(text[max((b for _, b in spans), default=0) :].strip())

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids, _ in self.examples]

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)


def collate_tagging(
    batch: Sequence[Example], pad_token_id: int, buckets: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """(ids (B, T), labels (B, T)) int64, padded with pad_token_id and −100.

    buckets: T is the next of these lengths, see buckets.py; None for the longest text's
    """
    T = padded_length(max(len(ids) for ids, _ in batch), buckets)
    ids = np.full((len(batch), T), pad_token_id, np.int64)  # (B, T)
    labels = np.full((len(batch), T), IGNORED, np.int64)  # (B, T)
    for n, (own, tags) in enumerate(batch):
        ids[n, : len(own)] = own
        labels[n, : len(tags)] = tags
    return wrap(ids), wrap(labels)


class ChainLoss:
    """A tagger's loss with a CRF: its checks of the mask ask the GPU, so no CUDA graph has it."""

    can_be_captured = False

    def __call__(self, model: Tagger, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The mean loss in nats per token; 0-d."""
        return model.loss(*batch)


def tagging_trainer(
    model: Tagger, train: TaggingDataset, validation: TaggingDataset | None = None,
    options: TuningOptions | None = None, *, tokenizer: Tokenizer | None = None, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Trains a tagger; a loss is in nats per token. Options: see finetune/trainers.py.

    tokenizer: with it every validation measures the F1 of entities on the validation set
    Raises: ValueError for a text that is longer than the model's context.
    """
    tuning = Tuning("tagging_trainer", TuningOptions, options, keywords)
    for data in (train, validation):
        if data is not None:
            check_length(max(data.lengths), model, "the longest text")
    collate = partial(collate_tagging, pad_token_id=model.config.pad_token_id)

    def report(model: Any) -> Mapping[str, float]:
        assert validation is not None and tokenizer is not None
        return {"val_f1": evaluate_tagger(model, tokenizer, validation.rows).f1}

    def flops(batch: tuple[Tensor, Tensor]) -> float:
        B, T = batch[0].shape
        return B * T * flops_per_token(model, T)

    own = {} if model.crf is None else {"loss": ChainLoss()}
    return tuning.trainer(
        model, TrainingData(train, collate, train.lengths), batches_in_order(validation, collate),
        Rates((1e-3, 5e-5), (2e-3, 2e-4), (8.0, 5.0)),
        report=None if validation is None or tokenizer is None else report, flops=flops, **own,
    )  # fmt: skip


def evaluate_tagger(
    model: Tagger, tokenizer: Tokenizer, rows: Sequence[Annotated], constrained: bool = True
) -> EntityReport:
    """The entities of texts and those that the model predicts, with all scores.

    constrained: see tag. The mode of the model is restored.
    """
    predicted = _entities(model, tokenizer, [row.text for row in rows], constrained)
    return entity_report([list(row.entities) for row in rows], predicted)


@text_first
def tag(text: str, run: Run, constrained: bool = True) -> list[Entity]:
    """The named entities of a text, (start, end, type) in characters, in its order.

    run: the folder of a run of finetune ner, read at every call, or a TaskModel; (model,
        tokenizer, text) work too
    constrained: only tags that follow each other legally. Without it an I-X that follows something
        else begins an entity.
    A text that is longer than the model's context is read in pieces, cut behind the end of a
    sentence or a line where there is one.
    Raises: TypeError if it is not a text, or the model not a Tagger; ValueError if the
    tokenizer cannot encode it.
    """
    check_text(text)
    loaded = TaskModel.load(run)
    loaded.need("tag", Tagger)
    model, tokenizer = loaded.model, loaded.tokenizer
    entities: list[Entity] = []
    for start, piece in _pieces(text, tokenizer, model.context_length):
        own = _entities(model, tokenizer, [piece], constrained)[0]
        entities += [Entity(start + e.start, start + e.end, e.type) for e in own]
    return entities


@no_grad()
def _entities(
    model: Tagger, tokenizer: Tokenizer, texts: Sequence[str], constrained: bool, size: int = 32
) -> list[list[Entity]]:
    """The entities of each text; texts of about the same length share a batch."""
    read = [placed(text, tokenizer, model.context_length) for text in texts]
    order = [i for i in sorted(range(len(texts)), key=lambda i: len(read[i][0])) if read[i][0]]
    results: list[list[Entity]] = [[] for _ in texts]
    device, pad = device_of(model), model.config.pad_token_id
    with evaluation(model):
        for at in range(0, len(order), size):
            rows = order[at : at + size]
            ids, _ = collate_tagging([(read[i][0], []) for i in rows], pad)
            for i, path in zip(rows, model.decode(ids.to(device), constrained), strict=True):
                entities = from_bio([model.labels[k] for k in path])
                own = in_characters(entities, read[i][1])
                results[i] = [e for e in own if e.start < e.end]
    return results


def _pieces(text: str, tokenizer: Tokenizer, limit: int) -> list[tuple[int, str]]:
    """(place, piece) of a text, in pieces of at most `limit` tokens."""
    pieces, at = [], 0
    while at < len(text):
        piece = text[at : at + 4 * limit + 16]  # tokens are rarely longer than this
        _, spans = placed(piece, tokenizer, limit)
        end = max((b for _, b in spans), default=0) or len(piece)
        if end < len(piece.rstrip()) or at + len(piece) < len(text):
            ends = [m.end() for m in re.finditer(r"[。.!?！？]\s*|\n+", piece[:end])]
            end = ends[-1] if ends else end
        else:
            end = len(piece)
        pieces.append((at, piece[:end]))
        at += end
    return pieces
