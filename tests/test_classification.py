"""Classifiers: which vector stands for the text, what is frozen, and what the report says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.finetune import (
    ClassificationReport,
    GPTClassifier,
    TextClassificationDataset,
    accuracy,
    classification_trainer,
    classify,
    confusion_matrix,
    count_parameters,
    evaluate_classifier,
    freeze,
    plot_confusion,
    predict,
    train_only,
)
from tinygrad_llm.generation import generate
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTClassifierConfig, GPTConfig
from tinygrad_llm.nn import functional as F
from tinygrad_llm.testing import assert_close
from tinygrad_llm.training import find_checkpoint

PAD = 10
SHAPE = dict(vocab_size=11, context_length=8, emb_dim=8, n_heads=2, n_layers=2, drop_rate=0.0)


class Digits:
    def encode(self, text):
        return [int(c) for c in text]


def classifier(**changes):
    shape = {name: changes.pop(name, value) for name, value in SHAPE.items()}
    return GPTClassifier(GPT(shape), **{"pad_token_id": PAD, **changes}).eval()


def padded(*texts, T=8):
    return torch.tensor([[int(c) for c in t] + [PAD] * (T - len(t)) for t in texts])


# ---------------------------------------------------------------------------------- the model
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pool", ["last_real", "mean", "first"])
def test_padding_changes_nothing(pool, causal):
    model = classifier(pool=pool, causal=causal, n_classes=3)
    texts = ["31415", "2", "27182818"]
    together = model(padded(*texts))
    assert together.shape == (3, 3)
    for row, text in zip(together, texts, strict=True):
        assert_close(row, model(torch.tensor([[int(c) for c in text]]))[0])


@pytest.mark.parametrize("causal", [True, False])
def test_last_is_the_last_place_and_padding_counts_if_causal(causal):
    model = classifier(pool="last", causal=causal)
    ids = padded("31415")
    hidden = model.model.hidden_states(ids, mask=None if causal else (ids != PAD)[:, None, None, :])
    assert_close(model(ids), model.out_head(hidden[:, -1]))
    assert not np.allclose(model(ids).array, model(ids[:, :5]).array)


def test_the_pools_by_hand():
    ids = padded("314", "15926")
    for pool, pick in (
        ("first", lambda h, n: h[0]),
        ("last_real", lambda h, n: h[n - 1]),
        ("mean", lambda h, n: h[:n].mean(0)),
    ):
        model = classifier(pool=pool)
        hidden = model.model.hidden_states(ids)
        expected = torch.stack([pick(hidden[0], 3), pick(hidden[1], 5)])
        assert_close(model.features(ids), expected, rtol=1e-4, atol=1e-6)


def test_without_the_causal_mask_the_first_token_sees_the_text():
    ids, other = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2, 4]])
    for causal in (True, False):
        model = classifier(pool="first", causal=causal)
        same = np.array_equal(model(ids).array, model(other).array)
        assert same == causal


def test_a_custom_mask_takes_the_place_of_the_causal_one():
    gpt = GPT(GPTConfig(**SHAPE)).eval()
    ids = torch.randint(0, 11, (2, 6))
    triangle = torch.ones(6, 6, dtype=torch.bool).tril()
    assert_close(
        gpt.hidden_states(ids, mask=triangle), gpt.hidden_states(ids), rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="pass a mask or a KV cache, not both"):
        gpt.hidden_states(ids, cache=gpt.new_cache(), mask=triangle)


def test_the_gradient_of_every_weight():
    """By finite differences in float64, along a random direction of all weights together."""
    for pool in ("last", "last_real", "first", "mean"):
        model = classifier(pool=pool, causal=False).double()
        ids, labels = padded("314", "15926535"), torch.tensor([0, 1])
        model.loss(ids, labels).backward()
        direction = [torch.randn(p.shape, dtype=torch.float64) for p in model.parameters()]
        derivative = sum(
            float((p.grad * d).sum().item())
            for p, d in zip(model.parameters(), direction, strict=True)
            if p.grad is not None
        )
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                for p, d in zip(model.parameters(), direction, strict=True):
                    p += d * step
            values.append(model.loss(ids, labels).item())
        assert derivative == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("tied", [True, False])
def test_from_a_gpt(tied):
    gpt = GPT(GPTConfig(**SHAPE, tie_weights=tied, qkv_bias=False))
    before = {name: p.array.copy() for name, p in gpt.named_parameters()}
    torch.manual_seed(5)
    model = GPTClassifier.from_gpt(gpt, 3, pad_token_id=PAD, drop_rate=0.5)
    torch.manual_seed(5)
    head = torch.nn.Linear(8, 3)
    assert np.array_equal(model.out_head.weight.array, head.weight.array)
    assert np.array_equal(model.out_head.bias.array, head.bias.array)
    assert model.config.model.drop_rate == 0.5 and model.config.n_classes == 3
    ids = torch.tensor([[1, 2, 3]])
    assert_close(model.eval().model.hidden_states(ids), gpt.eval().hidden_states(ids))
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert all(np.array_equal(before[n], p.array) for n, p in gpt.named_parameters())


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"n_classes": 1}, ValueError, "n_classes must be at least 2, got 1"),
        ({"n_classes": 2.0}, TypeError, "n_classes must be an integer, got 2.0"),
        ({"pool": "middle"}, ValueError, "pool must be last, last_real, first, mean, got 'middle'"),
        ({"pad_token_id": 11}, ValueError, r"a token of the vocabulary, 0 … 10, got 11"),
        ({"causal": 1}, TypeError, "causal must be True or False"),
        ({"pad_token_id": -1}, ValueError, r"a token of the vocabulary, 0 … 10, got -1"),
        ({"model": SHAPE}, TypeError, "model must be a ModelConfig, got a dict of 6"),
    ],
)
def test_wrong_configs(change, kind, message):
    with pytest.raises(kind, match=message):
        GPTClassifierConfig(**{"model": GPTConfig(**SHAPE), "pad_token_id": PAD, **change})


def test_what_a_classifier_refuses():
    model = classifier()
    with pytest.raises(TypeError, match="writes no text"):
        generate(model, [1, 2], 3)
    with pytest.raises(ValueError, match="without tokens"):
        model(torch.zeros(1, 0, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(batch, time\)"):
        model(torch.tensor([1, 2]))
    with pytest.raises(IndexError, match="2"):
        model.loss(torch.tensor([[1]]), torch.tensor([2]))
    for wrong in (model, torch.nn.Linear(8, 11)):
        with pytest.raises(TypeError, match="a language model or an encoder, got (GPTC|Linear)"):
            GPTClassifier.from_gpt(wrong)
        with pytest.raises(TypeError, match="a language model or an encoder, got (GPTC|Linear)"):
            GPTClassifier(wrong)


def test_on_the_gpu(other_device):
    model, ids = classifier(pool="mean", causal=False), padded("314", "15926")
    expected = model(ids)
    assert_close(model.to(other_device)(ids.to(other_device)).cpu(), expected, rtol=1e-4, atol=1e-6)


# ----------------------------------------------------------------------------------- freezing
def test_train_only_and_freeze():
    model = classifier()
    names = train_only(model, ["trf_blocks.1", "final_norm", "out_head"])
    parts = ("model.trf_blocks.1.", "model.final_norm.", "out_head.")
    assert names and all(n.startswith(parts) for n in names)
    assert {n.rsplit(".", 1)[0] for n in names} > {"model.final_norm", "out_head"}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(names)
    counted = count_parameters(model)
    assert counted["trainable"] == sum(p.numel() for n, p in model.named_parameters() if n in names)
    assert counted["total"] == model.n_parameters()
    gone = freeze(model, "*.bias")
    assert gone and all(n.endswith("bias") for n in gone)
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.endswith("bias"))


def test_patterns_that_fit_nothing():
    message = r"no weight is called 'transformer.\*'; there are: model.tok_emb"
    with pytest.raises(ValueError, match=message):
        freeze(classifier(), ["tok_emb", "transformer.*"])


def test_frozen_weights_stay_to_the_byte():
    model = classifier()
    train_only(model, "out_head")
    before = {n: p.array.copy() for n, p in model.named_parameters()}
    data = TextClassificationDataset([("31", 0), ("41", 1)], Digits(), pad_token_id=PAD)
    classification_trainer(model, data, epochs=3, lr=0.1, progress=False).run()
    for name, p in model.named_parameters():
        assert np.array_equal(before[name], p.array) != name.startswith("out_head")


# ------------------------------------------------------------------------------------ training
def rows(n, seed=0):
    """Texts of digits; class 1 has more digits above 4."""
    draw = np.random.RandomState(seed)
    out = []
    for _ in range(n):
        digits = draw.randint(0, 10, draw.randint(1, 8))
        out.append(("".join(map(str, digits)), int((digits > 4).mean() > 0.5)))
    return out


def dataset(n, seed=0):
    return TextClassificationDataset(rows(n, seed), Digits(), pad_token_id=PAD)


@pytest.mark.parametrize("pool, causal", [("mean", True), ("first", False), ("last_real", True)])
@pytest.mark.suite_cases(1)
def test_it_learns(pool, causal, tmp_path):
    model = classifier(pool=pool, causal=causal, emb_dim=16)
    trainer = classification_trainer(
        model, dataset(120), dataset(60, 1), epochs=12, lr=1e-2, folder=tmp_path, progress=False
    )
    result = trainer.run()
    report = evaluate_classifier(model, dataset(60, 1), names=["low", "high"])
    assert report.accuracy > 0.85 and result.val_loss == pytest.approx(report.loss, rel=1e-5)
    first, last = (trainer.metrics.lines[i] for i in (0, -1))
    assert first["val_loss"] > last["val_loss"] and last["val_accuracy"] == report.accuracy
    assert 0 <= last["train_accuracy"] <= 1
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    again = find_checkpoint(tmp_path).build_model()
    assert isinstance(again, GPTClassifier) and again.config == model.config
    assert np.array_equal(predict(again, dataset(9)), predict(model, dataset(9)))


def test_with_lora_and_back_from_its_checkpoint(tmp_path):
    model = classifier()
    lora.add(model, rank=2, modules_to_save=["out_head"])
    assert not isinstance(model.out_head, lora.LinearWithLoRA)
    before = model.model.trf_blocks[0].att.qkv.linear.weight.array.copy()
    trainer = classification_trainer(model, dataset(20), lr=1e-2, folder=tmp_path, progress=False)
    trainer.run()
    assert np.array_equal(before, model.model.trf_blocks[0].att.qkv.linear.weight.array)
    again = find_checkpoint(tmp_path).build_model()
    assert np.array_equal(predict(again, dataset(9)), predict(model, dataset(9)))
    lora.save(model, tmp_path / "adapter")
    torch.manual_seed(123)
    fresh = classifier()
    with torch.no_grad():
        for (name, p), q in zip(fresh.named_parameters(), _base(model), strict=True):
            if not name.startswith("out_head"):
                p.copy_(q)
    lora.load(fresh, tmp_path / "adapter")
    assert np.array_equal(predict(fresh, dataset(9)), predict(model, dataset(9)))


def _base(model):
    return [p for n, p in model.named_parameters() if ".lora_" not in n]


@pytest.mark.slow
@pytest.mark.ci
def test_resumed_to_the_bit(tmp_path):
    def trainer(folder, steps):
        torch.manual_seed(1)
        model = classifier(drop_rate=0.2)
        return classification_trainer(
            model, dataset(30), dataset(9, 1), steps=steps, warmup=2, batch_size=4, folder=folder,
            checkpoint_every=5, progress=False, min_lr=5e-5,
        )  # fmt: skip

    whole = trainer(tmp_path / "a", 12)
    whole.run()
    first = trainer(tmp_path / "b", 12)
    first.steps = 7
    first.run()
    second = trainer(tmp_path / "b", 12)
    second.run(resume=True)
    for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert np.array_equal(p.array, q.array)


def test_what_the_trainer_refuses():
    good = dataset(8)
    for model, data, options, message in (
        (classifier(), TextClassificationDataset([("1", 2)], Digits(), pad_token_id=PAD), {},
         "row 0 has the label 2, but the model's classes are 0 … 1"),
        (classifier(), TextClassificationDataset([("1" * 9, 1)], Digits(), pad_token_id=PAD), {},
         "max_length of the data set is 9, but the model's context is 8 tokens"),
        (classifier(pad_token_id=9), good, {}, "padded with 10, the model's pad_token_id is 9"),
        (classifier().requires_grad_(False), good, {}, "every weight of the model is frozen"),
        (classifier(), good, {"epochs": 0}, "epochs must be more than 0"),
        (classifier(), good, {"batch_size": 0}, "batch_size must be at least 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            classification_trainer(model, data, **options)


# ---------------------------------------------------------------------------------- the report
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_the_confusion_matrix_counts(pairs):
    labels, predicted = [a for a, _ in pairs], [b for _, b in pairs]
    matrix = confusion_matrix(labels, predicted, 3)
    for i in range(3):
        for j in range(3):
            assert matrix[i, j] == pairs.count((i, j))


def report():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 0, 0])
    probabilities = np.full((6, 3), 0.1)
    probabilities[np.arange(6), predicted] = 0.8
    losses = -np.log(probabilities[np.arange(6), labels])
    return ClassificationReport(labels, predicted, probabilities, losses, ["a", "bc", "d"])


def test_the_report_by_hand():
    result = report()
    assert result.accuracy == 0.5
    assert result.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    a, b, d = result.per_class
    assert (a["precision"], a["recall"], a["support"]) == (0.5, pytest.approx(2 / 3), 3)
    assert a["f1"] == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert (b["precision"], b["recall"]) == (0.5, 0.5)
    assert (d["precision"], d["recall"], d["f1"]) == (0.0, 0.0, 0.0)
    assert result.worst(2) == [2, 4]
    lines = result.worst_table(["x"] * 6, 2).splitlines()
    assert lines[0].split() == ["2.30", "is", "a", "predicted", "bc", "(", "80%)", "x"]
    assert "accuracy 50.00% of 6 texts" in str(result)
    assert "…" in result.worst_table(["long " * 50] * 6, 1)


def test_the_picture(tmp_path):
    path = plot_confusion(report(), tmp_path / "confusion.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_losses_are_the_models():
    model, data = classifier(drop_rate=0.5).train(), dataset(20)
    result = evaluate_classifier(model, data, batch_size=7)
    assert model.training
    with torch.no_grad():
        logits = model.eval()(torch.tensor(data.ids))
        expected = F.cross_entropy(logits, torch.tensor(data.labels), reduction="none")
    assert np.allclose(result.losses, expected.numpy(), atol=1e-6)
    assert accuracy(model, data) == result.accuracy
    assert np.allclose(result.probabilities.sum(1), 1.0)


def test_a_loss_that_underflows_as_a_probability():
    model, data = classifier(), TextClassificationDataset([("1", 1)], Digits(), pad_token_id=PAD)
    with torch.no_grad():
        model.out_head.bias.copy_(torch.tensor([500.0, 0.0]))
    assert evaluate_classifier(model, data).loss == pytest.approx(500, rel=0.01)


def test_wrong_reports():
    with pytest.raises(ValueError, match="the model has 2 classes, but 3 names"):
        evaluate_classifier(classifier(), dataset(3), names=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"predictions\[1\] is 2, but the classes are 0 … 1"):
        confusion_matrix([0, 1], [0, 2], 2)
    with pytest.raises(ValueError, match="2 labels and 1 predictions"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(ValueError, match="whole numbers"):
        confusion_matrix([0.5], [0], 2)


def test_one_text():
    model = classifier(pool="last")
    name, p = classify(model, Digits(), "314", max_length=6, names=["ham", "spam"])
    probabilities = F.softmax(model(padded("314", T=6)), dim=-1)[0]
    assert p == pytest.approx(probabilities.max().item())
    assert name == ["ham", "spam"][int(probabilities.argmax().item())]
    assert classify(model, Digits(), "3" * 20)[0] in (0, 1)  # cut at the context
    with pytest.raises(ValueError, match="the text '' has no tokens"):
        classify(model, Digits(), "")
