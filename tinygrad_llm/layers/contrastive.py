"""The contrastive loss of sentence embeddings: a text's partner among all texts of the batch.

Shapes: B pairs in a batch, M more negatives, C channels.
"""

from __future__ import annotations

import math

from ..functions.creation.ranges import arange
from ..functions.shape.join import cat
from ..nn import functional as F
from ..nn.module import Module
from ..tensor import Tensor

__all__ = ["ContrastiveLoss", "similarities"]


def similarities(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between every row of a (N, C) and every row of b (M, C): (N, M)."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T  # (N, C) @ (C, M) -> (N, M)


class ContrastiveLoss(Module):
    """−log softmax(s)ᵢᵢ, mean over the pairs: pair i's partner is the likeliest of all partners.

        sᵢⱼ = cos(aᵢ, cⱼ)/τ        c = positives, then negatives        L = −1/B·Σᵢ log Pᵢᵢ

    with P = softmax(s) along j, (B, B + M). The partners of other pairs are the negatives ("in the
    batch"), so a larger batch is a harder question. A small τ makes the most similar wrong text
    count most. Backward, through cross-entropy, the product and the two normalisations:
        ∂L/∂sᵢⱼ = (Pᵢⱼ − [i = j])/B
        ∂L/∂âᵢ  = 1/τ·Σⱼ ∂L/∂sᵢⱼ·ĉⱼ         ∂L/∂aᵢ = (g − âᵢ·(âᵢ·g))/|aᵢ|, g = ∂L/∂âᵢ
    where â = a/|a|: what points along a vector itself changes no angle and is taken out.

    temperature: τ, above 0; SimCSE has 0.05
    SimCSE without labels passes the same texts twice through dropout; with labels a text, one that
    follows from it, and as a hard negative one that contradicts it.
    Raises: ValueError unless the temperature is a positive number.
    Sources: van den Oord et al. (2018), "InfoNCE"; Gao, Yao, Chen (2021), "SimCSE", equations 1, 4
    and 5.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"ContrastiveLoss: temperature must be above 0, got {temperature!r}")
        self.temperature = float(temperature)

    def forward(
        self, anchors: Tensor, positives: Tensor, negatives: Tensor | None = None
    ) -> Tensor:
        """The mean loss of B pairs in nats, 0-d.

        anchors, positives: (B, C), row i of both is a pair; negatives: (M, C), of any text
        Raises: ValueError if the shapes do not fit.
        """
        for name, x in (("positives", positives), ("negatives", negatives)):
            if x is None:
                continue
            fits = x.dim() == 2 and anchors.dim() == 2 and x.shape[1] == anchors.shape[1]
            if not fits or (name == "positives" and x.shape != anchors.shape):
                raise ValueError(
                    f"ContrastiveLoss: anchors (B, C), positives (B, C) and negatives (M, C) were "
                    f"expected; anchors have the shape {tuple(anchors.shape)}, {name} "
                    f"{tuple(x.shape)}"
                )
        if negatives is not None:
            positives = cat([positives, negatives])  # (B, C), (M, C) -> (B + M, C)
        scores = similarities(anchors, positives) / self.temperature  # (B, B + M)
        targets = arange(anchors.shape[0], device=anchors.device)  # (B)
        return F.cross_entropy(scores, targets)

    def extra_repr(self) -> str:
        """The temperature, for printing."""
        return f"temperature={self.temperature}"
