"""Speculative decoding: the text of ordinary decoding, its distribution, what was accepted."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import Windowed

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.generation import (
    Drafts,
    DraftStatistics,
    generate,
    generate_steps,
    stream_text,
)
from tinygrad_llm.generation.options import Sampling
from tinygrad_llm.generation.sampling import distribution
from tinygrad_llm.generation.speculative import Lookup
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.models.qwen3_5 import Qwen35, Qwen35Config
from tinygrad_llm.text import CharTokenizer


def gpt(seed=3, V=13, context=40, scale=0.3):
    tg.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=V, context_length=context, emb_dim=16, n_heads=2, n_layers=2))
    for i, p in enumerate(model.parameters()):
        p.array[...] += scale * np.random.default_rng((seed, i)).standard_normal(p.array.shape)
    return model.eval()


def windowed(seed=4, window=3):
    tg.manual_seed(seed)
    return Windowed(dict(vocab_size=13, context_length=40, emb_dim=12, window=window)).eval()


def hybrid(seed=5):
    tg.manual_seed(seed)
    return Qwen35(Qwen35Config(**HYBRID)).eval()


HYBRID = dict(
    vocab_size=13, context_length=40, emb_dim=16, hidden_dim=24, n_layers=2, n_heads=2,
    n_kv_heads=1, head_dim=8, linear_n_heads=2, linear_n_key_heads=1, linear_head_dim=8,
    linear_key_head_dim=8, layer_types=("linear_attention", "full_attention"),
)  # fmt: skip


class Counter(nn.Module):
    """After token n comes n + 1, up to 9 and then 0; without a cache."""

    def forward(self, idx):
        return nn.functional.one_hot((idx + 1) % 10, 10).float() * 20


PROMPT = [1, 5, 2, 8, 1, 5, 2]


# ------------------------------------------------------------------------------------- lookup
@pytest.mark.parametrize(("ids", "ngram", "n", "expected"), [
    ([1, 2, 3, 4, 1, 2], 3, 2, [3, 4]),
    ([7, 2, 9, 1, 2, 5, 7, 2], 3, 1, [9]),  # (7, 2) counts before the later (2)
    ([7, 2, 9, 1, 2, 5, 7, 2], 1, 1, [5]),  # of one token, the latest place
    ([1, 2, 1, 2], 3, 5, [1, 2, 1, 2, 1]),  # runs past the end of the text
    ([1, 2, 3], 3, 2, []),
    ([4], 3, 2, []),
])  # fmt: skip
def test_lookup_proposes_what_followed(ids, ngram, n, expected):
    whole, by_token = Lookup(ngram), Lookup(ngram)
    whole.extend(ids)
    for token in ids:
        by_token.extend([token])
    assert whole.follow(n) == by_token.follow(n) == expected


# ------------------------------------------------------------------------------------- greedy
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("draft", ["lookup", "other", "itself", "windowed"])
@pytest.mark.parametrize("make", [gpt, windowed, hybrid])
@pytest.mark.suite_cases(12)
def test_greedy_is_that_without_drafts(make, draft, k):
    model = make()
    draft = {"lookup": "lookup", "other": gpt(8), "itself": gpt(), "windowed": windowed(9)}[draft]
    counts = DraftStatistics()
    expected = generate(model, PROMPT, 25).tolist()
    ways = [{}, {"prefill_chunk": 3}] + ([{"use_cache": False}] if k == 2 else [])
    for options in ways:
        made = generate(
            model, PROMPT, 25, draft=draft, draft_tokens=k, draft_statistics=counts, **options
        )
        assert made.tolist() == expected
    assert 0 <= counts.accepted <= counts.proposed <= k * counts.drafts
    assert counts.calls + counts.accepted == len(ways) * 25


def test_a_draft_model_that_agrees_saves_calls():
    counts = DraftStatistics()
    generate(gpt(), PROMPT, 26, draft=gpt(), draft_tokens=4, draft_statistics=counts)
    assert (counts.calls, counts.drafts, counts.proposed, counts.accepted) == (6, 5, 20, 20)
    assert counts.accepted_per_draft == 4.0
    assert str(counts) == ("20 of 20 drafted tokens accepted, 4.00 per draft; 6 calls of the model")
    assert DraftStatistics().accepted_per_draft == 0.0


def test_lookup_saves_calls_where_a_text_repeats_itself():
    counts = DraftStatistics()
    made = generate(
        Counter(), list(range(10)), 21, draft="lookup", draft_tokens=4, draft_statistics=counts
    )
    assert made.tolist() == [n % 10 for n in range(31)]
    assert (counts.calls, counts.accepted) == (5, 16)


@pytest.mark.parametrize("draft", ["lookup", "model"])
def test_greedy_past_the_context_penalty_and_log_probabilities(draft):
    model = gpt(context=12)
    draft = draft if draft == "lookup" else gpt(8, context=9)
    options = dict(repetition_penalty=1.3, return_logprobs=True)
    expected = generate(model, PROMPT, 20, **options)
    made = generate(model, PROMPT, 20, draft=draft, draft_tokens=3, **options)
    assert made.ids.tolist() == expected.ids.tolist()
    assert made.lengths.tolist() == expected.lengths.tolist()
    np.testing.assert_allclose(made.logprobs.numpy(), expected.logprobs.numpy(), atol=1e-5)


def test_stop_tokens_end_the_text_within_a_draft():
    made = generate(Counter(), list(range(10)), 30, draft="lookup", stop_tokens=7)
    assert made.tolist() == [*range(10), *range(7)]
    assert generate(Counter(), [3], 0, draft="lookup").tolist() == [3]


def test_steps_and_text_come_one_token_at_a_time():
    model, tokenizer = gpt(), CharTokenizer("abcdefghijklm")
    steps = [int(ids.item()) for ids in generate_steps(model, PROMPT, 9, draft="lookup")]
    assert PROMPT + steps == generate(model, PROMPT, 9).tolist()
    expected = list(stream_text(model, PROMPT, 9, tokenizer=tokenizer))
    assert list(stream_text(model, PROMPT, 9, tokenizer=tokenizer, draft=gpt(8))) == expected


# -------------------------------------------------------------------------------------- drawn
class Table(nn.Module):
    """The logits of the next token depend on the last token alone: a table (V, V)."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, idx):
        return self.table[idx]


