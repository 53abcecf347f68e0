"""What instruments show below the cell of a notebook: their page, in a frame."""

import html
import re

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, study
from tinygrad_llm.study.common.html import InNotebooks
from tinygrad_llm.training.plan import Plan


def shown():
    """One object of each kind that has a page."""
    x = torch.randn(2, 3, requires_grad=True)
    with study.trace() as trace:
        loss = nn.Linear(3, 1)(x).sum()
        loss.backward()
    return {
        "Explanation": study.explain("relu"),
        "Drawing": study.draw((x * 2).sum()),
        "Trace": trace,
    }


@pytest.fixture(scope="module")
def objects():
    return shown()


@pytest.mark.parametrize("name", ["Explanation", "Drawing", "Trace"])
def test_the_frame_holds_the_whole_page(objects, name):
    one = objects[name]
    assert type(one).__name__ == name and isinstance(one, InNotebooks)
    frame = one._repr_html_()
    (inner,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(inner) == one.html()
    assert frame.count("<") == 2 and 'sandbox="allow-scripts"' in frame


def test_a_plan_shows_its_lines():
    plan = Plan(10, 2, 20, 1e6, 40, 400, 1.0, 20.0)
    assert html.unescape(plan._repr_html_()) == f"<pre>{plan}</pre>"
