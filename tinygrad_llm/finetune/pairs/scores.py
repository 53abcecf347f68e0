"""An encoder on pairs of texts: its scores, its loss, and its scores of a whole data set.

Shapes: B examples, N pairs in an example, T time (tokens), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...arrays.devices import to_numpy
from ...autograd.grad_mode import no_grad
from ...models.base import evaluation
from ...models.encoder import ClassifyingEncoder
from ...nn import functional as F
from ...tensor import Tensor
from ...training.step import to_device_of
from .data import PairDataset, collate_pairs

__all__ = ["pair_loss", "pair_scores", "predict_pairs"]


def pair_scores(model: ClassifyingEncoder, batch: Mapping[str, Tensor]) -> Tensor:
    """The scores of a batch of collate_pairs: (B, K) for one pair an example, or (B, N).

    The pairs of a question go through the encoder as B·N texts, with one score each; then the row
    of a question has the scores of its N answers.
    """
    config: Any = model.config
    types = batch["token_type_ids"] if config.n_token_types > 1 else None
    scores = model(batch["ids"], batch["attention_mask"], types)  # (B·N, T) -> (B·N, K)
    B = batch["labels"].shape[0]
    return scores if scores.shape[0] == B else scores.reshape(B, -1)  # (B·N, 1) -> (B, N)


def pair_loss(model: ClassifyingEncoder, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean cross-entropy of classes or right answers, the mean squared error of numbers; 0-d.

    Labels are numbers if they are floating-point.
    """
    scores, labels = pair_scores(model, batch), batch["labels"]  # (B, K), (B)
    if labels.is_floating_point():
        return F.mse_loss(scores.squeeze(-1).to(labels.dtype), labels)  # (B, 1) -> (B)
    return F.cross_entropy(scores, labels)


pair_loss.can_be_captured = False  # type: ignore[attr-defined]  # it looks at masks


@no_grad()
def predict_pairs(
    model: ClassifyingEncoder, data: PairDataset, pad_token_id: int = 0,
    batch_size: int = 64,
) -> np.ndarray:  # fmt: skip
    """The scores of every example, (N, K) float64, in their order; the model's mode is restored.

    Examples of about the same length share a batch, so that there is little padding.
    """
    order = np.argsort(data.lengths, kind="stable")  # (N)
    parts: list[Any] = []
    with evaluation(model):
        for start in range(0, len(order), batch_size):
            rows = [data[int(i)] for i in order[start : start + batch_size]]
            scores = pair_scores(model, to_device_of(model, collate_pairs(rows, pad_token_id)))
            parts.append(to_numpy(scores.array).astype(np.float64))
    sorted_scores = np.concatenate(parts)  # (N, K)
    ordered = np.empty_like(sorted_scores)
    ordered[order] = sorted_scores
    return ordered
