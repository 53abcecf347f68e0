"""BPR, the binary passage retriever: vectors that lose little when only their signs are kept.

A passage is stored as C bits instead of C float32 numbers, 1/32 of the memory. Search has two
steps: the passages whose bits differ least from the query's (Hamming distance), then these
candidates in the order of e_q · h_p, the query's numbers times the passage's signs.

The sign has the derivative 0. In training it is tanh(β·e), and β grows, β = √(γ·step + 1), so that
tanh comes closer to the sign. With h = tanh(β·e), right passage p of query q, wrong ones n:

    candidates   mean over n of max(0, margin − (h_q·h_p − h_q·h_n))
    re-ranking   −log softmax of e_q·h over all passages of the batch, at p

    ∂h/∂e = β·(1 − h²): a number far from 0 is certain of its bit and stops to move.
    With u_n = 1 where the margin is violated, m wrong pairs in all:
    ∂candidates/∂h_q = Σ u_n·(h_n − h_p) / m, ∂/∂h_p = −Σ u_n·h_q / m, ∂/∂h_n = u_n·h_q / m.

Source: Yamada et al. (2021), "Efficient Passage Retrieval with Hashing for Open-domain Question
Answering", equations 1 to 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..autograd.grad_mode import no_grad
from ..functions.creation.filled import eye
from ..functions.creation.from_data import tensor
from ..functions.creation.ranges import arange
from ..nn import Linear, Module
from ..nn import functional as F
from ..optim import AdamW
from ..tensor import Tensor
from .search import Hits, best, binary_codes, search_codes

__all__ = ["BinaryIndex", "BinaryProjection", "beta_at", "bpr_loss", "train_projection"]


def beta_at(step: int, growth: float = 0.1) -> float:
    """β = √(growth·step + 1), which makes tanh(β·e) steeper from step to step."""
    return math.sqrt(growth * step + 1.0)


def bpr_loss(
    queries: Tensor, passages: Tensor, beta: float = 1.0, margin: float = 2.0, scale: float = 1.0
) -> Tensor:
    """The sum of both losses, a 0-d tensor; row i of the passages is the right one of query i.

    queries: (B, C); passages: (N, C), N ≥ B: after the right ones may come hard negatives. All
    other passages are wrong for a query. scale: of e_q·h_p before the softmax
    Raises: ValueError for shapes that do not fit, or fewer than two passages.
    """
    B, N = queries.shape[0], passages.shape[0]
    if queries.ndim != 2 or passages.ndim != 2 or queries.shape[1] != passages.shape[1]:
        raise ValueError(
            f"queries (B, C) and passages (N, C) are needed, got {tuple(queries.shape)} and "
            f"{tuple(passages.shape)}"
        )
    if N < max(B, 2):
        raise ValueError(f"{B} queries need {max(B, 2)} passages or more, got {N}")
    right = arange(B, device=queries.device)  # (B)
    h_q, h_p = (queries * beta).tanh(), (passages * beta).tanh()  # (B, C), (N, C)
    scores = h_q @ h_p.T  # (B, C) @ (C, N) -> (B, N)
    own = (h_q * h_p[:B]).sum(1, keepdim=True)  # (B, C) -> (B, 1)
    wrong = arange(N, device=queries.device) != right.unsqueeze(1)  # (B, N)
    candidates = F.relu(margin - (own - scores))[wrong].mean()  # (B, N) -> (B·(N−1)) -> ()
    return candidates + F.cross_entropy((queries @ h_p.T) * scale, right)


class BinaryProjection(Module):
    """Two matrices, for queries and for passages, over vectors of an encoder that does not change.

    width: C of the vectors. Both begin as √C times the identity, so that vectors of length 1 have
    entries of about 1 and the first codes are the signs of the vectors themselves.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = Linear(width, width, bias=False)
        self.passage = Linear(width, width, bias=False)
        with no_grad():
            for layer in (self.query, self.passage):
                layer.weight.copy_(eye(width) * math.sqrt(width))

    def forward(self, queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) and (N, C) -> the same shapes."""
        return self.query(queries), self.passage(passages)

    @no_grad()
    def arrays(self, queries: np.ndarray, passages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for arrays, without gradients."""
        q, p = self(tensor(queries), tensor(passages))
        return q.numpy(), p.numpy()


def train_projection(
    queries: np.ndarray, passages: np.ndarray, *, steps: int = 300, batch_size: int = 128,
    lr: float = 1e-3, margin: float = 2.0, growth: float = 0.1, seed: int = 0,
    hard: np.ndarray | None = None,
) -> BinaryProjection:  # fmt: skip
    """Trains the matrices on pairs: row i of the passages answers row i of the queries.

    queries, passages: float32 (M, C), of length 1; hard: (M, C), a wrong passage that looks right
    for each pair, or None; growth: of β. The other pairs of a batch are wrong, too.
    Raises: ValueError for shapes that do not fit, or fewer than two pairs.
    """
    if queries.shape != passages.shape or queries.ndim != 2 or len(queries) < 2:
        raise ValueError(f"two pairs or more are needed, got {queries.shape}, {passages.shape}")
    if hard is not None and hard.shape != passages.shape:
        raise ValueError(f"hard needs the shape of the passages, {passages.shape}: {hard.shape}")
    model = BinaryProjection(queries.shape[1])
    optimizer = AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    scale = 1.0 / math.sqrt(queries.shape[1])
    for step, rows in enumerate(_batches(len(queries), batch_size, steps, seed)):
        near = passages[rows] if hard is None else np.concatenate([passages[rows], hard[rows]])
        q, p = model(tensor(queries[rows]), tensor(near))
        loss = bpr_loss(q, p, beta_at(step, growth), margin, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _batches(n: int, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        yield generator.permutation(n)[:size]


class BinaryIndex:
    """Passages as bits: searched by Hamming distance, then re-ranked by the query's numbers.

    passages: (N, C), of which the signs are kept
    """

    def __init__(self, passages: np.ndarray) -> None:
        self.codes = binary_codes(passages)  # (N, C) -> (N, C/8)
        self.width = passages.shape[1]

    def search(self, queries: np.ndarray, k: int = 10, candidates: int = 100) -> Hits:
        """The k best for each query (Q, C), the best first; scores are e_q · h_p.

        candidates: of the first step, 0 for no re-ranking: scores are then −Hamming distance
        Raises: ValueError for queries of another width, or a negative number.
        """
        if queries.ndim != 2 or queries.shape[1] != self.width:
            raise ValueError(f"queries (Q, {self.width}) are needed, got {queries.shape}")
        if not candidates:
            return search_codes(binary_codes(queries), self.codes, k)
        near = search_codes(binary_codes(queries), self.codes, max(k, candidates)).ids  # (Q, L)
        bits = np.unpackbits(self.codes[near], axis=-1, count=self.width)  # (Q, L, C)
        signs = bits.astype(np.float32) * 2 - 1  # (Q, L, C) of ±1
        scores = np.einsum("qc,qlc->ql", queries, signs)  # (Q, C), (Q, L, C) -> (Q, L)
        order = best(scores, k)
        return Hits(np.take_along_axis(near, order.ids, 1), order.scores)
