"""The pages of classes, of a training run, and attention in the chat, in a real browser."""

from __future__ import annotations

import contextlib
import json
import threading

import numpy as np
import pytest

from .conftest import NARROW, WIDE
from .test_chat_page import ask, keys, load, status_text
from .test_model_page import check_readable, script, until

pytestmark = [pytest.mark.slow, pytest.mark.ci]
for package in ("jinja2", "fastapi", "uvicorn"):
    pytest.importorskip(package)


@contextlib.contextmanager
def whole_server(folder, **others):
    """A server with all pages: language models, a classifier, embeddings, a run in `folder`."""
    from test_serve import server
    from test_serve_models import spam_classifier

    from tinygrad_llm.serve.pages import server_pages
    from tinygrad_llm.serve.watching import WatchedRun

    kinds = ["language-model", "classifier", "embeddings"]
    others = {"classifiers": {"spam": spam_classifier()}, "run": WatchedRun(folder), **others}
    with server(pages=server_pages(kinds, run=True), others=others) as (address, engine):
        yield address, engine


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "first"
    with whole_server(folder) as (address, engine):
        yield address, engine, folder


def write_run(folder, steps=60, state="ended", process=1):
    """The files of a run, as training/live.py describes them."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = [
        {
            "step": i,
            "tokens": 512 * i,
            "loss": 1.3 + 3 / (1 + i / 9) + 0.1 * rng.normal(),
            "lr": 3e-4,
            "grad_norm": 1.0,
            "seconds": 0.1 * i,
        }
        for i in range(1, steps + 1)
    ]
    lines += [{"step": i, "tokens": 512 * i, "val_loss": 1.5 + 3 / (1 + i / 9)}
              for i in range(10, steps + 1, 10)]  # fmt: skip
    layers = ["tok_emb", *(f"trf_blocks.{k}" for k in range(4)), "final_norm"]
    norms = [{"step": i, "norms": {name: float(f"{(0.3 + k) / (1 + i / 30):.4g}")
                                   for k, name in enumerate(layers)}}
             for i in range(10, steps + 1, 10)]  # fmt: skip
    texts = [{"step": i, "text": "Once there was a <b>fox</b>\nand a dog."}
             for i in range(20, steps + 1, 20)]  # fmt: skip
    for name, rows in (("metrics", lines), ("gradients", norms), ("samples", texts)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    fields = {"state": state, "step": steps, "steps": 2 * steps, "process": process}
    (folder / "state.json").write_text(json.dumps(fields))


def quiet(browser):
    """Nothing was refused or failed in the page."""
    return not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def open_page(browsers, address, path, size=WIDE, dark=False):
    browser = browsers(size, dark)
    browser.get_log("browser")
    browser.get(address + path)
    return browser


def in_english(browser):
    script(browser, "if (document.documentElement.lang !== 'en')"
                    "document.getElementById('language').click()")  # fmt: skip


# ---------------------------------------------------------------------------------- classes
def classified(browsers, address, text, size=WIDE, dark=False):
    browser = open_page(browsers, address, "/classify", size, dark)
    in_english(browser)
    until(browser, "return document.querySelector('#model option')")
    script(browser, "document.getElementById('text').focus()")
    keys(browser, text)
    script(browser, "document.getElementById('classify').focus()")
    keys(browser, " ")
    until(browser, "return document.querySelector('#strongest td')")
    return browser


def test_classes_and_tokens_by_the_keyboard_alone(browsers, served):
    from test_serve_models import spam_classifier

    from tinygrad_llm.finetune.contributions import contributions

    expected = contributions("win <b>a prize<b>", spam_classifier().model)
    browser = classified(browsers, served[0], "win <b>a prize<b>")
    shown = script(browser, "return [...document.querySelectorAll('#tokens .part')]"
                            ".map(t => [t.textContent, t.title])")  # fmt: skip
    assert "".join(token for token, _ in shown) == "win <b>a prize<b>"
    values = [float(title.replace("−", "-")) for _, title in shown]
    np.testing.assert_allclose(values, expected.scores, rtol=0.02, atol=1e-5)
    first = script(browser, "return document.querySelector('#strongest td').textContent")
    assert first.split()[0] == str(1 + int(np.abs(expected.scores).argmax()))
    row = script(browser, "return [...document.querySelectorAll('#classes tbody tr')]"
                          ".map(r => r.textContent)")  # fmt: skip
    assert row[0].startswith(expected.best) and expected.best in status_text(browser)
    other = next(i for i, name in enumerate(expected.names) if name != expected.best)
    script(browser, "const s = document.getElementById('target'); s.value = arguments[0];"
                    "s.dispatchEvent(new Event('change'))", str(other))  # fmt: skip
    until(browser, "return document.querySelectorAll('#tokens .part')[0].title !== arguments[0]"
                   .replace("arguments[0]", json.dumps(shown[0][1])))  # fmt: skip
    script(browser, "document.getElementById('text').value = '日本';"
                    "document.getElementById('classify').click()")  # fmt: skip
    until(browser, "return document.querySelector('#status.error')")
    assert "no tokens" in status_text(browser)
    browser.get_log("browser")  # the refused request


def test_a_server_without_a_classifier_says_what_to_do(browsers):
    from test_serve import server

    from tinygrad_llm.serve.pages import server_pages

    with server(pages=server_pages(["language-model"])) as (address, _):
        browser = open_page(browsers, address, "/classify")
        in_english(browser)
        until(browser, "return document.querySelector('#status.error')")
        assert "finetune classify" in status_text(browser)
        assert script(browser, "return document.getElementById('classify').disabled")
        links = "return [...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"
        assert script(browser, links) == ["/chat", "/classify"]
        browser = open_page(browsers, address, "/run")
        in_english(browser)
        until(browser, "return document.querySelector('#status.error')")
        assert "--run FOLDER" in status_text(browser)
        browser.get_log("browser")
        browser.get("about:blank")


# ------------------------------------------------------------------------------------- a run
def test_a_run_is_watched_paused_and_continued(browsers, tmp_path):
    from test_training import trainer

    from tinygrad_llm.serve.watching import WatchedRun

    folder, go_on = tmp_path / "second", threading.Event()

    def sample(model):
        assert go_on.wait(60)
        return "Once <b>there</b> was"

    run = trainer(folder, steps=150, sample=sample, sample_every=20, eval_every=50)
    training = threading.Thread(target=lambda: run.run(plan=False))
    with whole_server(folder) as (address, _):
        browser = open_page(browsers, address, "/run")
        in_english(browser)
        until(browser, "return document.getElementById('status').textContent.includes('not begun')")
        training.start()
        try:
            until(browser, "return !document.getElementById('pause').disabled")
            script(browser, "document.getElementById('pause').click()")
            until(browser, "return document.getElementById('pause').textContent === 'Continue'")
            go_on.set()
            until(browser, "return document.getElementById('status').textContent.includes('waits')")
            step = WatchedRun(folder).state()["step"]
            assert 20 <= step < 150 and run.step == step
            until(browser, "return document.querySelector('#samples pre')")
            text = script(browser, "return document.querySelector('#samples pre').textContent")
            assert text == "Once <b>there</b> was"
            names = script(browser, "return [...document.querySelectorAll('#norms td.mono')]"
                                    ".map(c => c.textContent)")  # fmt: skip
            assert names[:3] == ["tok_emb", "pos_emb", "trf_blocks.0"]
            assert script(browser, "return document.querySelectorAll('#chart polyline').length") > 1
            script(browser, "document.getElementById('pause').click()")
            until(browser, "return document.getElementById('pause').textContent === 'Pause'")
        finally:
            go_on.set()
            (folder / "pause").unlink(missing_ok=True)
            training.join(60)
        until(browser, "return document.getElementById('status').textContent.includes('ended')")
        assert script(browser, "return document.getElementById('pause').disabled")
        assert run.step == 150 and quiet(browser)
        browser.get("about:blank")


# ------------------------------------------------------------------------- the chat's attention
def test_attention_of_a_chosen_token(browsers, served):
    import httpx
    from selenium.webdriver.common.keys import Keys

    from tinygrad_llm.models.attention_weights import attention_weights

    address, engine, _ = served
    browser = load(browsers, address + "/chat")
    in_english(browser)
    ask(browser, "Hello")
    script(browser, "document.querySelector('[data-word=tokens]').click();"
                    "document.querySelector('.token').focus()")  # fmt: skip
    keys(browser, Keys.END, Keys.TAB, Keys.ENTER)  # the last token, then the button
    until(browser, "return document.querySelector('.attention td')")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12,
            "temperature": 0, "logprobs": True, "return_token_ids": True}  # fmt: skip
    answer = httpx.post(f"{address}/v1/chat/completions", json=body).json()
    ids = answer["prompt_token_ids"] + answer["choices"][0]["token_ids"]
    expected = list(attention_weights(engine.model, ids).values())

    def rows():
        return script(browser, "return [...document.querySelectorAll('.attention tbody tr')].map("
                               "r => [parseInt(r.cells[0].textContent),"
                               " parseFloat(r.cells[1].textContent)])")  # fmt: skip

    def check(weights):
        for place, share in rows():
            assert share == pytest.approx(100 * weights[place - 1], abs=0.06)

    check(expected[-1].mean(0))
    assert f"token {len(ids)}" in script(browser, "return document.querySelector('.attention p')"
                                                  ".textContent")  # fmt: skip
    for place, value in ((0, 0), (1, 1)):
        script(browser, "const s = document.querySelectorAll('.attention select')[arguments[0]];"
                        "s.value = arguments[1]; s.dispatchEvent(new Event('change'))",
               place, value)  # fmt: skip
    check(expected[0][1])
    marked = script(browser, "return [...document.querySelectorAll('.token')]"
                             ".filter(t => t.style.boxShadow).length")  # fmt: skip
    assert marked > 0
    check_readable(browser, False)
    assert quiet(browser)


def test_stop_and_copy(browsers, served):
    from test_serve import server

    from tinygrad_llm.serve.pages import server_pages

    pages = server_pages(["language-model"])
    with server(60_000, tokens=50_000, pages=pages) as (address, engine):
        browser = load(browsers, address + "/chat")
        in_english(browser)
        permission = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        browser.execute_cdp_cmd("Browser.grantPermissions", {**permission, "origin": address})
        script(browser, "document.getElementById('temperature').value = 0;"
                        "document.getElementById('most').value = 50000;"
                        "document.getElementById('message').value = 'Hello';"
                        "document.getElementById('send').click()")  # fmt: skip
        until(browser, "return document.querySelector('article.assistant .body').textContent.length"
                       " > 40")  # fmt: skip
        assert not script(browser, "return document.getElementById('stop').disabled")
        script(browser, "document.getElementById('stop').click()")
        until(browser, "return document.getElementById('status').textContent === 'Stopped.'")
        until(browser, "return document.querySelector('[data-word=copy]')")
        assert script(browser, "return document.getElementById('stop').disabled")
        assert script(browser, "return document.activeElement.id") == "message"
        script(browser, "document.querySelector('[data-word=copy]').click()")
        until(browser, "return document.getElementById('status').textContent === 'Copied'")
        copied = browser.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], e => arguments[0](String(e)))"
        )
        from test_serve import HELLO, expected, idle

        assert len(copied) > 40 and expected(engine, HELLO, len(copied) + 50).startswith(copied)
        idle(engine)  # the server has stopped too
        browser.get_log("browser")
        browser.get("about:blank")


def test_the_list_of_models_changes_who_answers(browsers):
    from test_serve import server
    from tiny_chat import tiny_model, tiny_tokenizer

    from tinygrad_llm.serve import Engine, Limits
    from tinygrad_llm.serve.pages import server_pages
    from tinygrad_llm.serve.service import Service

    asked = []

    def second():
        other = Engine(tiny_model(128), tiny_tokenizer(), Limits(tokens=60))
        other.start()
        asked.append(other)
        return Service(other, "second", (257,))

    pages = server_pages(["language-model"])
    with server(pages=pages, loaders={"second": second}) as (address, _):
        browser = load(browsers, address + "/chat")
        in_english(browser)
        options = "return [...document.querySelectorAll('#model option')].map(o => o.value)"
        assert script(browser, options) == ["tiny", "second"]
        ask(browser, "Hello")
        assert not asked
        script(browser, "document.getElementById('model').value = 'second'")
        ask(browser, "Hello")
        assert len(asked) == 1 and "12 tokens" in status_text(browser)
        asked[0].close()
        browser.get("about:blank")


# ---------------------------------------------------------------------------- for everybody
PAGES = ["/chat", "/classify", "/embed", "/run"]


def filled(browsers, served, path, size, dark):
    """The page with something to show."""
    address, _, folder = served
    if path == "/classify":
        return classified(browsers, address, "win a prize", size, dark)
    write_run(folder)
    browser = open_page(browsers, address, path, size, dark)
    in_english(browser)
    if path == "/chat":
        until(browser, "return document.querySelector('#model option')")
        ask(browser, "Hello")
        script(browser, "document.querySelector('[data-word=tokens]').click();"
                        "document.querySelector('.token').focus();"
                        "document.querySelector('[data-word=attention]').click()")  # fmt: skip
        until(browser, "return document.querySelector('.attention td')")
    elif path == "/embed":
        script(browser, "document.getElementById('texts').value = 'ab\\nzebra\\nc';"
                        "document.getElementById('compare').click()")  # fmt: skip
        until(browser, "return document.querySelector('#neighbours td')")
    else:
        until(browser, "return document.querySelector('#norms td')")
    return browser


def names_of_controls(browser):
    """(role, name) of each thing that can be used, as a screen reader has it."""
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    used = {"button", "link", "textbox", "combobox", "spinbutton", "checkbox", "image", "log",
              "navigation", "toolbar", "status", "table", "heading"}  # fmt: skip
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node.get("role", {}).get("value") in used
    ]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("size", "dark"), [(NARROW, True), (WIDE, False)])
def test_readable_and_named_in_both_languages(browsers, served, path, size, dark):
    browser = filled(browsers, served, path, size, dark)
    for language in ("en", "ja"):
        if language == "ja":
            script(browser, "document.getElementById('language').click()")
        assert script(browser, "return document.documentElement.lang") == language
        check_readable(browser, dark)
        text = script(browser, "return document.body.innerText")
        assert "undefined" not in text and "NaN" not in text and "{0}" not in text
        for role, name in names_of_controls(browser):
            assert name or role in ("status", "table"), (role, name)
        here = script(browser, "return document.querySelector('nav [aria-current]').textContent")
        assert here.strip()
        small = script(browser, "return [...document.querySelectorAll("
                       "'button:not(.token), select, input, nav a')].filter(e => e.offsetParent)"
                       ".filter(e => (e.closest('label.tick') || e).getBoundingClientRect().height"
                       " < 43).map(e => e.outerHTML.slice(0, 60))")  # fmt: skip
        assert small == []  # large enough for a thumb
    in_english(browser)
    assert quiet(browser)


@pytest.mark.parametrize("path", PAGES)
def test_nothing_moves_for_those_who_do_not_want_it(browsers, served, path):
    browser = filled(browsers, served, path, WIDE, False)
    features = [{"name": "prefers-reduced-motion", "value": "reduce"},
                {"name": "prefers-color-scheme", "value": "light"}]  # fmt: skip
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    moving = script(
        browser,
        """
        const styles = [...document.querySelectorAll('*')].map(e => getComputedStyle(e));
        return [document.getAnimations().length,
          styles.filter(s => parseFloat(s.transitionDuration) > 0
            || s.animationName !== 'none' || s.scrollBehavior === 'smooth').length]""",
    )
    assert moving == [0, 0]
