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

__all__ = ["Contributions", "contributions"]


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


def contributions(text: str, run: Run, target: int | None = None, **options: Any) -> Contributions:
    """Which tokens moved the answer of a classifier: gradient times input.

    With e_t the embedding of token t, (C), and z the scores of the classes:

        s = z_k - log sum_(j != k) exp(z_j)        log odds of the class k against all others
        score of t = e_t . ds/de_t                 what 1 % more of e_t changes, times 100

    Log odds, because the gradient of a probability near 1 is 0 for every token. A text that is read
    in windows has the mean of its windows' log odds as s.
    target: k; the likeliest class if None. run, options: as `classify`
    Raises: as classify; ValueError if target is not a class.
    Source: Shrikumar et al. (2016), "Not Just a Black Box"; Denil et al. (2014), section 3.
    """
    read = read_text(text, run, **options)
    logs, embedded = [], []
    n_classes = read.model.config.n_classes
    if target is not None and not 0 <= target < n_classes:
        raise ValueError(f"target must be a class, 0 … {n_classes - 1}, got {target}")
    with evaluation(read.model), autograd.enable_grad():
        for ids in read.windows:
            logits, vectors = _scored(read.model, ids)  # (1, K), (1, T, C)
            logs.append(to_numpy(F.log_softmax(logits.detach(), dim=-1).array))
            embedded.append((logits, vectors))
        probabilities = joined(np.concatenate(logs).astype(np.float64))  # (K)
        target = int(probabilities.argmax()) if target is None else target
        others = [k for k in range(n_classes) if k != target]
        scores: list[float] = []
        tokens: list[str] = []
        for (logits, vectors), ids, n in zip(embedded, read.windows, read.lengths, strict=True):
            odds = logits[:, target].sum() - logits[:, others].logsumexp(-1).sum()  # 0-d
            (gradient,) = autograd.grad(odds, vectors)  # (1, T, C)
            assert gradient is not None
            each = (gradient.detach() * vectors.detach()).sum(-1)[0, :n]  # (T)
            scores += [float(s) / len(read.windows) for s in to_numpy(each.array)]
            tokens += [_spelled(read.tokenizer, i) for i in ids[:n]]
    names = [str(k) for k in range(n_classes)] if read.names is None else list(read.names)
    whole = len(read.tokenizer.encode(text, disallowed_special=()))
    cut = len(read.windows) == 1 and whole > read.lengths[0]
    return Contributions(names, probabilities, target, tokens, np.array(scores), cut)


def _scored(model: GPTClassifier, ids: list[int]) -> tuple[Any, Any]:
    """The scores (1, K) of the ids (T), and the embeddings (1, T, C) that they depend on."""
    leaves = []

    def cut_here(module: Any, inputs: Any, output: Any) -> Any:
        leaves.append(output.detach().requires_grad_(True))
        return leaves[-1]

    handle = model.model.get_submodule("tok_emb").register_forward_hook(cut_here)
    try:
        logits = model(tensor([ids], device=device_of(model)))  # (1, T) -> (1, K)
    finally:
        handle.remove()
    return logits, leaves[0]


def _spelled(tokenizer: Any, token_id: int) -> str:
    data: bytes = tokenizer.token_bytes(token_id)
    return data.decode("utf-8", "replace")
