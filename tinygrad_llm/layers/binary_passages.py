"""The loss of BPR, the binary passage retriever: vectors whose signs are enough for a search.

Shapes: B queries, N passages, C channels (bits of a code).
"""

from __future__ import annotations

import math

from ..functions.creation.ranges import arange
from ..nn import functional as F
from ..nn.module import Module
from ..tensor import Tensor

__all__ = ["BinaryPassageLoss"]


class BinaryPassageLoss(Module):
    """A margin between the codes of right and wrong passages, and a softmax for the re-ranking.

        h = tanh(β·e)        candidates = mean over i, j ≠ i of max(0, m − (h_qi·h_pi − h_qi·h_pj))
                             re-ranking = −1/B·Σᵢ log softmax(s·e_qi·h_p)ᵢ

    with e_q (B, C), e_p (N, C); passage i is the right one of query i. The sign has the derivative
    0, so in training it is tanh(β·e), and β grows: tanh comes closer to the sign. Backward:
        ∂h/∂e = β·(1 − h²): a number far from 0 is certain of its bit and stops to move.
        ∂candidates/∂h_q = Σ u·(h_n − h_p)/M, ∂/∂h_p = −Σ u·h_q/M, ∂/∂h_n = u·h_q/M
    where u = 1 for a pair whose margin is violated, of M = B·(N − 1) pairs. The re-ranking has the
    backward of cross-entropy; e_q stands in it without tanh, as the search keeps the query's
    numbers and only the passages' bits.

    beta: β, above 0; margin: m, not negative; scale: s, above 0
    Raises: ValueError for one that is out of range.
    Source: Yamada et al. (2021), "Efficient Passage Retrieval with Hashing for Open-domain Question
    Answering", equations 1 to 4.
    """

    def __init__(self, beta: float = 1.0, margin: float = 2.0, scale: float = 1.0) -> None:
        super().__init__()
        for name, value in (("beta", beta), ("scale", scale)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"BinaryPassageLoss: {name} must be above 0, got {value!r}")
        if not 0.0 <= margin < math.inf:
            raise ValueError(f"BinaryPassageLoss: margin must be 0 or more, got {margin!r}")
        self.beta, self.margin, self.scale = float(beta), float(margin), float(scale)

    def forward(self, queries: Tensor, passages: Tensor) -> Tensor:
        """The sum of both losses, 0-d.

        queries: (B, C); passages: (N, C), N ≥ B: row i is the right one of query i, after the right
        ones may come hard negatives. All other passages are wrong for a query.
        Raises: ValueError for shapes that do not fit, or fewer than two passages.
        """
        if queries.dim() != 2 or passages.dim() != 2 or queries.shape[1] != passages.shape[1]:
            raise ValueError(
                f"queries (B, C) and passages (N, C) are needed, got {tuple(queries.shape)} and "
                f"{tuple(passages.shape)}"
            )
        B, N = queries.shape[0], passages.shape[0]
        if not B or N < max(B, 2):
            raise ValueError(f"{B} queries need {max(B, 2)} passages or more, got {N}")
        right = arange(B, device=queries.device)  # (B)
        h_q, h_p = (queries * self.beta).tanh(), (passages * self.beta).tanh()  # (B, C), (N, C)
        scores = h_q @ h_p.T  # (B, C) @ (C, N) -> (B, N)
        own = (h_q * h_p[:B]).sum(1, keepdim=True)  # (B, C) -> (B, 1)
        wrong = arange(N, device=queries.device) != right.unsqueeze(1)  # (B, N)
        candidates = F.relu(self.margin - (own - scores))[wrong].mean()  # (B, N) -> (B·(N−1)) -> ()
        reranking = F.cross_entropy((queries @ h_p.T) * self.scale, right)  # (B, N) -> ()
        return candidates + reranking

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"beta={self.beta}, margin={self.margin}, scale={self.scale}"
