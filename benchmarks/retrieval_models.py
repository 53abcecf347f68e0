"""What `python -m benchmarks retrieval` trains: a cross-encoder, a bi-encoder, a reader.

All of them learn from questions by rule on one half of the topics of Python's reference, and are
tested on the other half. The runs are those of the commands, in a folder that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.evaluation import bootstrap, paired_difference
from tinygrad_llm.evaluation.answers import exact_match, shared_characters
from tinygrad_llm.files.json_files import write_json_lines
from tinygrad_llm.finetune.embedding import SentenceEmbedder
from tinygrad_llm.finetune.pairs import PairModel, rank
from tinygrad_llm.finetune.runs import Embed, Instruct, Rerank
from tinygrad_llm.retrieval import Index, Reader, ndcg, recall, reciprocal_rank, search_vectors
from tinygrad_llm.retrieval.answers import ASKED, REFUSAL
from tinygrad_llm.retrieval.questions import (
    Question,
    cloze_questions,
    half_questions,
    split_by_source,
    title_questions,
)
from tinygrad_llm.retrieval.reranking import DEPTH
from tinygrad_llm.retrieval.training_data import hard_negatives, instruction_rows, passage_rows
from tinygrad_llm.training.settings import resolved

__all__ = [
    "RECIPES", "compare", "measure_models", "parts", "print_answers", "train", "write_data",
    "written_answers",
]  # fmt: skip

Ids = list[list[int]]
RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "rerank": (
        Rerank,
        {
            "base": "all-minilm-l6-v2",
            "max_length": 160,
            "val_fraction": 0.05,
            "test_fraction": 0.05,
            "steps": 120,
            "eval_every": 60,
        },
    ),
    "embed": (
        Embed,
        {
            "loss": "supervised",
            "first_column": "question",
            "second_column": "passage",
            "negative_column": "negative1",
            "base": "all-minilm-l6-v2",
            "max_length": 160,
            "val_fraction": 0.05,
            "test_fraction": 0.1,
            "batch_size": 32,
            "steps": 40,
            "eval_every": 20,
        },
    ),
    "instruct": (
        Instruct,
        {
            "base": "smollm2-135m-instruct",
            "lora": True,
            "steps": 80,
            "batch_size": 4,
            "eval_every": 40,
            "answers": 0,
            "max_length": 512,
            "mask_instruction": True,
        },
    ),
}  # fmt: skip  the options of the commands


class Parts(NamedTuple):
    """Questions of the topics for training, and of the others for the test."""

    train: dict[str, list[Question]]
    test: dict[str, list[Question]]


def parts(index: Index, texts: list[str], headings: dict[str, str]) -> Parts:
    """Gaps, halves and headings, each cut by topic."""
    made = Parts({}, {})
    for name, questions in (
        ("gaps", cloze_questions(index.chunks, texts, 10**6)),
        ("halves", half_questions(index.chunks, texts, 10**6)),
        ("headings", title_questions(index.chunks, headings)),
    ):
        made.train[name], made.test[name] = split_by_source(questions, index.chunks)
    return made


def write_data(index: Index, made: Parts, folder: Path) -> tuple[Path, Path]:
    """The files for finetune rerank and embed, and for finetune instruct."""
    rows = []
    for name, most in (("gaps", 1), ("halves", 1), ("headings", 5)):
        questions = made.train[name]
        rows += passage_rows(index, questions, hard_negatives(index, questions, 3, "hybrid"), most)
    gaps = made.train["gaps"]
    entries = instruction_rows(index, gaps, hard_negatives(index, gaps, 2, "hybrid"))
    folder.mkdir(parents=True, exist_ok=True)
    return (
        write_json_lines(folder / "passages.jsonl", rows),
        write_json_lines(folder / "instruct.jsonl", entries),
    )


def train(name: str, data: Path, folder: Path) -> Path:
    """The folder of a trained run of RECIPES, which is made if it is not there."""
    out = folder / name
    if not (out / "loss.png").exists():
        kind, options = RECIPES[name]
        kind(resolved(kind.options, {**options, "data": str(data), "folder": str(out)})).run()
    return out


def measures(ids: Ids, relevant: Sequence[Iterable[int]]) -> dict[str, np.ndarray]:
    """One number per query of each measure."""
    right = [set(r) for r in relevant]
    return {
        "recall@1": recall(ids, right, 1), "recall@5": recall(ids, right, 5),
        "MRR": reciprocal_rank(ids, right, 10), "nDCG@10": ndcg(ids, right, 10),
    }  # fmt: skip


def compare(name: str, lists: dict[str, Ids], questions: Sequence[Question]) -> dict[str, Any]:
    """Print and return each way's measures; the difference is to the first, in nDCG."""
    rows = {way: measures(ids, [q.relevant for q in questions]) for way, ids in lists.items()}
    first = next(iter(rows))
    names = list(rows[first])
    print(f"\n{name}: {len(questions)} questions\n")
    print(f"| search | {' | '.join(names)} | nDCG@10 minus that of {first} |")
    print("|---" * (len(names) + 2) + "|")
    for way, scores in rows.items():
        cells = [str(bootstrap(scores[each])) for each in names]
        gain = "" if way == first else paired_difference(scores["nDCG@10"], rows[first]["nDCG@10"])
        print(f"| {way} | {' | '.join(cells)} | {gain} |")
    return {way: {k: float(v.mean()) for k, v in scores.items()} for way, scores in rows.items()}


