"""Routes that look into a model: a text's class and which tokens moved it, and attention."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from ..finetune.contributions import contributions
from ..finetune.task_models import TaskModel
from ..models.attention_weights import attention_weights
from .fields import ApiError, Fields
from .served import Served
from .service import Service, body_of

__all__ = ["Classifier", "attention", "classify"]

MOST_CHARACTERS = 20_000  # of a text to classify
MOST_LOOKS = 12  # tokens that each head's answer names


class Classifier:
    """A classifier that `finetune classify` trained, under its name."""

    def __init__(self, model: TaskModel, name: str) -> None:
        self.model, self.name = model, name
        n_classes = model.model.config.n_classes
        self.names: list[str] = [str(c) for c in model.settings.get("classes") or range(n_classes)]

    def answer(self, text: str, target: int | None) -> dict[str, Any]:
        """The probabilities of a text's classes, and what each token contributed to one of them.

        Raises: ValueError for a text without tokens, or a target that is not a class.
        """
        answer = contributions(text, self.model, target)
        classes = zip(answer.names, answer.probabilities, strict=True)
        return {
            "object": "classification", "model": self.name,
            "classes": [{"name": name, "probability": float(p)} for name, p in classes],
            "best": answer.best, "target": answer.names[answer.target], "cut": answer.cut,
            "tokens": [
                {"token": token, "score": float(score)}
                for token, score in zip(answer.tokens, answer.scores, strict=True)
            ],
        }  # fmt: skip


async def classify(served: Served, http: Any) -> dict[str, Any]:
    """The classes of one text, `input`, and the tokens that mattered for `target`, a class."""
    fields = await body_of(http, served.limits)
    classifier = served.classifier(fields)
    text, target = fields.text("input", most=MOST_CHARACTERS), fields.text("target", most=1000)
    if not text or not text.strip():
        raise fields.wrong("input", f"a text of 1 to {MOST_CHARACTERS} characters")
    names = classifier.names
    if target is not None and target not in names:
        raise fields.wrong("target", f"one of the classes {', '.join(names)}")
    number = None if target is None else names.index(target)
    try:
        async with served.computing:
            return await asyncio.to_thread(classifier.answer, text, number)
    except ValueError:
        raise ApiError(400, "the text has no tokens for this model", "input") from None


async def attention(served: Served, http: Any) -> dict[str, Any]:
    """Where the last of some tokens looks, in every layer and head of a language model.

    `ids` are the tokens up to the one that is asked about. For each layer there is a list of heads
    and for each head the places and weights of the tokens that it looks at most.
    """
    fields = await body_of(http, served.limits)
    service = await served.service(fields)
    ids = _ids(service, fields)
    try:
        async with served.computing:
            layers = await asyncio.to_thread(attention_weights, service.engine.model, ids)
    except ValueError:
        message = "this model has no attention whose weights can be shown"
        raise ApiError(400, message, "model") from None
    return {
        "object": "attention", "model": service.name, "length": len(ids),
        "tokens": [_spelled(service, i) for i in ids],
        "layers": [
            {"name": name, "heads": [_most(head) for head in heads], "mean": _most(heads.mean(0))}
            for name, heads in layers.items()
        ],
    }  # fmt: skip


def _ids(service: Service, fields: Fields) -> list[int]:
    ids, size = fields.get("ids"), service.tokenizer.vocab_size
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < size for i in ids):
        raise fields.wrong("ids", f"a list of token ids below {size}")
    if not 0 < len(ids) <= service.context_length:
        raise fields.wrong("ids", f"1 to {service.context_length} token ids")
    return list(ids)


def _spelled(service: Service, token_id: int) -> str:
    data: bytes = service.tokenizer.token_bytes(token_id)
    return data.decode("utf-8", "replace")


def _most(weights: np.ndarray) -> list[list[float]]:
    """The largest weights (T) as [place, weight], the largest first; those of 0 are left out."""
    places = np.argsort(-weights, kind="stable")[:MOST_LOOKS]
    return [[int(i), float(f"{weights[i]:.4g}")] for i in places if weights[i] > 0]
