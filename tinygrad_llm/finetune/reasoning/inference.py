"""Spending more at inference: what accuracy costs, in tokens that are written.

    ways = spend(model, tokenizer, questions, style="chat", end=2, samples=8)
    plot_spending(ways, "spending.png")

The same questions by: one greedy answer; the same after a prompt that asks for steps (chain of
thought); several drawn or diverse answers of which one is taken by vote, by a score of the text, or
by the model's own mean log-probability; and an answer that the model reads again and corrects.
Shapes: Q questions, N answers to each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...autograd.grad_mode import no_grad
from ...evaluation.intervals import Interval, bootstrap
from ...generation.diverse import generate_diverse
from ...models.base import evaluation
from ...tensor import wrap
from ...training.plots import label_text, new_figure, save_figure
from ...training.step import to_device_of
from ..prompts import style_of
from .rewards import is_right
from .rollouts import Answers, draw_answers
from .scores import token_log_probabilities
from .voting import best_of, heuristic_score, vote

__all__ = ["STEP_BY_STEP", "Way", "mean_log_probabilities", "plot_spending", "refine", "spend"]

STEP_BY_STEP = "Think step by step, and write the final answer at the end as \\boxed{...}."
_CHECK = (
    "{question}\n\nA first answer was:\n{answer}\n\nCheck it. Write the right answer at the end."
)
ROWS = 32  # texts that go through the model together
Entry = Mapping[str, str]
Note = Callable[[int, int], None] | None


class Way(NamedTuple):
    """A way to answer: its name, right answers (Q) of 1 and 0, and tokens written per question."""

    name: str
    rights: np.ndarray
    tokens: float

    def accuracy(self) -> Interval:
        """The share of right answers with its 95 % interval."""
        return bootstrap(self.rights)


class _Asked(NamedTuple):
    """N answers to each question: texts, tokens, mean log-probabilities, each Q lists of N."""

    texts: list[list[str]]
    tokens: list[list[int]]
    scores: list[list[float]]


class _Asker:
    """Asks a model in batches."""

    def __init__(
        self, model: Any, tokenizer: Any, style: Any, end: int, answer_tokens: int, note: Note
    ) -> None:
        self.model, self.tokenizer, self.style = model, tokenizer, style_of(style)
        self.end, self.answer_tokens, self.note = end, answer_tokens, note

    def ask(
        self, entries: Sequence[Entry], n: int = 1, temperature: float = 0.0, seed: int = 0,
        penalty: float | None = None,
    ) -> _Asked:  # fmt: skip
        """n answers to each entry: drawn, or diverse ones with this penalty."""
        rows, more = ROWS, dict[str, Any]()
        if penalty is not None:
            rows = max(1, ROWS // n) * n  # whole groups
            more = {"write": generate_diverse, "group": n, "penalty": penalty}
        prompts = [self.style.prompt_ids(self.tokenizer, e) for e in entries for _ in range(n)]
        texts: list[str] = []
        tokens: list[int] = []
        scores: list[float] = []
        for begin in range(0, len(prompts), rows):
            answers = draw_answers(
                self.model, self.tokenizer, prompts[begin : begin + rows], self.answer_tokens,
                stop_token=self.end, temperature=temperature, seed=seed + begin, **more,
            )  # fmt: skip
            texts += answers.texts
            tokens += answers.lengths
            scores += mean_log_probabilities(self.model, answers)
            if self.note is not None:
                self.note(len(texts), len(prompts))

        def of_each(values: list[Any]) -> list[list[Any]]:
            return [values[i : i + n] for i in range(0, len(values), n)]

        return _Asked(of_each(texts), of_each(tokens), of_each(scores))


def mean_log_probabilities(model: Any, answers: Answers) -> list[float]:
    """log π of each answer's tokens, their mean in nats, end token included: N numbers."""
    ids, mask = to_device_of(model, (wrap(answers.ids), wrap(answers.mask)))
    with no_grad(), evaluation(model):
        log_p = token_log_probabilities(model, ids, mask)  # (N, T)
    sums = log_p.sum(1).tolist()
    return [s / max(1, n) for s, n in zip(sums, answers.lengths, strict=True)]


def with_steps(entry: Entry) -> dict[str, str]:
    """The entry, whose instruction also asks for steps."""
    return {**entry, "instruction": f"{entry['instruction']}\n{STEP_BY_STEP}"}


