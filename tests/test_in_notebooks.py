"""What instruments show below the cell of a notebook: their page, in a frame."""

import html
import re
from pathlib import Path

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, optim, study
from tinygrad_llm.data.bio import Entity
from tinygrad_llm.evaluation import bootstrap
from tinygrad_llm.evaluation.bleu import corpus_bleu
from tinygrad_llm.evaluation.entities import entity_report
from tinygrad_llm.evaluation.text_scores import TextScores
from tinygrad_llm.files.notebooks import cell_table
from tinygrad_llm.study.common.html import InNotebooks
from tinygrad_llm.study.explain.scene import drawn_example
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
        "Replay": drawn_example("all_reduce"),
    }


@pytest.fixture(scope="module")
def objects():
    return shown()


@pytest.mark.parametrize(
    "name", ["Explanation", "Drawing", "Trace", "Descent", "Training", "Masks", "Replay"]
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


def rows_of(shown):
    """The cells of each row of the tables, as texts; a name alone in its row has no others."""
    rows = re.findall(r"<tr>(.*?)</tr>", shown)
    assert shown.count("<table>") == shown.count("</table>") and len(rows) == shown.count("<tr>")
    return [[html.unescape(c) for c in re.findall(r"<t[hd]>([^<]*)</t[hd]>", row)] for row in rows]


def test_a_table_escapes_what_it_shows():
    shown = cell_table([("<b>", 1), ("a&b", "\x1b[2J")], head=("n", "<i>"))
    assert "<b>" not in shown and "<i>" not in shown and "\x1b" not in shown
    assert rows_of(shown) == [["n", "<i>"], ["<b>", "1"], ["a&b", "␛[2J"]]
    assert cell_table([]) == "<table></table>"


def test_bleu_is_a_table():
    texts = ["the cat sat on the mat", "a dog ran far away from home"]
    result = corpus_bleu(texts, ["the cat sat on a mat", "a dog ran very far away from home"])
    rows = dict(rows_of(result._repr_html_()))
    interval = result.interval()
    assert rows["BLEU"] == f"{result.score:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    assert rows["BLEU"] in str(result) and rows["brevity penalty"] in str(result)
    shares = [v for name, v in rows.items() if name.startswith("runs of ")]
    assert shares == [f"{p:.1f} %" for p in result.precisions]
    assert [rows[n] for n in ("words", "words of the references", "texts")] == ["13", "14", "2"]


def test_scores_of_texts_are_a_table():
    scores = TextScores.of([(1.0, 0.5), (0.25, 0.25), (0.0, 0.0)])
    assert rows_of(scores._repr_html_()) == [
        ["F1", str(scores.interval())],
        ["precision", "0.417"],
        ["recall", "0.250"],
        ["texts", "3"],
    ]


def test_a_report_of_entities_is_two_tables():
    true = [[Entity(0, 2, "<person>"), Entity(3, 5, "place")], [Entity(0, 1, "place")]]
    report = entity_report(true, [[Entity(0, 2, "<person>"), Entity(3, 6, "place")], []])
    shown = report._repr_html_()
    rows = rows_of(shown)
    assert rows[0] == ["type", "precision", "recall", "f1", "entities"]
    assert rows[1] == ["<person>", "100.00%", "100.00%", "100.00%", "1"] and "<person>" not in shown
    assert rows[2] == ["place", "0.00%", "0.00%", "0.00%", "2"]
    assert rows[3] == ["all", "50.00%", "33.33%", "40.00%", "3"] and rows[4][0] == "mean"
    assert rows[5:] == [[kind, str(n)] for kind, n in report.errors.items()]
    for row in rows[1:]:
        assert " ".join(row) in " ".join(str(report).split())
    assert rows_of(entity_report([], [])._repr_html_())[1][0] == "all"


def test_a_divergence_is_a_table_of_its_stations():
    x = torch.ones(2, 3)
    result = study.compare(lambda x: (x * 2).exp().sum(), lambda x: (x * 2.1).exp().sum(), x)
    shown = result._repr_html_()
    assert shown.startswith(f"<pre>{html.escape(str(result))}</pre><table>")
    head, *rows = rows_of(shown)
    assert head == ["station", "output", "largest |a - b|", "relative", "allowed", ""]
    assert [row[0] for row in rows] == [s.name for s in result.stations]
    assert [row[-1] for row in rows].count(">") == 1
    assert rows[result.stations.index(result.first)][-1] == ">"
    same = study.compare(torch.exp, torch.exp, x)._repr_html_()
    assert {row[-1] for row in rows_of(same)} == {""}
