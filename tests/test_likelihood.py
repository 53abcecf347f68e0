"""How likely a model finds a text: windows, bytes, continuations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm.evaluation import choose, continuation_scores, measure_ids, measure_text, scoring
from tinygrad_llm.evaluation import likelihood as likelihood_module
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

CONTEXT = 7
TEXT = "あいうabc abc."
TOKENIZER = CharTokenizer.train(TEXT)


@pytest.fixture(scope="module")
def model():
    tg.manual_seed(4)
    made = GPT(GPTConfig(vocab_size=TOKENIZER.vocab_size, context_length=CONTEXT, emb_dim=8,
                         n_heads=2, n_layers=2, drop_rate=0.5))  # fmt: skip
    for p in made.parameters():
        p.data = p.data * 6  # so that tokens differ in their probabilities
    return made


def log_p(model, ids):
    """ln p(ids[-1] | ids[:-1]) by the whole logits."""
    model.eval()
    with tg.no_grad():
        logits = model(tg.tensor([ids[:-1]])).double()[0, -1]
    return float(tg.log_softmax(logits, -1)[ids[-1]].item())


@settings(max_examples=20)
@given(st.integers(2, 25), st.integers(1, CONTEXT), st.integers(1, CONTEXT), st.integers(1, 4))
def test_each_token_is_predicted_once_from_what_its_window_shows(model, n, window, stride, batch):
    stride = min(stride, window)
    ids = np.random.default_rng(n).integers(0, TOKENIZER.vocab_size, n).tolist()
    measured = measure_ids(model, ids, 10, window=window, stride=stride, batch_size=batch)
    total, begin, done = 0.0, 0, 1
    while done < n:
        for i in range(done, min(begin + window, n - 1) + 1):
            total += log_p(model, ids[begin : i + 1])
        done, begin = min(begin + window, n - 1) + 1, begin + stride
    assert measured.n_tokens == n - 1
    assert measured.nats == pytest.approx(-total, rel=1e-4)
    assert measured.perplexity == pytest.approx(math.exp(measured.loss))
    assert measured.bits_per_byte == pytest.approx(measured.nats / math.log(2) / 10)


def test_bytes_are_those_of_the_text(model):
    assert TOKENIZER.eot_token is None or TOKENIZER.eot_token >= 0
    measured = measure_text(model, TOKENIZER, TEXT)
    first = 0 if likelihood_module.first_token(TOKENIZER) is not None else len("あ".encode())
    assert measured.n_bytes == len(TEXT.encode()) - first
    assert model.training is False  # as before: `log_p` left it so
    model.train()
    assert measure_text(model, TOKENIZER, TEXT) == measured and model.training


def test_continuations_are_sums_of_their_tokens(model, monkeypatch):
    pairs = [("ab", "c"), ("あ", "いう"), ("abc ", "abc"), ("a" * 20, "bc"), ("ab", "c")]
    scores = continuation_scores(model, TOKENIZER, pairs, batch_size=2)
    begin = likelihood_module.first_token(TOKENIZER)
    start = [] if begin is None else [begin]
    for (context, continuation), score in zip(pairs, scores, strict=True):
        kept = context.rstrip()
        n = len(context) - len(kept) + len(continuation)
        ids = [*start, *TOKENIZER.encode(context + continuation)]
        expected = sum(
            log_p(model, ids[max(0, len(ids) - 1 - CONTEXT) : i + 1])
            for i in range(len(ids) - n, len(ids))
        )
        assert score.n_tokens == n and score.log_prob == pytest.approx(expected, rel=1e-4)
    assert scores[0].log_prob == pytest.approx(scores[4].log_prob, rel=1e-5)
    monkeypatch.setattr(scoring, "SCORED", 1)
    again = continuation_scores(model, TOKENIZER, pairs, batch_size=2)
    assert [s.log_prob for s in again] == pytest.approx([s.log_prob for s in scores], rel=1e-5)


def test_the_likeliest_continuation_and_what_greedy_decoding_writes(model):
    with tg.no_grad():
        ids = TOKENIZER.encode("ab")
        begin = likelihood_module.first_token(TOKENIZER)
        likeliest = int(
            model.eval()(tg.tensor([ids if begin is None else [begin, *ids]]))[0, -1]
            .argmax()
            .item()
        )
    choices = [c for c in "abc. " if TOKENIZER.encode(c) != [likeliest]]
    word = TOKENIZER.decode([likeliest])
    (score,) = continuation_scores(model, TOKENIZER, [("ab", word)])
    assert score.is_greedy
    assert choose(model, TOKENIZER, "ab", [*choices, word]) == len(choices)
    assert choose(model, TOKENIZER, "ab", ["a", "a", "aaa"], per_byte=True) in (0, 2)


def test_what_cannot_be_measured(model):
    with pytest.raises(ValueError, match="empty"):
        measure_text(model, TOKENIZER, "")
    with pytest.raises(ValueError, match="window must be from 1 to 7"):
        measure_text(model, TOKENIZER, TEXT, window=8)
    with pytest.raises(ValueError, match="stride must be"):
        measure_text(model, TOKENIZER, TEXT, stride=0)
    with pytest.raises(ValueError, match="pair 1: the continuation is empty"):
        continuation_scores(model, TOKENIZER, [("a", "b"), ("a", "")])
    with pytest.raises(ValueError, match="has 8 tokens"):
        continuation_scores(model, TOKENIZER, [("a", "abcabcab")])
    with pytest.raises(ValueError, match="no choices"):
        choose(model, TOKENIZER, "a", [])
    other = CharTokenizer.train("".join(map(chr, range(97, 123))))
    with pytest.raises(ValueError, match="tokens and the model"):
        measure_text(model, other, "abc")
