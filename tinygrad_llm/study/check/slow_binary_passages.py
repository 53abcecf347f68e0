"""The slow twin of the loss of binary passages: one query and one passage at a time.

Shapes: B queries, N passages, C channels.
"""

from __future__ import annotations

from typing import Any

from ...functions.shape.join import stack
from ...tensor import Tensor

__all__ = ["SlowBinaryPassageLoss"]


class SlowBinaryPassageLoss:
    """A loop over queries: the margins to the wrong passages, and the share of the right one."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def code(self, x: Tensor) -> Tensor:
        """h of a vector, (C)."""
        return (self.layer.beta * x).tanh()

    def violation(self, right: Tensor, wrong: Tensor) -> Tensor:
        """How much a wrong product is too near to the right one, 0-d; 0 if it is far enough."""
        return (self.layer.margin - (right - wrong)).relu()

    def wrong(self, i: int, n: int) -> list[int]:
        """The numbers of the passages that are wrong for query i."""
        return [j for j in range(n) if j != i]

    def certainty(self, query: Tensor, passage: Tensor) -> Tensor:
        """The score of a passage in the re-ranking, 0-d."""
        return (query * self.code(passage)).sum() * self.layer.scale

    def __call__(self, queries: Tensor, passages: Tensor) -> Tensor:
        margins, losses = [], []
        for i in range(len(queries)):
            h = self.code(queries[i])
            products = [(h * self.code(passages[j])).sum() for j in range(len(passages))]
            wrong = self.wrong(i, len(passages))
            margins += [self.violation(products[i], products[j]) for j in wrong]
            scores = [self.certainty(queries[i], passages[j]) for j in range(len(passages))]
            losses.append(stack([score.exp() for score in scores]).sum().log() - scores[i])
        return stack(margins).mean() + stack(losses).mean()
