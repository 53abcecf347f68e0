"""The filters, the choice of tokens and beam search, against transformers."""

from __future__ import annotations

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
from transformers.generation import logits_process  # noqa: E402

torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.generation import (  # noqa: E402
    generate,
    min_p_filter,
    next_token,
    repetition_filter,
    top_k_filter,
    top_p_filter,
)
from tinygrad_llm.models import load_gpt2  # noqa: E402

INF = float("inf")
SHAPES = [(1, 1), (1, 7), (3, 2), (5, 31), (2, 257)]


def rows(shape, seed, dtype="float32", masked=False):
    """Random logits; with masked, some are −∞, but not the first of a row."""
    rng = np.random.default_rng(seed)
    logits = (3.0 * rng.standard_normal(shape)).astype(dtype)
    if masked:
        logits[:, 1:][rng.random((shape[0], shape[1] - 1)) < 0.3] = -INF
    return logits


def same(ours, theirs):
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert str(ours.dtype) == str(theirs.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_filters(shape, masked, dtype):
    logits = rows(shape, 1, dtype, masked)
    ours, theirs = tg.from_numpy(logits), torch.from_numpy(logits)
    for k in (1, 2, 5, 300):
        same(top_k_filter(ours, k), logits_process.TopKLogitsWarper(k)(None, theirs))
    for p in (0.0, 0.013, 0.1, 0.3, 0.77, 1.0):
        same(min_p_filter(ours, p), logits_process.MinPLogitsWarper(p)(None, theirs))
    for p in (0.011, 0.1, 0.52, 0.9, 0.99):
        same(top_p_filter(ours, p), logits_process.TopPLogitsWarper(p)(None, theirs))
    ids = np.random.default_rng(2).integers(0, shape[1], (shape[0], 9))
    ids[:, 3:] = ids[:, :1]  # a token that is there several times counts once
    for penalty in (0.4, 1.0, 1.3, 7.0):
        expected = logits_process.RepetitionPenaltyLogitsProcessor(penalty)(
            torch.from_numpy(ids), theirs
        )
        same(repetition_filter(ours, tg.from_numpy(ids), penalty), expected)


def test_filters_with_ties():
    logits = np.array([[1, 2, 2, 2, 0], [0, 0, 0, 0, 0], [-INF, 1, 1, -INF, 1]], np.float32)
    ours, theirs = tg.from_numpy(logits), torch.from_numpy(logits)
    for k in (1, 2, 3, 4):
        same(top_k_filter(ours, k), logits_process.TopKLogitsWarper(k)(None, theirs))
    for p in (0.05, 0.9, 1.0):  # 1.0: all that are as likely as the most likely one
        same(min_p_filter(ours, p), logits_process.MinPLogitsWarper(p)(None, theirs))
    # which of several equal logits stay is not defined, how many do is
    for p in (0.1, 0.3, 0.55, 0.85):
        kept = top_p_filter(ours, p).sort(-1)[0]
        same(kept, logits_process.TopPLogitsWarper(p)(None, theirs).sort(-1)[0])


def test_penalty_of_zero_and_of_masked_logits():
    logits = np.array([[0.0, -0.0, -INF, INF, -3.0]], np.float32)
    ids = np.array([[0, 1, 2, 3, 4]])
    expected = logits_process.RepetitionPenaltyLogitsProcessor(1.7)(
        torch.from_numpy(ids), torch.from_numpy(logits)
    )
    same(repetition_filter(tg.from_numpy(logits), tg.from_numpy(ids), 1.7), expected)


OPTIONS = [
    dict(temperature=0.7), dict(temperature=1.0, top_k=5), dict(temperature=1.9, top_p=0.8),
    dict(temperature=1.3, min_p=0.07), dict(temperature=1.1, top_k=20, top_p=0.9, min_p=0.02),
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_the_chain_draws_what_theirs_draws(options):
    """Temperature, top_k, top_p, min_p in their order, and the stream of torch.multinomial."""
    logits = rows((40, 61), 5)
    names = dict(top_k="TopK", top_p="TopP", min_p="MinP", temperature="Temperature")
    scores = torch.from_numpy(logits)
    for name, value in options.items():
        scores = getattr(logits_process, names[name] + "LogitsWarper")(value)(None, scores)
    torch.manual_seed(11)
    expected = torch.multinomial(torch.softmax(scores, -1), 1)
    generator = tg.Generator().manual_seed(11)
    options = {"temperature": 1.0, **options}
    got = next_token(tg.from_numpy(logits), generator=generator, **options)
    assert got.tolist() == expected.tolist()


# ------------------------------------------------------------------------------------ whole texts
@pytest.fixture(scope="module", params=[0, 1])
def both(request, tmp_path_factory):
    """A random GPT-2 of transformers whose logits are spread, and ours with its weights."""
    torch.manual_seed(request.param)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=19, n_positions=32, n_embd=24, n_head=3, n_layer=2, bos_token_id=0,
            eos_token_id=None,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.25 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("gpt2")
    theirs.save_pretrained(folder)
    return load_gpt2(folder), theirs


START = np.random.default_rng(3).integers(0, 19, (3, 4))
BEAMS = [
    dict(num_beams=2),
    dict(num_beams=5),
    dict(num_beams=3, length_penalty=0.0),
    dict(num_beams=3, length_penalty=2.5),
    dict(num_beams=3, length_penalty=-1.0),
    dict(num_beams=4, early_stopping=True),
    dict(num_beams=4, early_stopping="never"),
    dict(num_beams=3, early_stopping="never", length_penalty=0.0),
    dict(num_beams=3, repetition_penalty=1.4),
    dict(num_beams=3, repetition_penalty=0.8, early_stopping=True),
]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("stops", [[], [7], [2, 5, 11]])
@pytest.mark.parametrize("options", BEAMS, ids=str)
def test_beam_search(both, options, stops, use_cache):
    ours, theirs = both
    expected = theirs.generate(
        torch.from_numpy(START), attention_mask=torch.ones(START.shape, dtype=torch.int64),
        max_new_tokens=12, do_sample=False, eos_token_id=stops or None,
        pad_token_id=stops[0] if stops else 0, **options,
    )  # fmt: skip
    got = generate(ours, START, 12, stop_tokens=stops, use_cache=use_cache, **options).tolist()
    for row, other in zip(got, expected.tolist(), strict=True):
        assert text_of(row, stops) == text_of(other, stops)


def text_of(row, stops):
    """The new tokens before the first stop token."""
    new = row[START.shape[1] :]
    return new[: next((i for i, t in enumerate(new) if t in stops), len(new))]


@pytest.mark.parametrize("seed", [0, 1])
def test_sampling_with_everything(both, seed):
    ours, theirs = both
    options = dict(temperature=1.3, top_k=12, top_p=0.93, min_p=0.01, repetition_penalty=1.2)
    torch.manual_seed(seed)
    expected = theirs.generate(
        torch.from_numpy(START), attention_mask=torch.ones(START.shape, dtype=torch.int64),
        max_new_tokens=15, do_sample=True, eos_token_id=None, pad_token_id=0, **options,
    )  # fmt: skip
    got = generate(ours, START, 15, seed=seed, **options)
    assert got.tolist() == expected.tolist()


def test_unequal_prompts(both):
    """Left padding with an attention mask on their side."""
    ours, theirs = both
    prompts = [[4, 8, 15], [16], [1, 2, 3, 4, 5, 6, 7]]
    ids = torch.zeros(3, 7, dtype=torch.int64)
    mask = torch.zeros(3, 7, dtype=torch.int64)
    for i, prompt in enumerate(prompts):
        ids[i, 7 - len(prompt) :] = torch.tensor(prompt)
        mask[i, 7 - len(prompt) :] = 1
    for options in ({}, {"num_beams": 3}):
        expected = theirs.generate(
            ids, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None,
            pad_token_id=0, **options,
        )  # fmt: skip
        assert generate(ours, prompts, 12, **options).tolist() == expected.tolist()


def test_logprobs(both):
    ours, theirs = both
    got = generate(ours, START, 10, temperature=1.5, seed=3, return_logprobs=True)
    with torch.no_grad():
        logits = theirs(torch.from_numpy(got.ids.numpy())).logits[:, 3:-1]  # (B, new, V)
    expected = torch.log_softmax(logits, -1).gather(
        -1, torch.from_numpy(got.ids.numpy())[:, 4:, None]
    )
    np.testing.assert_allclose(got.logprobs.numpy(), expected[..., 0].numpy(), rtol=1e-5, atol=1e-5)
