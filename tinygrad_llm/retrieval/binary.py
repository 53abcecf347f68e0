"""BPR, the binary passage retriever: vectors that lose little when only their signs are kept.

A passage is stored as C bits instead of C float32 numbers, 1/32 of the memory. Search has two
steps: the passages whose bits differ least from the query's (Hamming distance), then these
candidates in the order of e_q · h_p, the query's numbers times the passage's signs.

The loss is layers.BinaryPassageLoss, in which the sign is tanh(β·e); β grows with the steps,
β = √(γ·step + 1), so that tanh comes closer to the sign.

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
from ..layers.binary_passages import BinaryPassageLoss
from ..nn import Linear, Module
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
    """layers.BinaryPassageLoss of these settings: the sum of both losses, a 0-d tensor.

    Raises: ValueError as that layer.
    """
    return BinaryPassageLoss(beta, margin, scale)(queries, passages)


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
