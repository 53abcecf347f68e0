"""Rollouts: groups of answers that the model draws now, with their rewards and advantages.

    stream = Rollouts(model, tokenizer, questions, style="plain", group_size=8, ...)
    batch = next(iter(stream))         # "ids", "mask", "old", "advantages": what the loss needs

Shapes: P questions, G answers to each, N = P·G, T tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...generation import generate
from ...generation.calculator import Calculator
from ...models.base import evaluation
from ...tensor import Tensor, wrap
from ...training.step import to_device_of
from ..masks import loss_mask
from ..prompts import style_of
from .advantages import gae, group_advantages, whitened
from .doctor import Doctor, RolloutStatistics
from .rewards import is_right, rewards_of
from .scores import mean_entropy, spread, token_log_probabilities, token_logits, token_values
from .tools import draw_with_tool

__all__ = ["Answers", "RolloutOptions", "Rollouts", "draw_answers"]


@dataclass
class Answers:
    """Answers that were drawn: ids of the texts (N, T), padded at the right with the end token.

    mask (N, T) bool: the answers' tokens, the end token of finished ones too; texts: the answers;
    finished: which ended by themselves; lengths: their tokens
    """

    ids: np.ndarray
    mask: np.ndarray
    texts: list[str]
    finished: list[bool]
    lengths: list[int]


def draw_answers(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, *,
    stop_token: int, temperature: float = 1.0, seed: int | None = None,
    tool: Calculator | None = None, write: Callable[..., Any] = generate, **sampling: Any,
) -> Answers:  # fmt: skip
    """One answer to each prompt, all of them in one batch with a KV cache.

    temperature 0 is greedy. An answer without its end token was cut at max_new_tokens. tool: is
    called by the answers; what it writes is not in the mask. write: generate, or
    generate_diverse, with more of its arguments in `sampling`
    """
    drawn: dict[str, Any] = {"temperature": temperature, "seed": seed} if temperature else {}
    if tool is not None:
        grown = draw_with_tool(
            model, tokenizer, prompts, max_new_tokens, tool, stop_token=stop_token, **drawn,
            **sampling,
        )  # fmt: skip
        written = [row.ids[row.prompt : len(row.ids) - row.finished] for row in grown]
        return _answers(
            [row.ids for row in grown], [row.spans for row in grown],
            [tokenizer.decode(ids) for ids in written], [row.finished for row in grown], stop_token,
        )  # fmt: skip
    widest = max(map(len, prompts))
    out = write(
        model, [list(p) for p in prompts], max_new_tokens, stop_tokens=[stop_token], **drawn,
        **sampling,
    )[:, widest:].tolist()  # (N, widest + new) -> (N, new)  # fmt: skip
    rows, spans, texts, finished = [], [], [], []
    for prompt, new in zip(prompts, out, strict=True):
        # a column of end tokens alone is left out, so a shorter row has ended there
        done = stop_token in new or len(new) < max_new_tokens
        answer = new[: new.index(stop_token)] if stop_token in new else new
        texts.append(tokenizer.decode(answer))
        finished.append(done)
        row = [*prompt, *answer, *([stop_token] if done else [])]
        rows.append(row)
        spans.append([(len(prompt), len(row))])
    return _answers(rows, spans, texts, finished, stop_token)


def _answers(
    rows: list[list[int]], spans: list[list[tuple[int, int]]], texts: list[str],
    finished: list[bool], stop_token: int,
) -> Answers:  # fmt: skip
    T = max(map(len, rows))
    ids = np.full((len(rows), T), stop_token, np.int64)  # (N, T)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = row
    mask = loss_mask([len(row) for row in rows], spans, T, end=False)  # (N, T)
    return Answers(ids, mask, texts, finished, [int(row.sum()) for row in mask])


@dataclass(frozen=True)
class RolloutOptions:
    """How answers are drawn and rewarded.

    group_size: G; questions: P in a rollout; updates: batches that each rollout is used for;
    answer_tokens: the most tokens of an answer; temperature: above 0; kind: of group_advantages, or
    "ppo": advantages of each token by GAE, from the model's value head, with discounts (γ, λ);
    boxed: answers stand in \\boxed{}; form_weight: what a finished answer of the right form is
    worth beside 1 for a right one; seed: of the order of questions and of the draws
    """

    group_size: int = 8
    questions: int = 8
    updates: int = 1
    answer_tokens: int = 64
    temperature: float = 1.0
    kind: str = "grpo"
    boxed: bool = False
    form_weight: float = 0.0
    seed: int = 123
    discounts: tuple[float, float] = (1.0, 0.95)


class Rollouts:
    """An endless stream of batches for PolicyLoss, drawn by the model as it is at that moment.

    entries: questions with "instruction" and "output"; end: the id that ends an answer
    reference: the model before training, for β; None without one
    doctor: looks at each rollout; None for nobody

    Each epoch goes through all questions in a new order. The stream has a place: going back to it
    draws the same answers, if the model has the same weights. In the middle of a rollout that is
    used several times, it goes back to its beginning and draws again.
    Raises: ValueError without questions.
    """

    slow_batches = True  # a plan measures the time of making them too

    def __init__(
        self, model: Any, tokenizer: Any, entries: Sequence[Mapping[str, str]], style: Any,
        end: int, options: RolloutOptions, reference: Any = None, doctor: Doctor | None = None,
    ) -> None:  # fmt: skip
        if not entries:
            raise ValueError("there are no questions")
        self.model, self.tokenizer, self.entries = model, tokenizer, entries
        self.end, self.o, self.reference, self.doctor = end, options, reference, doctor
        words = style_of(style)
        self.prompts = [words.prompt_ids(tokenizer, entry) for entry in entries]
        self.tool: Calculator | None = None  # that answers may call
        self.position = 0  # batches made so far
        self.statistics: RolloutStatistics | None = None
        self.after_update: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)  # clipped, kl
        self._batch: dict[str, Any] = {}

    def __len__(self) -> int:
        """Batches in an epoch of all questions."""
        return -(-len(self.entries) // self.o.questions) * self.o.updates

    def indices(self, rollout: int) -> list[int]:
        """The numbers of the questions of a rollout; rollouts count from the stream's beginning."""
        P, n = min(self.o.questions, len(self.entries)), len(self.entries)
        chosen = []
        for place in range(rollout * P, (rollout + 1) * P):
            epoch, index = divmod(place, n)
            order = np.random.RandomState([self.o.seed & 0xFFFFFFFF, epoch]).permutation(n)
            chosen.append(int(order[index]))
        return chosen

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            rollout, use = divmod(self.position, self.o.updates)
            if use == 0 or not self._batch:
                self._batch = self.drawn(rollout)
            self.position += 1
            yield self._batch

    def drawn(self, rollout: int) -> dict[str, Any]:
        """The batch of a rollout: draws the answers, rewards them, lets the doctor look.

        Raises: SickRun if the doctor says so.
        """
        o = self.o
        chosen = [i for i in self.indices(rollout) for _ in range(o.group_size)]  # (N)
        answers = draw_answers(
            self.model, self.tokenizer, [self.prompts[i] for i in chosen], o.answer_tokens,
            stop_token=self.end, temperature=o.temperature, seed=_seed(o.seed, rollout),
            tool=self.tool,
        )  # fmt: skip
        expected = [self.entries[i]["output"] for i in chosen]
        table = rewards_of(answers.texts, answers.finished, expected, o.boxed)  # (N, 2)
        weights = [1.0, o.form_weight]
        batch = self._scored(answers)
        if o.kind == "ppo":
            self._add_critic(batch, table @ weights)
        else:
            advantages = group_advantages(table, o.group_size, o.kind, weights)  # (N)
            batch["advantages"] = self._moved(advantages, batch["old"])
        self.statistics = self._statistics(
            answers, expected, table, table @ weights, batch.pop("entropy")
        )
        if self.doctor is not None:
            self.doctor.look(self.statistics)
        return batch

    def _moved(self, numbers: np.ndarray, like: Tensor) -> Tensor:
        """Numbers as a tensor on the model's device, of the dtype of another."""
        moved: Tensor = to_device_of(self.model, wrap(numbers.astype(like.array.dtype)))
        return moved

    def _add_critic(self, batch: dict[str, Any], rewards: np.ndarray) -> None:
        """Values, returns and whitened advantages, (N, T) each; a reward is its last token's."""
        ids, mask = batch["ids"], batch["mask"]
        with no_grad(), evaluation(self.model):
            batch["values"] = token_values(self.model, ids, mask)[1]  # (N, T)
        counts = mask.numpy()
        N, T = counts.shape
        last = T - 1 - counts[:, ::-1].argmax(1)  # (N, T) -> (N)
        of_tokens = np.zeros((N, T))
        of_tokens[np.arange(N), last] = rewards
        values = batch["values"].numpy().astype(np.float64)
        advantages, returns = gae(of_tokens, values, counts, *self.o.discounts)
        batch["advantages"] = self._moved(whitened(advantages, counts), batch["old"])
        batch["returns"] = self._moved(returns, batch["old"])

    def _scored(self, answers: Answers) -> dict[str, Any]:
        """The batch with old and reference log-probabilities, and the entropy."""
        ids, mask = to_device_of(self.model, (wrap(answers.ids), wrap(answers.mask)))
        batch: dict[str, Any] = {"ids": ids, "mask": mask}
        with no_grad(), evaluation(self.model):
            logits, tokens = token_logits(self.model, ids, mask, self.o.temperature)  # (M, V)
            batch["entropy"] = mean_entropy(logits)
            batch["old"] = spread(_log_p(logits, tokens), mask)  # (N, T)
        if self.reference is not None:
            with no_grad(), evaluation(self.reference):
                batch["reference"] = token_log_probabilities(
                    self.reference, ids, mask, self.o.temperature
                )
        return batch

    def _statistics(
        self, answers: Answers, expected: list[str], table: np.ndarray, rewards: np.ndarray,
        entropy: float,
    ) -> RolloutStatistics:  # fmt: skip
        compared = self.o.group_size if self.o.kind not in ("ppo", "reinforce") else len(rewards)
        groups = rewards.reshape(-1, compared)  # (P, G), or (1, N)
        clipped, kl = self.after_update()
        cut = [
            not done and is_right(text, answer, self.o.boxed)
            for text, done, answer in zip(answers.texts, answers.finished, expected, strict=True)
        ]
        return RolloutStatistics(
            reward=float(rewards.mean()), right=float(table[:, 0].mean()),
            variance=float(rewards.var()), finished=float(np.mean(answers.finished)),
            same=float((groups.max(1) == groups.min(1)).mean()),
            length=float(np.mean(answers.lengths)), entropy=entropy,
            rewarded_ends=int(((rewards > 0) & np.array(answers.finished)).sum()),
            cut_right=float(np.mean(cut)),
            clipped=clipped, kl=kl,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """The place, and what it depends on."""
        return {
            "position": self.position, "seed": self.o.seed, "examples": len(self.entries),
            "questions": self.o.questions, "updates": self.o.updates,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state` was taken, or to the beginning of its rollout.

        Raises: ValueError if the number of questions is not the same.
        """
        if state["examples"] != len(self.entries):
            raise ValueError(
                f"the run had {state['examples']} questions and has {len(self.entries)} now"
            )
        self.position = state["position"] - state["position"] % self.o.updates
        self._batch = {}
        if self.doctor is not None:
            self.doctor.forget()


def _log_p(logits: Tensor, tokens: Tensor) -> Tensor:
    """log softmax of logits (M, V) at tokens (M): (M)."""
    from ...nn import functional as F

    return -F.cross_entropy(logits, tokens, reduction="none")


def _seed(seed: int, rollout: int) -> int:
    """The seed of the draws of a rollout."""
    digest = hashlib.sha256(f"{seed} {rollout}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
