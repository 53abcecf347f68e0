"""Sentence embeddings: the encoder, its vectors, hard negatives, training and the calls."""

from __future__ import annotations

import json

import numpy as np
import pytest
from published import needs_weights

import tinygrad_llm as torch
from tinygrad_llm.finetune.embedding import (
    EmbeddingDataset,
    EmbeddingLoss,
    SentenceEmbedder,
    collate_texts,
    embed,
    embed_texts,
    embedding_trainer,
    hard_negatives,
    similarity,
)
from tinygrad_llm.finetune.embedding.data import read_texts
from tinygrad_llm.finetune.embedding.options import EmbedOptions
from tinygrad_llm.finetune.embedding.report import scaled
from tinygrad_llm.finetune.pairs import character_tokenizer
from tinygrad_llm.models import (
    GPT,
    Bert,
    BertConfig,
    BertForMaskedLM,
    GPTConfig,
    SentenceEncoder,
    registry,
)
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.settings import resolved

TEXTS = ["the cat sleeps", "a cat", "dogs run far away", "a dog runs"]


def made(drop_rate=0.0, kind=Bert, pool="mean"):
    torch.manual_seed(2)
    tokenizer = character_tokenizer([*TEXTS, "abcdefghijklmnopqrstuvwxyz"])
    config = BertConfig(
        tokenizer.vocab_size, 40, 16, 24, 2, 2, drop_rate=drop_rate, attention_drop_rate=drop_rate
    )
    return SentenceEncoder(kind(config), pool), tokenizer


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_vectors_do_not_see_padding(pool):
    """Batched equals alone; length 1; the mode of the model comes back."""
    model, tokenizer = made(0.3, pool=pool)
    together = embed_texts(model, tokenizer, TEXTS, batch_size=3)
    assert model.training and together.dtype == np.float32 and together.shape == (4, 16)
    alone = np.concatenate([embed_texts(model, tokenizer, [t]) for t in TEXTS])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose((together**2).sum(1), 1.0, rtol=1e-5)
    x = model.eval().model(torch.tensor([tokenizer.encode(TEXTS[0])])).detach().numpy()[0]  # (T, C)
    y = x.mean(0) if pool == "mean" else x[0]
    np.testing.assert_allclose(together[0], y / np.linalg.norm(y), atol=1e-6)


def test_an_encoder_without_its_head():
    model, _ = made(kind=BertForMaskedLM)
    assert type(model.model) is Bert
    again = registry.build(registry.describe(model))
    assert type(again) is SentenceEncoder and type(again.model) is Bert
    again.load_state_dict(model.state_dict())
    gpt = GPT(GPTConfig(vocab_size=9, context_length=4, emb_dim=4, n_heads=1, n_layers=1))
    with pytest.raises(TypeError, match="expects an encoder, got GPT"):
        SentenceEncoder(gpt)


def test_similarity_of_one_and_of_many():
    embedder = SentenceEmbedder(*made())
    vectors = embed(TEXTS, embedder)
    one = similarity(TEXTS[0], TEXTS[1], embedder)
    assert isinstance(one, float) and one == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    assert similarity(TEXTS, TEXTS[:3], embedder).shape == (4, 3)
    assert similarity(TEXTS[0], TEXTS[:3], embedder).shape == (3,)
    assert embed(TEXTS[0], embedder).shape == (16,)
    with pytest.raises(ValueError, match="text 1: the text ' ' has no tokens"):
        embed(["a", " "], embedder)


