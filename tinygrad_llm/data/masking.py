"""Masked language modelling: which tokens a BERT has to guess, and what it sees in their place.

Of the tokens 15 % are chosen, whole words at a time; of these 80 % become [MASK], 10 % a random
token, and 10 % stay as they are. The choice is new at every step and follows from the seed.

    masking = Masking(mask_id=4, cls_id=2, sep_id=3, vocab_size=1000)
    for inputs, labels in MaskedBatches(tokens, 16, 128, masking, seed=1): ...

Source: Devlin et al. (2018), "BERT", section 3.1; Liu et al. (2019), "RoBERTa", section 4.1, for
masks that are drawn anew at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..random import Generator
from ..tensor import Tensor, wrap
from .batches import IGNORED, TokenBatches, Tokens

__all__ = ["MaskedBatches", "MaskedWindows", "Masking", "mask_tokens", "word_starts"]


@dataclass(frozen=True)
class Masking:
    """What is hidden, and how.

    mask_id, cls_id, sep_id: the ids of [MASK], [CLS] and [SEP]; vocab_size: of random tokens
    begins, continues: bool (V,), whether a token begins with, and ends in, a letter or digit: where
        both meet, a word continues; None hides each token apart from its neighbours
    probability: of a token, or a word, to be chosen
    mask_share, random_share: of the chosen tokens that become [MASK], and a random token
    Raises: ValueError for shares that are not possible.
    """

    mask_id: int
    cls_id: int
    sep_id: int
    vocab_size: int
    begins: np.ndarray | None = None
    continues: np.ndarray | None = None
    probability: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0:
            raise ValueError(f"probability must be above 0 and at most 1, got {self.probability}")
        both = self.mask_share + self.random_share
        if min(self.mask_share, self.random_share) < 0.0 or both > 1.0 + 1e-9:
            raise ValueError(
                "mask_share and random_share must be 0 or more and at most 1 together, got "
                f"{self.mask_share} and {self.random_share}"
            )

    def starts(self, ids: np.ndarray) -> np.ndarray | None:
        """Whether each of the tokens (B, T) begins a word, bool (B, T); None if all do."""
        if self.begins is None or self.continues is None:
            return None
        return word_starts(ids, self.begins, self.continues)

    def batch(self, windows: np.ndarray, generator: Generator) -> tuple[Tensor, Tensor]:
        """Windows of tokens (B, T − 2), with [CLS] and [SEP] around, as inputs and labels (B, T).

        At least one token is chosen, so that there is always a loss.
        """
        B, T = windows.shape[0], windows.shape[1] + 2
        ids = np.empty((B, T), np.int64)
        ids[:, 0], ids[:, 1:-1], ids[:, -1] = self.cls_id, windows, self.sep_id
        special = np.zeros((B, T), np.bool_)
        special[:, [0, -1]] = True
        starts = np.ones((B, T), np.bool_)
        own = self.starts(windows)
        starts[:, 1:-1] = True if own is None else own
        inputs, labels = mask_tokens(ids, special, self, generator, starts)
        if (labels == IGNORED).all():
            labels[0, T // 2], inputs[0, T // 2] = ids[0, T // 2], self.mask_id
        return wrap(inputs), wrap(labels)  # (B, T), (B, T)


def word_starts(ids: np.ndarray, begins: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """Whether each of the tokens (B, T) begins a word: bool (B, T). The first of a row does.

    begins, continues: see Masking
    """
    starts = np.ones(ids.shape, np.bool_)
    starts[:, 1:] = ~(begins[ids[:, 1:]] & continues[ids[:, :-1]])  # (B, T − 1)
    return starts


def mask_tokens(
    ids: np.ndarray, special: np.ndarray, masking: Masking, generator: Generator,
    starts: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """What the model sees and what it has to say: inputs and labels (B, T) of ids (B, T) int64.

    special: bool (B, T), tokens that are never chosen; starts: bool (B, T), where words begin, of
    which all tokens are chosen together; None for every token. Labels are -100 where a token was
    not chosen. The random numbers are drawn in the order of transformers'
    DataCollatorForLanguageModeling, so that with its seed and shares the result is the same.
    """
    heads = ~special if starts is None else starts & ~special  # (B, T)
    chance = np.full(ids.shape, masking.probability, np.float32)
    chance[~heads] = 0.0
    chosen = generator.bernoulli(chance, dtype=np.bool_)
    if starts is not None:  # what was drawn for a word's first token counts for the others
        T = ids.shape[1]
        first = np.maximum.accumulate(np.where(starts | special, np.arange(T), 0), axis=1)
        chosen = np.take_along_axis(chosen, first, axis=1) & ~special
    labels = np.where(chosen, ids, IGNORED)
    shares = np.full(ids.shape, masking.mask_share, np.float32)
    hidden = generator.bernoulli(shares, dtype=np.bool_) & chosen
    inputs = np.where(hidden, masking.mask_id, ids)
    if masking.mask_share < 1.0 and masking.random_share > 0.0:
        shares[:] = masking.random_share / (1.0 - masking.mask_share)
        other = generator.bernoulli(shares, dtype=np.bool_) & chosen & ~hidden
        words = generator.randint(0, masking.vocab_size, ids.shape)
        inputs = np.where(other, words, inputs)
    return inputs, labels


def _generator(*numbers: int) -> Generator:
    """A generator whose stream follows from these numbers."""
    seed = np.random.SeedSequence([n & 0xFFFFFFFF for n in numbers]).generate_state(1)[0]
    generator = Generator()
    generator.manual_seed(int(seed))
    return generator


class MaskedBatches:
    """An endless stream of masked batches from one long row of tokens.

    Yields (inputs, labels), both (B, T) int64, T with [CLS] and [SEP]. The windows are those of
    TokenBatches; which tokens are hidden follows from the seed and the number of the batch, so a
    window has other masks in every epoch, and a resumed run has those of a run that never stopped.

    tokens: integers (N); context_length: T, at least 3
    Raises: ValueError for a context without room for a token, and as TokenBatches.
    """

    def __init__(
        self, tokens: Tokens, batch_size: int, context_length: int, masking: Masking, *,
        seed: int = 0,
    ) -> None:  # fmt: skip
        _check_context(context_length)
        self.windows = TokenBatches(tokens, batch_size, context_length - 2, seed=seed)
        self.masking = masking

    def __len__(self) -> int:
        """Batches in an epoch; the last one may extend into the next epoch."""
        return len(self.windows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        windows = iter(self.windows)
        while True:
            place = self.windows.position
            inputs, _ = next(windows)
            yield self.masking.batch(inputs.array, _generator(self.windows.seed, place))

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue from here, with the same tokens."""
        return self.windows.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken.

        Raises: ValueError if the tokens or the windows are not the same.
        """
        self.windows.load_state_dict(state)


class MaskedWindows(Sequence):
    """Every token of a row once, in order, in masked batches: for validation losses.

    A sequence of (inputs, labels), both (B, T) int64. The masks are always the same ones; the last
    batch is one window, which may be shorter than the others.
    Raises: ValueError for a row without tokens, or a context without room for one.
    """

    def __init__(
        self, tokens: Tokens, batch_size: int, context_length: int, masking: Masking, *,
        seed: int = 0,
    ) -> None:  # fmt: skip
        _check_context(context_length)
        row = np.asarray(tokens.numpy() if isinstance(tokens, Tensor) else tokens)
        if not len(row):
            raise ValueError("a validation text must have at least one token")
        self.masking, self.seed = masking, seed
        T = context_length - 2
        whole = len(row) // T
        full = row[: whole * T].reshape(whole, T)  # (whole·T) -> (whole, T)
        self.parts = [full[i : i + batch_size] for i in range(0, whole, batch_size)]
        if len(row) > whole * T:
            self.parts.append(row[None, whole * T :])  # (rest) -> (1, rest)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return self.masking.batch(self.parts[index], _generator(self.seed, index))


def _check_context(context_length: int) -> None:
    if context_length < 3:
        raise ValueError(
            f"context_length must be at least 3, [CLS], a token and [SEP], got {context_length}"
        )
