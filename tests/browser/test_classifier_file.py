"""A classifier as one HTML file: JavaScript's classes and contributions are Python's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_export_commands import invoke

import tinygrad_llm as torch
from tinygrad_llm.finetune import GPTClassifier, TaskModel
from tinygrad_llm.finetune.contributions import contributions
from tinygrad_llm.models import GPT, registry
from tinygrad_llm.serve.pages import classifier_page
from tinygrad_llm.text import BPETokenizer, CharTokenizer
from tinygrad_llm.training import save_checkpoint

from .conftest import NARROW, WIDE
from .test_model_page import LLAMA, check_readable, script, until
from .test_served_pages import in_english, names_of_controls, quiet

pytestmark = pytest.mark.slow
TEXT = "win a free prize now or call us, it is 1 day <b>only</b> "
BPE = BPETokenizer.train(TEXT * 3, 280, ["<|endoftext|>"])
CHAR = CharTokenizer.train(TEXT, ["<|endoftext|>"])
SIZES = {"context_length": 24, "emb_dim": 16, "n_layers": 2, "n_heads": 4, "drop_rate": 0.0}
CASES = {
    "last_real": (BPE, {"pool": "last_real"}, {"max_length": 20}),
    "last": (CHAR, {"pool": "last"}, {"max_length": 22}),
    "mean": (CHAR, {"pool": "mean"}, {}),
    "windows": (BPE, {"pool": "last_real"}, {"max_length": 7, "long_texts": "windows"}),
    "bert": (CHAR, {"pool": "mean"}, {"max_length": 20}),
}


def made(name):
    """A random classifier of three classes, its tokenizer and the settings of its run."""
    tokenizer, options, settings = CASES[name]
    torch.manual_seed(3)
    if name == "bert":
        entry = registry.find("BertForMaskedLM")
        sizes = {k: SIZES[k] for k in ("context_length", "emb_dim", "n_layers", "n_heads")}
        body = entry.model(entry.config(**sizes, hidden_dim=32, vocab_size=tokenizer.vocab_size))
    elif name == "mean":
        entry = registry.find("Llama")
        body = entry.model(entry.config(**LLAMA, vocab_size=tokenizer.vocab_size))
    else:
        body = GPT({**SIZES, "vocab_size": tokenizer.vocab_size})
    pad = tokenizer.vocab_size - 1
    model = GPTClassifier(body, 3, pad_token_id=pad, **options).eval()
    for parameter in model.parameters():
        parameter.array[...] += 0.15 * np.random.default_rng(1).normal(size=parameter.shape)
    return model, tokenizer, {**settings, "classes": ["ham", "<spam>", "other"]}


def page_of(name, start=""):
    model, tokenizer, settings = made(name)
    return classifier_page(
        model, tokenizer, f"a {name}", "F32", start, classes=settings["classes"],
        max_length=settings.get("max_length"), windows="long_texts" in settings,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_classes_and_contributions_are_python_s(browsers, tmp_path, name):
    model, tokenizer, settings = made(name)
    run = TaskModel(model, tokenizer, settings=settings)
    (tmp_path / "page.html").write_text(page_of(name), "utf-8")
    browser = browsers()
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    for text in ("win a prize", "call us now, it is free", "it"):
        expected = contributions(text, run, 1, steps=8)
        shown = script(browser, "return classifier.probabilities(arguments[0])", text)
        np.testing.assert_allclose(shown, expected.probabilities, atol=1e-5)
        scores = browser.execute_async_script(
            "classifier.contributions(arguments[0], 1).then(arguments[1])", text
        )
        largest = np.abs(expected.scores).max()
        np.testing.assert_allclose(scores, expected.scores, atol=0.01 * largest + 1e-4)
    assert quiet(browser)


@pytest.mark.ci
@pytest.mark.parametrize(("size", "dark"), [(NARROW, True), (WIDE, False)])
def test_the_page_by_itself(browsers, tmp_path, size, dark):
    (tmp_path / "page.html").write_text(page_of("last_real", "win a prize"), "utf-8")
    browser = browsers(size, dark)
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    until(browser, "return document.querySelector('#strongest td')")
    in_english(browser)
    shown = script(browser, "return document.getElementById('tokens').textContent")
    assert shown == "win a prize"
    check_readable(browser, dark)
    assert all(name for role, name in names_of_controls(browser) if role not in ("status", "table"))
    script(browser, "document.getElementById('language').click()")
    assert "トークン" in script(browser, "return document.body.innerText")
    in_english(browser)
    script(browser, "document.getElementById('text').value = ' ';"
                    "document.getElementById('classify').click()")  # fmt: skip
    assert "Write a text first" in script(
        browser, "return document.getElementById('status').textContent"
    )
    assert quiet(browser)


def test_the_command_writes_it(tmp_path):
    model, tokenizer, settings = made("last_real")
    tokenizer.save(tmp_path / "tokenizer.json")
    config = {"model": registry.describe(model), "finetune": "classify", **settings}
    files = {"tokenizer.json": (tmp_path / "tokenizer.json").read_bytes()}
    save_checkpoint(tmp_path / "spam" / "checkpoints", 3, model, {}, config, files=files)
    code, output, error = invoke("export", "html", tmp_path / "spam", tmp_path / "p.html",
                                 "--kind", "F32")  # fmt: skip
    assert code == 0, (output, error)
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "<h1>spam</h1>" in text and '"classes":["ham","\\u003cspam>","other"]' in text


def test_what_a_page_cannot_hold_is_named():
    model, tokenizer, _ = made("last_real")
    with pytest.raises(ValueError, match="3 classes, but 2 names"):
        classifier_page(model, tokenizer, classes=["a", "b"])
    body = GPT({**SIZES, "vocab_size": tokenizer.vocab_size})
    both = GPTClassifier(body, 2, causal=False, pad_token_id=1)
    with pytest.raises(ValueError, match="causal=True"):
        classifier_page(both, tokenizer)
    entry = registry.find("BertForMaskedLM")
    sizes = {"vocab_size": 300, "context_length": 12, "emb_dim": 8, "n_heads": 2, "n_layers": 1}
    bert = GPTClassifier(entry.model(entry.config(**sizes, hidden_dim=16)), 2, pad_token_id=1)
    bert.config = dataclasses.replace(bert.config, pool="last")
    with pytest.raises(ValueError, match='not "last"'):
        classifier_page(bert, tokenizer)
