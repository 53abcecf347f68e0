"""Which tokens moved a classifier: gradient times input, against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.finetune import GPTClassifier, TaskModel, classify
from tinygrad_llm.finetune.contributions import contributions
from tinygrad_llm.models import GPT, registry
from tinygrad_llm.text import CharTokenizer

TOKENIZER = CharTokenizer.train("abcdefgh", ["<|endoftext|>"])
V = TOKENIZER.vocab_size
SHAPE = dict(vocab_size=V, context_length=12, emb_dim=8, n_heads=2, n_layers=2, drop_rate=0.0)


def classifier(family="GPT", **options):
    """A random classifier in float64 whose weights are far from zero."""
    torch.manual_seed(5)
    if family == "GPT":
        body = GPT(SHAPE)
    else:
        entry = registry.find("BertForMaskedLM")
        sizes = {"vocab_size": V, "context_length": 12, "emb_dim": 8, "n_heads": 2, "n_layers": 2}
        body = entry.model(entry.config(**sizes, hidden_dim=16))
    model = GPTClassifier(body, 3, pad_token_id=V - 1, **options).double().eval()
    for p in model.parameters():
        p.array[...] += 0.3 * np.random.default_rng(2).normal(size=p.shape)
    return model


def log_odds(model, ids, target, place=None, factor=1.0):
    """The log odds of a class, with the embedding at one place longer by a factor."""

    def longer(module, inputs, output):
        scale = np.ones((1, len(ids), 1))
        if place is not None:
            scale[0, place] = factor
        return output * torch.tensor(scale)

    handle = model.model.tok_emb.register_forward_hook(longer)
    with torch.no_grad():
        z = model(torch.tensor([ids])).numpy()[0]
    handle.remove()
    others = np.delete(z, target)
    return float(z[target] - np.log(np.exp(others).sum()))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("GPT", {}), ("GPT", {"pool": "mean", "causal": False}), ("GPT", {"pool": "last"}),
        ("Bert", {}), ("Bert", {"pool": "mean"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", [None, 1])
def test_scores_are_the_derivatives_along_each_embedding(family, options, target):
    model = classifier(family, **options)
    run = TaskModel(model, TOKENIZER, settings={"classes": ["x", "y", "z"], "max_length": 12})
    text, step = "abcahgf", 1e-5
    answer = contributions(text, run, target, steps=None)
    assert answer.tokens == list(text) and answer.names == ["x", "y", "z"] and not answer.cut
    assert answer.target == (answer.probabilities.argmax() if target is None else target)
    best, p = classify(text, run)
    assert answer.best == best and abs(answer.probabilities.max() - p) < 1e-12
    ids = [int(i) for i in TOKENIZER.encode(text)]
    if options.get("pool") == "last":
        ids += [V - 1] * (12 - len(ids))
    derivatives = [
        (log_odds(model, ids, answer.target, i, 1 + step)
         - log_odds(model, ids, answer.target, i, 1 - step)) / (2 * step)
        for i in range(len(text))
    ]  # fmt: skip
    np.testing.assert_allclose(answer.scores, derivatives, rtol=1e-6, atol=1e-9)
    assert np.abs(answer.scores).max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"pool": "last"}, {"pool": "mean", "causal": False}])
def test_scores_along_the_path_add_up_to_the_whole_difference(options):
    model = classifier(**options)
    run = TaskModel(model, TOKENIZER, settings={"max_length": 12})
    text = "abcahgf"
    answer = contributions(text, run, 2, steps=200)
    ids = [int(i) for i in TOKENIZER.encode(text)]
    n = len(ids)
    ids += [V - 1] * (12 - n if options.get("pool") == "last" else 0)
    middle = model.model.tok_emb.weight.detach().mean(0)

    def neutral(module, inputs, output):
        output = output.clone()
        output[:, :n] = middle
        return output

    text_odds = log_odds(model, ids, 2)
    handle = model.model.tok_emb.register_forward_hook(neutral)
    difference = text_odds - log_odds(model, ids, 2)
    handle.remove()
    largest = np.abs(answer.scores).max()
    assert abs(difference) > 0.02 * largest
    np.testing.assert_allclose(answer.scores.sum(), difference, atol=1e-3 * largest)
    few = contributions(text, run, 2).scores  # the default is near enough
    np.testing.assert_allclose(few, answer.scores, atol=0.1 * largest)


def test_windows_are_averaged_and_nothing_of_the_model_changes():
    model = classifier()
    run = TaskModel(model, TOKENIZER, settings={"long_texts": "windows", "max_length": 4})
    text = "abcdefgh"
    answer = contributions(text, run)
    assert answer.tokens == list(text) and not answer.cut
    halves = [contributions(part, run, answer.target) for part in (text[:4], text[4:])]
    np.testing.assert_allclose(
        answer.scores, np.concatenate([half.scores / 2 for half in halves]), rtol=1e-9
    )
    assert all(p.grad is None for p in model.parameters())
    assert not model.model.tok_emb._forward_hooks
    cut = contributions(text, TaskModel(model, TOKENIZER, settings={"max_length": 3}))
    assert cut.cut and cut.tokens == list("abc")


def test_weights_that_are_frozen_have_scores_too():
    model = classifier()
    expected = contributions("abc", TaskModel(model, TOKENIZER)).scores
    for p in model.parameters():
        p.requires_grad_(False)
    np.testing.assert_array_equal(
        contributions("abc", TaskModel(model, TOKENIZER)).scores, expected
    )


def test_what_cannot_be_asked():
    run = TaskModel(classifier(), TOKENIZER)
    with pytest.raises(ValueError, match="target must be a class, 0 … 2, got 3"):
        contributions("abc", run, 3)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        contributions("abc", run, steps=0)
    with pytest.raises(ValueError, match="has no tokens"):
        contributions("", run)
    with pytest.raises(TypeError, match="classify needs a GPTClassifier, got GPT"):
        contributions("abc", TaskModel(GPT(SHAPE), TOKENIZER))