@pytest.mark.parametrize(("kind", "options"), [
    ("lookup", dict(temperature=0.8)),
    ("lookup", dict(temperature=1.0, min_p=0.2, repetition_penalty=1.5)),
    ("model", dict(temperature=1.0)),
    ("model", dict(temperature=1.3, top_k=3, top_p=0.9)),
])  # fmt: skip
def test_drawn_tokens_have_the_models_distribution(kind, options):
    """Chi-squared over all texts of three new tokens: the first, a drafted one, the one after."""
    V, rounds = 4, 700
    table = tg.tensor(np.random.default_rng(1).standard_normal((V, V)).astype(np.float32))
    model, prompt, sampling = Table(table), [0, 1, 2, 3, 0], Sampling(**options)
    draft = kind if kind == "lookup" else gpt(8, V=V)
    expected = np.zeros((V, V, V))
    for a in range(V):
        for b in range(V):
            p = 1.0
            text = list(prompt)
            for token in (a, b):
                idx = tg.tensor([text])
                p *= distribution(table[idx[:, -1]], idx, sampling)[0, token].item()
                text.append(token)
            idx = tg.tensor([text])
            expected[a, b] = p * distribution(table[idx[:, -1]], idx, sampling)[0].numpy()
    assert abs(expected.sum() - 1) < 1e-5
    seen, counts = np.zeros((V, V, V)), DraftStatistics()
    generator = tg.Generator().manual_seed(11)
    for _ in range(rounds):
        made = generate(
            model, prompt, 3, sampling=sampling, draft=draft, draft_tokens=2, generator=generator,
            draft_statistics=counts,
        )  # fmt: skip
        seen[tuple(made.tolist()[-3:])] += 1
    assert seen[expected < 1e-9].sum() == 0  # filtered tokens never come
    assert 0.1 * counts.proposed < counts.accepted < 0.9 * counts.proposed
    few = expected * rounds < 5
    cells = np.append(expected[~few], expected[few].sum()) * rounds
    observed = np.append(seen[~few], seen[few].sum())
    cells, observed = cells[cells > 0], observed[cells > 0]
    freedom = len(cells) - 1
    chi = ((observed - cells) ** 2 / cells).sum()
    assert chi < freedom + 3.5 * (2 * freedom) ** 0.5, (chi, freedom)  # 3.5 standard deviations


# ------------------------------------------------------------------------------------ refused
@pytest.mark.parametrize(("options", "error", "match"), [
    (dict(draft="look"), ValueError, 'draft must be "lookup" or a language model, got \'look\''),
    (dict(draft=7), TypeError, 'draft must be "lookup" or a language model, got 7'),
    (dict(draft="lookup", draft_tokens=0), ValueError, "draft_tokens must be .* at least 1, got 0"),
    (dict(draft="lookup", draft_ngram=1.5), ValueError, "draft_ngram must be an integer"),
    (dict(draft="lookup", draft_statistics=3), TypeError, "must be a DraftStatistics, got 3"),
    (dict(draft="lookup", num_beams=2), ValueError, "beam search takes no drafts"),
    (dict(draft="lookup", draft_token=2), TypeError, "did you mean 'draft_tokens'"),
])  # fmt: skip
def test_wrong_options(options, error, match):
    with pytest.raises(error, match=match):
        generate(gpt(), PROMPT, 3, **options)


def test_refuses_a_batch_another_vocabulary_and_a_recurrent_draft_model():
    with pytest.raises(ValueError, match="drafts go with one prompt at a time, got 2"):
        generate(gpt(), [PROMPT, PROMPT], 3, draft="lookup")
    with pytest.raises(ValueError, match="vocabulary of 12 tokens, the model one of 13"):
        generate(gpt(), PROMPT, 3, draft=gpt(V=12))
    with pytest.raises(ValueError, match="recurrent cache goes back to tokens of its last call"):
        generate(gpt(), PROMPT, 3, draft=hybrid())
    assert Drafts().draft is None
