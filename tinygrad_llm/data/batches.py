"""Batches of tokens, and streams of batches that can be left and continued later."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import random
from ..tensor import Tensor, wrap
from .order import Permutation
from .shards import TokenRow

__all__ = ["EvaluationBatches", "ExampleBatches", "IGNORED", "Stream", "TokenBatches"]

IGNORED = -100  # a target of this value is not predicted: cross_entropy's default ignore_index


Tokens = np.ndarray | Tensor | Sequence[int] | TokenRow
_MANY = 1 << 20  # windows of shards from which on their order is not kept in memory


def _checked(tokens: Tokens, batch_size: int, context_length: int) -> np.ndarray | TokenRow:
    if batch_size < 1 or context_length < 1:
        raise ValueError(
            "batch_size and context_length must be at least 1, got "
            f"{batch_size} and {context_length}"
        )
    if isinstance(tokens, TokenRow):
        return tokens
    if isinstance(tokens, Tensor):
        tokens = tokens.numpy()
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise TypeError(
            f"tokens must be one row of integers, got shape {tokens.shape} of {tokens.dtype}"
        )
    return tokens


def _check_same(
    before: Mapping[str, Any], now: Mapping[str, Any], keys: Sequence[str], consequence: str
) -> None:
    for key in keys:
        if before.get(key) != now[key]:
            raise ValueError(
                f"the batches were at {key}={before.get(key)} and are now {key}={now[key]}: going "
                f"on {consequence}"
            )


class TokenBatches:
    """An endless stream of training batches from one long row of tokens.

    Yields (inputs, targets), both (B, T) int64, where a target is the token after its input. An
    epoch cuts the row into windows that do not overlap, from an offset that changes every epoch,
    and goes through them in random order. The order depends on `seed` alone, not on the default
    random generator; `state_dict()` says where the stream is, `load_state_dict()` goes there.

    tokens: integers (N), an array, a memory map, a tensor, or a row of shards.
    Raises: ValueError unless N > context_length, TypeError if they are not one row of integers.
    """

    def __init__(
        self, tokens: Tokens, batch_size: int, context_length: int, *, seed: int = 0
    ) -> None:
        self.tokens = _checked(tokens, batch_size, context_length)
        if len(self.tokens) <= context_length:
            raise ValueError(
                f"{len(self.tokens)} tokens are too few for a context of {context_length}: one "
                "window needs one more than that. Take a longer text or a shorter context"
            )
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self.position = 0  # windows read so far
        self.windows = max(1, (len(self.tokens) - context_length) // context_length)  # an epoch
        self._epoch = -1
        self._offset = 0
        self._order: np.ndarray | Permutation = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Batches in an epoch; the last one may extend into the next epoch."""
        return math.ceil(self.windows / self.batch_size)

    def _start(self, window: int) -> int:
        """Where in the row a window of the stream begins."""
        epoch, index = divmod(window, self.windows)
        if epoch != self._epoch:
            # RandomState, whose numbers NumPy promises never to change.
            draw = np.random.RandomState([self.seed & 0xFFFFFFFF, epoch])
            slack = len(self.tokens) - 1 - self.windows * self.context_length
            self._offset = int(draw.randint(min(slack, self.context_length - 1) + 1))
            if isinstance(self.tokens, TokenRow) and self.windows > _MANY:
                self._order = Permutation(self.windows, self.seed, epoch)
            else:
                self._order = draw.permutation(self.windows)
            self._epoch = epoch
        return self._offset + int(self._order[index]) * self.context_length

    def window(self, number: int) -> np.ndarray:
        """Window `number` of the stream, counted from its beginning: (T + 1)."""
        start = self._start(number)
        return self.tokens[start : start + self.context_length + 1]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            numbers = range(self.position, self.position + self.batch_size)
            rows = np.stack([self.window(number) for number in numbers])  # (B, T + 1)
            rows = rows.astype(np.int64)
            self.position += self.batch_size
            yield wrap(rows[:, :-1].copy()), wrap(rows[:, 1:].copy())  # (B, T), (B, T)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue from here, with the same tokens."""
        return {
            "position": self.position,
            "seed": self.seed,
            "tokens": len(self.tokens),
            "batch_size": self.batch_size,
            "context_length": self.context_length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken.

        Raises: ValueError if the tokens or the windows are not the same.
        """
        _check_same(
            state, self.state_dict(), ("tokens", "context_length"),
            "would read other windows. Use the same text, tokenizer and context",
        )  # fmt: skip
        self.seed, self.position, self._epoch = state["seed"], state["position"], -1


class EvaluationBatches(Sequence):
    """Every token of a row once, in order, in batches: for validation losses that are exact.

    A sequence of (inputs, targets), both (B, T) int64. The last window is padded with zeros whose
    targets are -100, so that they do not count; the last batch may have fewer rows.
    limit: the most batches; None for all.
    Raises: ValueError for fewer than two tokens.
    """

    def __init__(
        self, tokens: Tokens, batch_size: int, context_length: int, *, limit: int | None = None
    ) -> None:
        self.tokens = _checked(tokens, batch_size, context_length)
        if len(self.tokens) < 2:
            raise ValueError(
                f"a validation text must have at least two tokens, got {len(self.tokens)}"
            )
        self.batch_size = batch_size
        self.context_length = context_length
        windows = math.ceil((len(self.tokens) - 1) / context_length)
        self._batches = math.ceil(windows / batch_size)
        if limit is not None:
            self._batches = min(self._batches, max(1, limit))

    def __len__(self) -> int:
        return self._batches

    @property
    def predicted(self) -> int:
        """The number of predicted tokens: all except the first, unless `limit` leaves some out."""
        return min(len(self.tokens) - 1, len(self) * self.batch_size * self.context_length)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        T = self.context_length
        begin = index * self.batch_size * T
        part = self.tokens[begin : begin + self.batch_size * T + 1].astype(np.int64)
        rows = math.ceil((len(part) - 1) / T)
        inputs = np.zeros(rows * T, np.int64)
        targets = np.full(rows * T, IGNORED, np.int64)
        inputs[: len(part) - 1] = part[:-1]
        targets[: len(part) - 1] = part[1:]
        return wrap(inputs.reshape(rows, T)), wrap(targets.reshape(rows, T))  # (B, T), (B, T)


class ExampleBatches:
    """An endless stream of batches of examples: every epoch all of them, in a new order.

    dataset     anything with `len` and `[i]`
    collate     list of examples -> batch
    lengths     of the examples, in tokens: (N), or (N, K) where an example has K texts. With them
                the examples of one batch have about the same length, so that there is little
                padding: the epoch's order is cut into pieces of 16 batches, each piece is sorted by
                length and cut into batches, and these are shuffled
    tokens      the most tokens of a batch, padding included, in place of batch_size: the whole
                epoch is sorted by length, and a batch ends before examples × longest text, added up
                for the K texts, is more. A longer example is a batch by itself
    seed        the order depends on it and the epoch alone, not on the default random generator

    The last batch of an epoch may be smaller. `state_dict()` says where the stream is,
    `load_state_dict()` goes there.
    Raises: ValueError for an empty data set, a batch_size or a number of tokens below 1, another
    number of lengths than of examples, or tokens without lengths.
    """

    def __init__(
        self, dataset: Any, batch_size: int, collate: Callable[[list[Any]], Any], *, seed: int = 0,
        lengths: Any = None, tokens: int | None = None,
    ) -> None:  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not len(dataset):
            raise ValueError("the training data has no examples")
        if lengths is not None and len(lengths) != len(dataset):
            raise ValueError(f"{len(lengths)} lengths for {len(dataset)} examples")
        if tokens is not None and (lengths is None or tokens < 1):
            raise ValueError(f"batches of tokens={tokens} need at least 1 and the lengths")
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate
        self.seed = seed
        self.lengths = None if lengths is None else np.asarray(lengths, np.int64)
        self.tokens = tokens
        self.position = 0  # batches read so far
        self._epoch = -1
        self._order: list[np.ndarray] = []
        self._cuts: list[int] = []  # with tokens: where batches begin among the sorted examples
        if tokens is not None:
            assert self.lengths is not None
            self._cuts = _token_cuts(self.lengths[_by_length(self.lengths)], tokens)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._cuts) or math.ceil(len(self.dataset) / self.batch_size)

    def indices(self, batch: int) -> np.ndarray:
        """The numbers of the examples in a batch; batches count from the stream's beginning."""
        epoch, index = divmod(batch, len(self))
        if epoch != self._epoch:
            draw = np.random.RandomState([self.seed & 0xFFFFFFFF, epoch])
            order = draw.permutation(len(self.dataset))
            B = self.batch_size
            if self.tokens is not None:  # sorted, lengths are the same in every epoch
                assert self.lengths is not None
                order = order[_by_length(self.lengths[order])]
                batches = np.split(order, self._cuts[1:])
                self._order = [batches[i] for i in draw.permutation(len(batches))]
                self._epoch = epoch
                return self._order[index]
            if self.lengths is not None:
                pieces = [order[i : i + 16 * B] for i in range(0, len(order), 16 * B)]
                pieces = [p[_by_length(self.lengths[p])] for p in pieces]
                order = np.concatenate(pieces)
            self._order = [order[i : i + B] for i in range(0, len(order), B)]
            if self.lengths is not None:
                self._order = [self._order[i] for i in draw.permutation(len(self._order))]
            self._epoch = epoch
        return self._order[index]

    def __iter__(self) -> Iterator[Any]:
        while True:
            chosen = self.indices(self.position)
            self.position += 1
            yield self.collate([self.dataset[int(i)] for i in chosen])

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue from here, with the same examples."""
        size = {"batch_size": self.batch_size} if self.tokens is None else {"tokens": self.tokens}
        return {
            "position": self.position, "seed": self.seed, "examples": len(self.dataset), **size,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken.

        Raises: ValueError if the number of examples or the size of a batch is not the same.
        """
        size = "batch_size" if self.tokens is None else "tokens"
        _check_same(
            state, self.state_dict(), ("examples", size),
            f"would read other batches. Use the same data and {size}",
        )  # fmt: skip
        self.seed, self.position, self._epoch = state["seed"], state["position"], -1


def _by_length(lengths: np.ndarray) -> np.ndarray:
    """The order (N) of examples by length, (N) or (N, K): of equal ones the first is first."""
    columns = lengths if lengths.ndim == 1 else tuple(lengths.T)
    return np.argsort(columns, kind="stable") if lengths.ndim == 1 else np.lexsort(columns)


def _token_cuts(lengths: np.ndarray, tokens: int) -> list[int]:
    """Where batches of at most `tokens` tokens begin among examples with these lengths."""
    rows = lengths[:, None] if lengths.ndim == 1 else lengths  # (N) -> (N, 1)
    cuts, longest = [0], [0] * rows.shape[1]
    for i, row in enumerate(rows.tolist()):
        now = [max(a, b) for a, b in zip(longest, row, strict=True)]
        if i > cuts[-1] and (i + 1 - cuts[-1]) * sum(now) > tokens:
            cuts.append(i)
            now = row
        longest = now
    return cuts


class Stream:
    """Endless batches from anything that can be iterated, with a place to come back to.

    An object with `state_dict` and `load_state_dict` (TokenBatches) keeps its place itself.
    Anything else, a DataLoader or a list, starts again when it is exhausted. Its place is the
    number of batches taken and the state of the default random generator when they began: coming
    back restores that state, starts again and skips that number.
    Raises: TypeError for an iterator, which cannot start again.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        if isinstance(batches, Iterator):  # not iter(batches): a DataLoader draws a seed there
            raise TypeError(
                f"a {type(batches).__name__} can be read only once, so a run could not be "
                "continued: pass a list, a DataLoader or TokenBatches"
            )
        self.batches: Any = batches
        self.keeps_place = hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")
        self._iterator: Iterator[Any] | None = None
        self._begin: np.ndarray | None = None  # the random state when this pass began
        self._taken = 0
        self.epoch = 0

    def next(self) -> Any:
        """The next batch.

        Raises: ValueError if there is not a single one.
        """
        iterator = self._restart() if self._iterator is None else self._iterator
        try:
            batch = next(iterator)
        except StopIteration:
            if self._taken == 0:
                raise ValueError("the training data has no batches") from None
            self.epoch += 1
            self._restart()
            return self.next()
        self._taken += 1
        return batch

    def _restart(self) -> Iterator[Any]:
        self._begin = random.get_rng_state()
        self._taken = 0
        self._iterator = iter(self.batches)
        return self._iterator

    def state_dict(self) -> dict[str, Any]:
        """The place of the batch that `next` would return."""
        if self.keeps_place:
            return {"own": self.batches.state_dict()}
        return {"epoch": self.epoch, "taken": self._taken, "begin": self._begin}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place. This changes the default random generator.

        Raises: ValueError if the place belongs to another kind of data, or to more batches.
        """
        if ("own" in state) != self.keeps_place:
            raise ValueError("the place was taken from another kind of training data")
        self._iterator = None
        if self.keeps_place:
            self.batches.load_state_dict(state["own"])
            return
        self.epoch = state["epoch"]
        if state["begin"] is None:
            return
        random.set_rng_state(state["begin"])
        iterator = self._restart()
        for _ in range(state["taken"]):
            if next(iterator, self) is self:
                raise ValueError(
                    f"the training data has fewer batches than before: expected {state['taken']}, "
                    f"got {self._taken}"
                )
            self._taken += 1
