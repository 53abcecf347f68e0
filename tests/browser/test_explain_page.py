"""Pages that explain, in a browser: labels do not overlap, and copied formulas are Unicode."""

from __future__ import annotations

import pytest

from tinygrad_llm import study

from .conftest import NARROW, WIDE

SAMPLE = ("layer_norm", "scaled_dot_product_attention", "split", "Attention", "Block", "GPT", "T5",
          "AdamW", "Cache", "all_reduce")  # fmt: skip
OVERLAPS = """
const boxes = [...document.querySelectorAll(".diagram text")].map((t) => [t.textContent,
  t.getBoundingClientRect()]);
const bad = [];
boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
  const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
  const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
  if (wide > 1 && high > 2) bad.push([a, b]);
}));
const outside = [...document.querySelectorAll(".diagram rect.node")].flatMap((rect) => {
  const r = rect.getBoundingClientRect();
  return boxes.filter(([, t]) => { const x = (t.left + t.right) / 2, y = (t.top + t.bottom) / 2;
    return x > r.left && x < r.right && y > r.top && y < r.bottom
      && (t.left < r.left - 1 || t.right > r.right + 1); }).map(([text]) => text);
});
return [boxes.length, bad, outside, document.documentElement.scrollWidth, innerWidth,
  boxes.length ? Math.min(...boxes.map(([, t]) => t.height)) : 0,
  [...document.querySelectorAll("math")].filter((m) => m.getBoundingClientRect().width < 2).length]
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    for name in SAMPLE:
        study.explain(name).html(folder / f"{name}.html")
    return folder


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["laptop", "phone"])
def test_labels_do_not_overlap_and_the_page_fits(browsers, pages, size):
    browser = browsers(size)
    for name in SAMPLE:
        browser.get((pages / f"{name}.html").as_uri())
        count, bad, outside, width, window, height, flat = browser.execute_script(OVERLAPS)
        assert count >= 4 and not bad and not outside, (name, bad, outside)
        assert width <= window and height >= 10.5 and not flat, (name, width, window, height, flat)


@pytest.mark.slow
@pytest.mark.ci
def test_a_diagram_of_a_model_is_not_cut_off_on_a_phone(browsers, pages):
    browser = browsers(NARROW)
    browser.get((pages / "T5.html").as_uri())
    cut = "const d = document.querySelector('.diagram'); return [d.scrollWidth, d.clientWidth]"
    inner, outer = browser.execute_script(cut)
    assert inner <= outer


def test_copying_gives_the_unicode_form(browsers, tmp_path):
    browser = browsers(WIDE)
    study.explain("layer_norm").html(tmp_path / "layer_norm.html")
    browser.get((tmp_path / "layer_norm.html").as_uri())
    copied = browser.execute_script(
        "getSelection().selectAllChildren(document.querySelector('.doc p'));"
        "const data = new DataTransfer();"
        "document.dispatchEvent(new ClipboardEvent('copy', {clipboardData: data, bubbles: true,"
        " cancelable: true})); return data.getData('text/plain')"
    )
    assert "y = w·x̂ + b" in copied and "r = 1/√(σ² + ε)" in copied
