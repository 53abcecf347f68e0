"""The pages of a training, of descents and of masks in a browser: keys, numbers, axes, a phone."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_llm import study
from tinygrad_llm.study.explain.scene import drawn_example

from .conftest import NARROW, WIDE
from .test_draw_page import cells, press, text

DESCENTS = ("AdamW", "SGDScheduleFree", "OneCycleLR")
REPLAYS = ("all_gather", "ring_attention", "StreamingCache")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    training = study.draw_training(steps=3, file=folder / "training.html")
    masks = study.draw_masks(file=folder / "masks.html")
    for name in DESCENTS + REPLAYS:
        drawn_example(name).html(folder / f"{name}.html")
    return folder, training, masks


def opened(browser, file):
    browser.get_log("browser")
    browser.get(file.as_uri())
    return browser


def test_forward_backward_update_by_the_keyboard(browsers, pages):
    from selenium.webdriver.common.keys import Keys

    folder, training, _ = pages
    browser = opened(browsers(WIDE), folder / "training.html")
    steps = training.data["steps"]
    first, arrays = steps[0], training.data["arrays"]
    ops = [n["id"] for n in training.data["nodes"] if n["kind"] == "op"]
    assert "step 1 of 3, forward 1" in text(browser, "#where")
    for i, node in enumerate(ops):
        assert np.allclose(cells(browser, "#now"), arrays[first["values"][node]]["numbers"], 1e-3)
        press(browser, Keys.ARROW_RIGHT)
        assert "in plain words" in text(browser, "#now") and i < len(ops)
    for back in first["back"]:
        assert "backward" in text(browser, "#now h2")
        assert np.allclose(cells(browser, "#now"), arrays[back["arriving"]]["numbers"], 1e-3)
        press(browser, Keys.ARROW_RIGHT)
    for update in first["update"]:
        assert f"update: {update['name']}" in text(browser, "#now h2")
        press(browser, Keys.ARROW_RIGHT)
    assert "step 2 of 3, forward 1" in text(browser, "#where")
    press(browser, Keys.PAGE_DOWN)
    assert f"this step: {training.losses[2]:.4g}" in text(browser, "#losses")
    press(browser, Keys.END, Keys.ARROW_RIGHT)
    assert "step 3 of 3, update 4" in text(browser, "#where")
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


@pytest.mark.parametrize("name", DESCENTS)
def test_down_a_valley_by_the_keyboard(browsers, pages, name):
    from selenium.webdriver.common.keys import Keys

    browser = opened(browsers(WIDE), pages[0] / f"{name}.html")
    descent = drawn_example(name)
    rows = (
        "return [...document.querySelectorAll('#now table.state tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    count = "return document.querySelectorAll('#surface circle.visited').length"
    for frame in range(3):
        assert text(browser, "#where") == f"step {frame + 1} of 40"
        assert descent.steps[frame]["words"] in text(browser, "#now .plain")
        x, y = descent.data["points"][frame + 1]
        assert ["p, after", f"{x:.6g}", f"{y:.6g}"] in browser.execute_script(rows)
        assert browser.execute_script(count) == frame + 1
        press(browser, Keys.ARROW_RIGHT)
    press(browser, Keys.END)
    assert f"now: {descent.losses[-1]:.4g}" in text(browser, "#losses")
    scheduled = "OneCycleLR: then, the rate of the next step" in text(browser, "#code")
    assert scheduled == (name == "OneCycleLR")
    assert ("the average of the points" in text(browser, "#surface")) == ("Free" in name)
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


@pytest.mark.parametrize("name", REPLAYS)
def test_moment_by_moment_by_the_keyboard(browsers, pages, name):
    from selenium.webdriver.common.keys import Keys

    browser = opened(browsers(WIDE), pages[0] / f"{name}.html")
    steps = drawn_example(name).steps
    for i, moment in enumerate(steps):
        assert text(browser, "#where") == f"step {i + 1} of {len(steps)}"
        assert text(browser, "#phases li.now") == moment.phase
        assert moment.title in text(browser, "#now h2")
        held = [h for every in moment.places.values() for h in every]
        arrays = np.concatenate([np.asarray(h.array, np.float64).reshape(-1) for h in held])
        shown = browser.execute_script(
            "return [...document.querySelectorAll('#places td')].map(c => Number(c.textContent))"
        )
        np.testing.assert_allclose(shown, arrays, rtol=1e-3, atol=1e-9)
        rows = browser.execute_script(
            "return [...document.querySelectorAll('#places th')].map(cell => cell.textContent)"
        )
        assert rows == [row for h in held for row in h.rows]
        colours = browser.execute_script(
            "return [...document.querySelectorAll('#places td[title]')].map(cell => cell.title)"
        )
        assert len(colours) == sum(h.array.size for h in held if h.origins is not None)
        assert name != "all_gather" or "from rank 1" in colours
        press(browser, Keys.ARROW_RIGHT)
    assert text(browser, "#where") == f"step {len(steps)} of {len(steps)}"
    press(browser, Keys.HOME)
    assert text(browser, "#where") == f"step 1 of {len(steps)}"
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def test_nothing_moves_by_itself_if_the_reader_wants_that(browsers, pages):
    browser = browsers(WIDE)
    for wish, hidden in (("reduce", True), ("no-preference", False)):
        feature = {"name": "prefers-reduced-motion", "value": wish}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        opened(browser, pages[0] / "training.html")
        assert browser.execute_script("return document.getElementById('play').hidden") == hidden


def test_masks_by_the_keyboard(browsers, pages):
    from selenium.webdriver.common.keys import Keys

    browser = opened(browsers(WIDE), pages[0] / "masks.html")
    assert "“the” sees" in text(browser, "#description")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    weight = pages[2].panels[1].weights[1, 0]
    assert f"“le” sees “<start>” {weight:.2f}" in text(browser, "#description")
    assert "hidden: “chat”, “dort”" in text(browser, "#description")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["laptop", "phone"])
@pytest.mark.parametrize("name", ["training", "masks", *DESCENTS, *REPLAYS])
def test_they_fit_and_have_numbers_at_the_axes(browsers, pages, name, size):
    browser = opened(browsers(size), pages[0] / f"{name}.html")
    widths = "return [document.documentElement.scrollWidth, innerWidth]"
    width, window = browser.execute_script(widths)
    assert width <= window
    if name not in ("masks", *REPLAYS):
        labels = browser.execute_script(
            "return [...document.querySelectorAll('#losses text')].map(t => t.textContent)"
        )
        assert ("training step" if name == "training" else "step") in labels and "loss" in labels
        assert sum(label.replace(".", "").isdigit() for label in labels) >= 4
