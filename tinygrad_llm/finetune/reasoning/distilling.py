"""Distillation: a student learns a teacher's answers, or its probabilities at each token.

    rows = teacher_answers(teacher, tokenizer, questions, "plain", end=end)      # hard
    loss = SoftLoss(teacher, DistillationLoss(2.0))                              # soft

Hard needs texts alone, so teacher and student may have two vocabularies. Soft compares
distributions token by token, so that both must have one. On-policy the texts are the student's own,
where it makes its own mistakes, and the teacher says what it would have written there.
Shapes: B texts, T tokens, M tokens of answers, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...autograd.grad_mode import no_grad
from ...data.batches import IGNORED
from ...layers.distillation import DistillationLoss
from ...models.base import evaluation
from ...tensor import Tensor, wrap
from ..masks import targets_of
from ..prompts import style_of
from .rewards import is_right
from .rollouts import Rollouts, draw_answers
from .scores import token_logits

__all__ = ["OnPolicy", "SoftLoss", "TeacherAnswers", "teacher_answers"]


class TeacherAnswers(NamedTuple):
    """entries: questions with the teacher's answers as "output"; asked: how many answers it wrote;
    dropped: how many were left out and why; lengths: tokens of those that were kept
    """

    entries: list[dict[str, str]]
    asked: int
    dropped: dict[str, int]
    lengths: list[int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{n} {why}" for why, n in self.dropped.items() if n) or "none"
        if not self.lengths:
            return f"0 of {self.asked} answers kept; left out: {reasons}"
        low, middle, high = np.percentile(self.lengths, [5, 50, 95])
        return (
            f"{len(self.entries)} of {self.asked} answers kept; left out: {reasons}; tokens "
            f"{low:.0f}, {middle:.0f}, {high:.0f} (5 %, half, 95 %)"
        )


def teacher_answers(
    teacher: Any, tokenizer: Any, entries: Sequence[Mapping[str, str]], style: Any, *, end: int,
    samples: int = 1, temperature: float = 0.7, answer_tokens: int = 64, keep: str = "right",
    boxed: bool = False, longest: int | None = None, seed: int = 0, rows: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> TeacherAnswers:  # fmt: skip
    """The teacher's answers to questions, of which those that are worth learning are kept.

    samples: answers to each question; one is greedy, several are drawn with the temperature, and
        equal ones count once
    keep: "right": answers that a program finds right; "finished": those that ended; "all"
    longest: tokens of the longest answer that is kept, None for any
    """
    words = style_of(style)
    chosen = [entry for entry in entries for _ in range(samples)]
    prompts = [words.prompt_ids(tokenizer, entry) for entry in chosen]
    kept: list[dict[str, str]] = []
    lengths: list[int] = []
    dropped = {"not finished": 0, "wrong": 0, "too long": 0, "repeated": 0}
    seen: set[tuple[str, str]] = set()
    for begin in range(0, len(prompts), rows):
        answers = draw_answers(
            teacher, tokenizer, prompts[begin : begin + rows], answer_tokens, stop_token=end,
            temperature=temperature if samples > 1 else 0.0, seed=seed + begin,
        )  # fmt: skip
        for entry, text, done, n in zip(
            chosen[begin : begin + rows], answers.texts, answers.finished, answers.lengths,
            strict=True,
        ):  # fmt: skip
            why = None
            if keep != "all" and not done:
                why = "not finished"
            elif keep == "right" and not is_right(text, entry["output"], boxed):
                why = "wrong"
            elif longest is not None and n > longest:
                why = "too long"
            elif (entry["instruction"], text) in seen:
                why = "repeated"
            if why is not None:
                dropped[why] += 1
                continue
            seen.add((entry["instruction"], text))
            kept.append({**entry, "output": text})
            lengths.append(n)
        if progress is not None:
            progress(min(begin + rows, len(prompts)), len(prompts))
    return TeacherAnswers(kept, len(chosen), dropped, lengths)


class SoftLoss:
    """(model, (inputs, targets)) -> DistillationLoss of the tokens that count, 0-d.

    teacher: runs in evaluation mode, without a graph
    Raises: ValueError, when called, if the vocabularies differ.
    """

    def __init__(self, teacher: Any, loss: DistillationLoss) -> None:
        self.teacher, self.loss = teacher, loss

    def __call__(self, model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch  # (B, T) each
        counts = wrap(_shifted(targets.array != IGNORED))
        ids = wrap(_longer(inputs.array, targets.array))  # (B, T + 1)
        student, _ = token_logits(model, ids, counts)  # (M, V)
        with no_grad(), evaluation(self.teacher):
            teacher, _ = token_logits(self.teacher, ids, counts)  # (M, V)
        if student.shape != teacher.shape:
            raise ValueError(
                f"the student has {student.shape[1]:,} tokens and the teacher "
                f"{teacher.shape[1]:,}: soft distillation needs one vocabulary, hard does not"
            )
        result: Tensor = self.loss(student, teacher)
        return result


def _shifted(counts: Any) -> Any:
    """Which targets (B, T) count as which tokens count, (B, T + 1): one later."""
    mask = np.zeros((counts.shape[0], counts.shape[1] + 1), np.bool_)
    mask[:, 1:] = counts
    return mask


def _longer(inputs: Any, targets: Any) -> Any:
    """The tokens (B, T + 1) of inputs and the last target, (B, T) each."""
    last = np.where(targets[:, -1:] == IGNORED, inputs[:, -1:], targets[:, -1:])
    return np.concatenate([inputs, last], 1)


class OnPolicy:
    """An endless stream of (inputs, targets) of answers that the student draws now.

    rollouts: how they are drawn; their rewards are not used
    taught: ExampleBatches of the teacher's answers, None for none; share: of the batches that are
        the student's own (λ of the source), evenly spread

    A student that cannot yet write an answer draws texts on which the teacher has nothing to say;
    the teacher's texts lead it to those that matter.
    Source: Agarwal et al. (2023), "On-policy distillation of language models" (GKD), algorithm 1.
    """

    slow_batches = True

    def __init__(self, rollouts: Rollouts, taught: Any = None, share: float = 1.0) -> None:
        self.rollouts, self.share = rollouts, 1.0 if taught is None else share
        self.taught = taught
        self.position = 0

    def __len__(self) -> int:
        return len(self.rollouts)

    def own(self, position: int) -> bool:
        """Whether the batch at this place is the student's own."""
        return math.floor((position + 1) * self.share) > math.floor(position * self.share)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rollouts = iter(self.rollouts)
        taught = iter(() if self.taught is None else self.taught)
        while True:
            own = self.own(self.position)
            self.position += 1
            if not own:
                yield next(taught)
                continue
            batch = next(rollouts)
            ids, mask = batch["ids"].array, batch["mask"].array  # (N, T) each
            targets = targets_of(ids, mask)[:, :-1].copy()
            yield wrap(ids[:, :-1].copy()), wrap(targets)

    def state_dict(self) -> dict[str, Any]:
        """The place."""
        state = {"position": self.position, "rollouts": self.rollouts.state_dict()}
        return state if self.taught is None else {**state, "taught": self.taught.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place."""
        self.position = state["position"]
        self.rollouts.load_state_dict(state["rollouts"])
        if self.taught is not None:
            self.taught.load_state_dict(state["taught"])
