"""One call per task: a fine-tuned encoder answers for texts.

    infer("A cat sleeps.", "An animal sleeps.", "runs/nli-jnli-1")       # ("entailment", 0.93)
    rate("A cat sleeps.", "A cat is asleep.", "runs/sts-jsts-1")         # 4.3
    choose("Which is a fruit?", ["apple", "horse"], "runs/choice-1")     # (0, [0.9, 0.1])
    rank("How is tea made?", passages, "runs/rerank-1")                  # [(2, 3.1), (0, -0.4), …]

A run is its folder or one of its checkpoints, which is read at every call; for many texts keep a
PairModel: `model = PairModel.load("runs/nli-jnli-1")`, then `infer(a, b, model)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...models.encoder import ClassifyingEncoder
from ...text import Tokenizer
from ...text.tokenizer import check_fits, check_text
from ...training.checkpoint import Checkpoint
from ..task_models import TaskModel
from .data import PairDataset, pair_ids
from .rows import Row
from .scores import predict_pairs

__all__ = ["PairModel", "choose", "infer", "rank", "rate"]

_KINDS = ("nli", "sts", "choice", "rerank")


@dataclass
class PairModel:
    """A fine-tuned encoder with its tokenizer.

    kind: "nli", "sts", "choice" or "rerank"; names: of the classes; max_length: ids of a pair
    """

    model: ClassifyingEncoder
    tokenizer: Tokenizer
    kind: str
    max_length: int
    names: tuple[str, ...] = ()

    @classmethod
    def load(cls, run: str | Path | Checkpoint) -> PairModel:
        """The model of a run of finetune nli, sts, choice or rerank.

        Raises: ValueError if it is a run of another kind; StorageError if it is damaged.
        """
        loaded = TaskModel.load(run)
        config, model = loaded.settings, loaded.model
        kind = config.get("finetune")
        if kind not in _KINDS:
            raise ValueError(f"{loaded.name} is not a run of finetune nli, sts, choice or rerank")
        if not isinstance(model, ClassifyingEncoder) or model.pool is None:
            raise ValueError(f"{loaded.name} holds a {type(model).__name__}")
        length, names = config.get("max_length"), config.get("classes", [])
        if type(length) is not int or not isinstance(names, list):
            raise ValueError(f"{loaded.name} does not say how long a text may be")
        return cls(model, loaded.tokenizer, str(kind), length, tuple(map(str, names)))

    def scores(self, first: str, seconds: Sequence[str]) -> np.ndarray:
        """The scores of the pairs (first, second): (N, K) float64.

        Raises: TypeError if one is not a text; ValueError for one without tokens.
        """
        for text in (first, *seconds):
            check_text(text)
        check_fits(self.tokenizer, self.model.config.vocab_size)
        for second in seconds:
            pair_ids(self.tokenizer, first, second, self.max_length)  # its errors name no row
        rows = [Row(first, (second,), 0) for second in seconds]
        data = PairDataset(rows, self.tokenizer, self.max_length)
        return predict_pairs(self.model, data, self.tokenizer.pad_token or 0)

    def need(self, kind: str) -> None:
        """Raises: ValueError if it is a model of another kind."""
        if self.kind != kind:
            raise ValueError(f"this needs a run of finetune {kind}, got one of {self.kind}")


def _loaded(run: PairModel | str | Path | Checkpoint, kind: str) -> PairModel:
    model = run if isinstance(run, PairModel) else PairModel.load(run)
    model.need(kind)
    return model


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def infer(
    premise: str, hypothesis: str, run: PairModel | str | Path | Checkpoint
) -> tuple[str, float]:
    """(the likeliest label, its probability): does the hypothesis follow from the premise?

    run: of finetune nli, or a PairModel of it
    Raises: ValueError for a text without tokens or a run of another kind.
    """
    model = _loaded(run, "nli")
    p = _softmax(model.scores(premise, [hypothesis])[0])  # (K)
    best = int(p.argmax())
    return model.names[best], float(p[best])


def rate(a: str, b: str, run: PairModel | str | Path | Checkpoint) -> float:
    """How similar two texts are, on the scale of the labels of a run of finetune sts.

    Raises: ValueError as infer.
    """
    return float(_loaded(run, "sts").scores(a, [b])[0, 0])


def choose(
    question: str, answers: Sequence[str], run: PairModel | str | Path | Checkpoint
) -> tuple[int, list[float]]:
    """(the number of the likeliest answer, the probability of each), by a run of finetune choice.

    Raises: TypeError if the answers are one text; ValueError without answers; as infer.
    """
    answers = _listed(answers, "answers")
    p = _softmax(_loaded(run, "choice").scores(question, answers)[:, 0])  # (N, 1) -> (N)
    return int(p.argmax()), p.tolist()


def rank(
    question: str, passages: Sequence[str], run: PairModel | str | Path | Checkpoint
) -> list[tuple[int, float]]:  # fmt: skip
    """(the number of a passage, its score) of each, the best first, by a run of finetune rerank.

    Scores compare passages of one question; equal ones keep their order.
    Raises: TypeError if the passages are one text; ValueError without passages; as infer.
    """
    passages = _listed(passages, "passages")
    scores = _loaded(run, "rerank").scores(question, passages)[:, 0]  # (N, 1) -> (N)
    return [(int(i), float(scores[i])) for i in np.argsort(-scores, kind="stable")]


def _listed(texts: Iterable[str], name: str) -> list[str]:
    """Raises: TypeError if they are one text or none; ValueError if the list is empty."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"{name} must be a list of texts, got {type(texts).__name__}")
    listed = list(texts)
    if not listed:
        raise ValueError(f"there are no {name} to choose from")
    return listed
