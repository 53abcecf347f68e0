"""Generation: which tokens are drawn, when it stops, the cache, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm import nn, testing
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


# ---------------------------------------------------------------------------- rows of a batch
PROMPTS = [[1, 2, 3, 4, 5], [7], [3, 3], list(range(13)) + [5, 4], [0] * 12, [9, 8, 7]]
CHOICES = [
    {}, {"temperature": 1.3}, {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "min_p": 0.05},
    {"repetition_penalty": 1.5}, {"temperature": 2.0, "repetition_penalty": 1.2},
]  # fmt: skip


def equal_alone(model, prompts, new, **options):
    """Generate for all prompts together and for each alone, and compare.

    seed: one per row, so that each row has its own stream.
    """
    seeds = options.pop("seed", None)
    together = generate(model, prompts, new, seed=seeds, return_logprobs=True, **options)
    T = max(map(len, prompts))
    for b, prompt in enumerate(prompts):
        seed = None if seeds is None else seeds[b]
        alone = generate(model, prompt, new, seed=seed, return_logprobs=True, **options)
        n = alone.lengths.item()
        assert together.lengths[b].item() == n
        assert together.ids[b, T - len(prompt) : T + n].tolist() == alone.ids.tolist()
        np.testing.assert_allclose(
            together.logprobs[b, :n].numpy(), alone.logprobs.numpy(), rtol=1e-4, atol=1e-5
        )
    return together


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("context_length", [None, 5])
@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_unequal_prompts_equal_each_alone(model, options, context_length, use_cache):
    """Within the context, at its end, and past it, where the window slides."""
    seeds = [5, 1, 5, 2, 3, 4] if "temperature" in options else None
    options = {**options, "use_cache": use_cache, "context_length": context_length, "seed": seeds}
    equal_alone(model, PROMPTS, 16, **options)
    equal_alone(model, PROMPTS, 16, stop_tokens=[6, 10], **options)


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=14), min_size=1, max_size=4),
    st.integers(0, 15),
)
def test_any_prompts_equal_each_alone(model, prompts, new):
    equal_alone(model, prompts, new, temperature=1.0, seed=list(range(len(prompts))))


def test_padding_is_at_the_left(model):
    out = generate(model, [[1, 2, 3], [4]], 2, stop_tokens=11)
    assert out.shape == (2, 5) and out[1, :3].tolist() == [11, 11, 4]
    assert generate(model, [[1, 2, 3], [4]], 2)[1, :3].tolist() == [0, 0, 4]
    assert generate(model, [[1, 2], [4]], 0).tolist() == [[1, 2], [0, 4]]
    kinds = [[(1, 2, 3), (4,)], [np.array([1, 2, 3]), [4]], [tg.tensor([1, 2, 3]), tg.tensor([4])]]
    for prompts in kinds:
        assert generate(model, prompts, 2, stop_tokens=11).tolist() == out.tolist()


def test_unequal_prompts_on_a_device(model, device):
    options = dict(temperature=1.0, seed=[3, 4], stop_tokens=2, return_logprobs=True)
    expected = generate(model, [[1, 2], [3, 4, 5]], 14, **options)
    try:
        got = generate(model.to(device), [[1, 2], [3, 4, 5]], 14, **options)
    finally:
        model.to("cpu")
    assert got.ids.cpu().tolist() == expected.ids.tolist()
    assert got.lengths.device.type == got.logprobs.device.type == device


def test_seeds_of_rows(model):
    """One seed: one stream for the batch, as in torch.multinomial. One per row: one stream each."""
    rows = [[1, 2], [1, 2], [1, 2]]
    one = generate(model, rows, 9, temperature=1.5, seed=4).tolist()
    assert one[0] != one[1]
    own = generate(model, rows, 9, temperature=1.5, seed=[4, 5, 4]).tolist()
    assert own[0] == own[2] != own[1]
    assert own[0] == generate(model, [1, 2], 9, temperature=1.5, seed=4).tolist()


class Embedded(Counter):
    """Counts, and refuses ids that it does not have, as an embedding does."""

    def forward(self, idx):
        if (idx > 9).any():
            raise IndexError("no such id")
        return super().forward(idx)


def test_stop_tokens_outside_the_vocabulary():
    """A finished row is filled with the first stop token, even if the model does not have it."""
    out = generate(Embedded(), [[3], [0]], 9, stop_tokens=[99, 5])
    assert out.tolist() == [[3, 4, 5, 99, 99], [0, 1, 2, 3, 4]]


# ---------------------------------------------------------------------------- log-probabilities
@pytest.mark.parametrize("use_cache", [True, False])
def test_logprobs_are_the_models_own(model, use_cache):
    """Their sum is the log-probability of the text, with any temperature and filters."""
    options = dict(temperature=0.7, top_k=6, repetition_penalty=1.3, seed=2, use_cache=use_cache)
    got = generate(model, [[1, 2, 3], [9, 0, 4]], 9, return_logprobs=True, **options)
    assert got.ids.tolist() == generate(model, [[1, 2, 3], [9, 0, 4]], 9, **options).tolist()
    with tg.no_grad():
        loss = nn.functional.cross_entropy(
            model(got.ids[:, :-1])[:, 2:].flatten(0, 1), got.ids[:, 3:].flatten(), reduction="none"
        )  # (2 · 9)
    np.testing.assert_allclose(got.logprobs.numpy(), -loss.view(2, 9).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.logprobs.sum().item(), -loss.sum().item(), rtol=1e-5)
    assert got.logprobs.dtype == tg.float32 and got.lengths.tolist() == [9, 9]


def test_logprobs_of_rows_that_end():
    chances = tg.tensor([0.1, 0.2, 0.3, 0.4]).log()
    always = Always(*chances.tolist())
    got = generate(
        always, [[0]] * 8, 20, temperature=1.0, stop_tokens=2, seed=1, return_logprobs=True
    )
    for row, logprobs, n in zip(*(part.tolist() for part in got), strict=True):
        new = row[1:]
        assert 2 not in new[:n] and set(new[n:]) <= {2}
        expected = [chances[t].item() for t in new[: n + 1]] + [0.0] * (len(new) - n - 1)
        assert logprobs == pytest.approx(expected, abs=1e-6)  # the stop token's is there too
    assert got.ids.shape[1] == 1 + max(got.lengths.tolist())
    one = generate(always, [0], 5, stop_tokens=3, return_logprobs=True)
    assert [part.tolist() for part in one] == [[0], [], 0]
    none = generate(always, [[0], [1]], 0, return_logprobs=True)
    assert none.logprobs.shape == (2, 0) and none.lengths.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [tg.float16, tg.float64])
def test_logprobs_of_other_precisions(dtype):
    class Half(Always):
        def forward(self, idx):
            return super().forward(idx).to(dtype)

    got = generate(Half(1.0, 3.0, 2.0), [0], 1, return_logprobs=True).logprobs
    assert got.dtype == (tg.float64 if dtype == tg.float64 else tg.float32)
    assert got.item() == pytest.approx(-math.log(1 + math.exp(-1) + math.exp(-2)), rel=1e-6)


# --------------------------------------------------------------------------------- other models
def test_a_module_without_a_cache_has_the_context_of_its_config(model):
    class Plain(nn.Module):
        """A reader's own GPT: a config, no cache."""

        def __init__(self):
            super().__init__()
            self.config, self.gpt = model.config, model

        def forward(self, idx):
            return self.gpt(idx)

    expected = generate(model, [[1, 2], [3, 4]], 20, temperature=1.0, seed=0).tolist()
    assert generate(Plain(), [[1, 2], [3, 4]], 20, temperature=1.0, seed=0).tolist() == expected
    with pytest.raises(ValueError, match="prompts have 1 to 3 tokens.* Plain does not take"):
        generate(Plain(), [[1, 2, 3], [4]], 1)


