"""Masked language modelling: what is hidden, exact resumes, pretraining of a BERT, fill-mask."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.data.masking import (
    MaskedBatches,
    MaskedWindows,
    Masking,
    mask_tokens,
    word_starts,
)
from tinygrad_llm.generation import fill_mask
from tinygrad_llm.models import BertForMaskedLM, registry
from tinygrad_llm.random import Generator
from tinygrad_llm.text import BPETokenizer, CharTokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS
from tinygrad_llm.text.words import word_tables
from tinygrad_llm.training import find_checkpoint
from tinygrad_llm.training.masked import masking_for

V, MASK, CLS, SEP = 50, 4, 2, 3
IDS = np.random.default_rng(0).integers(5, V, (64, 128))
NONE = np.zeros(IDS.shape, bool)


def masking(**changes):
    return Masking(MASK, CLS, SEP, V, **changes)


def masked(seed=1, special=NONE, starts=None, **changes):
    generator = Generator().manual_seed(seed)
    return mask_tokens(IDS, special, masking(**changes), generator, starts)


# ---------------------------------------------------------------------------------- the choice
def test_the_shares():
    """Of N = 8,192 tokens 15 % are chosen, of these 80 % hidden, 10 % random, 10 % as they are."""
    inputs, labels = masked()
    chosen = labels != -100
    n = chosen.sum()
    assert abs(n / IDS.size - 0.15) < 4 * np.sqrt(0.15 * 0.85 / IDS.size)
    assert np.array_equal(labels[chosen], IDS[chosen])
    assert np.array_equal(inputs[~chosen], IDS[~chosen])
    hidden, kept = (inputs == MASK)[chosen].mean(), (inputs == IDS)[chosen].mean()
    for share, expected in ((hidden, 0.8), (kept, 0.1 + 0.1 / V)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_special_tokens_are_never_chosen():
    special = IDS % 3 == 0
    _, labels = masked(special=special, probability=1.0)
    assert np.array_equal(labels != -100, ~special)


def test_whole_words_by_hand():
    """Words of 1, 2 and 3 tokens: all tokens of a word are chosen, or none."""
    starts = np.tile([True, True, False, True, False, False, True, False], 16)
    starts = np.broadcast_to(starts, IDS.shape)
    _, labels = masked(starts=starts)
    chosen = labels != -100
    words = np.cumsum(starts, axis=1) - 1
    for row, word in zip(chosen, words, strict=True):
        sums = np.bincount(word, row)
        assert set(np.unique(sums / np.bincount(word))) <= {0.0, 1.0}
    assert abs(chosen[starts].mean() - 0.15) < 0.02


def test_which_tokens_begin_words():
    tokenizer = BPETokenizer.train("walking, walked: 12 talks " * 9, 266, ENCODER_TOKENS)
    begins, ends = word_tables(tokenizer)
    ids = np.array([tokenizer.encode(" walking, talks", add_special_tokens=False)])
    starts = word_starts(ids, begins, ends)
    parts, last = [], b""
    for i, start in zip(ids[0], starts[0], strict=True):
        if start and last:
            parts.append(last)
            last = b""
        last += tokenizer.token_bytes(int(i))
    words = [part.strip() for part in [*parts, last] if part.strip()]
    assert words == [b"walking", b",", b"talks"]
    assert not begins[tokenizer.mask_token] and not ends[tokenizer.mask_token]


def test_impossible_shares():
    with pytest.raises(ValueError, match="probability must be above 0 and at most 1, got 0"):
        masking(probability=0)
    with pytest.raises(ValueError, match="at most 1 together, got 0.8 and 0.3"):
        masking(random_share=0.3)


# ----------------------------------------------------------------------------------- the batches
def test_batches_are_new_in_every_epoch_and_continue():
    tokens = IDS.reshape(-1)[:300]
    stream = MaskedBatches(tokens, 4, 12, masking(), seed=7)
    stream = MaskedBatches(tokens, 4, 12, masking(), seed=7)
    batches, states = [], []
    iterator = iter(stream)
    for _ in range(2 * len(stream) + 3):
        states.append(stream.state_dict())
        batches.append([t.array.copy() for t in next(iterator)])
    for inputs, labels in batches:
        assert inputs.shape == labels.shape == (4, 12)
        assert (inputs[:, 0] == CLS).all() and (inputs[:, -1] == SEP).all()
        assert (labels[:, [0, -1]] == -100).all() and (labels != -100).any()
    assert len({(labels != -100).tobytes() for _, labels in batches}) == len(batches)
    later = MaskedBatches(tokens, 4, 12, masking(), seed=7)
    later.load_state_dict(states[5])
    for expected, batch in zip(batches[5:], later, strict=False):
        assert all(np.array_equal(e, t.array) for e, t in zip(expected, batch, strict=True))


def test_validation_reads_every_token_once_and_is_always_the_same():
    tokens = IDS.reshape(-1)[:97]
    windows = MaskedWindows(tokens, 3, 12, masking(mask_share=0.0, random_share=0.0))
    rows = [inputs.array[:, 1:-1].reshape(-1) for inputs, _ in windows]
    assert np.array_equal(np.concatenate(rows), tokens)
    again = MaskedWindows(tokens, 3, 12, masking(mask_share=0.0, random_share=0.0))
    for one, two in zip(windows, again, strict=True):
        assert np.array_equal(one[1].array, two[1].array)
    with pytest.raises(IndexError):
        windows[len(windows)]
    with pytest.raises(ValueError, match="context_length must be at least 3"):
        MaskedWindows(tokens, 3, 2, masking())


# ---------------------------------------------------------------------------------- a whole run
TEXT = "\n".join(f"The {a} sat on the {b}." for a in ("cat", "dog", "hen") for b in
                 ("mat", "bed", "sofa", "roof")) * 12  # fmt: skip
TINY = ["--model", "bert", "--preset", "tiny", "--vocab-size", 280, "--context-length", 16,
        "--emb-dim", 16, "--n-layers", 1, "--n-heads", 2, "--batch-size", 8, "--plain"]  # fmt: skip


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


@pytest.mark.slow
@pytest.mark.ci
def test_a_run_that_is_resumed_ends_as_one_that_never_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT)
    assert run("pretrain", "t.txt", *TINY, "--steps", 12, "--out", "runs/whole") == 0
    out = capsys.readouterr().out
    assert "nats per hidden token" in out and "fill-mask runs/whole" in out and "[MASK]" in out
    assert run("pretrain", "--config", "runs/whole/config.json", "--steps", 12, "--out",
               "runs/part", "--checkpoint-every", 5) == 0  # fmt: skip
    for checkpoint in Path("runs/part/checkpoints").glob("*12"):
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    assert run("pretrain", "--resume", "runs/part") == 0
    assert "resuming     runs/part/checkpoints/step-00000010" in capsys.readouterr().out
    whole, part = (find_checkpoint(f"runs/{name}").build_model() for name in ("whole", "part"))
    assert isinstance(whole, BertForMaskedLM)
    for p, q in zip(whole.parameters(), part.parameters(), strict=True):
        assert np.array_equal(p.array, q.array)
    assert run("fill-mask", "runs/whole", "The [MASK] sat on the [MASK].", "--top-k", 2) == 0
    out = capsys.readouterr().out
    assert "mask 1" in out and "mask 2" in out and len(out.splitlines()) == 7
    assert run("generate", "runs/whole") == 2
    assert "fills masks and writes no text" in capsys.readouterr().err
    assert json.loads(Path("runs/whole/config.json").read_text())["mask_probability"] == 0.15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "gpt", "--mask-probability", 0.3], "--mask-probability is a choice of bert"),
        (["--model", "gpt", "--no-whole-words"], "--whole-words is a choice of bert"),
        (["--model", "bert", "--context-length", 2], "context_length must be at least 3"),
        (["--model", "bort"], "there is no model bort: did you mean"),
        (["--model", "bert", "--qkv-bias"], "--qkv-bias is a choice of gpt only"),
    ],
)
def test_options_that_do_not_fit(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT)
    assert run("pretrain", "t.txt", "--vocab-size", 280, "--steps", 2, *arguments) == 2
    assert message.partition(":")[0] in capsys.readouterr().err


# ------------------------------------------------------------------------------------ fill-mask
def bert(tokenizer, **changes):
    config = registry.masked()["bert"].presets["tiny"].resized(
        vocab_size=tokenizer.vocab_size, context_length=12, emb_dim=16, n_layers=1, **changes
    )  # fmt: skip
    torch.manual_seed(2)
    return BertForMaskedLM(config).eval()


def test_fill_mask_is_the_softmax_at_the_mask():
    tokenizer = CharTokenizer.train("abcdef ", ENCODER_TOKENS)
    model = bert(tokenizer)
    fills = fill_mask(model, tokenizer, "a[MASK]c [MASK]", 3)
    assert [len(each) for each in fills] == [3, 3]
    ids = tokenizer.encode("a[MASK]c [MASK]", allowed_special="all")
    shares = torch.softmax(model(torch.tensor([ids])), -1).array[0]
    places = [i for i, token in enumerate(ids) if token == tokenizer.mask_token]
    for each, place in zip(fills, places, strict=True):
        order = np.argsort(-shares[place])[:3]
        assert [fill.token_id for fill in each] == order.tolist()
        assert np.allclose([fill.probability for fill in each], shares[place][order])
    assert fills[1][0].text == "a[MASK]c " + fills[1][0].token.lstrip(" ")


def test_what_fill_mask_refuses():
    tokenizer = CharTokenizer.train("abc", ENCODER_TOKENS)
    model = bert(tokenizer)
    with pytest.raises(ValueError, match=r"the text has no \[MASK\]"):
        fill_mask(model, tokenizer, "abc")
    with pytest.raises(ValueError, match="top_k must be from 1 to 8, got 9"):
        fill_mask(model, tokenizer, "[MASK]", 9)
    with pytest.raises(ValueError, match="longer than the context_length of 12"):
        fill_mask(model, tokenizer, "[MASK]" * 11)
    with pytest.raises(ValueError, match=r"has no \[MASK\] or <mask>"):
        fill_mask(model, CharTokenizer.train("abc"), "[MASK]")
    with pytest.raises(TypeError, match="needs a masked language model"):
        fill_mask(torch.nn.Linear(2, 2), tokenizer, "[MASK]")
    with pytest.raises(ValueError, match="lacks the special tokens"):
        masking_for(CharTokenizer.train("abc"))


def test_narrow_matrices_are_drawn_wider(tmp_path, monkeypatch, capsys):
    """0.02·sqrt(768 / width), with which a product is as large as in a BERT of 768 channels."""
    width = 32
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT)
    sizes = ["--vocab-size", 280, "--emb-dim", width, "--n-heads", 2, "--n-layers", 1]
    assert run("pretrain", "t.txt", "--model", "bert", *sizes, "--context-length", 16, "--steps",
               1, "--lr", 1e-9, "--out", "r") == 0  # fmt: skip
    model = find_checkpoint("r").build_model()
    weights = [p.array for name, p in model.named_parameters() if p.ndim == 2 and "emb" in name]
    drawn = np.concatenate([w.ravel() for w in weights])
    assert abs(drawn.std() / (0.02 * math.sqrt(768 / width)) - 1) < 0.1
