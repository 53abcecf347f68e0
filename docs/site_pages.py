"""Pages about other pages: the examples, what can be played, the course in Japanese, the index."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

__all__ = ["write_examples", "write_index", "write_japanese", "write_played"]

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "lessons"
BACK = {"Start": "../index.html", "To step through": "index.html", "All pages": "../all-pages.html"}
TITLE = re.compile(r"^# (.+)$", re.M)
LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\(([^)\s:#]+)\)")
ROW = re.compile(
    r"^\| (?P<question>.+?) \| \[`(?P<name>\w+)\.py`\]\((?P<path>[^)]+)\) \| (?P<minutes>\d+)"
    r" \| (?P<able>.+?) \|$"
)
FOLDERS = {  # folder of the site's pages -> its name in the index
    "guide": "Guide",
    "course": "Course",
    "explain": "Explained",
    "play": "To step through",
    "examples": "Examples",
    "reference": "Reference",
    "api": "Names",
    "figures": "Figures",
    "project": "Project",
    "ja": "日本語",
}


def write_examples(folder: Path) -> dict[Path, str]:
    """A page for each example script and one of all; returns script -> page, for links."""
    folder.mkdir(parents=True, exist_ok=True)
    sources, rows = {}, []
    for file in sorted((ROOT / "examples").glob("*.py")):
        text = file.read_text(encoding="utf-8")
        title, _, about = (ast.get_docstring(ast.parse(text)) or file.stem).partition(": ")
        about = about.partition("\n")[0]
        (folder / f"{file.stem}.md").write_text(
            f'# {title}\n\n{about}\n\n```python title="examples/{file.name}"\n{text}```\n',
            encoding="utf-8",
        )
        rows.append(f"| [{title}]({file.stem}.md) | {about} | `{file.name}` |")
        sources[file] = f"examples/{file.stem}.md"
    head = "# Examples\n\nScripts of 10 to 40 lines to copy from; a test runs each.\n\n"
    table = "| example | what it shows | file |\n|---|---|---|\n"
    (folder / "index.md").write_text(head + table + "\n".join(rows) + "\n", encoding="utf-8")
    return sources


def write_played(folder: Path) -> None:
    """What can be stepped through: a training, masks, and three drawings; and their list."""
    from tinygrad_llm.study.draw.scenes import SCENES

    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "training": "A training of seven numbers: forward, backward, update, and the loss falls",
        "masks": "Padding and causal masks: encoder, decoder and cross-attention side by side",
        "scalar": "The backward pass of a scalar expression: two gradients add up",
        "attention": "The backward pass of an attention head",
        "gpt": "The backward pass of a GPT of two layers",
    }
    for name in about:
        SCENES[name](None).html(folder / f"{name}.html", BACK)
    rows = [f"- [{text}]({name}.html): `tinygrad-llm draw {name}`" for name, text in about.items()]
    text = (
        "# To step through\n\nButtons, a slider and the arrow keys go from op to op. All numbers "
        "were computed by the engine.\n\n" + "\n".join(rows)
        + "\n\nEach op and layer has such a page too: see [Explained](../explain/index.md).\n"
    )  # fmt: skip
    (folder / "index.md").write_text(text, encoding="utf-8")


def write_japanese(pages: Path) -> None:
    """A page for each chapter in Japanese: every lesson's question, and what one can do then.

    They are made from lessons/README.ja.md; other pages *.ja.md of lessons are shown as they are.
    """
    folder = pages / "ja" / "course"
    folder.mkdir(parents=True, exist_ok=True)
    text = (LESSONS / "README.ja.md").read_text(encoding="utf-8")
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        heading, _, body = part.partition("\n")
        chapter, _, title = heading.partition(": ")
        if not (LESSONS / chapter).is_dir():
            continue
        shown = [f"# {title or chapter}", f"`{chapter}`"]
        intro = [line for line in body.strip().splitlines() if line and not line.startswith("|")]
        shown.append(LINK.sub(partial(_link, pages, folder), "\n".join(intro)))
        for line in body.splitlines():
            if match := ROW.match(line):
                shown.append(_question(match, pages, folder))
        (folder / f"{chapter}.md").write_text("\n\n".join(shown) + "\n", encoding="utf-8")
        for other in sorted((LESSONS / chapter).glob("*.ja.md")):
            page = folder / f"{chapter}_{other.name.removesuffix('.ja.md')}.md"
            page.write_text(other.read_text(encoding="utf-8"), encoding="utf-8")


def _link(pages: Path, folder: Path, match: re.Match[str]) -> str:
    """A link of lessons/README.ja.md from a page of `folder`; words alone if it has no page."""
    text, target = match.groups()
    for name in (Path(target).with_suffix(".md"), Path(target.lower())):
        page = pages / "course" / name
        if page.exists():
            return f"[{text}]({Path(os.path.relpath(page, folder)).as_posix()})"
    return text


def _question(match: re.Match[str], pages: Path, folder: Path) -> str:
    """One lesson: its question, the minutes, what one can do afterwards, and where it is."""
    page = pages / "course" / Path(match["path"]).with_suffix(".md")
    lesson = f"`{match['name']}.py`"
    if page.exists():
        lesson = f"[{lesson}]({Path(os.path.relpath(page, folder)).as_posix()})（英語）"
    return (
        f"## {match['question']}\n\n- レッスン: {lesson}、約 {match['minutes']} 分\n"
        f"- できるようになること: {match['able']}"
    )


def write_index(pages: Path) -> None:
    """all-pages.md: every page of the site by folder, each with its title."""
    parts = ["# All pages", "- [Home](index.md)\n- [Where to find what](guide/find.md)"]
    for folder, name in FOLDERS.items():
        listed = [f"- [{title}]({path})" for title, path in _titles(pages, folder)]
        if listed:
            parts.append(f"## {name}\n\n" + "\n".join(listed))
    (pages / "all-pages.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _titles(pages: Path, folder: str) -> Iterator[tuple[str, str]]:
    """(title, path) of each page of a folder: Markdown by its heading, HTML by its name."""
    for page in sorted((pages / folder).rglob("*")):
        path = page.relative_to(pages).as_posix()
        if page.suffix == ".md":
            match = TITLE.search(page.read_text(encoding="utf-8"))
            title = match[1] if match else page.stem
            yield re.sub(r"[\[\]]", "", title), path
        elif page.suffix == ".html" and page.parent.name != "steps":
            title = re.search("<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.S)
            yield (title[1].removesuffix(" · tinygrad_llm") if title else page.stem), path
