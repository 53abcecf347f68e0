"""Texts from outside: on a terminal and on a page they are shown, and do nothing."""

import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import nn, study
from tinygrad_llm.cli import main
from tinygrad_llm.cli.exercise.commands import show
from tinygrad_llm.files.plain_text import visible
from tinygrad_llm.study.common import html
from tinygrad_llm.study.common.terminal import render
from tinygrad_llm.study.exercises.child import Report
from tinygrad_llm.study.exercises.grading import Row
from tinygrad_llm.training.progress import PlainProgress, RichProgress

ESCAPES = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;mine\x07",
    "clear": "\x1b[2J",
    "of one byte": "\x9b31m",
    "back": "abc\b\b\bxyz",
    "return": "safe\rother",
    "bell and zero": "\x07\x00",
    "delete": "\x7f",
    "turned": "abc\u202edef",
    "isolated": "\u2066x\u2069",
    "line separator": "a\u2028b\u2029c\x85d",
}
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_control_characters_are_shown(text):
    assert not BAD.search(visible(text)) and visible(text) != text
    assert visible(visible(text)) == visible(text)


@given(st.text(st.characters(), max_size=30))
def test_any_text_is_harmless_and_what_is_left_is_the_same(text):
    shown = visible(text)
    assert not BAD.search(shown)
    if not BAD.search(text):
        assert shown == text


def test_signs():
    assert visible("a\tb\nc\r\nd\re") == "a\tb\nc\nd␍e"
    assert visible("\x1b[31m\x7f\x9b\u202e\ud800") == "␛[31m␡\\x9b\\u202e\\ud800"
    assert visible("日本語 é 👩‍👩‍👧 שלום\u200f") == "日本語 é 👩‍👩‍👧 שלום\u200f"


# --------------------------------------------------------------------------------- what is printed
ANY = "".join(ESCAPES.values())


@pytest.mark.parametrize("method", ["note", "sample"])
def test_progress_shows_samples(method):
    out = io.StringIO()
    getattr(PlainProgress(stream=out), method)(ANY)
    assert "␛[31mred" in out.getvalue() and not BAD.search(out.getvalue())
    from rich.console import Console

    out = io.StringIO()
    getattr(RichProgress(Console(file=out, width=300)), method)(ANY)
    assert "␛[31mred" in out.getvalue() and not BAD.search(out.getvalue())


@pytest.mark.parametrize("color", [False, True])
def test_rendered_tables_keep_only_their_own_colours(color):
    from rich.text import Text

    out = render(Text(ANY, style="red"), width=400, color=color)
    left = re.sub(r"\x1b\[[0-9;]*m", "", out) if color else out
    assert "␛[2J" in out and not BAD.search(left)


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Runs a command line and returns all that it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit):
            main([str(a) for a in arguments])
        shown = capsys.readouterr()
        return shown.out + shown.err

    return call


def test_a_corpus_of_control_characters(command):
    """Training, its samples, generating, showing tokens and decoding them."""
    Path("corpus.txt").write_text("\x1b[31mred \x1b[2J\x07 line\n" * 300)
    train = ["pretrain", "corpus.txt", "--out", "run", "--steps", "4", "--sample-every", "2"]
    small = ["--context-length", "8", "--emb-dim", "8", "--n-heads", "1", "--n-layers", "1"]
    rest = ["--batch-size", "2", "--tokenizer", "char"]
    out = command(*train, *small, *rest)
    assert "step" in out and not BAD.search(out)
    out = command("generate", "run", "--prompt", "\x1b[31m", "--tokens", "40", "--seed", "1")
    assert "␛" in out and not BAD.search(out)
    out = command("tokenize", "\x1b[31m\x07", "--tokenizer", "run")
    assert "x1b" in out and not BAD.search(out)
    every = " ".join(map(str, range(10)))
    out = command("tokenize", "--decode", every, "--tokenizer", "run")
    assert "␛" in out and not BAD.search(out)


@pytest.mark.parametrize(
    "arguments",
    [
        ("pretrain", "no\x1b[31mfile.txt"),
        ("generate", "no\x1b[2Jrun"),
        ("tokenize", "x", "--tokenizer", "a\x9bb\u202e"),
        ("study", "trace", "\x1b]0;x\x07.py"),
        ("exercise", "start", "a\x1b[1mb"),
        ("pretrain", "--preset", "\x1b[1m"),
        ("--\x1b[1m",),
    ],
)
def test_errors_show_names(command, arguments):
    out = command(*arguments)
    assert out and not BAD.search(out)


