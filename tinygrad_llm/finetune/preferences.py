"""DPO: learn from pairs of responses which one people prefer (Rafailov et al., 2023).

    loss = −log σ(β·((log π(y⁺|x) − log π_ref(y⁺|x)) − (log π(y⁻|x) − log π_ref(y⁻|x))))

x is a prompt, y⁺ the chosen and y⁻ the rejected response, π the model that is trained (the policy)
and π_ref the model before training (the reference). β·(log π − log π_ref) is a response's implicit
reward, and the margin is the chosen one's reward minus the rejected one's. At first π = π_ref,
every margin is 0, and the loss is −log σ(0) = ln 2.

    reference = copy.deepcopy(model)
    preference_trainer(model, reference, train_set, validation_set, beta=0.1).run()
    preference_metrics(model, reference, batches)       # loss, rewards, margin, reward accuracy

Shapes: B pairs, T time (tokens), V vocabulary. Source: arXiv:2305.18290, equation 7; label
smoothing ("conservative DPO"): Mitchell, 2023, where a share ε of the pairs counts as swapped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..arrays.capture import capturing
from ..arrays.devices import xp_of
from ..autograd.grad_mode import no_grad
from ..data.batches import IGNORED
from ..functions.shape.join import cat
from ..models.base import LanguageModel, evaluation
from ..nn import functional as F
from ..tensor import Tensor, wrap
from ..training.step import to_device_of

__all__ = [
    "DPOLoss",
    "DPOOutput",
    "dpo_loss",
    "log_probabilities",
    "preference_metrics",
    "response_log_probabilities",
    "target_log_probabilities",
]


def log_probabilities(
    logits: Tensor, ids: Tensor, mask: Tensor | None = None, average: bool = False
) -> Tensor:
    """log π(text) of each row: Σₜ log softmax(logits[t − 1])[ids[t]] over the tokens that count.

    logits (B, T, V): after each token of ids (B, T); mask (B, T) bool: the tokens whose
    log-probability counts, None for all. The first token has none: nothing predicts it. average:
    divide by the number of tokens that count. Returns (B).
    Raises: ValueError for shapes that do not match, and for a row in which no token counts.
    """
    if logits.dim() != 3 or logits.shape[:2] != ids.shape:
        raise ValueError(
            f"logits must be (B, T, V) for ids (B, T), got {tuple(logits.shape)} and "
            f"{tuple(ids.shape)}"
        )
    counted = _counted(ids, mask)  # (B, T - 1)
    B, T, V = logits.shape
    rows = logits[:, :-1].reshape(B * (T - 1), V)  # (B, T, V) -> (B·(T-1), V)
    nll = F.cross_entropy(rows, ids[:, 1:].reshape(-1), reduction="none")  # (B·(T-1))
    log_p = -nll.reshape(B, T - 1)  # (B·(T-1)) -> (B, T-1)
    weight = wrap(counted.astype(logits.array.dtype))
    total = (log_p * weight).sum(1)  # (B, T-1) -> (B)
    return total / weight.sum(1) if average else total


def _counted(ids: Tensor, mask: Tensor | None) -> Any:
    """Which of the targets ids[:, 1:] count, an array (B, T - 1) bool."""
    if mask is None:
        counted = xp_of(ids.array).ones(ids.array[:, 1:].shape, bool)
    elif mask.shape != ids.shape:
        raise ValueError(f"mask {tuple(mask.shape)} and ids {tuple(ids.shape)} differ in shape")
    else:
        counted = mask.array[:, 1:].astype(bool)
    empty = ~counted.any(1)
    if empty.any():
        raise ValueError(f"row {int(empty.argmax())}: none of its tokens counts")
    return counted


def response_log_probabilities(
    model: Any, ids: Tensor, mask: Tensor | None = None, average: bool = False
) -> Tensor:
    """`log_probabilities` of a model: (B, T) -> (B), with logits only where a token counts.

    model: a LanguageModel, or any module with ids (B, T) -> logits (B, T, V).
    Prompts are longer than responses, and a row of logits has an element for every token of the
    vocabulary: without the rows that do not count, most of the memory is saved.
    """
    if not isinstance(model, LanguageModel):
        return log_probabilities(model(ids), ids, mask, average)
    counted = _counted(ids, mask)  # (B, T - 1)
    xp = xp_of(counted)
    hidden = model.hidden_states(ids)  # (B, T, C)
    row, place = (wrap(i) for i in xp.nonzero(counted))  # (N) each
    logits = model.head(hidden[row, place])  # (B, T, C) -> (N, C) -> (N, V)
    nll = F.cross_entropy(logits, ids[row, place + 1], reduction="none")  # (N)
    n = counted.sum(1)  # (B)
    which = row.array[None, :] == xp.arange(len(n))[:, None]  # (B, N)
    weight = -(which / n[:, None] if average else which).astype(nll.array.dtype)
    return wrap(weight.astype(nll.array.dtype)) @ nll  # (B, N) @ (N) -> (B)


def target_log_probabilities(
    model: Any, ids: Tensor, targets: Tensor, average: bool = False
) -> Tensor:
    """The same from targets (B, T): the token after each of ids, -100 where it does not count.

    Every shape follows from ids (B, T) and nothing is read from a GPU, so that a CUDA graph can
    capture it; the price is a row of logits for tokens that do not count too. Returns (B).
    """
    B, T = ids.shape
    logits = model(ids)  # (B, T, V)
    rows = logits.reshape(B * T, -1)  # (B, T, V) -> (B·T, V)
    nll = F.cross_entropy(rows, targets.reshape(-1), reduction="none")  # (B·T)
    total = -nll.reshape(B, T).sum(1)  # (B·T) -> (B, T) -> (B)
    if not average:
        return total
    n = (targets.array != IGNORED).sum(1)  # (B, T) -> (B)
    return total / wrap(n.astype(total.array.dtype))


class DPOOutput(NamedTuple):
    """The loss of a batch (0-d, with its graph) and the implicit rewards (B, without a graph)."""

    loss: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor

    @property
    def margins(self) -> Tensor:
        """The chosen response's reward minus the rejected one's, (B)."""
        return self.chosen_rewards - self.rejected_rewards

    @property
    def accuracy(self) -> float:
        """The share of pairs whose chosen response has the higher reward; a tie counts half."""
        margins = self.margins.array
        return float((margins > 0).mean() + (margins == 0).mean() / 2)


def dpo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor,
    reference_rejected: Tensor, beta: float = 0.1, label_smoothing: float = 0.0,
) -> DPOOutput:  # fmt: skip
    """The DPO loss of B pairs from the log-probabilities (B) of their responses.

    With h = β·((policy_chosen − reference_chosen) − (policy_rejected − reference_rejected)):
        loss = mean(−(1 − ε)·log σ(h) − ε·log σ(−h))
    beta: β, how strongly the policy is held to the reference: the larger, the less it moves for
    the same margin. label_smoothing: ε, the share of pairs that may be labelled wrongly.
    Raises: ValueError for β <= 0, ε outside [0, 0.5), and shapes that differ.
    """
    _check(beta, label_smoothing)
    four = (policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    shapes = [tuple(t.shape) for t in four]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"the four log-probabilities must all have the shape (B), got {shapes}")
    chosen = (policy_chosen - reference_chosen) * beta  # (B)
    rejected = (policy_rejected - reference_rejected) * beta  # (B)
    h = chosen - rejected
    losses = F.logsigmoid(h) * -(1.0 - label_smoothing)
    if label_smoothing:
        losses = losses - F.logsigmoid(-h) * label_smoothing
    return DPOOutput(losses.mean(), chosen.detach(), rejected.detach())


def _check(beta: float, label_smoothing: float) -> None:
    if not 0.0 < beta < math.inf:
        raise ValueError(f"beta must be more than 0, got {beta}")
    if not 0.0 <= label_smoothing < 0.5:
        raise ValueError(
            f"label_smoothing must be at least 0 and less than 0.5, got {label_smoothing}: at 0.5 "
            "both answers would be equally good"
        )


class DPOLoss:
    """The DPO loss of a batch from collate_preferences: `loss(model, batch)` is 0-d.

    reference: the model before training; it runs in evaluation mode, without a graph
    beta, label_smoothing: see dpo_loss
    average: use log-probabilities divided by the responses' lengths instead of their sums. The
        paper sums; the book averages, so that a long response counts no more than a short one. A
        length-averaged margin is smaller and needs a larger beta

    `loss.output(model, batch)` returns the rewards too.
    """

    def __init__(
        self, reference: Any, beta: float = 0.1, label_smoothing: float = 0.0, average: bool = False
    ) -> None:
        _check(beta, label_smoothing)
        self.reference = reference
        self.beta, self.label_smoothing, self.average = beta, label_smoothing, average

    def output(self, model: Any, batch: Mapping[str, Any]) -> DPOOutput:
        """Loss and rewards of a batch; only `model` gets gradients."""
        B = batch["chosen"].shape[0]
        if capturing.graph is not None:
            ids, targets = batch["ids"], batch["targets"]  # (2B, T) each
            policy = target_log_probabilities(model, ids, targets, self.average)  # (2B)
            with no_grad(), evaluation(self.reference):
                ref = target_log_probabilities(self.reference, ids, targets, self.average)  # (2B)
            return self._output(policy, ref, B)
        ids = cat([batch["chosen"], batch["rejected"]])  # (2B, T)
        mask = cat([batch["chosen_mask"], batch["rejected_mask"]])  # (2B, T)
        policy = response_log_probabilities(model, ids, mask, self.average)  # (2B)
        with no_grad(), evaluation(self.reference):
            ref = response_log_probabilities(self.reference, ids, mask, self.average)  # (2B)
        return self._output(policy, ref, B)

    def _output(self, policy: Tensor, ref: Tensor, B: int) -> DPOOutput:
        """policy, ref: log-probabilities (2B), the chosen responses' first."""
        return dpo_loss(policy[:B], policy[B:], ref[:B], ref[B:], self.beta, self.label_smoothing)

    def __call__(self, model: Any, batch: Mapping[str, Any]) -> Tensor:
        return self.output(model, batch).loss


def preference_metrics(
    model: Any, reference: Any, batches: Iterable[Mapping[str, Any]], beta: float = 0.1,
    label_smoothing: float = 0.0, average: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Means over all pairs: loss, chosen_reward, rejected_reward, margin and reward_accuracy.

    batches: from collate_preferences. No dropout, no gradients; the model's mode is restored.
    Raises: ValueError if there is no pair.
    """
    loss = DPOLoss(reference, beta, label_smoothing, average)
    total: dict[str, float] = {}
    pairs = 0
    with no_grad(), evaluation(model):
        for batch in batches:
            out = loss.output(model, to_device_of(model, batch))
            B = len(out.chosen_rewards)
            pairs += B
            for name, value in (
                ("loss", out.loss.item()),
                ("chosen_reward", out.chosen_rewards.mean().item()),
                ("rejected_reward", out.rejected_rewards.mean().item()),
                ("margin", out.margins.mean().item()),
                ("reward_accuracy", out.accuracy),
            ):
                total[name] = total.get(name, 0.0) + value * B
    if not pairs:
        raise ValueError("there are no pairs to measure")
    return {name: value / pairs for name, value in total.items()}
