"""Continuous batching: every text equals itself alone, whenever it joins and others leave."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_chat import tiny_model

import tinygrad_llm as tg
from tinygrad_llm.generation import Sampling, generate
from tinygrad_llm.generation.continuous import ContinuousBatch, Row
from tinygrad_llm.layers.cache import AttentionCache, Cache
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


def test_caches_that_cannot_join():
    windowed = Cache([AttentionCache(9), AttentionCache(9, window=3)], 9)
    assert not windowed.can_join and Cache([AttentionCache(9)], 9).can_join
    with pytest.raises(ValueError, match="full attention in every layer"):
        Cache.of_rows([(windowed, 0, 0)])
    with pytest.raises(ValueError, match="with a window"):
        AttentionCache.of_rows([(windowed.layers[1], 0, 0)])
