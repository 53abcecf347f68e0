"""Spending more at inference: what accuracy costs, in tokens that are written.

    ways = spend(model, tokenizer, questions, style="chat", end=2, samples=8)
    plot_spending({"words": ways}, "spending.png")

The same questions, with the same prompt, by: one greedy answer; beam search; several drawn or
diverse answers of which one is taken by vote, by a score of the text, or by the model's own mean
log-probability; and an answer that the model reads again and corrects. One greedy answer to a
prompt that does not ask for steps shows what asking for them (chain of thought) changes.
Shapes: Q questions, N answers to each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...evaluation.intervals import Interval, bootstrap, paired_difference
from ...files.json_files import read_json_object, write_json
from ...files.paths import local_path
from ...training.plots import label_text, new_figure, save_figure
from .asking import Asked, Asker, Entry, Note
from .rewards import is_right
from .tasks import SHORT
from .voting import best_of, heuristic_score, vote

__all__ = [
    "STEP_BY_STEP", "Way", "most_frequent", "plot_spending", "read_ways", "refine", "spend",
    "table_of", "together", "write_ways",
]  # fmt: skip

STEP_BY_STEP = "Think step by step, and write the final answer at the end as \\boxed{...}."
_CHECK = (
    "{question}\n\nA first answer was:\n{answer}\n\nCheck it. Write the right answer at the end."
)


class Way(NamedTuple):
    """A way to answer: its name, right answers (Q) of 1 and 0, and tokens written per question."""

    name: str
    rights: np.ndarray
    tokens: float

    def accuracy(self) -> Interval:
        """The share of right answers with its 95 % interval."""
        return bootstrap(self.rights)


def with_steps(entry: Entry) -> dict[str, str]:
    """The entry, whose instruction asks for steps instead of a number alone."""
    question = entry["instruction"].removesuffix(SHORT)
    return {**entry, "instruction": f"{question}\n{STEP_BY_STEP}"}


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
    beams: int = 0, diverse: int = 0, seed: int = 0, note: Note = None,
) -> list[Way]:  # fmt: skip
    """Every way on the same questions, with the same prompt; see the top of this file.

    entries: with "instruction" and "output"; end: the id that ends an answer; samples: N, the
        largest number of drawn answers (1, 2, 4, ... up to it are shown)
    steps: whether the prompt asks for steps, in every way except one that shows what this changes,
        and whether the model reads its answers again: False for a model that knows questions alone
    beams, diverse: beams of beam search, and answers of diverse beam search, of which one is taken
        by vote; 0 for none; note: is called with (answers written, answers)
    Raises: ValueError without questions or samples, or for a prompt that leaves no room.
    """
    if not entries or samples < 1:
        raise ValueError(f"spend needs questions and samples, got {len(entries)} and {samples}")
    asker = Asker(model, tokenizer, style, end, answer_tokens, note)
    asked = [with_steps(entry) for entry in entries] if steps else list(entries)
    first = asker.ask(asked)
    greedy = [t[0] for t in first.texts]
    ways = [_way("greedy", entries, greedy, first.tokens)]
    if steps:
        plain = asker.ask(entries)
        texts = [t[0] for t in plain.texts]
        ways.append(_way("greedy, not asked for steps", entries, texts, plain.tokens))
    if beams:
        best = asker.beams(asked, beams)
        ways.append(_way(f"beam search of {beams}", entries, [t[0] for t in best.texts],
                         best.tokens))  # fmt: skip
    ways += _drawn_ways(entries, asker.ask(asked, samples, temperature, seed), samples)
    if diverse:
        apart = asker.diverse(asked, diverse)
        texts = _by_vote(apart, diverse)
        ways.append(_way(f"diverse vote of {diverse}", entries, texts, apart.tokens))
    if steps:
        texts, more = refine(asker, entries, greedy)
        both = [[a[0] + b] for a, b in zip(first.tokens, more, strict=True)]
        ways.append(_way("self-refinement", entries, texts, both))
    return ways


def _drawn_ways(entries: Sequence[Entry], drawn: Asked, samples: int) -> list[Way]:
    """The vote and the best by two scores, of the first 1, 2, 4, ... drawn answers."""
    ways = []
    for n in [n for n in (1, 2, 4, 8, 16, 32, 64) if n < samples] + [samples]:
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
    return ways


def _by_vote(drawn: Asked, n: int) -> list[str]:
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


def most_frequent(entries: Sequence[Entry]) -> Way:
    """A baseline that writes nothing: the most frequent right answer to every question."""
    outputs = [entry["output"] for entry in entries]
    guess = max(sorted(set(outputs)), key=outputs.count)
    return Way("the most frequent answer", np.array([float(o == guess) for o in outputs]), 0.0)


def together(tasks: Mapping[str, Sequence[Way]]) -> list[Way]:
    """The ways on the questions of all tasks, each task with its number of questions.

    Raises: ValueError if the tasks have different ways.
    """
    first, *others = tasks.values()
    names = [way.name for way in first]
    if any([way.name for way in ways] != names for ways in others):
        raise ValueError("the tasks have different ways to answer")
    joined = []
    for same in zip(*tasks.values(), strict=True):
        rights = np.concatenate([way.rights for way in same])  # (Q of all tasks)
        tokens = sum(way.tokens * len(way.rights) for way in same) / len(rights)
        joined.append(Way(same[0].name, rights, tokens))
    return joined


def write_ways(
    path: str | Path, settings: Mapping[str, Any], tasks: Mapping[str, Sequence[Way]]
) -> None:
    """Keeps the ways of tasks in a JSON file, with the settings that they were made with."""
    rows = {
        task: [[way.name, [int(r) for r in way.rights], way.tokens] for way in ways]
        for task, ways in tasks.items()
    }
    write_json(path, {"settings": dict(settings), "tasks": rows})


def read_ways(path: str | Path, settings: Mapping[str, Any]) -> dict[str, list[Way]]:
    """The ways of tasks that write_ways kept; none if the file is not there.

    Raises: ValueError if the file is damaged, or was made with other settings.
    """
    if not local_path(path).exists():
        return {}
    kept = read_json_object(path)
    try:
        made_with, tasks = (
            dict(kept["settings"]),
            {
                str(task): [Way(str(n), np.array(r, np.float64), float(t)) for n, r, t in ways]
                for task, ways in kept["tasks"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} does not hold the answers of tasks") from error
    for name, value in settings.items():
        if made_with.get(name) != value:
            raise ValueError(
                f"{path} was made with {name} {made_with.get(name)}, now it is {value}"
            )
    return tasks


def table_of(ways: Sequence[Way]) -> list[str]:
    """Lines of a Markdown table: right answers, what is gained over the first way, tokens."""
    lines = ["| way | right | minus greedy, paired | tokens per question |", "|---|---|---|---|"]
    for i, way in enumerate(ways):
        gain = "" if i == 0 else str(paired_difference(way.rights, ways[0].rights))
        lines.append(f"| {way.name} | {way.accuracy()} | {gain} | {way.tokens:.1f} |")
    return lines


def plot_spending(tasks: Mapping[str, Sequence[Way]], path: str | Path, title: str = "") -> Path:
    """Draws accuracy against tokens per question, with 95 % intervals; returns the PNG's path.

    A panel for each task, and the legend beside them. Ways with equal tokens stand a little apart;
    one without tokens is a line.
    """
    columns = 1 if len(tasks) == 1 else 2
    lines = -(-len(tasks) // columns)
    figure = new_figure(4.6 * columns + 2.4, 3.6 * lines + 0.4)
    handles: dict[str, Any] = {}
    for i, (task, ways) in enumerate(tasks.items()):
        axes = figure.add_subplot(lines, columns, i + 1)
        families: dict[str, list[Way]] = {}
        for way in ways:
            if not way.tokens:  # a baseline
                value = way.accuracy().value
                handles[way.name] = axes.axhline(value, color="gray", linestyle=":")
                continue
            families.setdefault(way.name.partition(" of ")[0], []).append(way)
        for k, (name, members) in enumerate(families.items()):
            x = [way.tokens * 1.035 ** (k - len(families) / 2) for way in members]
            scores = [way.accuracy() for way in members]
            y = [s.value for s in scores]
            errors = [[s.value - s.low for s in scores], [s.high - s.value for s in scores]]
            handles[label_text(name)] = axes.errorbar(
                x, y, errors, fmt="o-" if len(members) > 1 else "s", markersize=4, capsize=3,
                color=f"C{k}", alpha=0.8,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("tokens written per question")
        axes.set_ylabel("right answers (95 % interval)")
        axes.set_title(label_text(f"{task}, {len(ways[0].rights)} questions"), fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(list(handles.values()), list(handles), loc="outside right center", fontsize=8)
    if title:
        figure.suptitle(label_text(title), fontsize=10)
    return save_figure(figure, path)
