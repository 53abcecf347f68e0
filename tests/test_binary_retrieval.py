"""BPR: the loss, its gradients, planted mistakes, search by bits; Faiss; questions by rule."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.retrieval import Chunk, best, chunks_of, search_vectors
from tinygrad_llm.retrieval.approximate import KINDS, FaissIndex, agreement
from tinygrad_llm.retrieval.binary import (
    BinaryIndex,
    BinaryProjection,
    beta_at,
    bpr_loss,
    train_projection,
)
from tinygrad_llm.retrieval.questions import (
    GAP,
    Question,
    cloze_questions,
    python_topics,
    sentences,
    title_questions,
)


def inputs(dtype=np.float64, B=3, N=5, C=7):
    r = np.random.default_rng(4)
    return r.standard_normal((B, C)).astype(dtype), r.standard_normal((N, C)).astype(dtype)


def slow_loss(q, p, beta, margin, scale):
    """The loss by its two formulas, pair by pair."""
    h_q, h_p = np.tanh(beta * q), np.tanh(beta * p)
    margins = [
        max(0.0, margin - (h_q[i] @ h_p[i] - h_q[i] @ h_p[j]))
        for i in range(len(q)) for j in range(len(p)) if j != i
    ]  # fmt: skip
    scores = (q @ h_p.T) * scale
    certainty = [scores[i, i] - np.log(np.exp(scores[i]).sum()) for i in range(len(q))]
    return np.mean(margins) - np.mean(certainty)


@pytest.mark.parametrize(("B", "N"), [(3, 5), (4, 4), (1, 2)])
def test_the_loss_is_its_formula(B, N):
    q, p = inputs(B=B, N=N)
    ours = bpr_loss(torch.tensor(q), torch.tensor(p), 1.3, 0.7, 0.5).item()
    assert ours == pytest.approx(slow_loss(q, p, 1.3, 0.7, 0.5), rel=1e-12)


def test_its_gradients_by_finite_differences():
    q, p = (torch.tensor(a, requires_grad=True) for a in inputs())
    assert gradcheck(lambda a, b: bpr_loss(a, b, 1.3, 2.0, 0.5), (q, p))


def planted(q, p, beta, margin, scale, mistake):
    """The loss with a mistake in it."""
    h_q, h_p = (q * beta).tanh(), (p * beta).tanh()
    if mistake == "no beta":
        h_q, h_p = q.tanh(), p.tanh()
    scores = h_q @ h_p.T
    own = torch.diagonal(scores).unsqueeze(1)
    wrong = torch.eye(len(q), len(p)) == 0
    if mistake == "the right passage is a wrong one too":
        wrong = wrong | True
    left = F.relu(margin - (own - scores))[wrong].mean()
    known = q.tanh() if mistake == "signs of both" else q
    return left + F.cross_entropy((known @ h_p.T) * scale, torch.arange(len(q)))


def test_planted_mistakes_change_the_loss():
    q, p = (torch.tensor(a) for a in inputs())
    right = bpr_loss(q, p, 1.3, 0.7, 0.5).item()
    assert planted(q, p, 1.3, 0.7, 0.5, None).item() == pytest.approx(right, rel=1e-12)
    for mistake in ("no beta", "the right passage is a wrong one too", "signs of both"):
        assert abs(planted(q, p, 1.3, 0.7, 0.5, mistake).item() - right) > 1e-3, mistake


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients_are_pytorchs(dtype):
    theirs = pytest.importorskip("torch")
    q, p = inputs(dtype)
    results = []
    for lib in (torch, theirs):
        a, b = (lib.tensor(x, requires_grad=True) for x in (q, p))
        if lib is torch:
            loss = bpr_loss(a, b, 1.3, 2.0, 0.5)
        else:
            h_a, h_b = lib.tanh(1.3 * a), lib.tanh(1.3 * b)
            scores, wrong = h_a @ h_b.T, lib.eye(3, 5) == 0
            first = lib.diagonal(scores)[:, None].expand(3, 5)[wrong]
            loss = lib.nn.functional.margin_ranking_loss(
                first, scores[wrong], lib.ones_like(first), margin=2.0
            )
            loss = loss + lib.nn.functional.cross_entropy((a @ h_b.T) * 0.5, lib.arange(3))
        loss.backward()
        results.append([loss.detach().numpy(), a.grad.numpy(), b.grad.numpy()])
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, atol=tolerance * np.abs(expected).max() + 1e-7)
        assert ours.dtype == dtype


def test_beta_grows_and_wrong_shapes():
    assert beta_at(0) == 1.0 and beta_at(30) == 2.0
    for q, p, message in (((2, 3), (2, 4), "are needed"), ((3, 2), (2, 2), "3 queries need 3"),
                          ((1, 2), (1, 2), "need 2 passages")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            bpr_loss(torch.zeros(*q), torch.zeros(*p))
    with pytest.raises(ValueError, match="two pairs"):
        train_projection(np.zeros((1, 2)), np.zeros((1, 2)))


def test_training_makes_bits_that_search_better():
    """Pairs that differ by a rotation: their signs disagree until the matrices are trained."""
    r = np.random.default_rng(0)
    p = r.standard_normal((200, 16)).astype(np.float32)
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    turn = np.linalg.qr(r.standard_normal((16, 16)))[0].astype(np.float32)
    q = p @ turn

    def share(model):
        a, b = model.arrays(q[150:], p)
        first = BinaryIndex(b).search(a, 1, 20).ids[:, 0]
        return (first == np.arange(150, 200)).mean()

    before = share(BinaryProjection(16))
    after = share(train_projection(q[:150], p[:150], steps=150, batch_size=32, lr=1e-2))
    assert before < 0.1 and after > 0.35


def test_bits_are_reranked_by_the_querys_numbers():
    q, p = inputs(np.float32, 4, 30, 19)
    index = BinaryIndex(p)
    assert index.codes.nbytes == 30 * 3
    hits = index.search(q, 5, candidates=30)
    expected = best(q @ np.where(p > 0, 1, -1).T, 5)
    np.testing.assert_array_equal(hits.ids, expected.ids)
    np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-5)
    few = index.search(q, 5, candidates=5)
    near = index.search(q, 5, candidates=0)
    assert [set(row) for row in few.ids] == [set(row) for row in near.ids]
    with pytest.raises(ValueError, match="queries"):
        index.search(q[:, :3])


# ---------------------------------------------------------------------------------------- Faiss
@pytest.mark.parametrize("kind", KINDS)
def test_faiss_against_exact_search(kind):
    pytest.importorskip("faiss")
    r = np.random.default_rng(3)
    vectors = r.standard_normal((400, 24)).astype(np.float32)
    queries = r.standard_normal((9, 24)).astype(np.float32)
    hits, exact = FaissIndex(vectors, kind).search(queries, 5), search_vectors(queries, vectors, 5)
    if kind == "flat":
        np.testing.assert_array_equal(hits.ids, exact.ids)
        np.testing.assert_allclose(hits.scores, exact.scores, rtol=1e-5)
    if kind == "binary":
        exact = BinaryIndex(vectors).search(queries, 5, 0)
        np.testing.assert_array_equal(hits.scores, exact.scores)
        return
    assert agreement(hits, exact).mean() > {"flat": 0.99, "ivf": 0.5, "hnsw": 0.9}[kind]


def test_what_faiss_indexes_refuse():
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match="kind must be one of flat"):
        FaissIndex(np.zeros((2, 2)), "tree")
    with pytest.raises(ValueError, match="vectors"):
        FaissIndex(np.zeros((0, 2)))
    index = FaissIndex(np.eye(3, dtype=np.float32), "ivf", n_lists=3, n_probe=1)
    hits = index.search(np.eye(3, dtype=np.float32)[:1], 9)
    assert hits.ids.shape == (1, 3) and hits.ids[0, 0] == 0
    assert (hits.scores[hits.ids < 0] == -np.inf).all()
    for arguments, message in (
        ((np.zeros((1, 2)), 1), "queries"),
        ((np.zeros((1, 3)), 0), "k must"),
    ):
        with pytest.raises(ValueError, match=message):
            index.search(*arguments)


# ------------------------------------------------------------------------------------ questions
def test_questions_by_rule():
    text = 'The "shut" command closes all the doors of a house. Short one.\n\n   code "x" = 1.'
    chunks = chunks_of([{"text": text, "title": "doors"}], 60, 0)
    assert sentences(text) == ['The "shut" command closes all the doors of a house.']
    (question,) = cloze_questions(chunks, [text], 5)
    assert question == Question(f"The {GAP} command closes all the doors of a house.", "shut",
                                frozenset([0]))  # fmt: skip
    chunks = [Chunk("a", "x", 0), Chunk("b", "y", 0), Chunk("c", "x", 1)]
    assert title_questions(chunks, {"x": "Doors", "z": "none"}) == [
        Question("Doors", "x", frozenset([0, 2]))
    ]


def test_pythons_reference():
    documents, headings = python_topics()
    assert len({d["text"] for d in documents}) == len(documents) > 50
    assert headings["lambda"] == "Lambdas" and "***" not in documents[0]["text"][:20]
    chunks = chunks_of(documents)
    questions = cloze_questions(chunks, [d["text"] for d in documents], 50)
    assert len(questions) == 50
    for q in questions:
        assert all(q.answer in chunks[i].text for i in q.relevant) and q.answer not in (GAP, "")
