"""Batches from folders of shards: random windows, or rows packed with whole documents.

    sources = [Shards("books"), Shards("code")]
    batches = ShardBatches(sources, 16, 256, weights=[3, 1], seed=1)

Windows are cut anywhere, as TokenBatches cuts them. Packed rows hold documents one after the other,
and a third tensor says which token belongs to which: attention may then stay within a document
(functions.attention.within_documents). No token is left out, and few places stay empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .batches import IGNORED, TokenBatches
from .order import Permutation
from .shards import Shards

__all__ = ["PACKINGS", "ShardBatches", "packed_in_order"]

PACKINGS = ("windows", "documents", "isolated")
_SMALL_GAP = 8  # empty places at the end of a row that are not worth a piece of a document

Batch = tuple[Tensor, ...]


class _Pieces:
    """The documents of a source in random order, or in their own, in pieces that fit into a row.

    place: (documents taken, tokens taken of the next one); seed: None for their own order
    """

    def __init__(self, shards: Shards, part: str, seed: int | None) -> None:
        self.row, self.ends = shards.row(part), shards.documents(part)
        self.end, self.seed = shards.end, seed
        self.place = (0, 0)
        self._epoch, self._order = -1, Permutation(1)
        self._bounds: tuple[int, tuple[int, int]] = (-1, (0, 0))

    def _document(self, number: int) -> tuple[int, int]:
        """Where the document begins and ends that has this number in the order of all epochs."""
        if self._bounds[0] != number:
            epoch, i = divmod(number, len(self.ends))
            if self.seed is not None:
                if epoch != self._epoch:
                    self._epoch = epoch
                    self._order = Permutation(len(self.ends), self.seed, epoch)
                i = self._order[i]
            self._bounds = number, self.ends[i]
        return self._bounds[1]

    def left(self) -> int:
        """How many places the rest of the next document takes."""
        begin, end = self._document(self.place[0])
        return end - begin - self.place[1] - (self.end is None and not self.place[1])

    def take(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets) of the next piece, at most so many places: (n) and (n).

        The first input of a document is the token that ended the one before it.
        """
        number, taken = self.place
        begin, end = self._document(number)
        first = taken if taken or self.end is not None else 1
        stop = min(begin + first + most, end)
        before = max(first - 1, 0)
        ids = self.row[begin + before : stop].astype(np.int64)
        if not first:
            ids = np.concatenate([[self.end], ids])
        self.place = (number + 1, 0) if stop == end else (number, stop - begin)
        return ids[:-1], ids[1:]


