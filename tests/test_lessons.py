"""Lessons are notebooks: every one converts, and one is executed as a notebook."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

LESSONS = Path(__file__).resolve().parents[1] / "lessons"
sys.path.insert(0, str(LESSONS))

import run_all  # noqa: E402

FILES = run_all.lessons()
BACKPROP = [p for p in FILES if p.parent.name == "00_backprop"]


def test_there_are_lessons_and_the_page_lists_each():
    assert len(BACKPROP) == 15
    page = (LESSONS / "README.md").read_text(encoding="utf-8")
    for lesson in FILES:
        assert lesson.name in page, f"lessons/README.md does not mention {lesson.name}"


@pytest.mark.parametrize("lesson", BACKPROP, ids=lambda p: p.stem)
def test_a_lesson_has_all_its_parts(lesson):
    """A question, by hand, with the package, assertions, a plot, a mistake, an exercise."""
    text = lesson.read_text(encoding="utf-8")
    for part in (
        "**Question.**",
        "y hand",
        "tinygrad_llm",
        "save_plot(",
        "Break it",
        "## Exercise",
    ):
        assert part in text, f"{lesson.name} lacks {part!r}"
    assert len(re.findall(r"^\s*assert ", text, flags=re.M)) >= 3
    assert f'"{lesson.stem}"' in text, "the plot is called as the lesson is"


@pytest.mark.parametrize("lesson", FILES, ids=lambda p: p.stem)
def test_a_lesson_opens_as_a_notebook(lesson):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(lesson)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.count("code") >= 4 and kinds.count("markdown") >= 4
    assert kinds[0] == "markdown" and notebook.cells[0].source.startswith("# ")


def test_a_lesson_runs_as_a_notebook(tmp_path):
    jupytext = pytest.importorskip("jupytext")
    preprocessors = pytest.importorskip("nbconvert.preprocessors")
    pytest.importorskip("ipykernel")
    notebook = jupytext.read(BACKPROP[0])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    package = str(LESSONS.parent)
    first = next(c for c in notebook.cells if c.cell_type == "code")
    first.source = f"import sys; sys.path.insert(0, {package!r})\n" + first.source
    runner = preprocessors.ExecutePreprocessor(timeout=120, kernel_name="python3")
    runner.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    assert (tmp_path / "plots" / f"{BACKPROP[0].stem}.png").stat().st_size > 5000
    printed = "".join(
        out.get("text", "") for c in notebook.cells if c.cell_type == "code" for out in c.outputs
    )
    assert "L = 16.0" in printed
