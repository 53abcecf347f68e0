"""Every script of examples/ runs, offline, and shows what its first line says."""

import runpy
import sys
from pathlib import Path

import pytest
from published import needs_weights

FOLDER = Path(__file__).parent.parent / "examples"
SHOWN = {  # script -> a text that it prints
    "mlp": "right 100.0%",
    "own_data": "tokens, loss",
    "custom_op": "equal to finite differences: True",
    "lora": "'trainable':",
    "gpu": "step 4, loss",
    "distributed": "step 2, loss",
    "rag": "tea: Green tea steeps for two minutes",
    "schedule": "19  0.0021",
    "hook": "layer 5",
    "quantise": "nf4",
    "export": "largest difference, folder: 0.0",
    "chat": "The capital of France is Paris.",
}


MARKS = {"chat": pytest.mark.weights, "quantise": [pytest.mark.slow, pytest.mark.ci]}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=MARKS.get(n, ())) for n in SHOWN],
)
def test_it_runs(name, monkeypatch, capfd):
    if name == "distributed":
        pytest.importorskip("mpi4py")
    if name == "chat":
        needs_weights("smollm2-135m-instruct")
        pytest.importorskip("jinja2")
    monkeypatch.setattr(sys, "argv", [f"examples/{name}.py"])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert SHOWN[name] in capfd.readouterr().out


def test_every_script_is_run_short_and_in_the_readme():
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    assert set(scripts) == set(SHOWN)
    assert all(10 <= len(text.splitlines()) <= 40 for text in scripts.values())
    for readme in ("README.md", "README.ja.md"):
        text = (FOLDER.parent / readme).read_text(encoding="utf-8")
        assert all(f"examples/{name}.py" in text for name in scripts), readme