class ShardBatches:
    """An endless stream of batches from one or several folders of shards.

    weights   of the folders: how much of all tokens each brings, at any time; equal ones if None
    packing   "windows": (inputs, targets), both (B, T) int64, as TokenBatches has them.
              "documents" and "isolated": (inputs, documents, targets), where documents (B, T)
              counts the documents of a row from 0; the places that stay empty have targets of −100
    seed      the order depends on it alone; `state_dict()` says where the stream is, and
              `load_state_dict()` goes there
    Raises: ValueError for a folder that is too small, other vocabularies, or weights that are not
    positive.
    """

    def __init__(
        self, sources: Sequence[Shards], batch_size: int, context_length: int, *,
        weights: Sequence[float] | None = None, packing: str = "windows", seed: int = 0,
    ) -> None:  # fmt: skip
        weights = [1.0] * len(sources) if weights is None else [float(w) for w in weights]
        if packing not in PACKINGS:
            raise ValueError(f"packing must be one of {', '.join(PACKINGS)}, got {packing!r}")
        if not sources or len(weights) != len(sources) or not all(
            0 < w < float("inf") for w in weights
        ):  # fmt: skip
            raise ValueError(f"{len(sources)} folders need as many positive weights, got {weights}")
        if len({shards.vocab_size for shards in sources}) > 1:
            raise ValueError("the folders have different vocabularies: prepare them with one "
                             "tokenizer")  # fmt: skip
        self.sources, self.weights = list(sources), weights
        self.batch_size, self.context_length = batch_size, context_length
        self.packing, self.seed = packing, seed
        self.taken = [0] * len(sources)  # tokens
        rows = [shards.row() for shards in sources]
        self.windows = [TokenBatches(row, batch_size, context_length, seed=seed + i)
                        for i, row in enumerate(rows)]  # fmt: skip
        self.pieces = [_Pieces(shards, "train", seed + i) for i, shards in enumerate(sources)]

    def __len__(self) -> int:
        """Batches in which as many tokens are as in all folders together."""
        total = sum(len(shards.row()) for shards in self.sources)
        return -(-total // (self.batch_size * self.context_length))

    def _next_source(self) -> int:
        """The folder that has brought least for its weight."""
        shares = [n / w for n, w in zip(self.taken, self.weights, strict=True)]
        return shares.index(min(shares))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            if self.packing == "windows":
                rows = np.stack([self._window() for _ in range(self.batch_size)]).astype(np.int64)
                yield wrap(rows[:, :-1].copy()), wrap(rows[:, 1:].copy())  # (B, T), (B, T)
            else:
                yield self._packed()

    def _window(self) -> np.ndarray:
        k = self._next_source()
        self.taken[k] += self.context_length
        self.windows[k].position += 1
        return self.windows[k].window(self.windows[k].position - 1)

    def _packed(self) -> Batch:
        def pieces() -> Iterator[tuple[int, _Pieces]]:
            while True:
                k = self._next_source()
                yield k, self.pieces[k]

        return _pack(pieces(), self.batch_size, self.context_length, self.taken)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue from here, with the same folders."""
        return {
            "seed": self.seed, "packing": self.packing, "context_length": self.context_length,
            "tokens": [len(shards.row()) for shards in self.sources], "weights": self.weights,
            "taken": list(self.taken), "windows": [w.position for w in self.windows],
            "pieces": [list(p.place) for p in self.pieces],
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken.

        Raises: ValueError if the folders, weights or windows are not the same.
        """
        now = self.state_dict()
        for key in ("packing", "context_length", "tokens", "weights", "seed"):
            if state.get(key) != now[key]:
                raise ValueError(
                    f"the batches were at {key}={state.get(key)} and are now {key}={now[key]}: "
                    "going on would read other windows. Use the same shards and options"
                )
        self.taken = [int(n) for n in state["taken"]]
        for windows, position in zip(self.windows, state["windows"], strict=True):
            windows.position = int(position)
        for pieces, (documents, tokens) in zip(self.pieces, state["pieces"], strict=True):
            pieces.place = (int(documents), int(tokens))


def _pack(
    pieces: Iterator[tuple[int, _Pieces]], B: int, T: int, taken: list[int], last: int | None = None
) -> Batch:
    """A batch of B rows of T places from pieces of documents.

    A piece goes into the first row that has room for it. One that fits nowhere is cut to the
    largest gap; the batch ends when no gap is larger than _SMALL_GAP.
    taken: tokens of each source, counted on; last: stop after so many documents of the one source
    """
    inputs, targets = np.zeros((B, T), np.int64), np.full((B, T), IGNORED, np.int64)
    documents = np.zeros((B, T), np.int64)
    filled, count = np.zeros(B, np.int64), np.zeros(B, np.int64)
    while (T - filled).max() > min(_SMALL_GAP, T - 1):
        k, source = next(pieces)
        if last is not None and source.place[0] >= last:
            break
        fits = np.flatnonzero(T - filled >= min(source.left(), T))
        row = int(fits[0]) if len(fits) else int(np.argmin(filled))
        x, y = source.take(int(T - filled[row]))
        own = slice(int(filled[row]), int(filled[row]) + len(x))
        inputs[row, own], targets[row, own], documents[row, own] = x, y, count[row]
        filled[row] += len(x)
        count[row] += bool(len(x))
        taken[k] += max(1, len(x))
    for row in range(B):  # the places that stay empty
        documents[row, filled[row] :] = count[row]
    return wrap(inputs), wrap(documents), wrap(targets)


def packed_in_order(
    shards: Shards, batch_size: int, context_length: int, most: int, part: str = "val"
) -> list[Batch]:
    """Documents in their own order as packed batches, about `most` tokens: for validation losses.

    Raises: ValueError if there are no documents.
    """
    source = _Pieces(shards, part, None)
    n = len(source.ends)
    if not n:
        raise ValueError(f"{shards.folder} has no documents for {part}")
    batches: list[Batch] = []
    taken = [0]
    while source.place[0] < n and taken[0] < most:
        repeated = iter(lambda: (0, source), None)
        batches.append(_pack(repeated, batch_size, context_length, taken, last=n))
    return batches
