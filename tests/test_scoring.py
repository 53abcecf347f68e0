"""Rows that share their beginning: it is read once, and each row's scores are those of it alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Windowed, WindowedConfig

import tinygrad_llm as tg
from tinygrad_llm import models
from tinygrad_llm.evaluation.scoring import score_rows

V, CONTEXT = 29, 40
SHAPE = {"vocab_size": V, "context_length": CONTEXT, "emb_dim": 16, "n_layers": 2}
KINDS = {
    "gpt": lambda: models.GPT(models.GPTConfig(**SHAPE, n_heads=2, drop_rate=0.5)),
    "window": lambda: Windowed(WindowedConfig(**SHAPE)),
    "recurrent": lambda: models.GPT(models.GPTConfig(
        **SHAPE, n_heads=2, drop_rate=0.0, attention="deltanet", ratio=1)),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    tg.manual_seed(3)
    made = KINDS[request.param]()
    for p in made.parameters():
        p.data = p.data * (4 if request.param == "gpt" else 1)
    return made


def alone(model, row, n):
    """ln p of the last n tokens by the whole logits, and whether each was the likeliest."""
    model.eval()
    with tg.no_grad():
        logits = model(tg.tensor([row[:-1]])).double()[0, -n:]
    each = tg.log_softmax(logits, -1).numpy()
    return each[np.arange(n), row[-n:]], logits.numpy().argmax(-1) == row[-n:]


class Counting:
    """How many tokens a model was asked to read, and in how many calls."""

    def __init__(self, model, monkeypatch):
        self.calls = []
        inner = model.hidden_states

        def hidden_states(idx, *rest, **more):
            self.calls.append(tuple(idx.shape))
            return inner(idx, *rest, **more)

        monkeypatch.setattr(model, "hidden_states", hidden_states, raising=False)


def check(model, rows, counts, batch_size=3):
    for row, n, scored in zip(rows, counts, score_rows(model, rows, counts, batch_size),
                              strict=True):  # fmt: skip
        log_probs, greedy = alone(model, row, n)
        assert np.abs(scored.log_probs - log_probs).max() < 1e-4
        assert scored.greedy.tolist() == greedy.tolist()


def questions(seed, shots, lengths, choices):
    """Rows of questions after common shots; choices: tokens of each choice of each question."""
    random = np.random.default_rng(seed)
    draw = lambda n: random.integers(0, V, n).tolist()  # noqa: E731
    first = draw(shots)
    rows, counts = [], []
    for n, sizes in zip(lengths, choices, strict=True):
        context = first + draw(n)
        for size in sizes:
            rows.append(context + draw(size))
            counts.append(size)
    order = random.permutation(len(rows)).tolist()
    return [rows[i] for i in order], [counts[i] for i in order]


@settings(max_examples=12)
@given(
    st.integers(0, 99), st.sampled_from([1, 5, 16, 20]),
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 6), min_size=1, max_size=5)),
             min_size=1, max_size=3),
)  # fmt: skip
def test_scores_are_those_of_each_row_alone(model, seed, shots, asked):
    check(model, *questions(seed, shots, *zip(*asked, strict=True)))


def test_what_is_shared_is_read_once(monkeypatch):
    tg.manual_seed(3)
    model = KINDS["gpt"]()
    rows, counts = questions(0, 20, [4, 5, 6], [[1] * 4, [1] * 4, [2, 3, 1]])
    counting = Counting(model, monkeypatch)
    score_rows(model, rows, counts, 8)
    assert sorted(counting.calls) == sorted([(1, 20), (1, 4), (1, 5), (1, 6), (2, 2)])
    counting.calls.clear()  # nothing in common: batches of whole rows
    rows, counts = questions(1, 1, [4, 5, 6], [[1], [2], [3]])
    score_rows(model, rows, counts, 2)
    assert counting.calls == [(2, 9), (1, 5)]


def test_one_row_and_none(model):
    assert score_rows(model, [], [], 4) == []
    check(model, [[1, 2, 3]], [2])


def test_on_another_device(other_device):
    tg.manual_seed(3)
    model = KINDS["gpt"]().eval()
    rows, counts = questions(0, 20, [4, 5], [[1] * 3, [2, 3, 1]])
    expected = score_rows(model, rows, counts, 4)
    moved = score_rows(model.to(other_device), rows, counts, 4)
    for one, other in zip(expected, moved, strict=True):
        assert np.abs(one.log_probs - other.log_probs).max() < 1e-4
        assert one.greedy.tolist() == other.greedy.tolist()