def test_a_function_is_a_model_too():
    assert generate(lambda idx: Counter()(idx), [[3], [5]], 2).tolist() == [[3, 4, 5], [5, 6, 7]]


# ----------------------------------------------------------------------------- ids of all kinds
@pytest.mark.parametrize(
    "prompt",
    [
        [3, 4], (3, 4), range(3, 5), np.array([3, 4]), np.array([3, 4], np.uint8),
        tg.tensor([3, 4]),
        [np.int64(3), np.int32(4)], [tg.tensor(3), 4], tg.tensor([3, 4], dtype=tg.int16),
        iter([3, 4]), {3: "a", 4: "b"},
    ],
    ids=lambda p: type(p).__name__,
)  # fmt: skip
def test_ids_of_all_kinds(prompt):
    assert generate(Counter(), prompt, 2).tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ([0.9, 2.7], TypeError, "idx must hold integer token ids, got 0.9"),
        ([1.0, 2.0], TypeError, "integer token ids, got 1.0"),
        ([1, 2.0], TypeError, "integer token ids, got 2.0"),
        ([[1, 2], [3, 0.5]], TypeError, "integer token ids, got 0.5"),
        ([[1.5], [3, 4]], TypeError, "integer token ids, got 1.5"),
        (np.array([0.9, 2.7]), TypeError, "integer token ids, got 0.9"),
        ([np.array([0.9]), np.array([2.7])], TypeError, "integer token ids, got 0.9"),
        ([np.float32(1.0)], TypeError, "integer token ids, got"),
        ([tg.tensor(1.5)], TypeError, "integer token ids, got"),
        ([tg.tensor([1.5]), tg.tensor([2.5])], TypeError, "integer token ids, got 1.5"),
        (tg.tensor([0.9]), TypeError, "integer token ids, got torch.float32"),
        ([True, False], TypeError, "integer token ids, got True"),
        (np.array([True]), TypeError, "integer token ids, got True"),
        (tg.tensor([True]), TypeError, "integer token ids, got torch.bool"),
        ([1, None], TypeError, "integer token ids, got None"),
        ([1, math.nan], TypeError, "integer token ids, got nan"),
        (["1", "2"], TypeError, "integer token ids, got '1'"),
        ("Once upon", TypeError, "got the text 'Once upon': encode it"),
        (b"12", TypeError, "got the text b'12': encode it"),
        (3, TypeError, "idx must be token ids, a tensor or lists, got 3"),
        (None, TypeError, "idx must be token ids, a tensor or lists, got None"),
        (tg.tensor(3), ValueError, r"at least one token, got \(\)"),
        ([[]], ValueError, "at least one token per row.*: row 0 is empty"),
        ([[1], []], ValueError, "at least one token per row.*: row 1 is empty"),
        (np.zeros((0, 3), np.int64), ValueError, "at least one token"),
        ([[[1]]], ValueError, "three dimensions or more"),
        ([1, 2**63], IndexError, "idx: index out of range: 9223372036854775808"),
        ([1, [2]], TypeError, "idx must be token ids, a tensor or lists, got 1"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_ids_that_are_not_integers(prompt, error, message):
    with pytest.raises(error, match=message):
        generate(Counter(), prompt, 1)


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


@pytest.mark.parametrize("chunk", [1, 3, 4, 9, 50])
@pytest.mark.parametrize("prompts", [[list(range(9))], [list(range(9)), [3, 1], [5, 6, 7, 8, 9]]])
def test_a_prompt_in_chunks_is_continued_as_in_whole(prompts, chunk):
    tg.manual_seed(1)
    model = GPT(GPTConfig(12, 20, 16, 2, 2, drop_rate=0.0)).eval()
    for new in (4, 30):  # within the context, and beyond it
        expected = generate(model, prompts, new, return_logprobs=True)
        result = generate(model, prompts, new, return_logprobs=True, prefill_chunk=chunk)
        assert result.ids.tolist() == expected.ids.tolist()
        testing.assert_close(result.logprobs, expected.logprobs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk, error", [(0, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_prefill_chunk_must_be_a_positive_integer(chunk, error):
    with pytest.raises(error, match="prefill_chunk"):
        generate(GPT(GPTConfig(12, 20, 16, 2, 1)), [1], 1, prefill_chunk=chunk)