def test_commands_print_through_one_door():
    """No command prints a name, a path or an answer as it is (numbers of a download may be)."""
    import ast

    import tinygrad_llm.cli

    for file in Path(tinygrad_llm.cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                bare = node.func.id == "print" and "received" not in ast.unparse(node)
                assert not bare, f"{file}:{node.lineno}: use say() of files/plain_text.py"
            if isinstance(node, ast.Attribute) and node.attr in ("print_exception", "echo"):
                raise AssertionError(f"{file}:{node.lineno}: use say() of files/plain_text.py")


def test_a_path_that_a_command_prints(command):
    Path("corpus.txt").write_text("abcdef " * 90)
    out = command("tokenize", "--train", "corpus.txt", "--kind", "char", "--out", "a\x1b[31mb.json")
    assert "a␛[31mb.json: 7 tokens" in out and not BAD.search(out)
    out = command("exercise", "start", "exp", "--folder", "x\x1b[2J")
    assert "wrote x␛[2J" in out and not BAD.search(out)


def test_a_script_that_fails(command):
    Path("a.py").write_text("raise ValueError('x\\x1b[31my')")
    out = command("trace", "a.py")
    assert "ValueError: x␛[31my" in out and not BAD.search(out)


def test_what_a_gguf_file_says_of_itself(command, monkeypatch):
    import numpy as np

    from tinygrad_llm.cli import models
    from tinygrad_llm.weights.formats import gguf

    tensors = gguf.pending({"w": np.zeros((2, 32), np.float32)}, ["F32"])
    path = gguf.write(Path("a.gguf"), {"general.architecture": "a\x1b[31m\x07\u202e"}, tensors)
    monkeypatch.setattr(models, "_places", lambda model: [path])
    out = command("models", "show", next(iter(models._known())))
    assert "a␛[31m␇\\u202e" in out and not BAD.search(out)


LABELS = ["a\x1b[31m", "$\\frac{$", "$x$", "$", "\\$5", "x\ny\tz", "\ud800", "%s %d {0}", "日本",
          "\u202e\u2028", "<!--<script>", "_a^b"]  # fmt: skip


def test_a_report_of_classes(tmp_path):
    import numpy as np

    from tinygrad_llm.finetune.report import ClassificationReport, plot_confusion

    K = len(LABELS)
    rows = np.arange(K)
    report = ClassificationReport(rows, rows[::-1], np.eye(K), np.arange(K) / K, LABELS)
    for text in (str(report), report.worst_table(LABELS, K)):
        assert not BAD.search(text) and len(text.splitlines()) in (K, 2 * K + 5)
    plot_confusion(report, tmp_path / "a.png", LABELS[1])
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("pair", list(zip(LABELS[::2], LABELS[1::2], strict=True)))
@pytest.mark.filterwarnings("error")  # of characters without a picture, of labels left out
def test_names_in_a_plot_are_no_formulas(tmp_path, pair):
    """Both are names of curves in two plots; one of them is the title, and the other one."""
    from tinygrad_llm.training.lr_finder import FoundRate
    from tinygrad_llm.training.plots import label_text, plot_losses, plot_schedule

    for label in pair:
        assert not BAD.search(label_text(label)) and "\n" not in label_text(label)
    plot_schedule({label: [0.1, 0.2] for label in pair}, tmp_path / "a.png", title=pair[0])
    line = {"step": 1, "loss": 2.0, "val_loss": 2.0, **{f"val_{label}": 1.0 for label in pair}}
    plot_losses([line] * 2, tmp_path / "b.png", title=pair[1])
    search = FoundRate([0.1, 0.2, 0.3], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], 0.1, 0.2, False)
    search.plot(tmp_path / "c.png", title=pair[0])


def test_a_learners_output(capsys):
    show(Report("exp", (Row("gradient", False, "a\x1b[2Jb\nc\x07"),), "x\x1b[31my\n\x9b2J"))
    out = capsys.readouterr().out
    assert "a␛[2Jb" in out and not BAD.search(out)


