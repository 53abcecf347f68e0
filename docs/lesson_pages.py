"""Lessons as pages and as notebooks, with the outputs of their run."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

__all__ = ["write"]

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "lessons"
MOST = 6000  # characters of one cell's output that a page shows


def write(recorded: Path, pages: Path) -> dict[Path, str]:
    """Writes the pages of all recorded lessons; returns lesson -> page, for links."""
    sources = {}
    in_japanese = questions_in_japanese()
    for file in sorted(recorded.glob("*/*.json")):
        chapter, name = file.parent.name, file.stem
        cells = json.loads(file.read_text(encoding="utf-8"))
        folder = pages / "course" / chapter
        folder.mkdir(parents=True, exist_ok=True)
        for plot in {plot for cell in cells for plot in cell["plots"]}:
            shutil.copyfile(_plot(recorded, chapter, plot), folder / plot)
        notebook = json.dumps(_notebook(cells), ensure_ascii=False, indent=1)
        (folder / f"{name}.ipynb").write_text(notebook, encoding="utf-8")
        (folder / f"{name}.md").write_text(
            _page(cells, name, f"{chapter}/{name}", in_japanese.get(f"{chapter}/{name}", "")),
            encoding="utf-8",
        )
        sources[LESSONS / chapter / f"{name}.py"] = f"course/{chapter}/{name}.md"
    return sources


def _plot(recorded: Path, chapter: str, plot: str) -> Path:
    """The file of a plot: beside the recorded lesson, or where the lesson itself had written it."""
    places = [folder / chapter / "plots" / plot for folder in (recorded, LESSONS)]
    for place in places:
        if place.is_file():
            return place
    raise SystemExit(
        f"{chapter}/{plot} is neither in {places[0].parent} nor in {places[1].parent}: record the "
        f"lesson again, python lessons/run_all.py --record {recorded} {chapter}"
    )


def questions_in_japanese() -> dict[str, str]:
    """CHAPTER/NAME of a lesson -> its question, from the Japanese page of the lessons."""
    text = (LESSONS / "README.ja.md").read_text(encoding="utf-8")
    return {
        place: q for q, place in re.findall(r"^\| ([^|]+) \| \[`.+?`\]\((.+?)\.py\)", text, re.M)
    }


def _page(cells: list[dict[str, Any]], name: str, place: str, in_japanese: str) -> str:
    """The Markdown of a lesson: text, code, what it printed, and its plots."""
    parts = []
    for cell in cells:
        if cell["kind"] == "markdown":
            if parts:
                parts.append(cell["text"])
                continue
            question, end, rest = cell["text"].partition("\n\n**For example.")
            parts += [question, *_first_picture(cells), (end + rest).lstrip()]
            parts.append(_offers(name, place))
            parts += [f'<p lang="ja">問い: {in_japanese}</p>'] if in_japanese else []
            continue
        parts.append(f"````python\n{cell['text']}\n````")
        if cell["output"]:
            parts.append(f'````{{.text title="printed"}}\n{_cut(cell["output"]).rstrip()}\n````')
        parts += [f"![{plot}]({plot})" for plot in cell["plots"]]
    return "\n\n".join(parts) + "\n"


def _first_picture(cells: list[dict[str, Any]]) -> list[str]:
    """The lesson's first plot, before its formulas; it stands again where it is drawn."""
    plots = [plot for cell in cells for plot in cell["plots"]]
    return [f"![What this lesson draws]({plots[0]}){{ width=420 }}"] if plots else []


def _offers(name: str, place: str) -> str:
    """Where to get the lesson as a notebook."""
    text = f"[Download as a notebook]({name}.ipynb)"
    repository = os.environ.get("TINYGRAD_LLM_REPOSITORY", "").rstrip("/")
    if repository.startswith("https://github.com/"):
        path = repository.removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{path}/blob/site/course/{place}.ipynb"
        text += f" · [Open in Colab]({colab})"
    return text


def _cut(text: str) -> str:
    if len(text) <= MOST:
        return text
    return f"{text[:MOST]}\n... {len(text) - MOST:,} more characters; the notebook has all"


def _installing() -> list[dict[str, Any]]:
    """The cell that installs the package from the repository; none where its address is unknown."""
    repository = os.environ.get("TINYGRAD_LLM_REPOSITORY", "").rstrip("/")
    if not repository:
        return []
    text = (
        "# where the package is not installed yet, as on Colab\n"
        f'%pip install -q "tinygrad_llm[lessons] @ git+{repository}"'
    )
    return [
        {
            "cell_type": "code", "id": "install", "metadata": {}, "source": text,
            "execution_count": None, "outputs": [],
        }
    ]  # fmt: skip


def _notebook(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The lesson in the notebook format, version 4.5, with its outputs but without plots."""
    made = _installing()
    for number, cell in enumerate(cells):
        one = {
            "cell_type": cell["kind"],
            "id": f"cell-{number}",
            "metadata": {},
            "source": cell["text"],
        }
        if cell["kind"] == "code":
            printed = {"output_type": "stream", "name": "stdout", "text": cell["output"]}
            one |= {"execution_count": None, "outputs": [printed] if cell["output"] else []}
        made.append(one)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
