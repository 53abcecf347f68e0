"""Named mistakes of the contrastive loss, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import wrong_layer


def _other_anchors(self: Any, i: int, anchors: Any, positives: Any, negatives: Any) -> list[Any]:
    return [anchors[j] for j in range(len(anchors)) if j != i] + self.hard(negatives)


def _without_partner(self: Any, right: Any, wrong: list[Any]) -> Any:
    total = right.exp() * 0.0
    for score in wrong:
        total = total + score.exp()
    return total.log() - right


wrong_layer(
    "ContrastiveLoss",
    ("temperature as a factor", "The scores are cos·τ: they are divided by the temperature, "
     "otherwise the softmax of cosines is almost even.",
     {"score": lambda self, a, b: self.similarity(a, b) * self.layer.temperature}),
    ("not normalised", "The scores are products of the vectors as they are: each is divided by its "
     "length first, otherwise long vectors win.",
     {"similarity": lambda self, a, b: (a * b).sum()}),
    ("other anchors as negatives", "Anchors are compared with other anchors: the wrong answers for "
     "an anchor are the partners of the other pairs.", {"wrong": _other_anchors}),
    ("the partner left out of the sum", "The denominator is the sum over wrong candidates: the "
     "softmax is over all, the partner too.", {"loss_of": _without_partner}),
    ("hard negatives forgotten", "Only the other pairs' partners are negatives: the hard negatives "
     "stand in every anchor's denominator too.", {"hard": lambda self, negatives: []}),
    ("the sum of the pairs", "The losses of the pairs are summed: it is their mean, so that the "
     "learning rate does not depend on the batch size.",
     {"over_pairs": lambda self, losses: sum(losses[1:], losses[0])}),
)  # fmt: skip
