"""Generation: which tokens are drawn, when it stops, the cache, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.generation import generate, generate_steps, next_token, top_k_filter, top_p_filter
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.random import Generator


@pytest.fixture(scope="module")
def model():
    tg.manual_seed(3)
    gpt = GPT(GPTConfig(vocab_size=13, context_length=12, emb_dim=16, n_heads=2, n_layers=2))
    for i, p in enumerate(gpt.parameters()):
        p.array[...] += 0.3 * np.random.default_rng(i).standard_normal(p.array.shape)
    return gpt.eval()


class Always(nn.Module):
    """A model that returns the same logits for all ids, and stores the lengths of its inputs."""

    def __init__(self, *logits):
        super().__init__()
        self.logits, self.seen = tg.tensor(logits), []

    def forward(self, idx):
        self.seen.append(idx.shape[1])
        return self.logits.expand(*idx.shape, len(self.logits))


class Counter(nn.Module):
    """A model that counts: after token n comes n + 1, up to 9 and then 0."""

    def forward(self, idx):
        return nn.functional.one_hot((idx + 1) % 10, 10).float() * 20


# ------------------------------------------------------------------------------- choosing one
def test_greedy_takes_the_largest():
    logits = tg.tensor([[0.0, 3.0, 1.0], [5.0, 5.0, -1.0]])
    assert next_token(logits).tolist() == [[1], [0]]


def test_top_k_filter():
    logits = tg.tensor([[1.0, 4.0, 2.0, 4.0], [0.0, -1.0, -2.0, -3.0]])
    inf = -math.inf
    assert top_k_filter(logits, 2).tolist() == [[inf, 4, inf, 4], [0, -1, inf, inf]]
    assert top_k_filter(logits, 1).tolist() == [[inf, 4, inf, 4], [0, inf, inf, inf]]  # a tie
    assert top_k_filter(logits, 99).tolist() == logits.tolist()


def test_top_p_filter():
    p = np.array([[0.1, 0.5, 0.15, 0.25], [0.25, 0.25, 0.25, 0.25]], np.float32)
    logits = tg.from_numpy(np.log(p))
    kept = lambda x: np.isfinite(top_p_filter(logits, x).array).tolist()[0]  # noqa: E731
    assert kept(0.4) == [False, True, False, False]
    assert kept(0.6) == [False, True, False, True]
    assert kept(0.76) == [False, True, True, True]
    assert kept(0.95) == [True] * 4
    assert kept(1e-6) == [False, True, False, False]
    assert np.isfinite(top_p_filter(logits, 0.5).array).sum(1).tolist()[1] == 2


@given(st.integers(1, 8), st.floats(0.01, 1.0), st.floats(0.2, 3.0), st.integers(0, 99))
def test_draws_come_from_what_is_allowed(k, p, temperature, seed):
    rng = np.random.default_rng(seed)
    logits = tg.from_numpy(rng.standard_normal((3, 8)).astype(np.float32) * 3)
    token = next_token(logits, temperature, k, p, Generator().manual_seed(seed))
    assert token.shape == (3, 1) and token.dtype == tg.int64
    for row, t in zip(logits.array.astype(np.float64), token.array[:, 0], strict=True):
        order = np.argsort(-row)[:k]
        assert t in order
        chances = np.exp((row[order] - row.max()) / temperature)
        chances /= chances.sum()
        rank = order.tolist().index(t)
        assert chances[:rank].sum() < p + 1e-5  # the more likely ones do not fill the nucleus


def test_temperature_shapes_the_distribution():
    logits = tg.tensor([0.0, 1.0, 2.0]).expand(20_000, 3)
    for temperature in (0.5, 1.0, 2.0):
        tokens = next_token(logits, temperature, generator=Generator().manual_seed(0)).array
        got = np.bincount(tokens[:, 0], minlength=3) / 20_000
        expected = np.exp(np.arange(3) / temperature)
        np.testing.assert_allclose(got, expected / expected.sum(), atol=0.015)


# ----------------------------------------------------------------------------- endless texts
def test_greedy_goes_on():
    assert generate(Counter(), [3, 4], 7).tolist() == [3, 4, 5, 6, 7, 8, 9, 0, 1]
    out = generate(Counter(), tg.tensor([[1], [7]]), 3)
    assert out.tolist() == [[1, 2, 3, 4], [7, 8, 9, 0]] and out.dtype == tg.int64
    assert generate(Counter(), [[1, 2], [3, 4]], 0).tolist() == [[1, 2], [3, 4]]


def test_stop_tokens():
    assert generate(Counter(), [3], 9, stop_tokens=6).tolist() == [3, 4, 5]
    assert generate(Counter(), [3], 9, stop_tokens=[8, 6]).tolist() == [3, 4, 5]
    # a row that is finished is filled up; the column of the last stop is left out
    out = generate(Counter(), [[3], [4], [1]], 9, stop_tokens=[6, 5])
    assert out.tolist() == [[3, 4, 5, 6], [4, 5, 6, 6], [1, 2, 3, 4]]
    out = generate(Counter(), [[3], [4]], 9, stop_tokens=6)
    assert out.tolist() == [[3, 4, 5], [4, 5, 6]]
    assert generate(Counter(), [3], 2, stop_tokens=9).tolist() == [3, 4, 5]


def test_steps_come_one_by_one():
    steps = generate_steps(Counter(), [[1], [5]], 3)
    assert next(steps).tolist() == [2, 6]
    assert tg.is_grad_enabled()  # the mode holds within a step only
    assert [s.tolist() for s in steps] == [[3, 7], [4, 8]]


def test_seeds(model):
    draw = lambda **k: generate(model, [1, 2], 8, temperature=1.5, **k).tolist()  # noqa: E731
    assert draw(seed=1) == draw(seed=1) != draw(seed=2)
    assert draw(seed=1) == draw(generator=Generator().manual_seed(1))
    tg.manual_seed(1)
    assert draw() == draw(seed=1)
    tg.manual_seed(7)
    before = tg.get_rng_state().tolist()
    draw(seed=1)
    assert tg.get_rng_state().tolist() == before  # its own generator, not the default one


def test_the_models_mode_is_put_back(model):
    model.train()
    model.trf_blocks[0].eval()
    seen = []
    with model.drop_emb.register_forward_hook(lambda m, a, out: seen.append(m.training)):
        assert generate(model, [1], 3).tolist() == generate(model, [1], 3).tolist()
    assert seen == [False] * 6
    assert model.training and model.drop_emb.training and not model.trf_blocks[0].training
    model.eval()


@given(
    st.integers(1, 14), st.integers(1, 16), st.integers(1, 3), st.sampled_from([0.0, 1.0, 2.0]),
    st.integers(0, 99),
)  # fmt: skip
def test_cache_changes_nothing(model, length, new, rows, temperature, seed):
    """Also beyond the context: from there on the window slides."""
    idx = tg.from_numpy(np.random.default_rng(seed).integers(0, 13, (rows, length)))
    options = dict(temperature=temperature, seed=seed)
    cached = generate(model, idx, new, **options)
    assert cached.shape == (rows, length + new)
    assert cached.tolist() == generate(model, idx, new, use_cache=False, **options).tolist()


def test_the_cache_computes_each_token_once(model):
    lengths = []
    with model.tok_emb.register_forward_hook(lambda m, a, out: lengths.append(out.shape[1])):
        generate(model, [1, 2, 3], 12)
    # 3 tokens of the prompt, then one at a time up to 12; the window slides for the last two
    assert lengths == [3] + [1] * 9 + [12] * 2


def test_a_shorter_context_slides_earlier(model):
    by_hand = [1, 2, 3, 4, 5]
    for _ in range(6):
        with tg.no_grad():
            by_hand.append(int(model(tg.tensor([by_hand[-4:]]))[0, -1].argmax()))
    assert generate(model, [1, 2, 3, 4, 5], 6, context_length=4).tolist() == by_hand


def test_models_without_config_or_cache_see_everything():
    always = Always(0.0, 2.0, 1.0)
    assert generate(always, [0, 0], 3).tolist() == [0, 0, 1, 1, 1]
    assert always.seen == [2, 3, 4]
    always.seen.clear()
    generate(always, [0, 0], 3, context_length=2)
    assert always.seen == [2, 2, 2]


def test_on_a_device(model, device):
    expected = generate(model, [[1, 2], [3, 4]], 14, temperature=1.0, top_k=5, top_p=0.9, seed=0)
    try:
        model.to(device)
        idx = tg.tensor([[1, 2], [3, 4]]).to(device)
        got = generate(model, idx, 14, temperature=1.0, top_k=5, top_p=0.9, seed=0, stop_tokens=99)
    finally:
        model.to("cpu")
    assert got.device.type == device
    assert got.cpu().tolist() == expected.tolist()


# -------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens must be at least 0, got -1"),
        ({"max_new_tokens": 1.5}, TypeError, "max_new_tokens must be an integer, got 1.5"),
        (
            {"temperature": -1},
            ValueError,
            "temperature must be a finite number of at least 0, got -1",
        ),
        (
            {"temperature": math.nan},
            ValueError,
            "temperature must be a finite number of at least 0, got nan",
        ),
        ({"temperature": "hot"}, ValueError, "temperature .* got 'hot'"),
        ({"top_k": 0}, ValueError, "top_k must be an integer of at least 1, got 0"),
        ({"top_k": 2.5}, ValueError, "top_k must be an integer of at least 1, got 2.5"),
        ({"top_p": 0.0}, ValueError, "top_p must be greater than 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, ValueError, "top_p must be greater than 0 and at most 1, got 1.5"),
        ({"stop_tokens": [-1]}, ValueError, "stop_tokens must be token ids, got -1"),
        ({"stop_tokens": ["a"]}, ValueError, "stop_tokens must be token ids, got 'a'"),
        ({"seed": 1, "generator": Generator()}, ValueError, "not both"),
        ({"context_length": 0}, ValueError, "context_length must be at least 1, got 0"),
        ({"idx": [[1, 2], [3]]}, ValueError, "prompts have 1 to 2 tokens"),
        ({"idx": []}, ValueError, "at least one token"),
        ({"idx": tg.zeros(2, 0, dtype=tg.int64)}, ValueError, "at least one token"),
        ({"idx": tg.zeros(1, 1, 1, dtype=tg.int64)}, ValueError, r"got \(1, 1, 1\)"),
        ({"idx": tg.ones(1, 2)}, TypeError, "integer token ids, got torch.float32"),
    ],
)
def test_bad_arguments(options, error, message):
    arguments = {"idx": [1, 2], "max_new_tokens": 3, **options}
    idx, n = arguments.pop("idx"), arguments.pop("max_new_tokens")
    with pytest.raises(error, match=message):
        generate_steps(Counter(), idx, n, **arguments)  # the call itself raises, not the first step


def test_tokens_outside_the_vocabulary_and_nan(model):
    with pytest.raises(IndexError):
        generate(model, [13], 1)
    with pytest.raises(RuntimeError, match="logits are NaN"):
        generate(Always(math.nan, 0.0), [0], 1)
