"""The baseline of every classifier of texts: logistic regression on the counts of words.

    baseline = CountsBaseline.fit(train_rows, val_rows, n_classes=2)
    baseline.predict(["You have won a prize"])            # (1, 2) probabilities

It knows which words stand in a text and nothing of their order. What a network cannot do better
than this did not need a network.

Shapes: N texts, K classes, V words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import nn, random
from ..arrays.devices import to_numpy
from ..autograd.grad_mode import no_grad
from ..nn import functional as F
from ..optim import Adam
from ..tensor import Tensor, wrap

__all__ = ["CountsBaseline", "words_of"]

_WORD = re.compile(r"\w+|[^\w\s]")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
Rows = Sequence[tuple[str, int]]


def words_of(text: str) -> list[str]:
    """The words and signs of a text in small letters; pairs of characters of Japanese, Chinese."""
    words: list[str] = []
    for word in _WORD.findall(text.lower()):
        if _CJK.search(word):
            words += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        else:
            words.append(word)
    return words


@dataclass
class CountsBaseline:
    """logits = b + Σ over the words w of a text of log(1 + count of w)·W[w], W (V, K), b (K).

    words: of the training texts, those in at least two of them; strength: of the penalty on W² that
    was best on the validation texts.
    """

    words: dict[str, int]
    weight: nn.EmbeddingBag
    bias: nn.Parameter
    strength: float = 0.0

    @classmethod
    def fit(
        cls, train: Rows, validation: Rows, n_classes: int, *, seed: int = 0,
        most_words: int = 20_000,
    ) -> CountsBaseline:  # fmt: skip
        """The regression of the training texts, its penalty chosen by the validation texts.

        rows: (text, label), labels 0 … n_classes − 1
        Of the strengths 10⁻⁵ and 10⁻⁴ the one with the smallest validation loss is taken.
        Raises: ValueError without training texts.
        """
        if not train:
            raise ValueError("the baseline needs training texts")
        counted = [Counter(words_of(text)) for text, _ in train]
        texts_with = Counter(word for counts in counted for word in counts)
        kept = (
            [word for word, n in texts_with.most_common(most_words) if n > 1]
            or [*texts_with]
            or [""]
        )
        words = {word: i for i, word in enumerate(sorted(kept))}
        labels = np.array([label for _, label in train], np.int64)
        bags = [_bag(counts, words) for counts in counted]
        best, least = None, math.inf
        for strength in (1e-5, 1e-4):
            with random.fork_rng():
                made = cls._fitted(words, bags, labels, n_classes, strength, seed)
            loss = made.loss(validation or train)
            if best is None or loss < least:
                best, least = made, loss
        assert best is not None
        return best

    @classmethod
    def _fitted(
        cls, words: dict[str, int], bags: list[tuple[np.ndarray, np.ndarray]], labels: np.ndarray,
        n_classes: int, strength: float, seed: int,
    ) -> CountsBaseline:  # fmt: skip
        """5 to 15 passes of Adam, in 40 batches or more; the learning rate falls to 0."""
        random.manual_seed(seed)
        weight = nn.EmbeddingBag(len(words), n_classes, mode="sum")
        nn.init.zeros_(weight.weight)
        made = cls(words, weight, nn.Parameter(wrap(np.zeros(n_classes, np.float32))), strength)
        parameters = [weight.weight, made.bias]
        optimizer = Adam(parameters, lr=0.05)
        draw, passes = np.random.RandomState(seed), max(5, min(15, 60_000 // len(bags)))
        batch = max(8, min(256, len(bags) // 40))
        steps = passes * -(-len(bags) // batch)
        step = 0
        for _ in range(passes):
            order = draw.permutation(len(bags))
            for start in range(0, len(bags), batch):
                chosen = order[start : start + batch]
                optimizer.param_groups[0]["lr"] = 0.05 * (1.0 - step / steps)
                logits = made._logits([bags[i] for i in chosen])  # (B, K)
                loss = F.cross_entropy(logits, wrap(labels[chosen]))
                loss = loss + strength * (weight.weight * weight.weight).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
        return made

    def _logits(self, bags: Sequence[tuple[np.ndarray, np.ndarray]]) -> Tensor:
        """(N, K) of the words and values of N texts."""
        lengths = [len(ids) for ids, _ in bags]
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)  # (N)
        ids = np.concatenate([ids for ids, _ in bags])  # (words of all texts)
        values = np.concatenate([values for _, values in bags])
        return self.weight(wrap(ids), wrap(offsets), wrap(values)) + self.bias

    @no_grad()
    def log_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(N, K) float64, in nats."""
        bags = [_bag(Counter(words_of(text)), self.words) for text in texts]
        parts = [
            to_numpy(F.log_softmax(self._logits(bags[i : i + 256]), dim=-1).array)
            for i in range(0, len(bags), 256)
        ]
        return np.concatenate(parts).astype(np.float64)  # (N, K)

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """The probability of each class for each text, (N, K)."""
        return np.exp(self.log_probabilities(texts))

    def loss(self, rows: Rows) -> float:
        """The mean cross-entropy in nats per text."""
        logs = self.log_probabilities([text for text, _ in rows])
        return float(-np.mean([logs[i, label] for i, (_, label) in enumerate(rows)]))

    def right(self, rows: Rows) -> np.ndarray:
        """Whether the class of each text is predicted correctly, (N) float64: its mean is the
        accuracy.
        """
        logs = self.log_probabilities([text for text, _ in rows])
        return (logs.argmax(1) == [label for _, label in rows]).astype(np.float64)


def _bag(counts: Counter[str], words: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The known words of a text, int64, and log(1 + how often each stands there), float32."""
    known = {words[word]: n for word, n in counts.items() if word in words}
    ids = np.fromiter(known, np.int64, len(known))
    return ids, np.log1p(np.fromiter(known.values(), np.float64, len(known))).astype(np.float32)
