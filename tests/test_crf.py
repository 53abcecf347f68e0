"""A CRF against the list of all its paths: log Z, gradients, the best path, and what is closed."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.data.bio import bio_labels, bio_rules
from tinygrad_llm.layers.crf import CRF, Allowed, viterbi
from tinygrad_llm.nn import functional as F
from tinygrad_llm.testing import assert_close

SHAPES = [(1, 1, 1), (2, 1, 3), (3, 4, 3), (2, 6, 2), (1, 5, 4)]


def chain(B, T, K, seed=0):
    """A CRF in float64 with random numbers, emissions (B, T, K) and a mask of unequal lengths."""
    torch.manual_seed(seed)
    crf = CRF(K, batch_first=True).double()
    for p in crf.parameters():
        p.data = torch.randn(p.shape).double()
    lengths = np.random.default_rng(seed).integers(1, T + 1, B)
    lengths[0] = T
    return crf, 2.0 * torch.randn(B, T, K).double(), lengths


def every_path(crf, emissions, n):
    """{path: score} of all paths of n tokens of one row (T, K)."""
    first, last, between = (
        p.detach().numpy()
        for p in (crf.start_transitions, crf.end_transitions, crf.transitions)
    )  # fmt: skip
    e = emissions.detach().numpy()
    scores = {}
    for path in product(range(crf.num_tags), repeat=n):
        steps = sum(between[a, b] for a, b in zip(path, path[1:], strict=False))
        emitted = sum(e[t, tag] for t, tag in enumerate(path))
        scores[path] = first[path[0]] + last[path[-1]] + steps + emitted
    return scores


@pytest.mark.parametrize("shape", SHAPES)
def test_all_paths_by_hand(shape):
    """log Z, the marginals of tags and of pairs, and the best path, of every row."""
    crf, emissions, lengths = chain(*shape)
    B, T, K = shape
    mask = torch.tensor(np.arange(T) < lengths[:, None])
    emissions.requires_grad_()
    log_z = crf.log_partition(emissions, mask)
    upstream = torch.randn(B).double()
    log_z.backward(upstream)
    pairs, firsts, lasts = np.zeros((K, K)), np.zeros(K), np.zeros(K)
    best = crf.decode(emissions, mask)
    for b, n in enumerate(lengths.tolist()):
        scores = every_path(crf, emissions[b], n)
        total = np.log(sum(np.exp(s) for s in scores.values()))
        assert abs(float(log_z[b]) - total) < 1e-12 * max(1.0, abs(total))
        expected = np.zeros((T, K))
        for path, score in scores.items():
            p = np.exp(score - total) * float(upstream[b])
            firsts[path[0]] += p
            lasts[path[-1]] += p
            for t, tag in enumerate(path):
                expected[t, tag] += p
            for a, c in zip(path, path[1:], strict=False):
                pairs[a, c] += p
        np.testing.assert_allclose(emissions.grad[b].numpy(), expected, rtol=0, atol=1e-13)
        assert tuple(best[b]) == max(scores, key=scores.__getitem__)
    for parameter, expected in (
        (crf.transitions, pairs), (crf.start_transitions, firsts), (crf.end_transitions, lasts)
    ):  # fmt: skip
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=0, atol=1e-13)


def test_probabilities_sum_to_one():
    """The likelihoods of all tags of a text, and of shorter texts in one batch."""
    crf, emissions, _ = chain(1, 4, 3)
    paths = torch.tensor(list(product(range(3), repeat=4)))
    many = emissions.expand(len(paths), -1, -1)
    assert abs(float(crf(many, paths, reduction="none").exp().sum()) - 1.0) < 1e-12
    mask = torch.tensor([[1, 1, 1, 0]]).expand(len(paths), -1)
    total = float(crf(many, paths, mask, reduction="none").exp().sum())
    assert abs(total - 3.0) < 1e-12  # the last tag stands in padding: each path comes three times


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_equals_itself_alone(dtype):
    """Padding, also NaN and -100 as its tag, changes neither values nor gradients."""
    crf, emissions, lengths = chain(4, 7, 5, seed=3)
    crf, emissions = (x.to(getattr(torch, dtype)) for x in (crf, emissions))
    tags = torch.randint(0, 5, (4, 7))
    mask = torch.tensor(np.arange(7) < lengths[:, None])
    filled = torch.where(mask.unsqueeze(-1), emissions, float("nan")).requires_grad_()
    marked = torch.where(mask, tags, -100)
    together = crf(filled, marked, mask, reduction="none")
    together.sum().backward()
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for b, n in enumerate(lengths.tolist()):
        alone = emissions[b : b + 1, :n].detach().requires_grad_()
        value = crf(alone, tags[b : b + 1, :n])
        value.backward()
        assert_close(together[b], value, rtol=tolerance, atol=tolerance)
        assert_close(filled.grad[b, :n], alone.grad[0], rtol=tolerance, atol=tolerance)
        assert not filled.grad[b, n:].any()
    assert crf.decode(filled, mask) == [
        crf.decode(emissions[b : b + 1, :n])[0] for b, n in enumerate(lengths.tolist())
    ]


def test_reductions_and_time_first():
    crf, emissions, lengths = chain(3, 5, 4, seed=1)
    tags = torch.randint(0, 4, (3, 5))
    mask = torch.tensor((np.arange(5) < lengths[:, None]).astype("int64"))
    rows = crf(emissions, tags, mask, reduction="none")
    assert_close(crf(emissions, tags, mask), rows.sum())
    assert_close(crf(emissions, tags, mask, "mean"), rows.mean())
    assert_close(crf(emissions, tags, mask, "token_mean"), rows.sum() / float(lengths.sum()))
    assert_close(
        crf.score(emissions, tags, mask) - crf.log_partition(emissions, mask), rows
    )  # fmt: skip
    crf.batch_first = False
    turned = (x.transpose(0, 1) for x in (emissions, tags, mask))
    assert_close(crf(*turned, reduction="none"), rows)


def test_float32_stays_exact_in_long_texts():
    """A text of 2,000 tokens with large scores: float32 against float64, and no overflow."""
    crf, emissions, _ = chain(1, 2000, 5, seed=4)
    emissions = (emissions * 5.0).requires_grad_()
    crf.log_partition(emissions).backward()
    small = emissions.detach().float().requires_grad_()
    value = crf.float().log_partition(small)
    value.backward()
    assert value.item() == pytest.approx(float(crf.double().log_partition(emissions)), rel=1e-5)
    assert_close(small.grad.double(), emissions.grad, rtol=0, atol=1e-5)
    assert_close(small.grad.sum(-1), torch.ones(1, 2000), rtol=0, atol=1e-5)


def test_closed_paths_have_no_weight():
    """-inf closes tags and transitions; their gradients are 0, not NaN."""
    crf, emissions, _ = chain(2, 4, 3, seed=5)
    with torch.no_grad():
        crf.transitions[0, 1] = -torch.inf
        crf.start_transitions[2] = -torch.inf
    emissions.requires_grad_()
    crf.log_partition(emissions).sum().backward()
    scores = every_path(crf, emissions[0], 4)
    legal = [
        s for p, s in scores.items() if p[0] != 2 and (0, 1) not in zip(p, p[1:], strict=False)
    ]
    assert float(crf.log_partition(emissions)[0]) == pytest.approx(np.log(np.exp(legal).sum()))
    assert float(crf.transitions.grad[0, 1]) == 0.0 == float(crf.start_transitions.grad[2])
    assert torch.isfinite(emissions.grad).all() and not emissions.grad[:, 0, 2].any()


def test_illegal_tags_are_never_decoded():
    """The best of the legal paths, though the best of all paths is not legal."""
    labels = bio_labels(["X", "Y"])
    allowed = Allowed(*bio_rules(labels))
    crf, emissions, _ = chain(6, 5, 5, seed=6)
    mask = torch.ones(6, 5)
    free, legal = crf.decode(emissions), crf.decode(emissions, mask, allowed)
    changed = 0
    for b in range(6):
        scores = every_path(crf, emissions[b], 5)
        possible = {
            p: s for p, s in scores.items()
            if allowed.first[p[0]] and all(allowed.following[a, c]
                                           for a, c in zip(p, p[1:], strict=False))
        }  # fmt: skip
        assert tuple(legal[b]) == max(possible, key=possible.__getitem__)
        changed += free[b] != legal[b]
    assert changed
    assert not allowed.first[[labels.index("I-X"), labels.index("I-Y")]].any()
    pairs = {(a, c) for i, a in enumerate(labels) for j, c in enumerate(labels)
             if not allowed.following[i, j]}  # fmt: skip
    assert pairs == {("O", "I-X"), ("O", "I-Y"), ("B-X", "I-Y"), ("I-X", "I-Y"),
                     ("B-Y", "I-X"), ("I-Y", "I-X")}  # fmt: skip


def test_no_allowed_path_is_an_error():
    none = Allowed(np.zeros(2, bool), np.ones((2, 2), bool))
    zeros = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="row 0 of 3 tokens has no allowed path"):
        viterbi(np.zeros((1, 3, 2), np.float32), np.zeros((2, 2)), zeros, zeros, None, none)


def test_a_chain_learns_what_tokens_cannot_say():
    """Tags that alternate while every token looks the same: only transitions can know it."""
    torch.manual_seed(0)
    crf, emissions = CRF(2, batch_first=True), torch.zeros(4, 8, 2)
    tags = torch.tensor([[0, 1] * 4, [1, 0] * 4] * 2)
    optimizer = torch.optim.AdamW(crf.parameters(), lr=0.3, weight_decay=0.0)
    for _ in range(60):
        loss = -crf(emissions, tags, reduction="mean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.01 * np.log(2.0)  # which of the two rows remains a guess
    path = crf.decode(emissions)[0]
    assert path in ([0, 1] * 4, [1, 0] * 4)


def test_an_infinite_emission_of_padding_stays_there():
    x = torch.zeros(1, 3, 2)
    x[0, 2] = torch.inf
    mask = torch.tensor([[True, True, False]])
    zeros = torch.zeros(2)
    value = F.crf_log_partition(x, torch.zeros(2, 2), zeros, zeros, mask)
    assert value.item() == pytest.approx(2 * np.log(2.0))


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(emissions=(2, 3)), ValueError, "dimension of 3, got 2"),
        (dict(emissions=(2, 3, 5)), ValueError, "last dimension of emissions is 4, got 5"),
        (dict(tags=(2, 4)), ValueError, "emissions and tags must match"),
        (dict(mask=[[1, 1, 1]]), ValueError, "emissions and mask must match"),
        (dict(mask=[[1, 1, 1], [0, 1, 1]]), ValueError, "first timestep must all be on"),
        (dict(mask=[[1, 1, 1], [1, 0, 1]]), ValueError, "ones after zeros"),
        (dict(emissions=(2, 0, 4), tags=(2, 0)), ValueError, "without tokens"),
        (dict(reduction="average"), ValueError, "invalid reduction: average"),
        (dict(value=4), RuntimeError, "index 4 is out of bounds"),
        (dict(value=-1), RuntimeError, "index -1 is out of bounds"),
    ],
)
def test_wrong_calls_are_named(change, error, words):
    crf = CRF(4, batch_first=True)
    emissions = torch.zeros(change.get("emissions", (2, 3, 4)))
    tags = torch.zeros(change.get("tags", (2, 3)), dtype=torch.int64) + change.get("value", 0)
    mask = torch.tensor(change["mask"]) if "mask" in change else None
    with pytest.raises(error, match=words):
        crf(emissions, tags, mask, change.get("reduction", "sum"))


def test_wrong_arguments_of_the_function():
    x, a, k = torch.zeros(2, 3, 4), torch.zeros(4, 4), torch.zeros(4)
    for wrong, words in (
        ((x, a[:3], k, k), r"got \[2, 3, 4\], \[3, 4\]"),
        ((x[:, :0], a, k, k), "at least one token"),
        ((x, a, k, k, torch.ones(2, 4)), r"a mask \(B, T\) = \[2, 3\]"),
        ((x, a, k, k, torch.tensor([[0, 1, 1]] * 2)), "first timestep"),
        ((x.double(), a, k, k), "one dtype"),
    ):
        with pytest.raises(RuntimeError, match=words):
            F.crf_log_partition(*wrong)
    for n in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="invalid number of tags"):
            CRF(n)
    assert repr(CRF(3)) == "CRF(num_tags=3, batch_first=False)"
    assert isinstance(CRF(3), nn.Module)
