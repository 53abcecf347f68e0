"""Search by words and by vectors, and the measures of a list of hits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.retrieval import (
    BM25,
    best,
    binary_codes,
    ndcg,
    recall,
    reciprocal_rank,
    search_codes,
    search_vectors,
    split_text,
)
from tinygrad_llm.retrieval import search as search_module

TEXTS = ["the cat sat", "the dog and the cat ran", "a bird", "cat cat cat"]


def slow_score(query, texts, i, k1=1.5, b=0.75):
    """BM25 by its formula, word by word."""
    words = [text.split() for text in texts]
    mean = sum(map(len, words)) / len(words)
    total = 0.0
    for word in query.split():
        n = sum(word in text for text in words)
        f = words[i].count(word)
        if not f:
            continue
        idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
        total += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(words[i]) / mean))
    return total


words = st.lists(st.sampled_from("abcde"), min_size=1, max_size=6).map(" ".join)


@given(st.lists(words, min_size=1, max_size=6), words, st.floats(0, 3), st.floats(0, 1))
def test_bm25_is_its_formula(texts, query, k1, b):
    scores = BM25(texts, "spaces", k1, b).scores(query)
    slow = [slow_score(query, texts, i, k1, b) for i in range(len(texts))]
    np.testing.assert_allclose(scores, slow, rtol=1e-12)


def test_the_share_of_a_query():
    index = BM25(TEXTS)
    idf = {n: math.log(1 + (4 - n + 0.5) / (n + 0.5)) for n in range(5)}
    assert index.share("dog", 1) == 1.0 and index.share("dog", 0) == 0.0
    assert index.share("the cat on a zebra", 0) == pytest.approx(idf[3] / (idf[3] + idf[0]))


def test_bm25_finds_texts_with_the_words_of_the_query():
    hits = BM25(TEXTS).search("cat", 10)
    assert hits.ids.tolist() == [3, 0, 1] and (np.diff(hits.scores) < 0).all()
    assert BM25(TEXTS).search("Cat", 1).ids.tolist() == [3]  # the cut "rouge" is in lower case
    assert BM25(TEXTS).search("fish").ids.tolist() == []
    assert BM25(["猫がいる。", "犬がいる。"], "char").search("犬", 1).ids.tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "no texts"), ((["a"], "rouge", -1), "k1"), ((["a"], "rouge", 1, 2), "b from"),
        ((["a"], "rouge", math.nan), "k1"), ((["a"], "rogue"), "rogue"),
    ],
)  # fmt: skip
def test_wrong_options_of_bm25(arguments, message):
    with pytest.raises(ValueError, match=message):
        BM25(*arguments)


@given(st.integers(0, 9), st.integers(1, 3), st.integers(1, 7), st.integers(0, 10**6))
def test_the_best_are_those_of_a_stable_sort(k, Q, N, seed):
    scores = np.random.default_rng(seed).integers(-2, 3, (Q, N)).astype(np.float32)
    scores[scores == -2] = np.nan
    hits = best(scores, k)
    for row in range(Q):
        low = [(-math.inf if math.isnan(s) else float(s)) for s in scores[row]]
        expected = sorted(range(N), key=lambda i: -low[i])[:k]
        assert hits.ids[row].tolist() == expected
        np.testing.assert_array_equal(hits.scores[row], scores[row][expected])


@pytest.mark.parametrize("block", [1, 7, 1 << 22])
def test_search_in_blocks_is_one_product(monkeypatch, block):
    monkeypatch.setattr(search_module, "BLOCK", block)
    r = np.random.default_rng(1)
    queries, vectors = r.standard_normal((300, 5)), r.standard_normal((23, 5))
    hits = search_vectors(queries, vectors, 4)
    expected = best(queries @ vectors.T, 4)
    np.testing.assert_array_equal(hits.ids, expected.ids)
    np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-12)
    codes, asked = binary_codes(r.standard_normal((23, 19))), binary_codes(queries[:, :19])
    asked = binary_codes(r.standard_normal((4, 19)))
    near = search_codes(asked, codes, 23)
    distance = np.unpackbits(asked[:, None] ^ codes[None], axis=-1).sum(-1)  # (4, 23)
    np.testing.assert_array_equal(near.scores, best(-distance.astype(float), 23).scores)
    np.testing.assert_array_equal(near.ids, best(-distance.astype(float), 23).ids)


def test_equal_results_with_faiss():
    faiss = pytest.importorskip("faiss")
    r = np.random.default_rng(2)
    queries, vectors = (r.standard_normal((n, 16)).astype(np.float32) for n in (6, 200))
    index = faiss.IndexFlatIP(16)
    index.add(vectors)
    assert index.search(queries, 5)[1].tolist() == search_vectors(queries, vectors, 5).ids.tolist()
    binary = faiss.IndexBinaryFlat(16)
    binary.add(binary_codes(vectors))
    distances = binary.search(binary_codes(queries), 5)[0]
    ours = search_codes(binary_codes(queries), binary_codes(vectors), 5)
    np.testing.assert_array_equal(distances, -ours.scores)


def test_wrong_shapes():
    with pytest.raises(ValueError, match="queries"):
        search_vectors(np.zeros((2, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="uint8"):
        search_codes(np.zeros((2, 3)), np.zeros((4, 3), np.uint8))
    with pytest.raises(ValueError, match="0 or more"):
        search_vectors(np.zeros((2, 3)), np.zeros((4, 3)), -1)


# ------------------------------------------------------------------------------- measures
def test_measures_by_hand():
    hits, relevant = [[4, 2, 7], [1, 2, 3]], [{2, 9}, {8}]
    assert recall(hits, relevant, 1).tolist() == [0, 0]
    assert recall(hits, relevant, 3).tolist() == [0.5, 0]
    assert reciprocal_rank(hits, relevant).tolist() == [0.5, 0]
    assert reciprocal_rank(hits, relevant, 1).tolist() == [0, 0]
    expected = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    np.testing.assert_allclose(ndcg(hits, relevant, 3), [expected, 0])
    assert recall([[2, 2]], [{2, 3}], 2).tolist() == [0.5]  # a second time counts once


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_ndcg_is_scikit_learns(N, k, seed):
    measure = pytest.importorskip("sklearn.metrics").ndcg_score
    r = np.random.default_rng(seed)
    scores, relevance = r.permutation(N + 1), np.append(r.integers(0, 2, N), 1)
    order = np.argsort(-scores)
    ours = ndcg([order.tolist()], [set(np.flatnonzero(relevance).tolist())], k)
    np.testing.assert_allclose(ours, measure([relevance], [scores], k=k), rtol=1e-12)


def test_queries_that_have_no_measure():
    with pytest.raises(ValueError, match="query 1 has no relevant ids"):
        recall([[1], [2]], [{1}, set()], 1)
    with pytest.raises(ValueError, match="1 lists of hits for 2"):
        ndcg([[1]], [{1}, {2}], 1)


def test_a_query_leads_to_the_chunk_with_its_words():
    chunks = split_text("Bread is made of flour.\n\nTrains run on rails.\n\nCats sleep.", 30, 0)
    assert chunks[BM25(chunks).search("Where do trains run?", 1).ids[0]] == "Trains run on rails."