def measure_models(index: Index, made: Parts, runs: dict[str, Path], most: int) -> dict[str, Any]:
    """Print searches with the trained models beside those without.

    runs: folders of "rerank" and "embed"; most: questions of each kind
    """
    model, trained = PairModel.load(runs["rerank"]), SentenceEmbedder.load(runs["embed"])
    assert index.vectors is not None
    own = trained.embed([chunk.text for chunk in index.chunks])  # (N, C)
    scores: dict[tuple[str, int], float] = {}

    def sorted_anew(question: Question, ids: Sequence[int]) -> list[int]:
        new = [i for i in ids[:DEPTH] if (question.text, i) not in scores]
        if new:
            texts = [index.chunks[i].text for i in new]
            for n, score in rank(question.text, texts, model):
                scores[question.text, new[n]] = score
        return sorted(ids[:DEPTH], key=lambda i: -scores[question.text, i])[:10]

    result = {}
    for name in ("gaps", "headings"):
        questions = made.test[name][:most]
        texts = [q.text for q in questions]
        lists: dict[str, Ids] = {
            "MiniLM": search_vectors(index.embedder.embed(texts), index.vectors, DEPTH).ids.tolist()
        }
        lists["MiniLM, trained"] = search_vectors(trained.embed(texts), own, DEPTH).ids.tolist()
        lists["BM25"] = [[h.id for h in index.search(t, DEPTH, "bm25")] for t in texts]
        for way in list(lists):
            lists[f"{way}, re-ranked"] = [
                sorted_anew(q, ids) for q, ids in zip(questions, lists[way], strict=True)
            ]
        short = {way: [ids[:10] for ids in rows] for way, rows in lists.items()}
        result[name] = compare(f"{name} on topics that nothing was trained on", short, questions)
    return result


def written_answers(
    index: Index, made: Parts, reader: Reader, n: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """What a small model writes into n gaps with each kind of passages: (n, 4) scores of each.

    The columns: the answer holds the word, is the word, characters shared, refuses.
    """
    questions = made.test["gaps"][:n]
    wrong = hard_negatives(index, questions, 3, "hybrid")
    ways: dict[str, Callable[[int], list[int]]] = {
        "none": lambda i: [],
        "3 found (hybrid)": lambda i: [h.id for h in index.search(questions[i].text, 3, "hybrid")],
        "the right one": lambda i: [min(questions[i].relevant)],
        "3 wrong ones": lambda i: wrong[i],
    }
    table = {}
    for way, passages in ways.items():
        rows = []
        for i, q in enumerate(questions):
            texts = [index.chunks[j].text for j in passages(i)]
            written = reader.answer(ASKED.format(q.text), texts, max_new_tokens=24)
            rows.append((
                float(q.answer.lower() in written.lower()), exact_match(written, q.answer),
                shared_characters(written, q.answer), float(REFUSAL in written),
            ))  # fmt: skip
        table[way] = np.array(rows)  # (n, 4)
    return table


def print_answers(tables: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Print and return the scores of each model and each kind of passages.

    tables: those of written_answers, by how the table calls the model
    """
    first = next(iter(tables.values()))
    n = len(first["none"])
    print(f"\n{n} gaps\n\n| model | passages | holds the word | is the word | characters shared | "
          "refuses | holds the word, minus without passages | is the word, minus the first model "
          "|\n" + "|---" * 8 + "|")  # fmt: skip
    for name, table in tables.items():
        for way, scores in table.items():
            cells = [str(bootstrap(column)) for column in scores.T]
            for base, column in ((table["none"], 0), (first[way], 1)):
                gain = paired_difference(scores[:, column], base[:, column])
                cells.append("" if base is scores else str(gain))
            print(f"| {name} | {way} | {' | '.join(cells)} |")
    return {
        f"{name}, {way}": scores.mean(0).tolist()
        for name, table in tables.items() for way, scores in table.items()
    }  # fmt: skip
