"""Formulas of docstrings as MathML: no symbol is lost, words stay words, and how many convert."""

from __future__ import annotations

import html
import inspect
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.study.common.formulas import equations, pieces, with_formulas
from tinygrad_llm.study.common.highlight import highlighted
from tinygrad_llm.study.common.mathml import NotAFormula, mathml, plain_scripts
from tinygrad_llm.study.explain.names import layers, optimizers, schedules
from tinygrad_llm.study.explain.prose import prose

DOCS = {
    name: inspect.getdoc(kind) or ""
    for name, kind in {**OPS, **layers(), **optimizers(), **schedules()}.items()
    if kind.__module__.startswith("tinygrad_llm.")
}


def test_how_many_equations_of_all_ops_layers_and_optimizers_convert():
    every = {text: shown for doc in DOCS.values() for text, shown in equations(doc)}
    as_text = sorted(text for text, shown in every.items() if not shown)
    assert len(every) > 395
    assert len(as_text) <= 15, "\n".join(as_text)  # such as "y = the inputs one after another"
    letters = [text for text in as_text if "=" in text and not re.search(r"[a-z]{3,}", text)]
    assert not letters  # an equation without words is understood


def _symbols(text: str) -> str:
    """What a formula consists of, without spaces, brackets and the bars of fractions."""
    text = plain_scripts(text).replace("'", "′").replace("∑", "Σ").replace("∏", "Π")
    return re.sub(r"[\s()/_^√]", "", text)


def test_every_symbol_of_a_formula_is_in_its_mathml_in_order():
    for text, content in (piece for doc in DOCS.values() for piece in pieces(doc)):
        if content is None:
            continue
        root = ElementTree.fromstring(f"<math>{content}</math>".replace("&#x27;", "'"))
        if not root.findall(".//msubsup"):  # there the subscript comes first
            assert _symbols("".join(root.itertext())) == _symbols(text), text
        counts = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3}
        for element in root.iter():
            if element.tag in counts:
                assert len(element) == counts[element.tag], text
    for doc in DOCS.values():
        assert "".join(text for text, _ in pieces(doc)) == doc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x²", "<msup><mi>x</mi><mn>2</mn></msup>"),
        ("xᵢⱼ", "<msub><mi>x</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>"),
        ("∂L/∂x", "<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow>"
                  "<mrow><mi>∂</mi><mi>x</mi></mrow></mfrac>"),
        ("1/√(a + b)", "<mfrac><mn>1</mn><msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt></mfrac>"),
        ("a·∂L/∂s·k", "<mi>a</mi><mo>·</mo><mfrac><mrow><mi>∂</mi><mi>L</mi></mrow>"
                      "<mrow><mi>∂</mi><mi>s</mi></mrow></mfrac><mo>·</mo><mi>k</mi>"),
        ("e^−|x|", "<msup><mi>e</mi><mrow><mo>−</mo><mrow><mo>|</mo><mi>x</mi><mo>|</mo></mrow>"
                   "</mrow></msup>"),
    ],
)  # fmt: skip
def test_what_a_formula_becomes(text, expected):
    assert mathml(text) == expected


@pytest.mark.parametrize("text", ["", "x +", "(x", "y = x)", "x = = y", "a b", "x % y"])
def test_what_is_not_a_formula(text):
    with pytest.raises(NotAFormula):
        mathml(text)


def test_words_stay_and_markup_is_escaped():
    text = "y = a copy; see functions/dropout.py, eps=None, `x = 1` and <b>: x < y."
    shown = with_formulas(text)
    assert shown.count("<math") == 1 and 'alttext="x &lt; y"' in shown
    assert "&lt;b&gt;" in shown and "<code>x = 1</code>" in shown
    assert html.unescape(re.sub(r"<math.*?</math>", "", shown)).startswith("y = a copy; see functi")


def test_no_word_of_a_docstring_is_lost_on_its_page():
    words = re.compile(r"[A-Za-z]{2,}")
    for name, doc in DOCS.items():
        page = prose(doc).partition("<details>")[0]
        page = re.sub(r'<math alttext="([^"]*)">.*?</math>', r" \1 ", page)
        shown = html.unescape(re.sub(r"<[^>]+>", " ", page))
        assert words.findall(shown) == words.findall(doc), name


def test_code_is_coloured_and_nothing_else_changes():
    source = 'def f(x):  # "no" string\n    return max(x, 1.5) < "a<b" if self else None\n'
    shown = highlighted(source)
    assert html.unescape(re.sub(r"<[^>]+>", "", shown)) == source
    assert '<span class="keyword">return</span>' in shown
    assert '<span class="called">max</span>' in shown and '<span class="number">1.5</span>' in shown
    assert shown.count('class="string"') == 1 and shown.count('class="comment"') == 1


def test_each_case_of_an_argument_begins_a_paragraph():
    page = prose('y = x·a\n\nmode="none":  a = 1\nmode="tanh":  a = 2\nthe rest\n')
    assert page.count("<p>") == 3
    assert page.index("mode=&quot;tanh&quot;") > page.index("</p>", page.index("mode=&quot;none"))
