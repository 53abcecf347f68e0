"""Japanese articles: BM25, vectors of character pairs, their signs, and BPR trained on halves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tinygrad_llm.files.downloads import cache_folder
from tinygrad_llm.retrieval import BM25, Index, binary, chunks_of, search_vectors
from tinygrad_llm.retrieval.questions import half_questions, split_by_source, title_questions
from tinygrad_llm.retrieval.training_data import hard_negatives

from .retrieval_models import Ids, compare

__all__ = ["measure_japanese"]

WIDTH, HASHED = 256, 8192


class PairVectors:
    """Vectors of texts without a model: weighted counts of character pairs, then the first axes.

    texts: from which the weights (idf) and the axes (a singular value decomposition) come
    Source: Deerwester et al. (1990), "Indexing by Latent Semantic Analysis".
    """

    def __init__(self, texts: list[str]) -> None:
        counts = self.counts(texts)  # (N, HASHED)
        self.idf = np.log((1 + len(texts)) / (1 + (counts > 0).sum(0))).astype(np.float32)
        weighted = self.weighted(counts)
        self.axes = np.linalg.svd(weighted, full_matrices=False)[2][:WIDTH].T  # (HASHED, WIDTH)

    def counts(self, texts: list[str]) -> np.ndarray:
        """How often each pair, by its number modulo HASHED, is in each text: (N, HASHED)."""
        made = np.zeros((len(texts), HASHED), np.float32)
        for row, text in zip(made, texts, strict=True):
            letters = "".join(text.split())
            for a, b in zip(letters, letters[1:], strict=False):
                row[(ord(a) * 1009 + ord(b)) % HASHED] += 1
        return made

    def weighted(self, counts: np.ndarray) -> np.ndarray:
        """log(1 + count)·idf, of length 1: (N, HASHED)."""
        x = np.log1p(counts) * self.idf
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)

    def embed(self, texts: list[str]) -> np.ndarray:
        """The vectors of texts, of length 1: (N, WIDTH) float32."""
        x = self.weighted(self.counts(texts)) @ self.axes  # (N, HASHED) -> (N, WIDTH)
        return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def measure_japanese() -> dict[str, Any]:
    """Print searches for halves of sentences and for titles, in articles that BPR did not train on.

    BPR learns from the halves of one half of the articles, with BM25's best wrong chunks.
    """
    path = cache_folder() / "rag-docs-ja.jsonl"
    if not path.is_file():
        print(f"\n{path} is not there: no table of Japanese articles")
        return {}
    documents = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    chunks = chunks_of(documents)
    index = Index(chunks, cut="pairs")
    texts = [chunk.text for chunk in chunks]
    made = PairVectors(texts)
    keys = made.embed(texts)
    train, rest = split_by_source(half_questions(chunks, None, 10**6), chunks)
    train = train[:1500]
    hard = np.array(hard_negatives(index, train, 1))[:, 0]
    rows = np.array([min(q.relevant) for q in train])
    asked = made.embed([q.text for q in train])
    model = binary.train_projection(asked, keys[rows], hard=keys[hard], steps=300)
    titles = title_questions(chunks, {d["title"]: d["title"] for d in documents})
    words = {"BM25, pairs of characters": index.bm25, "BM25, characters": BM25(texts, "char")}
    print(
        f"\n{len(documents)} articles, {len(chunks):,} chunks; BPR trained on {len(train):,} halves"
    )
    result = {}
    for name, questions in (("halves of sentences", rest[:300]),
                            ("titles", split_by_source(titles, chunks)[1])):  # fmt: skip
        own = made.embed([q.text for q in questions])
        q, p = model.arrays(own, keys)
        signs, bits = binary.BinaryIndex(keys), binary.BinaryIndex(p)
        lists: dict[str, Ids] = {
            **{
                way: [bm25.search(x.text, 10).ids.tolist() for x in questions]
                for way, bm25 in words.items()
            },
            "vectors, exact": search_vectors(own, keys, 10).ids.tolist(),
            "their signs, Hamming": signs.search(own, 10, 0).ids.tolist(),
            "their signs, re-ranked": signs.search(own, 10, 100).ids.tolist(),
            "BPR, Hamming": bits.search(q, 10, 0).ids.tolist(),
            "BPR, re-ranked": bits.search(q, 10, 100).ids.tolist(),
        }
        result[name] = compare(f"{name} of other articles", lists, questions)
    print(f"\nvectors {keys.nbytes / 1e6:.1f} MB, codes {bits.codes.nbytes / 1e3:.0f} kB")
    return result
