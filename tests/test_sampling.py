"""How a token is chosen: the options and their checks, the distribution of draws, its edges."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.generation import (
    Beams,
    Sampling,
    generate,
    generate_steps,
    min_p_filter,
    next_token,
    repetition_filter,
    top_p_filter,
)
from tinygrad_llm.random import Generator

INF = math.inf


class Always(nn.Module):
    """A model that returns the same logits for all ids."""

    def __init__(self, *logits, dtype=None):
        super().__init__()
        self.logits = tg.tensor(logits, dtype=dtype or tg.float32)

    def forward(self, idx):
        return self.logits.expand(*idx.shape, len(self.logits))


# ------------------------------------------------------------------------------------ the options
def test_keywords_and_sampling_are_one():
    model = Always(0.0, 1.0, 2.0, 0.5, -1.0)
    options = dict(temperature=1.2, top_k=4, top_p=0.95, min_p=0.02, repetition_penalty=1.1, seed=3)
    expected = generate(model, [0, 1], 12, **options).tolist()
    assert generate(model, [0, 1], 12, sampling=Sampling(**options)).tolist() == expected
    other = dataclasses.replace(Sampling(**options), seed=4, stop_tokens=2)
    assert generate(model, [0, 1], 12, sampling=other, seed=3, stop_tokens=()).tolist() == expected
    steps = generate_steps(model, [0, 1], 12, sampling=Sampling(**options))
    assert [s.item() for s in steps] == expected[2:]


def test_every_field_of_sampling_is_a_keyword_that_the_docstring_lists():
    for field in [*dataclasses.fields(Sampling), *dataclasses.fields(Beams)]:
        assert field.name in generate.__doc__
        generate(Always(0.0, 1.0), [0], 1, **{field.name: field.default})


def test_numbers_become_python_numbers():
    for whole in (np.int64, np.int32, np.uint8, tg.tensor):
        s = Sampling(top_k=whole(3), stop_tokens=whole(2), seed=whole(7))
        assert (s.top_k, s.stop_tokens, s.seed) == (3, (2,), 7)
        assert type(s.top_k) is type(s.stop_tokens[0]) is type(s.seed) is int
        assert Beams(num_beams=whole(2)).num_beams == 2
    for real in (np.float64, np.float32, np.float16, tg.tensor, int, np.int64):
        s = Sampling(temperature=real(1), top_p=real(1), min_p=real(1), repetition_penalty=real(1))
        values = (s.temperature, s.top_p, s.min_p, s.repetition_penalty)
        assert values == (1.0,) * 4 and {type(v) for v in values} == {float}
    many = [[2, 0, 2], (2, 0), np.array([2, 0]), tg.tensor([2, 0]), {2: 1, 0: 1}, iter([2, 0])]
    assert all(Sampling(stop_tokens=stops).stop_tokens == (2, 0) for stops in many)
    assert Sampling(stop_strings="ab").stop_strings == ("ab",)
    assert Sampling(stop_tokens=None, stop_strings=None) == Sampling()
    assert Sampling(seed=np.array([1, 2])).seed == (1, 2)


def test_a_numpy_temperature_keeps_float32():
    logits = tg.tensor([[0.1, 0.7, 0.3]])
    draw = lambda t: next_token(logits, t, generator=Generator().manual_seed(1)).tolist()  # noqa: E731
    assert draw(np.float64(0.9)) == draw(0.9)


BAD = [
    ({"temperature": -1}, ValueError, "temperature must be a finite number of at least 0, got -1"),
    ({"temperature": INF}, ValueError, "temperature must be a finite number"),
    ({"temperature": 10**400}, ValueError, "temperature must be a finite number"),
    ({"temperature": True}, ValueError, "temperature .* got True"),
    ({"temperature": np.bool_(True)}, ValueError, "temperature .* got"),
    ({"temperature": None}, ValueError, "temperature .* got None"),
    ({"temperature": [1.0]}, ValueError, "temperature .* got"),
    ({"temperature": 1j}, ValueError, "temperature .* got 1j"),
    ({"top_k": True}, ValueError, "top_k must be an integer of at least 1, got True"),
    ({"top_k": np.float64(2.0)}, ValueError, "top_k must be an integer of at least 1"),
    ({"top_p": np.nan}, ValueError, "top_p must be greater than 0 and at most 1, got nan"),
    ({"min_p": -0.1}, ValueError, "min_p must be at least 0 and at most 1, got -0.1"),
    ({"min_p": 1.01}, ValueError, "min_p must be at least 0 and at most 1, got 1.01"),
    ({"repetition_penalty": 0}, ValueError, "repetition_penalty must be a finite number above 0"),
    ({"repetition_penalty": -INF}, ValueError, "repetition_penalty must be a finite number above"),
    ({"stop_tokens": 1.5}, ValueError, "stop_tokens must be token ids, got 1.5"),
    ({"stop_tokens": [True]}, ValueError, "stop_tokens must be token ids, got True"),
    ({"stop_tokens": "end"}, ValueError, "stop_tokens must be token ids, got 'end'"),
    ({"stop_strings": ""}, ValueError, "stop_strings must be texts of at least one character"),
    ({"stop_strings": ["a", 3]}, ValueError, "stop_strings must be texts .* got 3"),
    ({"stop_strings": b"a"}, ValueError, "stop_strings must be texts"),
    ({"stop_strings": "a"}, ValueError, "stop_strings need the tokenizer"),
    ({"stop_strings": "a", "tokenizer": 3}, TypeError, "tokenizer must be one of tinygrad_llm"),
    ({"seed": 1.5}, TypeError, "seed must be an integer, or one integer per row, got 1.5"),
    ({"seed": "one"}, TypeError, "seed must be an integer, .* got 'one'"),
    ({"seed": [1, 2]}, ValueError, "seed must be one integer, or one per row: got 2 for 1 rows"),
    ({"sampling": {"top_k": 3}}, TypeError, "sampling must be a Sampling, got {'top_k': 3}"),
    ({"temprature": 1.0}, TypeError, r"generate_steps\(\) got .*'temprature'; .* 'temperature'\?"),
    ({"beams": 3}, TypeError, "'beams'; did you mean 'num_beams'"),
    ({"zzz": 3}, TypeError, "unexpected keyword argument 'zzz'$"),
    ({"num_beams": 0}, ValueError, "num_beams must be an integer of at least 1, got 0"),
    ({"num_beams": 2.0}, ValueError, "num_beams must be an integer of at least 1, got 2.0"),
    ({"length_penalty": INF}, ValueError, "length_penalty must be a finite number, got inf"),
    ({"early_stopping": "yes"}, ValueError, 'early_stopping must be True, False or "never"'),
    ({"num_beams": 2}, ValueError, "beam search knows its text at the end only"),
    ({"max_new_tokens": True}, TypeError, "max_new_tokens must be an integer, got True"),
    ({"max_new_tokens": None}, TypeError, "max_new_tokens must be an integer, got None"),
    ({"context_length": 1.5}, TypeError, "context_length must be an integer, got 1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=lambda v: str(v)[:40])
def test_bad_options(options, error, message):
    """The call itself raises, not the first step."""
    options = {"max_new_tokens": 3, **options}
    with pytest.raises(error, match=message):
        generate_steps(Always(0.0, 1.0), [0, 1], options.pop("max_new_tokens"), **options)


def test_numpy_integers_are_lengths_too():
    model = Always(0.0, 1.0)
    assert generate(model, [0], np.int64(2), context_length=np.int32(1)).tolist() == [0, 1, 1]
    assert generate(model, [0], 3, stop_tokens=np.int64(1)).tolist() == [0]


# ------------------------------------------------------------------------------- the distribution
def distribution(logits, temperature, top_k=None, top_p=None, min_p=None):
    """The probabilities after temperature and filters, in float64 and token by token."""
    scaled = np.asarray(logits, np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    order = [int(i) for i in np.argsort(-p, kind="stable")]
    kept = order[:top_k]
    if top_p is not None:
        total = p[kept].sum()
        before = [p[kept[:i]].sum() / total for i in range(len(kept))]
        kept = [t for t, b in zip(kept, before, strict=True) if b < top_p]
    if min_p is not None:
        kept = [t for t in kept if p[t] >= min_p * p.max()]
    chances = np.zeros_like(p)
    chances[kept] = p[kept] / p[kept].sum()
    return chances


def chi_squared(draws, chances):
    """Pearson's statistic over the tokens that are possible, and its 99.9 % quantile.

    Source of the quantile: Wilson and Hilferty, 1931.
    """
    counts = np.bincount(draws, minlength=len(chances))
    possible = chances > 0
    assert not counts[~possible].any(), "a token was drawn that the filters leave out"
    expected = len(draws) * chances[possible]
    freedom = int(possible.sum()) - 1
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.0902 * math.sqrt(2 / (9 * freedom))) ** 3
    return ((counts[possible] - expected) ** 2 / expected).sum(), quantile


LOGITS = np.random.default_rng(8).normal(0.0, 1.2, 17)
N = 40_000


def draws(options, dtype=tg.float32, seed=5):
    logits = tg.tensor(LOGITS, dtype=dtype).expand(N, 17)
    return next_token(logits, generator=Generator().manual_seed(seed), **options).array[:, 0]


@pytest.mark.parametrize(
    "options",
    [
        dict(temperature=1.0), dict(temperature=0.6), dict(temperature=2.5),
        dict(temperature=1.0, top_k=4), dict(temperature=1.5, top_p=0.8),
        dict(temperature=1.0, min_p=0.1), dict(temperature=1.4, top_k=12, top_p=0.95, min_p=0.05),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("dtype", [tg.float32, tg.float64, tg.float16])
def test_draws_follow_the_distribution(options, dtype):
    logits = tg.tensor(LOGITS, dtype=dtype).double().numpy()
    statistic, limit = chi_squared(draws(options, dtype), distribution(logits, **options))
    assert statistic < limit


def test_the_statistic_sees_a_small_error():
    statistic, limit = chi_squared(draws(dict(temperature=1.0)), distribution(LOGITS, 1.05))
    assert statistic > 1.5 * limit


def test_whole_texts_follow_the_distribution():
    """Through generate: the second token's chances depend on the first, by the penalty."""
    model = Always(*LOGITS.tolist())
    ids = generate(model, [[0]] * N, 2, temperature=1.2, repetition_penalty=1.8, seed=3).array
    first = LOGITS.copy()
    first[0] = first[0] / 1.8 if first[0] > 0 else first[0] * 1.8
    statistic, limit = chi_squared(ids[:, 1], distribution(first, 1.2))
    assert statistic < limit
    common = int(np.bincount(ids[:, 1]).argmax())
    second = first.copy()
    if common:
        second[common] = second[common] / 1.8 if second[common] > 0 else second[common] * 1.8
    statistic, limit = chi_squared(ids[ids[:, 1] == common, 2], distribution(second, 1.2))
    assert statistic < limit


