"""The small diagram of a page that explains: it is there, its arrows are the engine's gradients."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tinygrad_llm import study
from tinygrad_llm.study.explain.diagrams import drawn_op
from tinygrad_llm.study.explain.names import catalogue, lookup
from tinygrad_llm.study.explain.scene import drawn_example

SVG = "{http://www.w3.org/2000/svg}"
# An op, one with several outputs, one without a gradient; a layer, a loss; the others.
SAMPLE = ("layer_norm", "split", "step", "FeedForward", "CrossEntropyLoss", "StreamingCache",
          "AdamW", "all_gather")  # fmt: skip


def paths(root, kind):
    return [p for p in root.iter(f"{SVG}path") if p.get("class") == kind]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_page_has_its_diagram(name):
    explanation = study.explain(name)
    svg, words = explanation._diagram()
    root = ElementTree.fromstring(svg)
    page = explanation.html()
    assert svg.partition(">")[2] in page and words
    assert page.index("<svg") < page.index("What it does")
    assert paths(root, "edge") and len(paths(root, "tip")) == len(paths(root, "edge"))
    back = paths(root, "edge back")
    assert len(paths(root, "tip back")) == len(back)
    assert bool(back) == (name not in ("StreamingCache", "AdamW"))
    title = root.find(f"{SVG}title")
    assert title is not None and title.text


@pytest.mark.parametrize("name", ["matmul", "embedding", "where"])
def test_an_arrow_upwards_for_each_input_that_wants_a_gradient(name):
    drawing = drawn_op(lookup(name))
    step = next(s for s in drawing.steps if s.node.label == name)
    root = ElementTree.fromstring(drawing.diagram())
    assert len(paths(root, "edge back")) == len(step.leaving)
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {a.edge.name for a in step.leaving} <= set(texts)


def test_no_line_crosses_the_name_of_a_box():
    drawing = drawn_example("Llama")
    for svg in (drawing.svg(), drawing.diagram()):
        parts = list(ElementTree.fromstring(svg))
        heads = [i for i, p in enumerate(parts) if p.get("class") == "head"]
        lines = [i for i, p in enumerate(parts) if (p.get("class") or "").startswith("edge")]
        assert len(heads) > 3 and min(heads) > max(lines)  # what is later lies on top
        assert ".head { fill: var(--soft); stroke: var(--box)" in svg


def test_your_own_op_with_your_own_inputs():
    page = study.explain(lookup("add"), np.array([1.0, 2.0]), 3.0).html()
    assert "Its graph, forward and backward" in page


def test_a_cache_has_no_graph_to_go_back_through():
    page = study.explain("LatentCache").html()
    assert "What goes in, and what comes out" in page and "forward and backward</h2>" not in page


def test_links_stand_at_the_top():
    page = study.explain("relu").html(links={"All <pages>": "index.html"})
    assert '<a href="index.html">All &lt;pages&gt;</a>' in page


@pytest.mark.slow
@pytest.mark.parametrize("family", list(catalogue()))
def test_every_page_has_a_diagram_that_fits(family):
    for name, _ in catalogue()[family]:
        svg, _ = study.explain(name)._diagram()
        root = ElementTree.fromstring(svg)
        assert float(root.get("width")) < 700 and float(root.get("height")) < 1800, name
