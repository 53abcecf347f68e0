"""The slow twin of the contrastive loss: one pair of texts at a time.

Shapes: B pairs, M negatives, C channels.
"""

from __future__ import annotations

from typing import Any

from ...functions.shape.join import stack
from ...tensor import Tensor

__all__ = ["SlowContrastiveLoss"]


class SlowContrastiveLoss:
    """A loop over pairs: the scores of one anchor, their softmax, its partner's share."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def length(self, x: Tensor) -> Tensor:
        """|x| of a vector (C), 0-d."""
        return (x * x).sum().sqrt()

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """The cosine of the angle between two vectors (C), 0-d."""
        return (a * b).sum() / (self.length(a) * self.length(b))

    def score(self, a: Tensor, b: Tensor) -> Tensor:
        """s of an anchor and a candidate, 0-d."""
        return self.similarity(a, b) / self.layer.temperature

    def wrong(self, i: int, anchors: Any, positives: Any, negatives: Any) -> list[Tensor]:
        """The candidates of anchor i that are not its partner, (C) each."""
        others = [positives[j] for j in range(len(positives)) if j != i]
        return others + self.hard(negatives)

    def hard(self, negatives: Any) -> list[Tensor]:
        """The hard negatives, (C) each."""
        return [] if negatives is None else [negatives[j] for j in range(len(negatives))]

    def loss_of(self, right: Tensor, wrong: list[Tensor]) -> Tensor:
        """−log of the partner's share, from its score and those of all others, 0-d."""
        total = right.exp()
        for score in wrong:
            total = total + score.exp()
        return total.log() - right

    def over_pairs(self, losses: list[Tensor]) -> Tensor:
        """One number for the losses of all pairs, 0-d."""
        return stack(losses).mean()

    def __call__(
        self, anchors: Tensor, positives: Tensor, negatives: Tensor | None = None
    ) -> Tensor:
        losses = []
        for i in range(len(anchors)):
            right = self.score(anchors[i], positives[i])
            wrong = [
                self.score(anchors[i], other)
                for other in self.wrong(i, anchors, positives, negatives)
            ]
            losses.append(self.loss_of(right, wrong))
        return self.over_pairs(losses)