# -------------------------------------------------------------------------------------- the edges
TINY = [1e-3, 1e-6, 1e-20, 1e-30, 1e-37, 1e-38, 1.2e-38, 1e-40, 1e-45, 1e-46, 1e-300, 5e-324]


@pytest.mark.parametrize("temperature", TINY)
@pytest.mark.parametrize("dtype", [tg.float16, tg.float32, tg.float64])
@pytest.mark.parametrize(
    "logits",
    [[5.0, 1.0], [-5.0, -1.0], [0.0, -50.0], [6e4, -6e4], [-INF, 3.0, -INF], [-6e4, -INF, 2.0]],
    ids=str,
)
def test_tiny_temperatures_are_greedy(logits, dtype, temperature):
    x = tg.tensor([logits], dtype=dtype)
    expected = int(np.argmax(logits))
    for options in ({}, {"top_k": 2}, {"top_p": 0.9}, {"min_p": 0.1}, {"top_k": 1, "top_p": 1e-9}):
        assert next_token(x, temperature, **options).item() == expected
    assert generate(Always(*logits, dtype=dtype), [0], 1, temperature=temperature)[1] == expected


def test_tiny_temperatures_draw_among_equals():
    x = tg.tensor([7.0, 7.0, 3.0]).expand(2000, 3)
    counts = np.bincount(next_token(x, 1e-300).array[:, 0], minlength=3)
    assert counts[2] == 0 and 900 < counts[0] < 1100