def refine(
    asker: Any, entries: Sequence[Entry], first: Sequence[str], rounds: int = 1
) -> tuple[list[str], list[int]]:
    """(answers after the model has read and checked its own, their tokens): self-refinement.

    asker: what `spend` makes; first: an answer to each entry. A new answer replaces the old one if
    its score (heuristic_score) is not lower.
    Source: Madaan et al. (2023), "Self-Refine".
    """
    texts, tokens = list(first), [0] * len(first)
    for _ in range(rounds):
        asked = asker.ask(
            [
                {**e, "instruction": _CHECK.format(question=e["instruction"], answer=text)}
                for e, text in zip(entries, texts, strict=True)
            ]
        )
        for i, (new, n) in enumerate(zip(asked.texts, asked.tokens, strict=True)):
            tokens[i] += n[0]
            if heuristic_score(new[0]) >= heuristic_score(texts[i]):
                texts[i] = new[0]
    return texts, tokens


def spend(
    model: Any, tokenizer: Any, entries: Sequence[Entry], style: Any, *, end: int,
    samples: int = 8, temperature: float = 0.8, answer_tokens: int = 64, steps: bool = True,
    diverse: int = 0, seed: int = 0, note: Note = None,
) -> list[Way]:  # fmt: skip
    """Every way on the same questions; see the top of this file.

    entries: with "instruction" and "output"; end: the id that ends an answer; samples: N, the
    largest number of drawn answers (1, 2, 4, ... up to it are shown); steps: whether the drawn
    answers are asked for step by step, and the model reads its answers again: False for a model
    that knows questions alone, not words; diverse: answers of diverse beam search, of which one is
    taken by vote, 0 for none; note: is called with (answers written, answers)
    Raises: ValueError without questions or samples.
    """
    if not entries or samples < 1:
        raise ValueError(f"spend needs questions and samples, got {len(entries)} and {samples}")
    asker = _Asker(model, tokenizer, style, end, answer_tokens, note)
    plain = asker.ask(entries)
    asked_for = [with_steps(entry) for entry in entries]
    ways = [_way("greedy", entries, [t[0] for t in plain.texts], plain.tokens)]
    if steps:
        thought = asker.ask(asked_for)
        ways.append(_way("step by step", entries, [t[0] for t in thought.texts], thought.tokens))
    drawn = asker.ask(asked_for if steps else entries, samples, temperature, seed)
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n < samples] + [samples]
    for n in counts:
        tokens = [each[:n] for each in drawn.tokens]
        picked = {"vote": _by_vote(drawn, n)}
        if n > 1:
            picked["best by score"] = [
                t[best_of([heuristic_score(x) for x in t[:n]])] for t in drawn.texts
            ]
            picked["best by log-probability"] = [
                t[best_of(s[:n])] for t, s in zip(drawn.texts, drawn.scores, strict=True)
            ]
        for name, texts in picked.items():
            ways.append(_way(f"{name} of {n}", entries, texts, tokens))
    if diverse:
        apart = asker.ask(asked_for if steps else entries, diverse, penalty=1.0)
        texts = _by_vote(apart, diverse)
        ways.append(_way(f"diverse vote of {diverse}", entries, texts, apart.tokens))
    if not steps:
        return ways
    texts, more = refine(asker, entries, [t[0] for t in plain.texts])
    both = [[a[0] + b] for a, b in zip(plain.tokens, more, strict=True)]
    ways.append(_way("self-refinement", entries, texts, both))
    return ways


def _by_vote(drawn: _Asked, n: int) -> list[str]:
    """Of each question the answer that most of the first n texts agree on, or the first text."""
    picked = []
    for texts, scores in zip(drawn.texts, drawn.scores, strict=True):
        result = vote(texts[:n], scores[:n])
        picked.append(texts[result.chosen or 0])
    return picked


def _way(
    name: str, entries: Sequence[Entry], texts: Sequence[str], tokens: Sequence[Sequence[int]]
) -> Way:
    rights = [float(is_right(t, e["output"])) for t, e in zip(texts, entries, strict=True)]
    return Way(name, np.array(rights), float(np.mean([sum(each) for each in tokens])))


def plot_spending(ways: Sequence[Way], path: str | Path, title: str = "") -> Path:
    """Draws accuracy against tokens per question, with 95 % intervals; returns the PNG's path."""
    figure = new_figure(8.0, 5.0)
    axes = figure.add_subplot()
    families: dict[str, list[Way]] = {}
    for way in ways:
        families.setdefault(way.name.partition(" of ")[0], []).append(way)
    for name, members in families.items():
        x = [way.tokens for way in members]
        scores = [way.accuracy() for way in members]
        y = [s.value for s in scores]
        errors = [[s.value - s.low for s in scores], [s.high - s.value for s in scores]]
        axes.errorbar(
            x, y, errors, fmt="o-" if len(members) > 1 else "s", markersize=4, capsize=3,
            label=label_text(name), alpha=0.8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("tokens written per question")
    axes.set_ylabel("right answers (95 % interval)")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    if title:
        axes.set_title(label_text(title), fontsize=10)
    return save_figure(figure, path)
