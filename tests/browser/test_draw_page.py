"""The drawn page in a real browser: loading, stepping, folding, and the engine's numbers on it.

Needs Chromium (Debian: apt-get install chromium chromium-driver) and selenium; skipped without.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, study
from tinygrad_llm.models import GPT, GPTConfig

from .conftest import NARROW, WIDE


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """A scalar expression, an attention head and a GPT of two layers: (drawing, file)."""
    folder = tmp_path_factory.mktemp("pages")
    a = torch.tensor(2.0, requires_grad=True)
    b = torch.tensor(-3.0, requires_grad=True)

    def scalar():
        c = a * b
        d = c + a
        return d.tanh() * c

    torch.manual_seed(1)
    head = nn.MultiheadAttention(4, 1, batch_first=True)
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(1, 3, 4)).astype("float32"))
    settings = {"vocab_size": 11, "context_length": 6, "emb_dim": 8, "n_heads": 2, "n_layers": 2}
    gpt = GPT(GPTConfig(**settings, drop_rate=0.0))
    ids, targets = (torch.tensor(rng.integers(0, 11, (2, 6))) for _ in range(2))
    drawn = {
        "scalar": study.draw(scalar, title="a scalar expression"),
        "attention": study.draw(lambda: head(x, x, x)[0].sum(), head, title="an attention head"),
        "gpt": study.draw(lambda: gpt.loss(ids, targets), gpt, title="a GPT of two layers"),
    }
    for name, drawing in drawn.items():
        drawing.html(folder / f"{name}.html")
    maps = study.draw_attention(gpt, ids, tokens="a b c d e f".split())
    maps.html(folder / "maps.html")
    return drawn, folder


def load(browsers, folder, name, size=WIDE, dark=False):
    browser = browsers(size, dark)
    browser.get_log("browser")  # what the page before left there
    browser.get((folder / f"{name}.html").as_uri())
    return browser


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def text(browser, selector):
    return browser.execute_script(
        "return document.querySelector(arguments[0]).textContent", selector
    )


def cells(browser, selector):
    """The numbers of the first heat map that the selector finds."""
    return browser.execute_script(
        "const t = document.querySelector(arguments[0] + ' table.heat');"
        "return [...t.rows].map(r => [...r.cells].map(c => Number(c.textContent)))",
        selector,
    )


@pytest.mark.parametrize("name", ["scalar", "attention", "gpt"])
@pytest.mark.suite_cases(1)
def test_steps_to_the_end_without_an_error(browsers, drawings, name):
    from selenium.webdriver.common.keys import Keys

    drawing, folder = drawings[0][name], drawings[1]
    browser = load(browsers, folder, name)
    n = len(drawing.steps)
    assert text(browser, "#where") == f"step 0 of {n}"
    for i, step in enumerate(drawing.steps, 1):
        press(browser, Keys.ARROW_RIGHT)
        heading = text(browser, "#step h2")
        assert heading.startswith(f"Step {i} of {n}: {step.node.label}")
        first = next(a for a in step.arriving if a is not None)
        if first.size <= 64:
            shown = np.array(cells(browser, "#step section"))
            np.testing.assert_allclose(shown.reshape(first.shape), first, rtol=1e-4, atol=1e-30)
    press(browser, Keys.ARROW_RIGHT)  # beyond the end nothing happens
    assert text(browser, "#where") == f"step {n} of {n}"
    assert "The backward pass is complete" in text(browser, "#step")
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def test_the_numbers_are_the_engine_s(browsers, drawings):
    from selenium.webdriver.common.keys import Keys

    drawing, folder = drawings[0]["scalar"], drawings[1]
    browser = load(browsers, folder, "scalar")
    press(browser, Keys.END)
    for node in drawing.graph.nodes:
        if node.kind == "leaf":
            total = [a.total for s in drawing.steps for a in s.leaving if a.edge.source is node][-1]
            shown = text(browser, f"#n{node.id} .g").removeprefix("∂ ")
            assert float(shown) == pytest.approx(float(total), rel=1e-4)
    assert "2 gradients add up here" in text(browser, "#step")
    assert "g * y = -1.0074 * -3 = 3.0221" in text(browser, "#step .with-numbers")


def test_slider_buttons_and_nodes_move_the_same_steps(browsers, drawings):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    drawing, folder = drawings[0]["scalar"], drawings[1]
    browser = load(browsers, folder, "scalar")
    browser.find_element(By.ID, "next").click()
    assert text(browser, "#where") == "step 1 of 4"
    browser.find_element(By.ID, "slider").send_keys(Keys.ARROW_RIGHT)
    assert text(browser, "#where") == "step 2 of 4"  # once, not twice
    browser.find_element(By.ID, "last").click()
    assert text(browser, "#where") == "step 4 of 4"
    browser.find_element(By.ID, "back").click()
    assert text(browser, "#where") == "step 3 of 4"
    browser.find_element(By.ID, f"n{drawing.steps[0].node.id}").click()
    assert text(browser, "#where") == "step 1 of 4"
    assert "its numbers" in text(browser, "#inspect")


def test_folding(browsers, drawings):
    from selenium.webdriver.common.by import By

    folder = drawings[1]
    browser = load(browsers, folder, "gpt")
    hidden = "return [...document.querySelectorAll('.node')].filter(n => !n.offsetParent).length"
    browser.find_element(By.ID, "open").click()
    assert browser.execute_script(hidden) == 0
    paths = "return document.querySelectorAll('#edges path').length"
    open_paths = browser.execute_script(paths)
    block = browser.find_element(By.CSS_SELECTOR, ".box > .head")
    block.click()
    assert browser.execute_script(hidden) > 0
    assert block.get_attribute("aria-expanded") == "false"
    browser.find_element(By.ID, "close").click()
    assert browser.execute_script(paths) < open_paths
    browser.find_element(By.ID, "next").click()
    browser.find_element(By.ID, "next").click()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".box.folded.now, .node.now")) == 1


@pytest.mark.slow
@pytest.mark.ci
def test_the_keyboard_alone_suffices(browsers, drawings):
    from selenium.webdriver.common.keys import Keys

    drawing, folder = drawings[0]["gpt"], drawings[1]
    browser = load(browsers, folder, "gpt")
    seen, focus = set(), "return document.activeElement.id || document.activeElement.className"
    for _ in range(400):
        press(browser, Keys.TAB)
        at = browser.execute_script(focus)
        if at in seen and len(seen) > 5 and at == "first":
            break
        seen.add(at)
    visible = browser.execute_script(
        "return [...document.querySelectorAll('.node')].filter(n => n.offsetParent).map(n => n.id)"
    )
    assert (
        set(visible) <= seen and "head" in seen and {"slider", "next", "last"} <= seen | {"first"}
    )
    node = drawing.steps[0].node
    browser.execute_script(f"document.getElementById('n{node.id}').focus()")
    assert node.label in text(browser, "#inspect")
    press(browser, Keys.ENTER)
    assert text(browser, "#step h2").startswith("Step 1 ")
    browser.execute_script("document.querySelector('.box.folded > .head').focus()")
    before = browser.execute_script("return document.querySelectorAll('.box.folded').length")
    press(browser, Keys.ENTER)
    assert browser.execute_script("return document.querySelectorAll('.box.folded').length") < before
    press(browser, Keys.END)
    assert "The backward pass is complete" in text(browser, "#step")
    press(browser, Keys.HOME)
    assert text(browser, "#step h2") == "Before the first step"


def test_hover_shows_a_heat_map_of_value_and_gradient(browsers, drawings):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    drawing, folder = drawings[0]["attention"], drawings[1]
    browser = load(browsers, folder, "attention")
    press(browser, Keys.END)
    browser.find_element(By.ID, "open").click()
    node = next(n for n in drawing.graph.nodes if n.label == "softmax")
    place = browser.find_element(By.ID, f"n{node.id}")
    ActionChains(browser).move_to_element(place).perform()
    shown = np.array(cells(browser, "#inspect"))
    np.testing.assert_allclose(shown, node.values[0].reshape(-1, 3), rtol=1e-4)
    assert "gradient, so far" in text(browser, "#inspect")


@pytest.mark.parametrize("name", ["scalar", "attention", "gpt", "maps"])
@pytest.mark.parametrize("size", [NARROW, WIDE])
@pytest.mark.parametrize("dark", [False, True])
def test_readable_at_every_width_and_in_light_and_dark(browsers, drawings, name, size, dark):
    browser = load(browsers, drawings[1], name, size, dark)
    page = browser.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth,"
        " getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
        " Math.min(...[...document.querySelectorAll('.node span, p, h1, h2')]"
        ".filter(e => e.offsetParent).map(e => parseFloat(getComputedStyle(e).fontSize)))]"
    )
    width, window, background, ink, smallest = page
    assert width <= window, "the page scrolls sideways"
    assert smallest >= 12

    def light(color):
        return sum(int(c) for c in color[color.index("(") + 1 : -1].split(",")[:3]) / 3

    assert (light(background) < 60) == dark and abs(light(background) - light(ink)) > 150
    assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_attention_maps_answer_the_keys(browsers, drawings):
    from selenium.webdriver.common.keys import Keys

    browser = load(browsers, drawings[1], "maps")
    assert "head 1 of 2: “f” looks at" in text(browser, "#description")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ARROW_UP)
    assert "head 2 of 2: “d” looks at" in text(browser, "#description")
    press(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert "trf_blocks.1.att, head 2 of 2" in text(browser, "#description")
