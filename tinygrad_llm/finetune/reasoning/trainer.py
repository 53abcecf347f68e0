"""A trainer for reinforcement learning with rewards that can be verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...data.batches import IGNORED
from ...evaluation.intervals import Interval, bootstrap
from ...generation.calculator import Calculator
from ...layers.policy import PolicyLoss, PolicyOutput, policy_loss_of
from ...layers.value import VALUE_HEAD, ValueLoss, add_value_head
from ...models.base import context_length_of
from ...models.costs import flops_per_token
from ...tensor import Tensor
from ...training.loop import Trainer
from ..data import InstructionDataset, collate_instructions
from ..prompts import has_chat, style_of
from ..trainers import batches_in_order
from ..tuning import Rates, TrainingData, Tuning
from .advantages import ADVANTAGES
from .doctor import Doctor
from .options import PolicyOptions
from .rewards import is_right
from .rollouts import RolloutOptions, Rollouts, draw_answers
from .scores import log_probabilities, token_log_probabilities, token_values

__all__ = ["GRPOLoss", "accuracy_of", "grpo_trainer", "right_answers"]


class GRPOLoss:
    """(model, batch) -> the loss: of a rollout by PolicyLoss, of (inputs, targets) cross-entropy.

    The second is for validation: nats per token of the expected answers. critic: of PPO, whose loss
    is added with its weight; one forward pass serves both.
    """

    def __init__(
        self, policy: PolicyLoss, temperature: float = 1.0, critic: ValueLoss | None = None,
        value_weight: float = 0.5,
    ) -> None:  # fmt: skip
        self.policy, self.temperature = policy, temperature
        self.critic, self.value_weight = critic, value_weight
        self.last: PolicyOutput | None = None
        self.value_loss = 0.0

    def __call__(self, model: Any, batch: Any) -> Tensor:
        if not isinstance(batch, Mapping):
            loss: Tensor = model.loss(*batch)
            return loss
        ids, mask = batch["ids"], batch["mask"]
        if self.critic is not None:
            hidden, values = token_values(model, ids, mask)  # (M, C), (N, T)
            log_p = log_probabilities(model, hidden, ids, mask, self.temperature)  # (N, T)
        else:
            log_p = token_log_probabilities(model, ids, mask, self.temperature)  # (N, T)
        self.last = self.policy.output(
            log_p, batch["old"], batch["advantages"], batch.get("reference"), mask
        )
        if self.critic is None:
            return self.last.loss
        error = self.critic(values, batch["values"], batch["returns"], mask)
        self.value_loss = float(error.item())
        return self.last.loss + error * self.value_weight

    def after_update(self) -> tuple[float, float]:
        """The clipped share and the distance to the reference of the last batch."""
        return (0.0, 0.0) if self.last is None else (self.last.clipped, self.last.kl)


def count_answers(batch: Any) -> int:
    """Answers of a rollout, or targets that count of a batch for validation."""
    if isinstance(batch, Mapping):
        return int(batch["ids"].shape[0])
    return int((batch[-1].array != IGNORED).sum())


def right_answers(
    model: Any, tokenizer: Any, entries: Sequence[Mapping[str, str]], style: Any, *, end: int,
    answer_tokens: int = 64, boxed: bool = False, batch_size: int = 32,
    tool: Calculator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """(1 for each right greedy answer, else 0, (N); the answers): what a score is made of."""
    words = style_of(style)
    prompts = [words.prompt_ids(tokenizer, entry) for entry in entries]
    texts: list[str] = []
    for begin in range(0, len(prompts), batch_size):
        part = prompts[begin : begin + batch_size]
        texts += draw_answers(
            model, tokenizer, part, answer_tokens, stop_token=end, temperature=0.0, tool=tool
        ).texts
        if progress is not None:
            progress(len(texts), len(prompts))
    rights = [is_right(t, e["output"], boxed) for t, e in zip(texts, entries, strict=True)]
    return np.array(rights, np.float64), texts


def accuracy_of(rights: np.ndarray) -> Interval:
    """The share of right answers (N) with its 95 % interval."""
    return bootstrap(rights)


def grpo_trainer(
    model: Any, tokenizer: Any, train: Sequence[Mapping[str, str]],
    validation: Sequence[Mapping[str, str]], options: PolicyOptions | None = None, *,
    style: Any = "plain", end: int, reference: Any = None, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Trains a model on its own answers; a loss is per answer.

    train, validation: questions with "instruction" and "output"; end: the id that ends an answer;
    reference: the model before training, which beta above 0 needs
    Options: PolicyOptions and what else Trainer takes. Every validation measures the share of right
    greedy answers and reports what the doctor looks at.
    Raises: ValueError for a prompt that leaves no room for an answer.
    """
    tuning = Tuning("grpo_trainer", PolicyOptions, options, keywords)
    o = tuning.options
    if o.beta and reference is None:
        raise ValueError(f"beta={o.beta:g} needs a reference: copy.deepcopy(model) before training")
    policy = policy_loss_of(o.method, longest=o.answer_tokens, **o.loss_changes())
    ppo = o.method == "ppo"
    if ppo:
        add_value_head(model)
        tuning.others["config"] = {**(tuning.others.get("config") or {}), VALUE_HEAD: True}
    loss = GRPOLoss(policy, o.temperature, ValueLoss(o.value_clip) if ppo else None, o.value_weight)
    tool = Calculator() if o.calculator else None
    kind = o.method if o.method in (*ADVANTAGES, "ppo") else "grpo"
    rollout = RolloutOptions(
        o.group_size, o.batch_size, o.updates, o.answer_tokens, o.temperature, kind, o.boxed,
        o.form_weight, o.seed, (o.gamma, o.lam),
    )  # fmt: skip
    doctor = Doctor(o.patience, template=style_of(style).name == "chat" or not has_chat(tokenizer))
    stream = Rollouts(
        model, tokenizer, train, style, end, rollout, reference if o.beta else None, doctor
    )
    stream.after_update, stream.tool = loss.after_update, tool
    context = context_length_of(model)
    longest = max(map(len, stream.prompts)) + o.answer_tokens
    if context is not None and longest > context:
        raise ValueError(
            f"a prompt and {o.answer_tokens} tokens of an answer are {longest} tokens, the model's "
            f"context is {context}: take fewer answer_tokens"
        )

    def report(model: Any) -> Mapping[str, float]:
        rights, _ = right_answers(
            model, tokenizer, validation, style, end=end, answer_tokens=o.answer_tokens,
            boxed=o.boxed, tool=tool,
        )  # fmt: skip
        numbers = {"val_accuracy": float(rights.mean())}
        if stream.statistics is not None:
            numbers |= stream.statistics.numbers()
        if ppo:
            numbers["value_loss"] = loss.value_loss
        return numbers

    data = InstructionDataset(validation, tokenizer, style)
    collate = partial(collate_instructions, pad_token_id=end, mask_instruction=True)
    lengths = [len(p) + o.answer_tokens for p in stream.prompts]

    def flops(batch: Any) -> float:
        N, T = batch["ids"].shape
        return 2.0 * N * T * flops_per_token(model, T)  # drawing and scoring cost about as much

    return tuning.trainer(
        model, TrainingData(train, collate, lengths, False), batches_in_order(data, collate),
        Rates((1.5e-3, 5e-6), (1e-3, 1e-4), (10.0, 1.0)), loss=loss, count=count_answers,
        unit="answer", flops=flops, report=report, stream=stream,
    )  # fmt: skip
