"""The pages of a training and of masks: their numbers are those that the engine computes."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, optim, study
from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.study.common.plain_steps import COLLECTIVE_WORDS, OPTIMIZER_WORDS
from tinygrad_llm.study.common.plain_words import PLAIN_WORDS
from tinygrad_llm.study.explain.names import collectives, optimizers


def small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.GELU(), nn.Linear(2, 1))
    x = torch.randn(4, 3, requires_grad=True)
    return model, x


def test_every_number_of_the_page_is_the_engine_s():
    model, x = small()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    training = study.draw_training(
        lambda: (model(x) ** 2).mean(), model, optimizer, steps=3, names={"x": x}
    )
    again, x = small()
    optimizer = optim.SGD(again.parameters(), lr=0.1)
    data = training.data

    def array(number):
        return np.array(data["arrays"][number]["numbers"])

    assert [n["label"] for n in data["nodes"] if n["kind"] == "op"] == [
        "linear", "gelu", "linear", "pow", "mean"
    ]  # fmt: skip
    for step, shown in enumerate(data["steps"]):
        optimizer.zero_grad()
        loss = (again(x) ** 2).mean()
        loss.backward()
        assert shown["loss"] == training.losses[step] == pytest.approx(loss.item(), rel=1e-6)
        before = {n: p.numpy(force=True).copy() for n, p in again.named_parameters()}
        optimizer.step()
        for row, (name, p) in zip(shown["update"], again.named_parameters(), strict=True):
            assert row["name"] == name
            for key, expected in (
                ("before", before[name]), ("gradient", p.grad.numpy()),
                ("after", p.numpy(force=True)),
            ):  # fmt: skip
                np.testing.assert_allclose(array(row[key]).ravel(), expected.ravel(), rtol=1e-5)
            total = shown["totals"][[n["label"] for n in data["nodes"]].index(name)]
            np.testing.assert_allclose(array(total[1]).ravel(), p.grad.numpy().ravel(), rtol=1e-5)
    assert training.losses[2] < training.losses[0]
    for theirs, ours in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(theirs, ours)


def test_the_example_learns_its_four_points():
    training = study.draw_training(steps=20)
    assert training.losses[0] > 1 and training.losses[-1] < 0.02
    assert "A training of seven numbers" in training.html() and "20 steps" in repr(training)
    assert training._repr_html_().startswith("<iframe")


def test_what_cannot_be_shown_as_a_training():
    model, x = small()
    optimizer = optim.AdamW(model.parameters())
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        study.draw_training(steps=0)
    with pytest.raises(ValueError, match="given together, or none"):
        study.draw_training(lambda: model(x).sum(), model)
    with pytest.raises(ValueError, match=r"at most 2,000 parameters, got 10,100"):
        study.draw_training(lambda: model(x).sum(), nn.Linear(100, 100), optimizer)
    calls: list[int] = []

    def another_graph():
        calls.append(1)
        return (torch.tanh if len(calls) <= 2 else torch.exp)(model(x)).sum()

    with pytest.raises(ValueError, match="differs from step to step"):
        study.draw_training(another_graph, model, optimizer, steps=2)


def test_masks_show_what_the_attention_hides(tmp_path):
    masks = study.draw_masks(file=tmp_path / "masks.html")
    encoder, decoder, cross = masks.panels
    for panel in masks.panels:
        np.testing.assert_allclose(panel.weights.sum(-1), 1.0, rtol=1e-5)
        hidden = np.array(panel.hidden) != ""
        assert (hidden == (panel.weights == 0)).all()
    assert {row[-1] for row in encoder.hidden} == {row[-1] for row in cross.hidden} == {"padding"}
    later = np.array(decoder.hidden) == "later"
    assert (later == np.triu(np.ones((4, 4), bool), 1)).all()
    assert (tmp_path / "masks.html").read_text("utf-8") == masks.html()


def test_masks_of_a_model_of_yours():
    model = study.draw_masks()  # the example's words are its own; here ids are the words
    assert model.panels[0].queries[0] == "the"
    from tinygrad_llm.models import T5, T5Config

    torch.manual_seed(0)
    t5 = T5(T5Config(vocab_size=16, emb_dim=8, hidden_dim=8, n_layers=1, n_heads=2, head_dim=4))
    masks = study.draw_masks(t5, [[3, 4, 0]], [[0, 5]], [[1, 1, 0]])
    assert masks.panels[0].hidden[0] == ["", "", "padding"] and masks.panels[2].keys[:2] == [
        "3",
        "4",
    ]
    with pytest.raises(ValueError, match="GPT is not an EncoderDecoder"):
        gpt = GPT(GPTConfig(vocab_size=16, context_length=8, emb_dim=8, n_heads=2, n_layers=1))
        study.draw_masks(gpt, [[3, 4]], [[0, 5]])


def test_every_optimizer_and_collective_has_plain_words():
    assert set(OPTIMIZER_WORDS) == set(optimizers())
    assert set(COLLECTIVE_WORDS) == set(collectives())
    for name in ("Muon", "all_gather"):
        page = study.explain(name).html()
        assert "in plain words" in page and "exactly" in page


def test_every_op_has_plain_words():
    ours = {n for n, op in OPS.items() if op.__module__.startswith("tinygrad_llm.ops")}
    assert ours == set(PLAIN_WORDS)
    for name, voices in PLAIN_WORDS.items():
        for text in voices:
            assert text[0].isupper() and text.endswith(".") and len(text) < 320, (name, text)
            assert not set(text) & set("∂ΣΠ√·=²ᵀ"), (name, text)
