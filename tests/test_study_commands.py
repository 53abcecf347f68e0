"""tinygrad-llm study, trace and draw, as commands."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata

import pytest

from tinygrad_llm import cli

SCRIPT = """
import sys
import tinygrad_llm as torch
from tinygrad_llm import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1))
loss = (model(torch.ones(2, 3)) ** 2).mean()
print("ran with", sys.argv[1:])
"""


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT, "utf-8")
    return tmp_path


def test_study_alone_lists_everything(capsys):
    code, out, _ = run(capsys, "study")
    assert code == 0
    for word in ("ops: norm", "layer_norm", "layers: linear", "TransformerBlock", "AdamW"):
        assert word in out
    code, out, _ = run(capsys, "study", "--json")
    assert ["layer_norm", "rms_norm"] == [name for name, _ in json.loads(out)["ops: norm"]]


def test_study_explains(capsys, tmp_path):
    code, out, _ = run(capsys, "study", "layer_norm", "--width", "90")
    assert code == 0 and "three paths" in out
    widths = [sum(not unicodedata.combining(c) for c in line) for line in out.splitlines()]
    assert max(widths) <= 90
    code, out, _ = run(capsys, "study", "softmax", "--json")
    assert json.loads(out)["name"] == "softmax"
    page = tmp_path / "page.html"
    code, out, _ = run(capsys, "study", "AdamW", "--html", str(page))
    assert code == 0 and page.read_text("utf-8").startswith("<!doctype html>")


def test_study_of_an_unknown_name(capsys):
    code, out, err = run(capsys, "study", "layer_nrom")
    assert code == 2 and out == ""
    assert err == "tinygrad-llm: nothing is called 'layer_nrom': did you mean layer_norm?\n" or (
        "did you mean layer_norm" in err
    )
    code, _, err = run(capsys, "study", "--html", "x.html")
    assert code == 2 and "needs the NAME" in err


def test_trace_runs_a_script(capsys, script):
    code, out, _ = run(capsys, "trace", "train.py", "--html", "t.html", "--plot", "t.png", "a", "b")
    assert code == 0 and "ran with ['a', 'b']" in out and "gelu" in out
    assert (script / "t.html").exists() and (script / "t.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = run(capsys, "trace", "train.py", "--by", "module")
    assert code == 0 and "Sequential" in out
    code, out, _ = run(capsys, "trace", "train.py", "--json")
    assert [op["name"] for op in json.loads(out.splitlines()[-1])["ops"]][:2] == ["linear", "gelu"]


def test_trace_of_the_small_gpt(capsys):
    code, out, _ = run(capsys, "trace", "gpt", "--by", "module")
    assert code == 0 and "TransformerBlock" in out and "kept for backward" in out


def test_trace_mistakes(capsys, script):
    assert run(capsys, "trace", "none.py")[2] == "tinygrad-llm: there is no file none.py\n"
    assert (
        "--by is op, module, flops or communication"
        in run(capsys, "trace", "train.py", "--by", "layer")[2]
    )
    (script / "empty.py").write_text("", "utf-8")
    code, out, _ = run(capsys, "trace", "empty.py")
    assert code == 0 and "no op of tinygrad_llm ran" in out


def test_a_script_s_own_error_is_shown_as_its_own(capsys, script):
    (script / "bad.py").write_text("def f():\n    return 1 / 0\n\n\nf()\n", "utf-8")
    code, _, err = run(capsys, "trace", "bad.py")
    assert code == 1 and "ZeroDivisionError" in err and "return 1 / 0" in err
    assert "tinygrad_llm" not in err


def test_draw_writes_both_files(capsys, script):
    code, out, _ = run(capsys, "draw", "train.py")
    assert code == 0 and "wrote train.svg and train.html" in out
    page = (script / "train.html").read_text("utf-8")
    assert '"kind":"GELU"' in page and "Sequential" in page
    code, out, _ = run(capsys, "draw", "scalar", "--out", "one.html")
    assert (script / "one.html").exists() and not (script / "one.svg").exists()


@pytest.mark.parametrize("scene", ["scalar", "attention", "gpt"])
def test_draw_examples(capsys, script, scene):
    code, _, _ = run(capsys, "draw", scene)
    assert code == 0 and (script / f"{scene}.svg").exists() and (script / f"{scene}.html").exists()


@pytest.mark.parametrize("scene", ["training", "masks"])
def test_draw_pages(capsys, script, scene):
    code, out, _ = run(capsys, "draw", scene, "--out", "one")
    assert code == 0 and out == "wrote one.html\n" and not (script / "one.svg").exists()
    assert "as .html, not .svg" in run(capsys, "draw", scene, "--out", "one.svg")[2]


@pytest.mark.parametrize("name", ["Llama", "Qwen3.5", "GatedDeltaNet"])
def test_draw_a_layer_or_a_model(capsys, script, name):
    code, out, _ = run(capsys, "draw", name, "--out", "one")
    page = (script / "one.html").read_text(encoding="utf-8")
    assert not code and "one.svg and one.html" in out and name.replace(".", "") in page


@pytest.mark.parametrize("name", ["AdamW", "StepLR"])
def test_draw_an_optimizer_or_a_schedule(capsys, script, name):
    assert run(capsys, "draw", name)[:2] == (0, f"wrote {name}.html\n")
    assert f"{name}(" in (script / f"{name}.html").read_text(encoding="utf-8")


def test_draw_mistakes(capsys, script):
    assert "has no variable cost" in run(capsys, "draw", "train.py", "--tensor", "cost")[2]
    (script / "flat.py").write_text("import tinygrad_llm as t\nloss = t.ones(2)\n", "utf-8")
    code, _, err = run(capsys, "draw", "flat.py")
    assert code == 2 and "has no graph" in err
    assert (
        "of this name (scalar, attention, gpt, training, masks)" in run(capsys, "draw", "scalr")[2]
    )
    assert (
        "the examples: scalar, attention, gpt, training, masks"
        in run(capsys, "draw", "scalr.py")[2]
    )
    assert "did you mean Llama" in run(capsys, "draw", "Lama")[2]
    assert "layer_norm has no example with a graph" in run(capsys, "draw", "layer_norm")[2]
    (script / "freed.py").write_text(SCRIPT + "\nloss.backward()\n", "utf-8")
    code, out, _ = run(capsys, "draw", "freed.py")
    assert code == 0 and "without the backward pass" in out
    assert "writes .svg and .html" in run(capsys, "draw", "scalar", "--out", "x.png")[2]


def test_the_package_and_the_command_line_load_no_instruments():
    """They cost nothing when they are off: not even an import."""
    code = (
        "import sys, tinygrad_llm, tinygrad_llm.nn, tinygrad_llm.cli;"
        "print([m for m in sys.modules if m.startswith('tinygrad_llm.study')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_instruments_load_neither_rich_nor_matplotlib():
    code = (
        "import sys, tinygrad_llm.study;"
        "print([m for m in ('rich', 'matplotlib', 'typer', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