@pytest.mark.parametrize("temperature", [1e10, 1e38, 1e39, 1e300, 1.7e308])
def test_huge_temperatures_are_uniform(temperature):
    x = tg.tensor([700.0, -INF, 3.0, 0.0]).expand(3000, 4)
    counts = np.bincount(next_token(x, temperature).array[:, 0], minlength=4)
    assert counts[1] == 0 and counts[[0, 2, 3]].min() > 850


@pytest.mark.parametrize("p", [1e-8, 1e-38, 1e-40, 1e-46, 1e-300, 5e-324])
def test_tiny_top_p_keeps_the_most_likely(p):
    for dtype in (tg.float16, tg.float32, tg.float64):
        x = tg.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, -1.0]], dtype=dtype)
        assert np.isfinite(top_p_filter(x, p).numpy()).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert next_token(tg.tensor([[1.0, 3.0, 2.0]]), 1.0, top_p=p).item() == 1


def test_min_p_keeps_what_is_as_likely():
    x = tg.tensor([[1.0, 3.0, 3.0, -INF]])
    assert min_p_filter(x, 1.0).tolist() == [[-INF, 3.0, 3.0, -INF]]
    assert min_p_filter(x, 0.0).tolist() == x.tolist()
    assert min_p_filter(x, math.exp(-2) * 0.999).tolist() == x.tolist()
    assert min_p_filter(x, math.exp(-2) * 1.001).tolist() == [[-INF, 3.0, 3.0, -INF]]


