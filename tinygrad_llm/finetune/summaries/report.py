"""Ways of writing summaries, scored side by side: a table, examples, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...evaluation.bertscore import bert_score
from ...evaluation.bleu import Bleu, corpus_bleu
from ...evaluation.rouge import rouge
from ...evaluation.text_scores import TextScores
from ...evaluation.words import Cut
from ...training.plots import label_text, new_figure, save_figure

__all__ = ["BASELINES", "Way", "cut_for", "first_words", "plot_ways", "scored", "table"]

BASELINES = 2  # of the ways, the first are not the model's


@dataclass(frozen=True)
class Way:
    """A way of writing: the texts, their scores, and the seconds that writing took."""

    name: str
    texts: list[str]
    rouge: dict[str, TextScores]
    bleu: Bleu
    bert: TextScores | None
    seconds: float

    def scores(self) -> dict[str, Any]:
        """The scores with their intervals, for a file."""
        f1 = {**self.rouge, **({} if self.bert is None else {"bert_score": self.bert})}
        intervals = {name: scores.interval() for name, scores in f1.items()}
        intervals["bleu"] = self.bleu.interval()
        rows: dict[str, Any] = {
            name: {"value": i.value, "low": i.low, "high": i.high} for name, i in intervals.items()
        }
        return {**rows, "seconds": self.seconds}


def scored(
    name: str, texts: list[str], references: Sequence[str], cut: str, seconds: float,
    with_bert: bool,
) -> Way:  # fmt: skip
    """A way with its scores. cut: words, char or ja-mecab; with_bert: BERTScore with MiniLM."""
    for_rouge, for_bleu = ("rouge", "13a") if cut == "words" else (cut, cut)
    return Way(
        name, texts, rouge(texts, references, cut=for_rouge),
        corpus_bleu(texts, references, cut=for_bleu),
        bert_score(texts, references) if with_bert else None, seconds,
    )  # fmt: skip


def cut_for(texts: Sequence[str]) -> str:
    """words, or char for texts of which less than half of the letters are Latin."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    latin = sum(letter.isascii() for letter in letters)
    return "words" if 2 * latin >= len(letters) else "char"


def first_words(texts: Sequence[str], n: int, cut: Cut) -> list[str]:
    """The baseline: the first n words of each text, or characters with the cut "char"."""
    if cut == "char":
        return [text[:n] for text in texts]
    return [" ".join(text.split()[:n]) for text in texts]


def table(ways: Sequence[Way]) -> str:
    """A line for each way: ROUGE, BLEU, BERTScore, words and seconds; ROUGE-L with its interval."""
    bert = any(way.bert is not None for way in ways)
    head = f"{'':26}ROUGE-1 ROUGE-2  ROUGE-L              BLEU{'  BERTScore' if bert else ''}"
    lines = [f"{head}  words  seconds"]
    for i, way in enumerate(ways):
        one, two = (way.rouge[kind].f1.mean() for kind in ("rouge1", "rouge2"))
        vectors = "" if way.bert is None else f"{way.bert.f1.mean():11.3f}"
        length = way.bleu.counts[:, 0].mean()
        note = "  (a baseline)" if i < BASELINES else ""
        lines.append(
            f"{way.name:<26}  {one:.3f}   {two:.3f}  {way.rouge['rougeL'].interval()} "
            f"{way.bleu.score:5.2f}{vectors}  {length:5.1f}  {way.seconds:7.1f}{note}"
        )
    return "\n".join(lines)


def plot_ways(ways: Sequence[Way], path: str | Path) -> Path:
    """Draws ROUGE-1, ROUGE-2 and ROUGE-L of each way with their intervals to a PNG."""
    figure = new_figure(8.0, 1.5 + 0.55 * len(ways))
    axes = figure.add_subplot()
    for k, kind in enumerate(("rouge1", "rouge2", "rougeL")):
        intervals = [way.rouge[kind].interval() for way in ways]
        places = [i + 0.26 * (k - 1) for i in range(len(ways))]
        values = [i.value for i in intervals]
        errors = [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]
        axes.barh(places, values, 0.24, xerr=errors, label=kind, error_kw={"lw": 0.8})
    axes.set_yticks(range(len(ways)), [label_text(way.name) for way in ways])
    axes.invert_yaxis()
    axes.set_xlabel("mean F1 with its 95 % interval")
    axes.legend(fontsize=8)
    return save_figure(figure, path)
