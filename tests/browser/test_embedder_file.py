"""Sentence embeddings as one HTML file: JavaScript's ids and vectors are Python's."""

from __future__ import annotations

import numpy as np
import pytest
from published import needs_weights
from test_export_commands import invoke
from tokenizer_texts import drawn

import tinygrad_llm as torch
from tinygrad_llm.finetune.embedding import SentenceEmbedder
from tinygrad_llm.models import registry
from tinygrad_llm.models.sentence import SentenceEncoder
from tinygrad_llm.serve.pages import embedder_page
from tinygrad_llm.text import train_tokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS

from .conftest import NARROW, WIDE
from .test_model_page import check_readable, script, until
from .test_served_pages import in_english, quiet

pytestmark = pytest.mark.slow
TEXTS = [drawn(seed, 12) for seed in range(200, 280)]
TEXTS = [t for t in TEXTS if t.strip()] + ["A cat sleeps.", "日本語 Émile ΣΑΣ", "it " * 60]


def small(pool="mean", activation="gelu"):
    """A random BERT of WordPiece, whose weights are far from zero."""
    tokenizer = train_tokenizer("wordpiece", TEXTS * 3, 600, ENCODER_TOKENS)
    torch.manual_seed(4)
    entry = registry.find("BertForMaskedLM")
    config = entry.config(vocab_size=tokenizer.vocab_size, context_length=24, emb_dim=16,
                          n_heads=4, n_layers=2, hidden_dim=40, activation=activation)  # fmt: skip
    model = SentenceEncoder(entry.model(config), pool).eval()
    for parameter in model.parameters():
        parameter.array[...] += 0.2 * np.random.default_rng(1).normal(size=parameter.shape)
    return SentenceEmbedder(model, tokenizer, 20)


def vectors(browser, texts):
    code = "vectorsOf(arguments[0]).then(arguments[1], e => arguments[1](String(e)))"
    answer = browser.execute_async_script(code, texts)
    assert not isinstance(answer, str), answer
    return np.array(answer)


@pytest.mark.parametrize(("pool", "activation"), [("mean", "gelu"), ("first", "gelu_new")])
def test_vectors_are_python_s(browsers, tmp_path, pool, activation):
    embedder = small(pool, activation)
    (tmp_path / "page.html").write_text(embedder_page(embedder, "small", "F32"), "utf-8")
    browser = browsers()
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    encode = embedder.tokenizer.encode
    ids = script(browser, "return arguments[0].map(t => cutter.encode(t).ids)", TEXTS)
    assert ids == [[int(i) for i in encode(t, disallowed_special=())] for t in TEXTS]
    texts = [t for t, i in zip(TEXTS, ids, strict=True) if len(i) > 2]
    np.testing.assert_allclose(vectors(browser, texts), embedder.embed(texts), atol=1e-4)
    assert "blank" in browser.execute_async_script(
        "vectorsOf(['\x7f']).catch(e => arguments[0](String(e)))"
    )
    assert quiet(browser)


@pytest.mark.parametrize(("size", "dark"), [(NARROW, True), (WIDE, False)])
def test_the_page_by_itself(browsers, tmp_path, size, dark):
    (tmp_path / "page.html").write_text(embedder_page(small(), "a <b>", "F16"), "utf-8")
    browser = browsers(size, dark)
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    in_english(browser)
    script(browser, "document.getElementById('texts').value = 'A cat\\nThe dog\\nit';"
                    "document.getElementById('compare').click()")  # fmt: skip
    until(browser, "return document.querySelector('#neighbours td')")
    assert script(browser, "return document.querySelectorAll('#matrix td').length") == 9
    check_readable(browser, dark)
    assert quiet(browser)


@pytest.mark.weights
def test_minilm_by_the_command(browsers, tmp_path):
    needs_weights("all-minilm-l6-v2")
    page = tmp_path / "page.html"
    code, output, error = invoke("export", "html", "all-minilm-l6-v2", page)
    assert code == 0, (output, error)
    browser = browsers()
    browser.get(page.as_uri())
    texts = ["A cat sleeps on the sofa.", "The kitten is having a nap.", "How do I bake bread?"]
    expected = SentenceEmbedder.load("all-minilm-l6-v2").embed(texts)
    np.testing.assert_allclose(vectors(browser, texts), expected, atol=2e-3)  # float16 weights
