"""The built site in a real browser: no error on sampled pages, readable on a phone, and searchable.

`python docs/build.py` builds it; TINYGRAD_LLM_SITE names its folder, build/site by default.
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest

from .conftest import NARROW, WIDE

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("TINYGRAD_LLM_SITE", ROOT / "build" / "site"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site has not been built"),
]
ALWAYS = (
    "index", "reference/ops", "explain/index", "course/index", "guide/find", "ja/index",
    "all-pages", "play/training", "play/masks", "examples/index", "guide/lora-csv", "api/optim",
    "explain/steps/AdamW", "explain/steps/WarmupCosineLR", "explain/steps/all_reduce",
    "explain/steps/AttentionCache", "course/map", "api/cuda",
)  # fmt: skip


def sampled() -> list[Path]:
    """The pages that everybody opens, and others drawn with a fixed seed: 40."""
    pages = sorted(p for p in SITE.rglob("*.html") if p.name != "404.html")
    chosen = [SITE / f"{name}.html" for name in ALWAYS]
    others = [p for p in pages if p not in chosen]
    return chosen + random.Random(0).sample(others, min(40 - len(ALWAYS), len(others)))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["laptop", "phone"])
def test_pages_have_no_error_and_fit(browsers, size):
    browser = browsers(size)
    browser.get_log("browser")
    wide = []
    for page in sampled():
        browser.get(page.as_uri())
        errors = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
        assert not errors, (page, errors)
        widths = browser.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        if widths[0] > widths[1]:
            wide.append((page.relative_to(SITE).as_posix(), widths))
    assert not wide, wide


def test_nothing_is_loaded_from_elsewhere():
    for page in sampled():
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*\bsrc=\"(https?:[^\"]+)", text)
        loaded += re.findall(
            r"<link[^>]*rel=\"(?:stylesheet|icon)\"[^>]*href=\"(https?:[^\"]+)", text
        )
        assert not loaded, (page, loaded)


def test_signatures_have_the_types_of_the_source():
    pages = sorted((SITE / "api").glob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
        wrong = re.findall(r"\w+: (?:float32|float64|bool_|int64) =[^\n]*", text)
        assert not wrong, (page.name, wrong[:3])


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("multinomial", "api/"),
        ("backward pass of attention", "guide/attention"),
        ("LoRA CSV", "guide/lora-csv"),
        ("LayerNorm backward", "#layernorm"),
        ("what differs from PyTorch", "guide/pytorch"),
        ("学習率", "ja/course/20_data_and_scaling"),  # in the middle of a sentence
        ("逆伝播とは", "ja/course/00_backprop"),
        ("トークン化", "ja/course/"),
        ("しくみ", "ja/index"),
        ("チューニング", "ja/course/A_lora"),  # within ファインチューニング
    ],
)
def test_search_finds_it_without_a_server(browsers, query, page):
    browser = browsers(WIDE)
    browser.get((SITE / "index.html").as_uri())
    browser.execute_script(
        "const query = document.querySelector('[data-md-component=search-query]');"
        "query.focus(); query.value = arguments[0];"
        "query.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}))",
        query,
    )
    links = "return [...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
    waited = 0.0
    while not (addresses := browser.execute_script(links)) and waited < 60:
        time.sleep(0.2)
        waited += 0.2
    assert any(page in address for address in addresses[:10]), addresses


def test_the_map_of_the_course_opens_where_its_path_begins(browsers):
    browser = browsers(NARROW)
    browser.get((SITE / "course" / "map.html").as_uri())
    time.sleep(0.5)
    left, inner, outer = browser.execute_script(
        "const m = document.querySelector('.map');"
        "return [m.scrollLeft, m.scrollWidth, m.clientWidth]"
    )
    assert inner > outer and abs(left - (inner - outer) / 2) < 2


def test_the_index_leads_to_every_page():
    index = (SITE / "all-pages.html").read_text(encoding="utf-8")
    listed = set(re.findall(r'href="([^"#:]+\.html)"', index))
    pages = {
        p.relative_to(SITE).as_posix()
        for p in SITE.rglob("*.html")
        if p.name not in ("404.html", "all-pages.html") and p.parent.name != "steps"
    }
    assert pages <= listed | {"index.html"}, sorted(pages - listed)[:10]


def test_every_page_of_steps_is_reached_from_its_explanation():
    steps = sorted((SITE / "explain" / "steps").glob("*.html"))
    assert len(steps) > 100
    for page in steps:
        explained = (SITE / "explain" / page.name).read_text(encoding="utf-8")
        assert f'href="steps/{page.name}"' in explained
