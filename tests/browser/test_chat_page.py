"""The chat page of the server in a real browser: answers, tokens, safe texts, the keyboard."""

from __future__ import annotations

import pytest

from .conftest import NARROW, WIDE
from .test_model_page import check_readable, script, until

for package in ("jinja2", "fastapi", "uvicorn"):
    pytest.importorskip(package)

NASTY = """# A <b>heading</b>
Some **bold**, *italic* and `code <i>` with <img src=x onerror="window.hit = 1">.

- one
- [a link](https://example.org/a) and [none](javascript:alert(1))

3. three

> said

```js
<script>window.hit = 1</script>
```"""


@pytest.fixture(scope="module")
def address():
    from test_serve import server

    from tinygrad_llm.serve.pages import server_pages

    with server(pages=server_pages(["language-model", "embeddings"])) as (address, _):
        yield address


def load(browsers, address, size=WIDE, dark=False):
    browser = browsers(size, dark)
    browser.get_log("browser")
    browser.get(address)
    until(browser, "return document.querySelector('#model option')")
    return browser


def keys(browser, *sent):
    from selenium.webdriver import ActionChains

    chain = ActionChains(browser)
    for key in sent:
        chain.send_keys(key)
    chain.perform()


def status_text(browser):
    return script(browser, "return document.getElementById('status').textContent")


def ask(browser, message, tokens=12):
    from selenium.webdriver.common.keys import Keys

    script(browser, "document.getElementById('temperature').value = 0;"
                    "document.getElementById('most').value = arguments[0];"
                    "document.getElementById('message').focus()", tokens)  # fmt: skip
    keys(browser, message, Keys.ENTER)
    until(browser, "return document.querySelector('article:last-child .tools button')"
                   " && !document.getElementById('send').disabled")  # fmt: skip


def test_an_answer_and_its_tokens_by_the_keyboard_alone(browsers, address):
    import httpx
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = load(browsers, address)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12,
            "temperature": 0, "logprobs": True, "top_logprobs": 5}  # fmt: skip
    expected = httpx.post(f"{address}/v1/chat/completions", json=body).json()["choices"][0]
    ask(browser, "Hello")
    assert "12 tokens" in status_text(browser) and "limit" in status_text(browser)
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert script(browser, "return document.activeElement.dataset.word") == "tokens"
    keys(browser, Keys.ENTER)
    keys(browser, Keys.TAB, Keys.END)
    tokens = script(browser, "return [...document.querySelectorAll('.token')]"
                             ".map(t => t.textContent)")  # fmt: skip
    assert len(tokens) == 12 == len(expected["logprobs"]["content"])
    shown = script(browser, "return [...document.querySelectorAll('.details td:first-child')]"
                            ".map(c => c.textContent)")  # fmt: skip
    last = expected["logprobs"]["content"][-1]["top_logprobs"]
    assert len(shown) == 5 and shown[0].strip("␣⏎") == last[0]["token"].strip()
    ask(browser, "More")
    assert script(browser, "return document.querySelectorAll('article').length") == 4
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def test_write_on_stop_and_errors_of_the_server(browsers, address):
    browser = load(browsers, address)
    script(browser, "document.getElementById('mode').value = 'write'")
    ask(browser, "Once")
    assert "12 tokens" in status_text(browser)
    script(browser, "document.getElementById('clear').click()")
    assert script(browser, "return document.querySelectorAll('article').length") == 0
    script(browser, "document.getElementById('message').value = 'x'.repeat(4000);"
                    "document.getElementById('send').click()")  # fmt: skip
    until(browser, "return document.querySelector('#status.error')")
    assert "fit in the model's context" in status_text(browser)
    assert script(browser, "return document.getElementById('message').value") == "x" * 4000


