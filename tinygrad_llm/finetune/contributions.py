"""Which tokens moved a classifier's answer: gradient times input.

answer = contributions("You won a prize", "runs/classify-sms-spam-1")
answer.best, answer.probabilities       # "spam", [0.02, 0.98]
list(zip(answer.tokens, answer.scores)) # [("You", 0.1), (" won", 0.9), ...]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd
from ..arrays.devices import to_numpy
from ..functions.creation.from_data import tensor
from ..models.base import device_of, evaluation
from ..models.classifier import GPTClassifier
from ..nn import functional as F
from .classification import joined, read_text
from .task_models import Run

__all__ = ["STEPS", "Contributions", "contributions"]

STEPS = 16  # points on the path from the mean embedding to the text


@dataclass(frozen=True)
class Contributions:
    """A classifier's answer for one text, and what each token contributed to it.

    names           of the K classes
    probabilities   (K) float64
    target          the class that the scores are of
    tokens          the text's tokens (T) as texts; a cut character is U+FFFD
    scores          (T) float64: above 0 for tokens that speak for the class `target`
    cut             whether the text was longer than the model reads
    """

    names: list[str]
    probabilities: np.ndarray
    target: int
    tokens: list[str]
    scores: np.ndarray
    cut: bool = False

    @property
    def best(self) -> str:
        """The name of the likeliest class."""
        return self.names[int(self.probabilities.argmax())]


def contributions(
    text: str, run: Run, target: int | None = None, steps: int | None = STEPS, **options: Any
) -> Contributions:
    """Which tokens moved the answer of a classifier: gradient times input.

    With e_t the embedding of token t, (C), and z the scores of the classes:

        s = z_k - log sum_(j != k) exp(z_j)           log odds of the class k against all others
        score of t = (e_t - m) . mean over a of ds/de_t, all embeddings at m + a.(e - m)

    m is the mean embedding of the vocabulary, and a = 1/2n, 3/2n, ... for n `steps` (integrated
    gradients): the scores add up to s of the text minus s of a text of m alone. Without steps it is
    e_t . ds/de_t at the text itself. That says little of a confident model: its norms let a longer
    e_t change nothing. Log odds, because the gradient of a probability near 1 is 0. A text that is
    read in windows has the mean of its windows' log odds as s.
    target: k; the likeliest class if None. steps: n, or None. run, options: as `classify`
    Raises: as classify; ValueError if target is not a class, or steps is below 1.
    Source: Shrikumar et al. (2016), "Not Just a Black Box"; Sundararajan et al. (2017), "Axiomatic
    Attribution for Deep Networks".
    """
    read = read_text(text, run, **options)
    model, n_classes = read.model, read.model.config.n_classes
    if target is not None and not 0 <= target < n_classes:
        raise ValueError(f"target must be a class, 0 … {n_classes - 1}, got {target}")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    scores: list[float] = []
    tokens: list[str] = []
    with evaluation(model):
        logs = [
            to_numpy(F.log_softmax(model(_row(model, ids)), dim=-1).array) for ids in read.windows
        ]  # (1, K) each
        probabilities = joined(np.concatenate(logs).astype(np.float64))  # (K)
        target = int(probabilities.argmax()) if target is None else target
        for ids, n in zip(read.windows, read.lengths, strict=True):
            each = _scores(model, ids, n, target, steps)  # (T)
            scores += [float(s) / len(read.windows) for s in each]
            tokens += [_spelled(read.tokenizer, i) for i in ids[:n]]
    names = [str(k) for k in range(n_classes)] if read.names is None else list(read.names)
    whole = len(read.tokenizer.encode(text, disallowed_special=()))
    cut = len(read.windows) == 1 and whole > read.lengths[0]
    return Contributions(names, probabilities, target, tokens, np.array(scores), cut)


def _row(model: GPTClassifier, ids: list[int], rows: int = 1) -> Any:
    return tensor([ids] * rows, device=device_of(model))  # (rows, T)


def _scores(
    model: GPTClassifier, ids: list[int], n: int, target: int, steps: int | None
) -> np.ndarray:
    """The scores (n) of the first n tokens of a window; what follows them is padding."""
    embedding = model.model.get_submodule("tok_emb")
    leaves: list[Any] = []
    factors = np.ones(1) if steps is None else (np.arange(steps) + 0.5) / steps  # (S)
    weight: Any = embedding.weight
    middle = weight.detach().mean(0) * (0.0 if steps is None else 1.0)  # (V, C) -> (C)

    def moved(module: Any, inputs: Any, output: Any) -> Any:
        e = output.detach()  # (S, T, C)
        along = np.ones((len(factors), len(ids), 1))
        along[:, :n, 0] = factors[:, None]
        part = tensor(along, dtype=e.dtype, device=e.device)  # (S, T, 1)
        leaves.append((middle + part * (e - middle)).requires_grad_(True))
        return leaves[-1]

    with autograd.enable_grad():
        handle = embedding.register_forward_hook(moved)
        try:
            logits = model(_row(model, ids, len(factors)))  # (S, T) -> (S, K)
        finally:
            handle.remove()
        others = [k for k in range(model.config.n_classes) if k != target]
        odds = (logits[:, target] - logits[:, others].logsumexp(-1)).sum()  # (S) -> 0-d
        (gradient,) = autograd.grad(odds, leaves[0])  # (S, T, C)
    assert gradient is not None
    e = embedding(_row(model, ids)).detach()[0, :n]  # (n, C)
    each = (gradient.detach()[:, :n].mean(0) * (e - middle)).sum(-1)  # (n)
    result: np.ndarray = to_numpy(each.array)
    return result


def _spelled(tokenizer: Any, token_id: int) -> str:
    data: bytes = tokenizer.token_bytes(token_id)
    return data.decode("utf-8", "replace")
