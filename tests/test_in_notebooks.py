"""What instruments show below the cell of a notebook: their page, in a frame."""

import html
import re
from pathlib import Path

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, optim, study
from tinygrad_llm.evaluation import bootstrap
from tinygrad_llm.study.common.html import InNotebooks
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import Result
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
        "Descent": study.draw_descent(lambda p: optim.SGD(p, lr=0.1), steps=2),
        "Training": study.draw_training(steps=2),
        "Masks": study.draw_masks(),
    }


@pytest.fixture(scope="module")
def objects():
    return shown()


@pytest.mark.parametrize(
    "name", ["Explanation", "Drawing", "Trace", "Descent", "Training", "Masks"]
)
def test_the_frame_holds_the_whole_page(objects, name):
    one = objects[name]
    assert type(one).__name__ == name and isinstance(one, InNotebooks)
    frame = one._repr_html_()
    (inner,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(inner) == one.html()
    assert frame.count("<") == 2 and 'sandbox="allow-scripts"' in frame


def test_tokens_are_coloured_with_their_ids(tmp_path):
    tokenizer = BPETokenizer.train("the cat and the cap, あ <b>", 260)
    tokens = study.draw_tokens(tokenizer, "the cat <b>あ\n", tmp_path / "t.html")
    assert tokens.ids == tokenizer.encode("the cat <b>あ\n")
    shown = tokens._repr_html_()
    assert shown.count('class="token ') == len(tokens) and "<b>" not in shown
    for number in tokens.ids:
        assert f'<span class="id">{number}</span>' in shown
    spelled = html.unescape("".join(re.findall(r'id \d+">([^<]*)<', shown)))
    assert spelled.startswith("the·cat·<b>") and spelled.endswith("↵")
    assert shown in (tmp_path / "t.html").read_text("utf-8")
    byte = next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\xe3")
    part = study.draw_tokens(tokenizer, [byte])
    assert part.pieces == ["⟨e3⟩"] and "⟨e3⟩" in repr(part)
    with pytest.raises(ValueError, match="has the ids 0 to"):
        study.draw_tokens(tokenizer, [9999])


def test_texts_and_intervals_in_a_notebook(objects):
    table = objects["Trace"].table()
    assert table._repr_html_() == f"<pre>{html.escape(table)}</pre>"
    assert "<b>0.500</b>, 95% interval 0.250 to" in bootstrap([0.0, 1.0] * 6)._repr_html_()


def test_the_result_of_a_run_is_a_table_with_its_plot(tmp_path):
    plot = tmp_path / "loss.png"
    result = Result(1200, 1.5, None, 34_000, 61.0, Path("a<b"), plot)
    shown = result._repr_html_()
    assert "<th>steps</th><td>1,200</td>" in shown and "<td>a&lt;b</td>" in shown
    assert "<th>validation loss</th><td>none</td>" in shown and "<img" not in shown
    plot.write_bytes(b"png")
    picture = '<img alt="the losses of the run" src="data:image/png;base64,cG5n">'
    assert result._repr_html_() == shown + picture


def test_a_plan_shows_its_lines():
    plan = Plan(10, 2, 20, 1e6, 40, 400, 1.0, 20.0)
    assert html.unescape(plan._repr_html_()) == f"<pre>{plan}</pre>"