def test_texts_of_the_model_stay_texts(browsers, address):
    browser = load(browsers, address)
    html = script(
        browser,
        "const box = document.createElement('div'); document.body.append(box);"
        "box.append(...markdown(arguments[0]));"
        "const out = box.innerHTML; box.remove(); return out",
        NASTY,
    )
    for part in (
        "A &lt;b&gt;heading&lt;/b&gt;", "<strong>bold</strong>", "<em>italic</em>",
        "<code>code &lt;i&gt;</code>", "&lt;img src=x", "<li>one</li>", "<blockquote>said",
        '<a href="https://example.org/a" rel="noreferrer noopener" target="_blank">a link</a>',
        "[none](javascript:alert(1))", '<ol start="3"><li>three</li></ol>',
        "<code>&lt;script&gt;window.hit = 1&lt;/script&gt;</code>",
    ):  # fmt: skip
        assert part in html, part
    # the policy stops what a text could not even reach: scripts and requests elsewhere
    script(browser, "const s = document.createElement('script'); s.textContent = 'window.hit = 1';"
                    "document.body.append(s)")  # fmt: skip
    assert script(browser, "return window.hit") is None
    browser.get_log("browser")


def test_the_policy_has_no_unsafe_part(address):
    import httpx

    answer = httpx.get(address)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "sha256-" in policy
    assert "http" not in policy and policy.endswith("frame-ancestors 'none'")
    assert "connect-src 'self'" in policy and "src=" not in answer.text.partition("<body>")[0]


@pytest.mark.parametrize(("size", "dark"), [(NARROW, True), (WIDE, False)])
def test_readable_at_every_width_and_in_light_and_dark(browsers, address, size, dark):
    browser = load(browsers, address, size, dark)
    ask(browser, "Hello")
    script(browser, "document.querySelector('details').open = true;"
                    "document.querySelector('[data-word=tokens]').click();"
                    "document.querySelector('.token').focus()")  # fmt: skip
    check_readable(browser, dark)
    script(browser, "document.getElementById('language').click()")
    assert script(browser, "return document.querySelector('h1').textContent") in (
        "チャット",
        "Chat",
    )
    check_readable(browser, dark)
    script(browser, "if (document.documentElement.lang !== 'en')"
                    "document.getElementById('language').click()")  # fmt: skip


def test_a_key_is_asked_for_and_never_stored(browsers):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from test_serve import KEY, server

    from tinygrad_llm.serve.pages import server_pages

    with server(key=KEY, pages=server_pages(["language-model"])) as (address, _):
        browser = browsers()
        browser.get(address)
        until(browser, "return document.activeElement.id === 'key'")
        assert "key" in status_text(browser)
        browser.find_element(By.ID, "key").send_keys(KEY, Keys.TAB)
        until(browser, "return document.querySelector('#model option')")
        assert script(browser, "return localStorage.length + sessionStorage.length") == 0
        assert script(browser, "return document.cookie") == ""
        browser.get_log("browser")
        browser.get("about:blank")


def test_texts_are_compared_by_their_vectors(browsers, address):
    import numpy as np

    browser = browsers()
    browser.get(f"{address}/embed")
    texts = ["ab", "<b>c</b>", "zebra"]
    script(browser, "document.getElementById('texts').value = arguments[0];"
                    "document.getElementById('compare').click()", "\n".join(texts))  # fmt: skip
    until(browser, "return document.querySelector('#neighbours td')")
    shown = script(browser, "return [...document.querySelectorAll('#matrix td')]"
                            ".map(c => Number(c.textContent))")  # fmt: skip
    vectors = np.array([[len(t), ord(t[0])] for t in texts], float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(np.reshape(shown, (3, 3)), vectors @ vectors.T, atol=0.0051)
    near = script(browser, "return [...document.querySelectorAll('#neighbours td.left')]"
                           ".map(c => c.textContent)")  # fmt: skip
    best = max((1, 2), key=lambda i: vectors[0] @ vectors[i])
    assert near[0] == f"{best + 1}  {texts[best]}"
    check_readable(browser, False)
    script(browser, "document.getElementById('texts').value = 'one';"
                    "document.getElementById('compare').click()")  # fmt: skip
    assert "at least two" in status_text(browser)
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
