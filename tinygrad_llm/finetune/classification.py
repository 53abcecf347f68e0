"""Classification: the quality of a classifier on a data set, and the class of one text.

model = GPTClassifier.from_gpt(gpt, n_classes=2)
classification_trainer(model, train_set, validation_set, epochs=5).run()
report = evaluate_classifier(model, test_set, names=["ham", "spam"])
print(report, report.worst_table(test_texts), sep="\\n\\n")
classify("You won a prize", TaskModel(model, tokenizer), names=["ham", "spam"])  # ("spam", 0.98)
classify("You won a prize", "runs/classify-sms-spam-1")                          # ("spam", 0.98)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import to_numpy
from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..models.base import device_of, evaluation
from ..models.classifier import GPTClassifier
from ..nn import functional as F
from ..tensor import Tensor, wrap
from .data import TextClassificationDataset, text_ids, text_windows
from .report import ClassificationReport
from .task_models import Run, TaskModel, text_first

__all__ = [
    "ReadText", "accuracy", "averaged", "classify", "evaluate_classifier", "joined", "predict",
    "read_text",
]  # fmt: skip


def _batches(data: TextClassificationDataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(data), batch_size):
        rows = slice(start, start + batch_size)
        yield wrap(data.ids[rows]), wrap(data.labels[rows])  # (B, T), (B)


@no_grad()
def _log_probabilities(
    model: GPTClassifier, data: TextClassificationDataset, batch_size: int
) -> np.ndarray:
    """(N, K) float64, in nats."""
    device, parts = device_of(model), []
    with evaluation(model):
        for ids, _ in _batches(data, batch_size):
            logits = model(ids.to(device))  # (B, T) -> (B, K)
            parts.append(to_numpy(F.log_softmax(logits, dim=-1).array))
    return np.concatenate(parts).astype(np.float64)  # (N, K)


def predict(
    model: GPTClassifier, data: TextClassificationDataset, batch_size: int = 32
) -> np.ndarray:
    """The probability of each class for each text, (N, K): no dropout, the mode is restored."""
    return np.exp(_log_probabilities(model, data, batch_size))


def evaluate_classifier(
    model: GPTClassifier, data: TextClassificationDataset, names: Sequence[str] | None = None,
    batch_size: int = 32, owners: np.ndarray | None = None,
) -> ClassificationReport:  # fmt: skip
    """Accuracy, confusion matrix, per-class numbers and the worst texts of a data set.

    names: of the classes; None for "0", "1" … The model's mode is restored.
    owners: (N) int64, ascending from 0: data are windows, and this says of which text. The mean of
        the logarithms of its windows' probabilities is what the model says of a text
    Raises: ValueError if a label is not a class of the model, or the number of names is wrong.
    """
    K = model.config.n_classes
    names = [str(k) for k in range(K)] if names is None else list(names)
    if len(names) != K:
        raise ValueError(f"the model has {K} classes, but {len(names)} names were given")
    check_labels(data, K)
    logs, labels = _log_probabilities(model, data, batch_size), data.labels.copy()  # (N, K), (N)
    if owners is not None:
        labels = labels[np.unique(owners, return_index=True)[1]]  # (windows) -> (N)
        logs = averaged(logs, owners)  # (windows, K) -> (N, K)
    losses = -logs[np.arange(len(labels)), labels]  # (N)
    return ClassificationReport(labels, logs.argmax(1), np.exp(logs), losses, names)


def averaged(logs: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Log probabilities (N, K) of texts from those of their windows (windows, K).

    The geometric mean of the windows' probabilities, normalised. owners: see evaluate_classifier
    """
    sums = np.zeros((int(owners.max()) + 1, logs.shape[1]))
    np.add.at(sums, owners, logs)
    means = sums / np.bincount(owners)[:, None]  # (N, K)
    means -= means.max(1, keepdims=True)
    return means - np.log(np.exp(means).sum(1, keepdims=True))


def check_labels(data: TextClassificationDataset, n_classes: int) -> None:
    """Raises: ValueError if a label is not one of 0 … n_classes − 1."""
    wrong = data.labels >= n_classes
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"row {row} has the label {data.labels[row]}, but the model's classes are 0 … "
            f"{n_classes - 1}"
        )


def accuracy(model: GPTClassifier, data: TextClassificationDataset, batch_size: int = 32) -> float:
    """The share of texts whose class is predicted correctly."""
    return float((predict(model, data, batch_size).argmax(1) == data.labels).mean())


@text_first
@no_grad()
def classify(
    text: str, run: Run, max_length: int | None = None, names: Sequence[str] | None = None,
    windows: bool | None = None,
) -> tuple[Any, float]:  # fmt: skip
    """(the likeliest class, its probability) of one text.

    run: the folder of a run of finetune classify, read at every call, or a TaskModel; (model,
        tokenizer, text) work too. What follows is for models without a run, which knows it
    max_length: longer texts are cut at the end; None for the model's context, which is the limit in
        any case. With pool="last" shorter ones are padded to it, so pass the same as in training
    names: of the classes; without them the class is returned as its number
    windows: a longer text is not cut: the answers for its windows are averaged (see `averaged`)
    Raises: TypeError for another kind of model; ValueError if the text has no tokens.
    """
    read = read_text(text, run, max_length, names, windows)
    parts = []
    with evaluation(read.model):
        for ids in read.windows:
            logits = read.model(tensor([ids], device=device_of(read.model)))  # (1, T) -> (1, K)
            parts.append(to_numpy(F.log_softmax(logits, dim=-1).array))
    probabilities = joined(np.concatenate(parts))  # (windows, K) -> (K)
    best = int(probabilities.argmax())
    return (best if read.names is None else read.names[best]), float(probabilities[best])


class ReadText(NamedTuple):
    """A text as a classifier reads it.

    windows: the ids of each part, padded where the model was trained so; lengths: how many of them
    are not padding; names: of the classes, or None
    """

    model: GPTClassifier
    tokenizer: Any
    windows: list[list[int]]
    lengths: list[int]
    names: Sequence[str] | None


def read_text(
    text: str, run: Run, max_length: int | None = None, names: Sequence[str] | None = None,
    windows: bool | None = None,
) -> ReadText:  # fmt: skip
    """The ids that a classifier computes with; arguments as `classify`.

    Raises: as classify.
    """
    loaded = TaskModel.load(run)
    loaded.need("classify", GPTClassifier)
    model, tokenizer, known = loaded.model, loaded.tokenizer, loaded.settings
    max_length = known.get("max_length") if max_length is None else max_length
    names = known.get("classes") if names is None else names
    windows = known.get("long_texts") == "windows" if windows is None else windows
    config = model.config
    limit = model.context_length if max_length is None else min(max_length, model.context_length)
    cut = text_windows(tokenizer, text, limit) if windows else [text_ids(tokenizer, text, limit)]
    if not cut[0]:
        raise ValueError(f"the text {text!r} has no tokens")
    lengths = [len(ids) for ids in cut]
    if config.pool == "last" and max_length is not None:
        cut = [[*ids, *[config.pad_token_id] * (limit - len(ids))] for ids in cut]
    return ReadText(model, tokenizer, cut, lengths, names)


def joined(logs: np.ndarray) -> np.ndarray:
    """The probabilities (K) of a text from the log probabilities of its windows (windows, K)."""
    if len(logs) > 1:
        logs = averaged(logs, np.zeros(len(logs), np.int64))
    probabilities: np.ndarray = np.exp(logs[0])
    return probabilities
