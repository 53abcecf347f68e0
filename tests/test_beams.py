"""Beam search: against an exhaustive search, against itself in batches, and what ends it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT, GPTConfig

V, STEPS = 4, 4


@pytest.fixture(scope="module", params=range(4))
def model(request):
    tg.manual_seed(request.param)
    gpt = GPT(GPTConfig(vocab_size=V, context_length=9, emb_dim=8, n_heads=2, n_layers=1))
    for i, p in enumerate(gpt.parameters()):
        p.array[...] += 0.5 * np.random.default_rng((request.param, i)).standard_normal(p.shape)
    return gpt.eval()


PROMPT = [1, 0, 2]


@pytest.fixture(scope="module")
def logprobs(model):
    """The log-probability of each token of every text of at most STEPS tokens after PROMPT.

    Texts of one length are one batch: a forward pass over all of every text.
    """
    of_text = {}
    for n in range(1, STEPS + 1):
        texts = list(itertools.product(range(V), repeat=n))
        with tg.no_grad():
            logits = model(tg.tensor([[*PROMPT, *text] for text in texts]))[:, len(PROMPT) - 1 : -1]
        rows = tg.log_softmax(logits.double(), -1)  # (texts, n, V)
        chosen = rows.gather(2, tg.tensor(texts)[..., None])[..., 0].numpy()  # (texts, n)
        of_text |= zip(texts, chosen, strict=True)
    return of_text


def every_text(stops):
    """Every text of at most STEPS tokens that ends with a stop token, or has STEPS tokens."""
    for n in range(1, STEPS + 1):
        for text in itertools.product(range(V), repeat=n):
            if not set(text[:-1]) & set(stops) and (text[-1] in stops or n == STEPS):
                yield text


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 0.4, 3.0, -1.0])
@pytest.mark.parametrize("stops", [[], [2], [0, 3]])
def test_enough_beams_are_an_exhaustive_search(model, logprobs, stops, length_penalty, use_cache):
    scores = {
        text: logprobs[text].sum() / len(text) ** length_penalty for text in every_text(stops)
    }
    best = max(scores, key=scores.__getitem__)
    got = generate(
        model, PROMPT, STEPS, num_beams=V**STEPS, length_penalty=length_penalty,
        early_stopping="never", stop_tokens=stops, use_cache=use_cache, return_logprobs=True,
    )  # fmt: skip
    new = got.ids.tolist()[len(PROMPT) :]
    assert new == [t for t in best if t not in stops]
    assert got.lengths.item() == len(new)
    np.testing.assert_allclose(got.logprobs.numpy(), logprobs[best][: len(new)], atol=1e-5)


class Tree(nn.Module):
    """The most likely first token leads to nothing: 1 is likely, but 2 3 is the better text."""

    table = {0: [0.0, 0.5, 0.4, 0.1], 1: [0.25] * 4, 2: [0.0, 0.05, 0.0, 0.95], 3: [0.25] * 4}

    def forward(self, idx):
        rows = tg.tensor([self.table[i] for i in range(4)])
        return (rows + 1e-9).log()[idx]  # (B, T) -> (B, T, 4)


def test_beams_find_what_greedy_misses():
    assert generate(Tree(), [0], 2).tolist()[1] == 1
    got = generate(Tree(), [0], 2, num_beams=2, return_logprobs=True)
    assert got.ids.tolist() == [0, 2, 3]
    assert got.logprobs.exp().tolist() == pytest.approx([0.4, 0.95], rel=1e-5)


def test_the_length_penalty():
    """A stop token after one token with 0.4, or two tokens of 0.6 · 0.7 = 0.42 and more."""

    class Short(nn.Module):
        table = [[0.0, 0.6, 0.0, 0.4], [0.3, 0.0, 0.65, 0.05], [0.0, 0.0, 0.0, 1.0], [1.0, 0, 0, 0]]

        def forward(self, idx):
            return (tg.tensor(self.table) + 1e-9).log()[idx]

    def text(penalty):
        options = dict(num_beams=3, stop_tokens=3, early_stopping="never")
        return generate(Short(), [0], 3, length_penalty=penalty, **options).tolist()

    # "3" scores ln 0.4 = −0.92; "1 2 3" scores ln 0.39 = −0.94, per token −0.31
    assert text(0.0) == [0]
    assert text(1.0) == [0, 1, 2]


def test_stop_tokens_do_not_crowd_out_the_beams():
    """Both beams continue, although three stop tokens are more likely than what continues them."""

    class Stops(nn.Module):
        table = [[0.3, 0.3, 0.3, 0.06, 0.04]] * 4 + [[0.0, 0.0, 0.0, 1.0, 0.0]]

        def forward(self, idx):
            return (tg.tensor(self.table) + 1e-9).log()[idx]

    # "0" scores −1.2, "3 0" −4.0 / 2⁵, and "4 3", whose beginning is the fifth best, −3.2 / 2⁵
    options = dict(num_beams=2, stop_tokens=[0, 1, 2], early_stopping="never", length_penalty=5)
    assert generate(Stops(), [3], 2, **options).tolist() == [3, 4, 3]


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_each_prompt_of_a_batch_equals_itself_alone(model, early_stopping, use_cache):
    """Of unequal length, past the context, with rows that end early."""
    prompts = [[1], [3, 2, 1, 0, 3, 2, 1, 0, 3, 1], [0, 0, 1, 2]]
    options = dict(
        num_beams=3, early_stopping=early_stopping, stop_tokens=[2], use_cache=use_cache,
        repetition_penalty=1.2, return_logprobs=True,
    )  # fmt: skip
    together = generate(model, prompts, 7, **options)
    for b, prompt in enumerate(prompts):
        alone = generate(model, prompt, 7, **options)
        n = alone.lengths.item()
        assert together.lengths[b].item() == n
        assert together.ids[b, 10 - len(prompt) : 10 + n].tolist() == alone.ids.tolist()
        np.testing.assert_allclose(
            together.logprobs[b, :n].numpy(), alone.logprobs.numpy(), atol=1e-5
        )
        after = together.ids[b, 10 + n :].tolist()
        assert set(after) <= {2}  # the stop token fills the row


def test_one_beam_is_greedy(model):
    for stops in ([], [1]):
        greedy = generate(model, [[0, 1], [2, 2]], 6, stop_tokens=stops).tolist()
        got = generate(model, [[0, 1], [2, 2]], 6, stop_tokens=stops, num_beams=1, length_penalty=2)
        assert got.tolist() == greedy


def test_more_beams_than_texts():
    got = generate(Tree(), [[0], [1]], 1, num_beams=9)
    assert got[0].tolist() == [0, 1] and got.shape == (2, 2)
    assert generate(Tree(), [0], 3, num_beams=9, stop_tokens=[0, 1, 2, 3]).tolist() == [0]
    assert generate(Tree(), [[0], [1]], 0, num_beams=3).tolist() == [[0], [1]]
    empty = generate(Tree(), [[0], [1]], 0, num_beams=3, return_logprobs=True)
    assert empty.logprobs.shape == (2, 0) and empty.lengths.tolist() == [0, 0]


def test_the_cache_computes_the_prompt_once():
    gpt = GPT(GPTConfig(vocab_size=11, context_length=12, emb_dim=8, n_heads=2, n_layers=1))
    shapes = []
    with gpt.tok_emb.register_forward_hook(lambda m, a, out: shapes.append(tuple(out.shape[:2]))):
        generate(gpt, [[1, 2, 3], [4, 5, 6]], 4, num_beams=5)
    assert shapes == [(2, 3), (10, 1), (10, 1), (10, 1)]


def test_on_a_device(device):
    tg.manual_seed(0)
    gpt = GPT(GPTConfig(vocab_size=11, context_length=12, emb_dim=8, n_heads=2, n_layers=1))
    prompts = [[1, 2], [3], [4, 5, 6]]
    options = dict(num_beams=3, stop_tokens=7, repetition_penalty=1.3, return_logprobs=True)
    expected = generate(gpt, prompts, 5, **options)
    got = generate(gpt.to(device), prompts, 5, **options)
    assert got.ids.device.type == got.logprobs.device.type == got.lengths.device.type == device
    assert got.ids.cpu().tolist() == expected.ids.tolist()
    np.testing.assert_allclose(got.logprobs.cpu().numpy(), expected.logprobs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}, {"seed": 1},
        {"generator": tg.Generator()},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_nothing_is_drawn(options):
    with pytest.raises(ValueError, match="beam search draws nothing: num_beams > 1 goes without"):
        generate(Tree(), [0], 2, num_beams=2, **options)
