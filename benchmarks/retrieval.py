"""python -m benchmarks retrieval: search, trained searches, answers with passages, refusal, Faiss.

Questions come by rule from Python's own language reference (pydoc_data.topics): sentences with a
gap, and headings. Every score has its 95 % interval; differences are paired. All seeds are fixed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.evaluation import bootstrap
from tinygrad_llm.finetune.embedding import SentenceEmbedder
from tinygrad_llm.retrieval import (
    Index,
    Reader,
    binary,
    build_index,
    search_vectors,
)
from tinygrad_llm.retrieval.answers import LEAST_SHARE, THRESHOLD
from tinygrad_llm.retrieval.questions import (
    GAP,
    cloze_questions,
    python_topics,
    sentences,
    title_questions,
)

from . import common, machine
from .retrieval_japanese import measure_japanese
from .retrieval_models import (
    Ids,
    compare,
    measure_models,
    parts,
    print_answers,
    train,
    write_data,
    written_answers,
)
from .retrieval_speed import measure_speed

OFF_TOPIC = (
    "What is the capital of France?", "How long do I boil an egg?", "Who painted the Mona Lisa?",
    "When did the second world war end?", "How tall is Mount Fuji?", "What do pandas eat?",
    "Which planet is the largest?", "How do I remove a wine stain?", "Who wrote Hamlet?",
    "What is the best season to plant tomatoes?", "How far away is the moon?",
    "Which vitamins are in oranges?", "How do vaccines work?", "What is the offside rule?",
    "How do I tune a guitar?", "What causes rain?", "Who discovered penicillin?",
    "How many players are in a cricket team?", "What is a mortgage?", "Where do penguins live?",
)  # fmt: skip


def pairs_for_training(index: Index, texts: Sequence[str], left_out: set[str]) -> Any:
    """Sentences and the chunks they stand in; the sentences of the test are not among them."""
    plain = [" ".join(chunk.text.split()) for chunk in index.chunks]
    queries, rows = [], []
    for sentence in dict.fromkeys(s for text in texts for s in sentences(text)):
        at = next((i for i, text in enumerate(plain) if sentence in text), None)
        if at is not None and sentence not in left_out:
            half = sentence.split()
            queries.append(" ".join(half[len(half) // 2 :]))  # half a sentence is a harder question
            rows.append(at)
    hard = []
    for query, row in zip(queries, rows, strict=True):
        near = [int(i) for i in index.bm25.search(query, 5).ids if i != row]
        hard.append(near[0] if near else (row + 1) % len(index))
    return queries, np.array(rows), np.array(hard)


def measure_search(index: Index, texts: list[str], headings: dict[str, str]) -> dict[str, Any]:
    """The table of searches for both kinds of questions."""
    cloze = cloze_questions(index.chunks, texts, 200)
    by_text = {q.text.replace(GAP, f'"{q.answer}"') for q in cloze}
    queries, rows, hard = pairs_for_training(index, texts, by_text)
    assert index.vectors is not None
    vectors = index.vectors
    asked = index.embedder.embed(queries)
    start = time.perf_counter()
    model = binary.train_projection(asked, vectors[rows], hard=vectors[hard], steps=200)
    print(f"\nBPR trained on {len(rows):,} pairs in {time.perf_counter() - start:.1f} s")
    result = {}
    for name, questions in (("gaps", cloze), ("headings", title_questions(index.chunks, headings))):
        texts_of = [q.text for q in questions]
        own = index.embedder.embed(texts_of)
        q, p = model.arrays(own, vectors)
        signs, trained = binary.BinaryIndex(vectors), binary.BinaryIndex(p)
        lists: dict[str, Ids] = {
            "BM25": [[h.id for h in index.search(t, 10, "bm25")] for t in texts_of],
            "MiniLM, exact": search_vectors(own, vectors, 10).ids.tolist(),
            "hybrid": [[h.id for h in index.search(t, 10, "hybrid")] for t in texts_of],
            "MiniLM's signs, Hamming": signs.search(own, 10, 0).ids.tolist(),
            "MiniLM's signs, re-ranked": signs.search(own, 10, 100).ids.tolist(),
            "BPR, Hamming": trained.search(q, 10, 0).ids.tolist(),
            "BPR, re-ranked": trained.search(q, 10, 100).ids.tolist(),
        }
        result[name] = compare(name, lists, questions)
    return result


def measure_refusal(index: Index, headings: dict[str, str]) -> dict[str, float]:
    """Print how close the best passages are, and what thresholds refuse."""
    inside = [f"What is {h.lower()} in Python?" for h in headings.values()]
    words, limits = Index(index.chunks), (0.15, LEAST_SHARE, 0.25, 0.3, THRESHOLD, 0.4, 0.5)

    def nearest(searched: Index, questions: Sequence[str]) -> np.ndarray:
        hits = [searched.search(q, 3) for q in questions]
        return np.array([max((p.closeness for p in own), default=0.0) for own in hits])

    closest = {
        f"{name}, {way}": nearest(searched, questions)
        for way, searched in (("cosine", index), ("words alone, their share", words))
        for name, questions in (("answered by the texts", inside), ("something else", OFF_TOPIC))
    }
    result = {}
    print("\n| questions | number | lowest, median, highest of the best | refused below "
          + " | ".join(f"{t:.2f}" for t in limits) + " |")  # fmt: skip
    print("|---" * (3 + len(limits)) + "|")
    for name, best in closest.items():
        shares = [str(bootstrap(best < t)) for t in limits]
        spread = f"{best.min():.2f}, {np.median(best):.2f}, {best.max():.2f}"
        print(f"| {name} | {len(best)} | {spread} | {' | '.join(shares)} |")
        result[name] = float((best < THRESHOLD).mean())
    return result


def main(argv: Iterable[str] | None = None) -> dict[str, Any]:
    """Measures and prints the tables."""
    parser = common.parser("retrieval", __doc__)
    names = ("search", "refusal", "models", "answers", "faiss", "japanese")
    parser.add_argument("--part", choices=("all", *names), default="all")
    parser.add_argument("--questions", type=int, default=40, help="gaps for the language model")
    parser.add_argument("--vectors", type=int, default=20_000, help="vectors for Faiss")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--runs", default="runs/retrieval", help="folder of what is trained")
    options = parser.parse_args(None if argv is None else list(argv))
    chosen = names if options.part == "all" else (options.part,)
    print(machine.describe())
    result: dict[str, Any] = {}
    if {"search", "refusal", "models", "answers"} & set(chosen):
        documents, headings = python_topics()
        texts = [d["text"] for d in documents]
        start = time.perf_counter()
        index = build_index(documents, SentenceEmbedder.load())
        took = time.perf_counter() - start
        print(f"{len(documents)} topics, {len(index):,} chunks, indexed in {took:.0f} s")
        if "search" in chosen:
            result["search"] = measure_search(index, texts, headings)
        if "refusal" in chosen:
            result["refusal"] = measure_refusal(index, headings)
        if {"models", "answers"} & set(chosen):
            made, runs = parts(index, texts, headings), Path(options.runs)
            passages, gaps = write_data(index, made, runs)
        if "models" in chosen:
            trained = {name: train(name, passages, runs) for name in ("rerank", "embed")}
            result["models"] = measure_models(index, made, trained, 50)
        if "answers" in chosen:
            tuned = train("instruct", gaps, runs)
            readers = {"SmolLM2 135M": options.model, "the same, tuned": str(tuned)}
            result["answers"] = print_answers({
                name: written_answers(index, made, Reader.load(folder), options.questions)
                for name, folder in readers.items()
            })  # fmt: skip
    if "faiss" in chosen:
        result["faiss"] = measure_speed(options.vectors)
    if "japanese" in chosen:
        result["japanese"] = measure_japanese()
    return result


if __name__ == "__main__":
    main()
