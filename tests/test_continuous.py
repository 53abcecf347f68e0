"""Continuous batching: every text equals itself alone, whenever it joins and others leave."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_chat import tiny_model

import tinygrad_llm as tg
from tinygrad_llm.generation import Sampling, generate
from tinygrad_llm.generation.continuous import ContinuousBatch, Row
from tinygrad_llm.generation.prefixes import Prefixes
from tinygrad_llm.layers.cache import AttentionCache, Cache
from tinygrad_llm.layers.quantized import quantize
from tinygrad_llm.layers.texts_cache import TextsCache
from tinygrad_llm.models import GPT, GPTConfig


def gpt(context_length=48):
    tg.manual_seed(1)
    sizes = {"vocab_size": 61, "emb_dim": 24, "n_heads": 2, "n_layers": 2, "drop_rate": 0.0}
    model = GPT(GPTConfig(context_length=context_length, **sizes))
    for p in model.parameters():
        p.array[...] *= 4 if p.dim() > 1 else 1
    return model.eval()


@pytest.mark.parametrize("make", [gpt, tiny_model])
@pytest.mark.parametrize("most", [1, 3, 8])
def test_each_text_equals_itself_alone(make, most):
    model, rng = make(), np.random.default_rng(0)
    batch = ContinuousBatch(model, most, chunk=5)
    waiting, logits = [], {}
    for i in range(9):
        ids = rng.integers(0, 60, rng.integers(1, 17)).tolist()
        options = {"temperature": 1.0, "top_k": 20} if i % 2 else {"repetition_penalty": 1.3}
        waiting.append((Row(ids, Sampling(**options), seed=i), ids, int(rng.integers(1, 20))))
    rows, steps = list(waiting), 0
    while waiting or batch.n_rows:
        while waiting and batch.n_rows < batch.most_rows and steps % 3 == 0:
            batch.add(waiting.pop(0)[0])
        for token in batch.step():
            logits.setdefault(token.row, []).append(token.logits)
            length = next((ids, new) for row, ids, new in rows if row is token.row)
            token.row.done = len(token.row.ids) == len(length[0]) + length[1]
        steps += 1
        assert steps < 500
    for i, (row, ids, new) in enumerate(rows):
        assert row.ids == generate(model, [ids], new, sampling=row.sampling, seed=i)[0].tolist()
        with tg.no_grad():
            alone = model(tg.tensor([row.ids[:-1]]))[0, len(ids) - 1 :]
        tg.testing.assert_close(tg.cat(logits[row]), alone, rtol=0, atol=2e-5 * alone.abs().max())


def test_a_text_that_is_done_while_its_prompt_is_computed_leaves():
    model = gpt()
    batch = ContinuousBatch(model, 4, chunk=2)
    first, second = (Row([1, 2, 3, 4, 5], Sampling()) for _ in range(2))
    batch.add(first)
    batch.add(second)
    batch.step()
    first.done = True
    while len(second.ids) < 9:
        batch.step()
    assert len(first.ids) == 5 and second.ids == generate(model, [[1, 2, 3, 4, 5]], 4)[0].tolist()


def test_the_batch_never_is_longer_than_its_longest_text():
    model = gpt(16)  # 30 texts one after another in a context of 16
    batch = ContinuousBatch(model, 2)
    rows = [Row([i % 60, 2], Sampling()) for i in range(30)]
    left = list(rows)
    while left or batch.n_rows:
        while left and batch.n_rows < 2:
            batch.add(left.pop(0))
        for token in batch.step():
            token.row.done = len(token.row.ids) == 16 - rows.index(token.row) % 5
    for row in rows[:5]:
        assert row.ids == generate(model, [row.ids[:2]], len(row.ids) - 2)[0].tolist()


@pytest.mark.parametrize("quantised", [False, True])
def test_by_compiled_loops_too(quantised, loops, monkeypatch):
    """Prompts and single tokens in one call, up to 24 tokens; in few bits past MOST_ROWS too."""
    model = tiny_model(emb_dim=32, hidden_dim=64)
    if quantised:
        quantize(model, "q4_1")
    rng, together = np.random.default_rng(3), TextsCache()
    texts = [rng.integers(0, 250, n).tolist() for n in (20, 1, 9, 14)]
    stops = [(3, 0, 4, 1), (20, 0, 5, 2), (20, 1, 9, 14)]
    with tg.no_grad():
        alone = [model(tg.tensor([ids]))[0, -1] for ids in texts]
        caches, last = [model.new_cache() for _ in texts], {}
        for stop in stops:
            new = [(i, len(caches[i]), n) for i, n in enumerate(stop) if n > len(caches[i])]
            together.take([caches[i] for i, _, _ in new], [n - old for _, old, n in new])
            idx = tg.tensor([[x for i, old, n in new for x in texts[i][old:n]]])
            logits = model(idx, cache=together, last_only=True)[0]
            last |= {i: logits[k] for k, (i, _, _) in enumerate(new)}
    assert together.plan is not None and any(plan is not None for plan in together.plan.values())
    for i, expected in enumerate(alone):
        tg.testing.assert_close(last[i], expected, rtol=0, atol=1e-5 * expected.abs().max())


def test_caches_that_cannot_join():
    windowed = Cache([AttentionCache(9), AttentionCache(9, window=3)], 9)
    assert not windowed.can_join and Cache([AttentionCache(9)], 9).can_join
    with pytest.raises(ValueError, match="full attention in every layer"):
        TextsCache().take([windowed], [1])
    with pytest.raises(ValueError, match="full attention in every layer"):
        windowed.beginning(1)
    with pytest.raises(ValueError, match="can't get 10 more: its cache holds 9"):
        TextsCache().take([Cache([AttentionCache(9)], 9)], [10])
    together = TextsCache()
    together.take([tiny_model().new_cache()], [2])
    with pytest.raises(ValueError, match=r"of the shape \(1, 2\)"):
        tiny_model()(tg.tensor([[1, 2, 3]]), cache=together)


# ------------------------------------------------------------------- beginnings that are kept
def run(batch, rows):
    for row in rows:
        batch.add(row)
    while batch.n_rows:
        for token in batch.step():
            token.row.done = len(token.row.ids) == token.row.n_prompt + 6
    return [row.ids for row in rows]


def test_a_known_beginning_is_not_computed_and_changes_no_answer():
    model, beginning = gpt(), [*range(20)]
    prompts = [[*beginning, 30, 31], [*beginning, 40], beginning, [1, 2, 3], [*beginning, 30, 32]]
    prefixes = Prefixes(1 << 20)
    batch = ContinuousBatch(model, 2, prefixes=prefixes)
    alone = [generate(model, [ids], 6)[0].tolist() for ids in prompts]
    assert [run(batch, [Row(ids, Sampling())])[0] for ids in prompts] == alone
    assert prefixes.hits == 20 + 19 + 0 + 21  # of one that is wholly known the last is computed
    again = [*alone[0], 7]  # the next turn: the answer is known too, except its last token
    assert run(batch, [Row(again, Sampling())])[0] == generate(model, [again], 6)[0].tolist()
    assert prefixes.hits == 60 + 27


def test_owners_never_share_a_beginning():
    model, ids = gpt(), [*range(20)]
    prefixes = Prefixes(1 << 20)
    batch = ContinuousBatch(model, 2, prefixes=prefixes)
    rows = [Row(ids, Sampling(), owner=owner) for owner in ("a", "b", "a")]
    assert all(run(batch, [row])[0] == rows[0].ids for row in rows)
    assert prefixes.hits == 19


def test_beginnings_have_at_most_so_many_bytes():
    model = gpt()
    one = 2 * 2 * 2 * 48 * 12 * 4  # layers, keys and values, heads, tokens, channels, bytes
    prefixes = Prefixes(3 * one)
    batch = ContinuousBatch(model, 4, prefixes=prefixes)
    for i in range(7):
        run(batch, [Row([i, 5, i], Sampling(), owner=i % 3)])
        assert 0 < prefixes.nbytes <= 3 * one
    assert prefixes.hits == 0 and prefixes.nbytes == 3 * one
    run(batch, [Row([6, 5, 6, 6], Sampling(), owner=0), Row([4, 5, 4, 4], Sampling(), owner=1)])
    assert prefixes.hits == 6
    run(ContinuousBatch(model, 4, prefixes=Prefixes(one - 1)), [Row([1, 2], Sampling())])
    batch.clear()
    assert prefixes.nbytes == 0 and prefixes.begin(0, [6, 5, 6]) is None