def test_a_batch():
    _, tokenizer = made()
    alone = EmbeddingDataset([("a cat",), ("dog",)], tokenizer)
    batch = collate_texts([alone[0], alone[1]])
    assert batch["n"] == 2 and batch["ids"].shape[0] == 4, "a text is its own partner"
    np.testing.assert_array_equal(batch["ids"].numpy()[:2], batch["ids"].numpy()[2:])
    three = EmbeddingDataset([("a", "b", "c"), ("d", "e", "f")], tokenizer)
    texts = [tokenizer.decode(row[1:2]) for row in collate_texts(three.examples)["ids"].tolist()]
    assert texts == list("adbecf"), "all texts, then all partners, then all negatives"
    for rows, message in (([], "no texts"), ([("a",), ("a", "b")], "same number"),
                          ([("a",), ("",)], "row 1: the text '' has no tokens")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            EmbeddingDataset(rows, tokenizer)


def test_hard_negatives_look_alike_and_are_not_partners():
    others = ["the cat sat", "the cat ran", "a bird", "the cat"]
    assert hard_negatives([("the cat sat", "the cat")], others) == ["the cat ran"]
    pairs = [("the cat sat", "the cat"), ("the cat ran", "the cat sat")]
    assert hard_negatives(pairs, others) == ["a bird", "the cat"]
    with pytest.raises(ValueError, match="no text is left"):
        hard_negatives([("a", "b")], ["a", "b"])


def test_training_brings_partners_together():
    model, tokenizer = made()
    pairs = [("cat", "kitten"), ("dog", "puppy"), ("car", "auto"), ("house", "building")]
    data = EmbeddingDataset(pairs, tokenizer)
    trainer = embedding_trainer(
        model, data, data, steps=60, batch_size=4, lr=5e-3, temperature=0.2, progress=False
    )  # fmt: skip
    before = EmbeddingLoss(0.2)(model, collate_texts(data.examples)).item()
    trainer.run(plan=False)
    after = EmbeddingLoss(0.2)(model, collate_texts(data.examples)).item()
    assert before > 1.0 and after < 0.2 * before
    embedder = SentenceEmbedder(model, tokenizer)
    cosines = embedder.similarity([a for a, _ in pairs], [b for _, b in pairs])
    assert cosines.argmax(1).tolist() == [0, 1, 2, 3]


def test_dropout_alone_makes_pairs():
    """In training a text's two vectors differ; in evaluation they are the same."""
    model, tokenizer = made(0.3)
    data = EmbeddingDataset([(t,) for t in TEXTS], tokenizer)
    batch = collate_texts(data.examples)
    vectors = model(batch["ids"], batch["attention_mask"]).detach().numpy()  # (2·B, C)
    assert abs(vectors[:4] - vectors[4:]).max() > 0.05
    vectors = model.eval()(batch["ids"], batch["attention_mask"]).detach().numpy()
    np.testing.assert_allclose(vectors[:4], vectors[4:], atol=1e-6)


def test_what_is_refused(tmp_path):
    model, tokenizer = made()
    data = EmbeddingDataset([("a",), ("b",)], tokenizer)
    with pytest.raises(ValueError, match="2 texts or more"):
        embedding_trainer(model, data, steps=1, batch_size=1)
    with pytest.raises(ValueError, match="the longest text is 62"):
        embedding_trainer(model, EmbeddingDataset([("a" * 60,)] * 2, tokenizer), steps=1)
    for options, message in (({"loss": "x"}, "loss must be"), ({"pool": "last"}, "pool must"),
                             ({"drop_rate": 0.0}, "dropout alone"),
                             ({"batch_size": 1}, "2 or more")):  # fmt: skip
        with pytest.raises(OptionError, match=message):
            resolved(EmbedOptions, options)
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"text": " "}))
    with pytest.raises(ValueError, match="entry 1: 'text' is empty"):
        read_texts(str(path), [("text_column", "text")])
    with pytest.raises(ValueError, match="no pretrained model is called 'nothing'"):
        embed("a", "nothing")


def test_cosines_on_the_scale_of_labels():
    cosines = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(scaled(cosines, cosines * 5 + 1), cosines * 5 + 1)


@pytest.mark.weights
def test_minilm():
    needs_weights("all-minilm-l6-v2")
    a, b = "A man is eating food.", "A man is eating a piece of bread."
    assert similarity(a, b) == pytest.approx(0.755, abs=1e-3)
    vectors = embed([a, b, "A plane lands."])
    assert vectors.shape == (3, 384) and vectors[0] @ vectors[2] < 0.2