def test_repetition_penalty_by_hand():
    x = tg.tensor([[2.0, -2.0, 4.0], [1.0, 1.0, 1.0]])
    ids = tg.tensor([[0, 1, 0], [2, 2, 2]])
    assert repetition_filter(x, ids, 2.0).tolist() == [[1.0, -4.0, 4.0], [1.0, 1.0, 0.5]]
    assert generate(Always(2.0, 3.0), [0], 4, repetition_penalty=2.0).tolist() == [0, 1, 1, 1, 1]
    assert generate(Always(2.0, 3.0), [1], 1, repetition_penalty=2.0).tolist() == [1, 0]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_penalty_of_padded_rows(lengths, seed):
    """Padding is not in the text."""

    class Padded(Always):
        def forward(self, idx, *, padding=None):
            return super().forward(idx)

    rng = np.random.default_rng(seed)
    model = Padded(*rng.standard_normal(12).tolist())
    prompts = [rng.integers(0, 12, n).tolist() for n in lengths]
    together = generate(model, prompts, 9, repetition_penalty=3.0)
    for row, prompt in zip(together.tolist(), prompts, strict=True):
        alone = generate(model, prompt, 9, repetition_penalty=3.0).tolist()
        assert row[max(lengths) - len(prompt) :] == alone


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"num_beams": 2}])
@pytest.mark.parametrize("wrong", [math.nan, -math.nan])
def test_nan_logits(options, wrong):
    with pytest.raises(RuntimeError, match="the model's logits are NaN: its weights or inputs"):
        generate(Always(0.0, wrong, -INF), [0], 1, **options)


def test_infinite_logits():
    assert generate(Always(0.0, INF), [0], 1).tolist() == [0, 1]  # greedy: the largest
    for logits in ([0.0, INF], [-INF, -INF]):
        with pytest.raises(RuntimeError, match="the largest logit of a row is inf or -inf"):
            generate(Always(*logits), [0], 1, temperature=1.0)
