"""Encoders as classifiers: heads off and on, padding, LoRA, checkpointing, mixed precision."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.finetune import GPTClassifier, TextClassificationDataset, classification_trainer
from tinygrad_llm.finetune.data import text_ids
from tinygrad_llm.layers import lora
from tinygrad_llm.models import (
    Bert,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    registry,
)
from tinygrad_llm.models.encoder import with_head
from tinygrad_llm.testing import assert_close
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS

KINDS = ("bert", "roberta", "distilbert", "modernbert")
SIZES = dict(vocab_size=13, context_length=12, emb_dim=8, n_heads=2, n_layers=2)
PAD = 11
WORDS = ["red blue green " * 4, "one two three four " * 3]


def encoder(name, **changes):
    config = registry.masked()[name].presets["tiny"].resized(**SIZES)
    own = {"pad_token_id": PAD} if name == "roberta" else {}
    return registry.build_from(config.resized(**config.dropout(0.0), **own, **changes)).eval()


def padded(*texts, T=12):
    return torch.tensor([[int(c) for c in t] + [PAD] * (T - len(t)) for t in texts])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("pool", ["first", "last_real", "mean"])
def test_padding_changes_nothing(name, pool):
    model = GPTClassifier(encoder(name), 3, pool, pad_token_id=PAD).eval()
    texts = ["31415", "2", "27182818"]
    together = model(padded(*texts))
    for row, text in zip(together, texts, strict=True):
        alone = model(torch.tensor([[int(c) for c in text]]))[0]
        assert_close(row, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_the_classifier_has_the_body_alone(name):
    base = encoder(name)
    torch.manual_seed(5)
    model = GPTClassifier.from_gpt(base, 3, pad_token_id=PAD, drop_rate=0.5)
    torch.manual_seed(5)
    assert np.array_equal(model.out_head.weight.array, torch.nn.Linear(8, 3).weight.array)
    assert not any(n.startswith(("model.transform", "model.out_head")) for n in model.state_dict())
    assert model.config.pool == "first" and model.config.causal is False
    assert model.config.model.drop_rate == 0.5
    ids = torch.tensor([[1, 2, 3]])
    assert_close(model.eval().model.hidden_states(ids), base.hidden_states(ids))
    again = registry.build(registry.describe(model))
    again.load_state_dict(model.state_dict())
    assert_close(again.eval()(ids), model(ids))


def test_attention_drops_as_much():
    model = GPTClassifier.from_gpt(encoder("bert"), pad_token_id=PAD, drop_rate=0.25)
    assert model.config.model.attention_drop_rate == model.config.model.drop_rate == 0.25


def test_an_encoder_is_not_causal():
    with pytest.raises(ValueError, match="an encoder, whose tokens see the whole text"):
        GPTClassifier(encoder("bert"), causal=True, pad_token_id=PAD)


def test_other_heads_with_the_same_body():
    base = encoder("bert")
    tagger = with_head(base, BertForTokenClassification, n_classes=5)
    assert tagger.config.n_classes == 5 and tagger.classifier.weight.shape == (5, 8)
    ids = torch.tensor([[1, 2, 3]])
    assert_close(tagger.hidden_states(ids), base.hidden_states(ids))
    assert type(tagger.body()) is Bert and type(base.body()) is Bert
    texts = with_head(tagger, BertForSequenceClassification)
    back = with_head(texts, BertForMaskedLM)
    assert back.out_head.weight is back.tok_emb.weight
    assert_close(back.tok_emb.weight, base.tok_emb.weight)
    bare = Bert(base.config)
    assert bare.body() is bare
    with pytest.raises(TypeError, match="BertForTokenClassification has the encoder of a Bert"):
        with_head(encoder("modernbert"), BertForTokenClassification, n_classes=5)


@pytest.mark.parametrize(
    ("name", "how"),
    [*(("bert", how) for how in ("lora", "checkpointing", "accumulation", "freeze")),
     ("modernbert", "lora")],
)  # fmt: skip
@pytest.mark.suite_cases(2)
def test_ways_to_train(name, how, tmp_path):
    """LoRA, gradient checkpointing, accumulation and freezing: each learns two classes."""
    torch.manual_seed(3)
    model = GPTClassifier(encoder(name), 2, "mean", pad_token_id=PAD).train()
    before = {n: p.array.copy() for n, p in model.named_parameters()}
    if how == "lora":
        lora.add(model, 2, 8.0, names=["att.*", "ff.*"], modules_to_save=["out_head"])
    if how == "freeze":
        model.model.tok_emb.requires_grad_(False)
    if how == "checkpointing":
        model.gradient_checkpointing_enable()
        assert model.model.gradient_checkpointing
    rows = [("12" * 3, 0), ("1" * 4, 0), ("78" * 2, 1), ("8877", 1)] * 4

    class Digits:
        def encode(self, text):
            return [int(c) for c in text]

    data = TextClassificationDataset(rows, Digits(), 6, PAD)
    result = classification_trainer(
        model, data, data, steps=24, lr=0.02, batch_size=4, folder=tmp_path, progress=False,
        accumulation=2 if how == "accumulation" else 1, eval_every=24,
    ).run()  # fmt: skip
    assert result.val_loss < 0.5
    if how in ("lora", "freeze"):
        weight = model.model.tok_emb.weight.array
        assert np.array_equal(weight, before["model.tok_emb.weight"])


def test_checkpointing_has_the_same_gradients():
    gradients = []
    for on in (False, True):
        torch.manual_seed(1)
        model = GPTClassifier(encoder("bert"), 2, pad_token_id=PAD).train()
        if on:
            model.gradient_checkpointing_enable()
        model.loss(padded("314", "15926535"), torch.tensor([0, 1])).backward()
        gradients.append([p.grad.array for p in model.parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*gradients, strict=True))


def test_mixed_precision():
    """bfloat16 in the products: gradients near those of float32, in float32."""
    model = GPTClassifier(encoder("bert"), 2, pad_token_id=PAD)
    ids, labels = padded("314", "15926535"), torch.tensor([0, 1])
    full = torch.autograd.grad(model.loss(ids, labels), list(model.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(ids, labels)
    half = torch.autograd.grad(loss, list(model.parameters()))
    for a, b in zip(full, half, strict=True):
        assert b.dtype == torch.float32
        assert abs(a - b).max().item() <= 0.05 * abs(a).max().item() + 1e-4


def test_cutting_keeps_the_special_tokens():
    tokenizer = BPETokenizer.train(WORDS, 262, ENCODER_TOKENS)
    cls, sep = (tokenizer.special_tokens[t] for t in ("[CLS]", "[SEP]"))
    whole = tokenizer.encode("red green")
    assert whole[0] == cls and whole[-1] == sep
    short = text_ids(tokenizer, "red green", 5)
    assert short == [cls, *whole[1:4], sep]
    assert text_ids(tokenizer, "red green", 100) == whole
    assert tokenizer.encode("red green", add_special_tokens=False) == whole[1:-1]
    ids, kinds = tokenizer.with_special_tokens([1, 2], [3])
    assert ids == [cls, 1, 2, sep, 3, sep] and kinds == [0, 0, 0, 0, 1, 1]
    assert tokenizer.pad_token == tokenizer.special_tokens["[PAD]"]
    assert tokenizer.mask_token == tokenizer.special_tokens["[MASK]"]
    plain = BPETokenizer.train(WORDS, 258)
    assert plain.pad_token is None and plain.with_special_tokens([1], [2]) == ([1, 2], [0, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_masked_places_go_through_the_head(dtype):
    torch.manual_seed(2)
    model = BertForMaskedLM(encoder("bert").config).to(dtype)
    ids = torch.randint(1, 9, (3, 7))
    labels = ids.masked_fill(torch.rand(3, 7) < 0.6, -100)
    rows = []
    handle = model.transform.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape))
    results = []
    for loss in (
        lambda: model.loss(ids, labels),
        lambda: torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), labels.flatten()),
    ):
        model.zero_grad()
        value = loss()
        (value * 1.7).backward()
        results.append([value.detach().array, *(p.grad.array for p in model.parameters())])
    handle.remove()
    counted = int((labels != -100).sum())
    assert [math.prod(shape[:-1]) for shape in rows] == [counted, 21] and counted < 21
    relative = 1e-5 if dtype is torch.float32 else 1e-12
    for a, b in zip(*results, strict=True):
        assert abs(a - b).max() <= relative * abs(b).max() + 1e-7 * (dtype is torch.float32)
    nothing = model.loss(ids, torch.full((3, 7), -100, dtype=torch.int64))
    assert math.isnan(nothing.item())  # the mean of no numbers, as PyTorch's