# ------------------------------------------------------------------------------------------ pages
NAMES = [
    "<!--<script>",
    "</script><script>alert(1)</script>",
    "<!--",
    "-->",
    "]]>",
    "</SCRIPT >",
    "'\"><img src=x onerror=alert(1)>",
    "</title><h1>",
    "</style>",
    "&lt;b&gt; &#x3c;",
    "\x00\x1b\x0b\x7f",
    "\ud800",
    "\u2028\u202e",
]


class Page(HTMLParser):
    """The elements of a page, its texts, and what its data scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self.inside = [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.inside = dict(attributes).get("type", "code")

    def handle_endtag(self, tag):
        if tag == "script":
            self.inside = None

    def handle_data(self, text):
        if self.inside == "application/json":
            self.data.append(json.loads(text))


def skeleton(page):
    return [tag for tag, _ in Page(page).tags]


def harmless(page, plain):
    """The page is that of a plain name, except for texts."""
    page.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f]", page)
    assert skeleton(page) == skeleton(plain)
    assert len(re.findall("<script", page, re.I)) == len(re.findall("<script", plain, re.I))
    assert page.count("<!--") == plain.count("<!--")
    assert len(Page(page).data) == len(Page(plain).data)


@pytest.mark.parametrize("name", NAMES)
def test_data_of_a_page(name):
    page = html.page("t", html.data("x", {name: [name, 1.0]}))
    harmless(page, html.page("t", html.data("x", {"a": ["a", 1.0]})))
    assert Page(page).data == [{name: [name, 1.0]}]


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.GELU())


def drawn(title, name="a"):
    net = nn.ModuleDict({name.replace(".", ""): nn.Linear(2, 2)})
    y = next(iter(net.values()))(torch.ones(1, 2)).sum()
    return study.draw(y, title=title)


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing(name):
    plain = drawn("plain")
    drawing = drawn(name, name)
    harmless(drawing.html(), plain.html())
    root = ElementTree.fromstring(drawing.svg())  # an SVG is XML, which is strict
    assert len(list(root.iter())) == len(list(ElementTree.fromstring(plain.svg()).iter()))


@pytest.mark.parametrize("name", NAMES)
def test_attention_maps(name):
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    x = torch.ones(1, 2, 4)
    pages = [
        study.draw_attention(lambda: layer(x, x, x), tokens=tokens).html()
        for tokens in ([name, name], ["a", "b"])
    ]
    harmless(*pages)
    assert Page(pages[0]).data[0]["tokens"] == [name, name]


@pytest.mark.parametrize("name", NAMES)
def test_a_trace(name):
    pages = []
    for module in (name.replace(".", ""), "plain"):
        net = nn.ModuleDict({module: small_net()})
        with study.trace(net) as t:
            next(iter(net.values()))(torch.ones(1, 2)).sum().backward()
        assert not BAD.search(str(t.table()))
        pages.append(t.html())
    harmless(*pages)


def layer_called(name):
    """A user's layer with this name, which its docstring and its parameter have too."""

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.ModuleDict({name.replace(".", ""): nn.Linear(2, 2)})

        def forward(self, x):
            return next(iter(self.part.values()))(x)

    Mine.__doc__ = f"{name} is computed.\n\n    {name}\n"
    Mine.__name__ = Mine.__qualname__ = name.replace(".", "").replace("\0", "")
    return Mine


@pytest.mark.parametrize("name", NAMES)
def test_an_explanation(name):
    if "\ud800" in name:
        pytest.skip("a class cannot have such a name")
    explained, plain = (study.explain(layer_called(n)) for n in (name, "plain"))
    harmless(explained.html(), plain.html())
    assert not BAD.search(str(explained))


def test_other_texts_of_pages():
    for name in NAMES:
        table = html.table([name], [[name]])
        plain = html.table(["a"], [["a"]])
        harmless(table, plain)
        chart = html.line_chart([(0, 1), (1, 2)], label=name, x_label=name, marks=[(0, name)])
        ElementTree.fromstring(chart)


if sys.platform != "win32":

    def test_a_page_in_a_file(tmp_path):
        drawn("\ud800<!--<script>").html(tmp_path / "a.html")
        assert "\\ud800&lt;!--" in (tmp_path / "a.html").read_text("utf-8")
