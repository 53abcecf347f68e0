"""A model as one HTML file: JavaScript's tokens and logits are Python's, and a page for all."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.models import registry
from tinygrad_llm.models.described import describe_decoder
from tinygrad_llm.serve.pages import model_page
from tinygrad_llm.text import BPETokenizer, CharTokenizer

from .conftest import NARROW, WIDE

TEXT = "the cat sat on the mat; the dog's cats are 12 or 123! Émile 日本語です。 it's\n\n  the end "
BPE = BPETokenizer.train(TEXT * 3, 290)
CHAR = CharTokenizer.train(TEXT, ["<|endoftext|>"])
SIZES = {"context_length": 24, "emb_dim": 16, "n_layers": 2, "n_heads": 4}
LLAMA = {**SIZES, "hidden_dim": 24, "n_kv_heads": 2, "head_dim": 6}
CASES = {
    "gpt": ("GPT", CHAR, {**SIZES, "drop_rate": 0.0}),
    "untied": ("GPT", BPE, {**SIZES, "qkv_bias": False, "tie_weights": False, "attention": "swa",
                            "n_kv_heads": 2, "positions": "rotary", "window": 5}),
    "llama": ("Llama", BPE, {**LLAMA, "window": 7, "rope_scaling": {"rope_type": "yarn",
              "factor": 4.0, "original_max_position_embeddings": 6}}),
    "qwen3": ("Qwen3", CHAR, LLAMA),
}  # fmt: skip


def made(name):
    """A random model whose weights are far from zero, and its tokenizer."""
    family, tokenizer, sizes = CASES[name]
    torch.manual_seed(3)
    entry = registry.find(family)
    model = entry.model(entry.config(**sizes, vocab_size=tokenizer.vocab_size)).eval()
    for parameter in model.parameters():
        parameter.array[...] += 0.15 * np.random.default_rng(1).normal(size=parameter.shape)
    return model, tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in CASES:
        kind = "F16" if name == "qwen3" else "F32"
        page = model_page(*made(name), f"a <b>{name}</b>", kind, "the cat sat")
        (folder / f"{name}.html").write_text(page, "utf-8")
    return folder


def load(browsers, folder, name, size=WIDE, dark=False):
    browser = browsers(size, dark)
    browser.get_log("browser")
    browser.get((folder / f"{name}.html").as_uri())
    return browser


def script(browser, code, *arguments):
    return browser.execute_script(code, *arguments)


def until(browser, code):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60, 0.03).until(lambda b: b.execute_script(code))


@pytest.mark.parametrize("name", CASES)
def test_ids_logits_and_attention_are_python_s(browsers, folder, name):
    model, tokenizer = made(name)
    if name == "qwen3":  # its page has float16
        for parameter in model.parameters():
            parameter.array[...] = parameter.array.astype(np.float16)
    browser = load(browsers, folder, name)
    text = "the  cats' mat 12\n\nÉ 日本 "
    ids = [int(i) for i in tokenizer.encode(text)]
    assert script(browser, "return model.encode(arguments[0])", text) == ids
    ids = (ids * 2)[: SIZES["context_length"]]
    shown = np.array(script(browser, "return model.logits(arguments[0])", ids))
    with torch.no_grad():
        expected = model(torch.tensor([ids])).numpy()[0]
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(shown, expected, atol=1e-4, rtol=0)
    until(browser, "return document.querySelector('#looks td')")
    shares = script(browser, "return [...document.querySelectorAll('#looks td:nth-child(2)')]"
                             ".map(c => parseFloat(c.textContent))")  # fmt: skip
    assert shares == sorted(shares, reverse=True) and 100 * 8 / 11 - 1 < sum(shares) < 101
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert script(browser, "return document.querySelector('h1').textContent") == f"a <b>{name}</b>"


def test_it_writes_on_as_python_does(browsers, folder):
    from selenium.webdriver.common.by import By

    from tinygrad_llm.generation import generate

    model, tokenizer = made("gpt")
    browser = load(browsers, folder, "gpt")
    for field, value in (("temperature", "0"), ("count", "10")):
        script(browser, "document.getElementById(arguments[0]).value = arguments[1]", field, value)
    browser.find_element(By.ID, "write").click()
    until(browser, "return !document.getElementById('write').disabled")
    ids = generate(model, tokenizer.encode("the cat sat"), 10, temperature=0.0)
    text = tokenizer.decode(ids)
    assert "<|endoftext|>" not in text
    assert script(browser, "return document.getElementById('text').value") == text
    assert script(browser, "return document.querySelectorAll('.token.written').length") == 10
    # further than the context: the page says what the model still sees
    script(browser, "document.getElementById('count').value = 30")
    browser.find_element(By.ID, "write").click()
    until(browser, "return !document.getElementById('write').disabled")
    assert script(browser, "return document.querySelectorAll('.token.unseen').length") > 10
    script(browser, "document.getElementById('count').value = 0")
    browser.find_element(By.ID, "write").click()
    assert "1 to 10,000" in script(browser, "return document.getElementById('status').textContent")


def test_the_keyboard_alone_suffices(browsers, folder):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = load(browsers, folder, "llama")
    until(browser, "return document.querySelector('#looks td')")
    seen = []
    for _ in range(10):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        seen.append(script(browser, "const a = document.activeElement; return a.id || a.className"))
    order = ["language", "text", "temperature", "count", "seed", "write", "token", "layer", "head"]
    assert seen[:9] == order
    script(browser, "document.querySelector('.token[tabindex=\"0\"]').focus()")
    ActionChains(browser).send_keys(Keys.HOME).send_keys(Keys.ARROW_RIGHT).perform()
    assert "token 2" in script(browser, "return document.getElementById('where').textContent")
    script(browser, "document.getElementById('language').focus()")
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert script(browser, "return document.documentElement.lang") == "ja"
    assert "2 番目" in script(browser, "return document.getElementById('where').textContent")


@pytest.mark.parametrize(("size", "dark"), [(NARROW, True), (WIDE, False)])
def test_readable_at_every_width_and_in_light_and_dark(browsers, folder, size, dark):
    check_readable(load(browsers, folder, "untied", size, dark), dark)


def check_readable(browser, dark):
    """No sideways scrolling, text of 12 pixels or more, and the contrast of WCAG AA."""
    width, window, smallest, colors = script(browser, """
        const shown = [...document.querySelectorAll('p, h1, h2, label, button, td, th, a')]
          .filter(e => e.offsetParent && e.textContent.trim() && !e.disabled);
        const behind = e => { for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (!c.endsWith(', 0)')) return c; } return 'rgb(255, 255, 255)'; };
        return [document.documentElement.scrollWidth, innerWidth,
          Math.min(...shown.map(e => parseFloat(getComputedStyle(e).fontSize))),
          shown.map(e => [getComputedStyle(e).color, behind(e), e.textContent.slice(0, 30)])]
    """)  # fmt: skip
    assert width <= window, "the page scrolls sideways"
    assert smallest >= 12

    def luminance(color):
        parts = [float(c) / 255 for c in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ink, background, text in colors:
        if background.startswith("rgba"):  # a token that is shaded: looked at in the screenshots
            continue
        light, darker = sorted((luminance(ink), luminance(background)), reverse=True)
        assert (light + 0.05) / (darker + 0.05) >= 4.5, (ink, background, text)
    body = script(browser, "return getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) < 0.1) == dark


def test_what_a_page_cannot_hold_is_one_line(monkeypatch):
    model, tokenizer = made("gpt")
    with pytest.raises(ValueError, match="kind must be F16 or F32 for html, got 'Q8_0'"):
        model_page(model, tokenizer, kind="Q8_0")
    with pytest.raises(ValueError, match="do not belong together"):
        model_page(model, BPE)
    monkeypatch.setattr("tinygrad_llm.serve.pages.model_file.MOST_BYTES", 20_000)
    with pytest.raises(ValueError, match="MB of weights, and at most .*; F16 needs half: export"):
        model_page(model, tokenizer, kind="F32")
    monkeypatch.undo()
    model.tok_emb.weight.array[0, 0] = 1e5
    with pytest.raises(ValueError, match="tok_emb.weight has numbers beyond float16: use --kind"):
        model_page(model, tokenizer)
    entry = registry.find("GPT")
    for change, words in (
        ({"attention": "mla"}, "block 0 has LatentAttention"),
        ({"sinks": True}, "attention with sinks"),
        ({"feed_forward": "moe"}, "block 0 has a MixtureOfExperts"),
        ({"positions": "sinusoidal"}, "positions of SinusoidalPositions"),
    ):
        other = entry.model(entry.config(**SIZES, vocab_size=40, **change))
        with pytest.raises(ValueError, match=words):
            describe_decoder(other)
    with pytest.raises(ValueError, match="is not among the models"):
        describe_decoder(torch.nn.Linear(2, 2))
