"""Batches of tokens, and streams of batches that can be left and taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import random
from ..tensor import Tensor, wrap

__all__ = ["EvaluationBatches", "ExampleBatches", "IGNORED", "Stream", "TokenBatches"]

IGNORED = -100  # a target of this value is not predicted: cross_entropy's default ignore_index


def _checked(tokens: Any, batch_size: int, context_length: int) -> np.ndarray:
    if batch_size < 1 or context_length < 1:
        raise ValueError(
            f"batch_size and context_length are at least 1, got {batch_size} and {context_length}"
        )
    if isinstance(tokens, Tensor):
        tokens = tokens.numpy()
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise TypeError(
            f"tokens is one row of integers, got shape {tokens.shape} of {tokens.dtype}"
        )
    return tokens


class TokenBatches:
    """An endless stream of training batches from one long row of tokens.

    Yields (inputs, targets), both (B, T) int64, where a target is the token after its input. An
    epoch cuts the row into windows that do not overlap, from an offset that changes every epoch,
    and goes through them in random order. The order depends on `seed` and on nothing else that
    draws random numbers; `state_dict()` says where the stream is, `load_state_dict()` goes there.

    tokens: integers (N), an array, a memory map or a tensor, N > context_length; else ValueError.
    """

    def __init__(self, tokens: Any, batch_size: int, context_length: int, *, seed: int = 0) -> None:
        self.tokens = _checked(tokens, batch_size, context_length)
        if len(self.tokens) <= context_length:
            raise ValueError(
                f"{len(self.tokens)} tokens are too few for a context of {context_length}: one "
                "window needs one more than that. Take a longer text or a shorter context"
            )
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self.position = 0  # windows given so far
        self.windows = max(1, (len(self.tokens) - context_length) // context_length)  # an epoch
        self._epoch = -1
        self._starts = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Batches in an epoch, the last one shared with the next."""
        return math.ceil(self.windows / self.batch_size)

    def _start(self, window: int) -> int:
        """Where in the row a window of the stream begins."""
        epoch, index = divmod(window, self.windows)
        if epoch != self._epoch:
            # RandomState, whose numbers NumPy promises never to change.
            draw = np.random.RandomState([self.seed & 0xFFFFFFFF, epoch])
            slack = len(self.tokens) - 1 - self.windows * self.context_length
            offset = draw.randint(min(slack, self.context_length - 1) + 1)
            self._starts = offset + draw.permutation(self.windows) * self.context_length
            self._epoch = epoch
        return int(self._starts[index])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        T = self.context_length
        while True:
            starts = [self._start(self.position + i) for i in range(self.batch_size)]
            rows = np.stack([self.tokens[s : s + T + 1] for s in starts])  # (B, T + 1)
            rows = rows.astype(np.int64)
            self.position += self.batch_size
            yield wrap(rows[:, :-1].copy()), wrap(rows[:, 1:].copy())  # (B, T), (B, T)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on from here, given the same tokens."""
        return {
            "position": self.position,
            "seed": self.seed,
            "tokens": len(self.tokens),
            "batch_size": self.batch_size,
            "context_length": self.context_length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken. ValueError if the tokens or the windows are others."""
        for key in ("tokens", "context_length"):
            mine = self.state_dict()[key]
            if state[key] != mine:
                raise ValueError(
                    f"the batches were at {key}={state[key]} and are now {key}={mine}: going on "
                    "would read other windows. Use the same text, tokenizer and context"
                )
        self.seed, self.position, self._epoch = state["seed"], state["position"], -1


class EvaluationBatches(Sequence):
    """Every token of a row once, in order, in batches: for validation losses that are exact.

    A sequence of (inputs, targets), both (B, T) int64. The last window is filled up with zeros
    whose targets are -100, so that they do not count; the last batch may have fewer rows.
    `limit` keeps the first so many batches.
    """

    def __init__(
        self, tokens: Any, batch_size: int, context_length: int, *, limit: int | None = None
    ) -> None:
        self.tokens = _checked(tokens, batch_size, context_length)
        if len(self.tokens) < 2:
            raise ValueError("a validation text has two tokens at least")
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
        """How many tokens are predicted in all: every one but the first, unless limited."""
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
    collate     makes a batch of a list of examples
    lengths     of the examples, in tokens. With them those of one batch have about the same length,
                so that there is little padding: the epoch's order is cut into pieces of 16 batches,
                each piece is sorted by length and cut into batches, and these are shuffled
    seed        the order depends on it, the epoch and nothing else that draws random numbers

    The last batch of an epoch may be smaller. `state_dict()` says where the stream is,
    `load_state_dict()` goes there. ValueError for an empty data set or a batch_size below 1.
    """

    def __init__(
        self, dataset: Any, batch_size: int, collate: Callable[[list[Any]], Any], *, seed: int = 0,
        lengths: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not len(dataset):
            raise ValueError("the training data holds no example at all")
        if lengths is not None and len(lengths) != len(dataset):
            raise ValueError(f"{len(lengths)} lengths for {len(dataset)} examples")
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate
        self.seed = seed
        self.lengths = None if lengths is None else np.asarray(lengths, np.int64)
        self.position = 0  # batches given so far
        self._epoch = -1
        self._order: list[np.ndarray] = []

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.dataset) / self.batch_size)

    def indices(self, batch: int) -> np.ndarray:
        """The examples of a batch of the stream, counted from its beginning."""
        epoch, index = divmod(batch, len(self))
        if epoch != self._epoch:
            draw = np.random.RandomState([self.seed & 0xFFFFFFFF, epoch])
            order = draw.permutation(len(self.dataset))
            B = self.batch_size
            if self.lengths is not None:
                pieces = [order[i : i + 16 * B] for i in range(0, len(order), 16 * B)]
                pieces = [p[np.argsort(self.lengths[p], kind="stable")] for p in pieces]
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
        """What is needed to go on from here, given the same examples."""
        return {
            "position": self.position,
            "seed": self.seed,
            "examples": len(self.dataset),
            "batch_size": self.batch_size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken. ValueError if the examples or batches are others."""
        for key in ("examples", "batch_size"):
            mine = self.state_dict()[key]
            if state.get(key) != mine:
                raise ValueError(
                    f"the batches were at {key}={state.get(key)} and are now {key}={mine}: going "
                    "on would read other batches. Use the same data and batch_size"
                )
        self.seed, self.position, self._epoch = state["seed"], state["position"], -1


class Stream:
    """Batches without end from anything that can be iterated, with a place to come back to.

    An object with `state_dict` and `load_state_dict` (TokenBatches) keeps its own place. Anything
    else, a DataLoader or a list, begins anew when it is exhausted. Its place is the number of
    batches taken and the state of the default random generator when they began: coming back
    restores that state, begins anew and skips so many.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        if isinstance(batches, Iterator):  # not iter(batches): a DataLoader draws a seed there
            raise TypeError(
                f"a {type(batches).__name__} can be read only once, so that a run could not be "
                "taken up again: give a list, a DataLoader or TokenBatches"
            )
        self.batches: Any = batches
        self.keeps_place = hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")
        self._iterator: Iterator[Any] | None = None
        self._begin: Any = None  # the random state when this pass began
        self._taken = 0
        self.epoch = 0

    def next(self) -> Any:
        """The next batch. ValueError if there is not a single one."""
        if self._iterator is None:
            self._restart()
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            if self._taken == 0:
                raise ValueError("the training data holds no batch at all") from None
            self.epoch += 1
            self._restart()
            return self.next()
        self._taken += 1
        return batch

    def _restart(self) -> None:
        self._begin = random.get_rng_state()
        self._taken = 0
        self._iterator = iter(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """The place of the batch that `next` would give."""
        if self.keeps_place:
            return {"own": self.batches.state_dict()}
        return {"epoch": self.epoch, "taken": self._taken, "begin": self._begin}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place. Leaves the default random generator wherever that takes it."""
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
        self._restart()
        for _ in range(state["taken"]):
            if next(self._iterator, self) is self:  # type: ignore[call-overload]
                raise ValueError(
                    f"the training data has fewer batches than before: {state['taken']} wanted"
                )
            self._taken += 1
