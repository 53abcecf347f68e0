"""Builds the site from what is in the repository: build/site/index.html.

    pip install -e '.[docs,test,lessons]'
    python docs/build.py                          run every lesson, then write the pages
    python docs/build.py --recorded FOLDER        with the outputs that run_all.py --record wrote
    python docs/build.py --lessons 00_ 03_        only some lessons (their chapters' pages say so)

Settings, from the environment: TINYGRAD_LLM_REPOSITORY, the address of the repository on its host
("https://github.com/OWNER/NAME"); with it source files and notebooks get links (and wheels their
addresses: project_urls.py), without it none.
Nothing is downloaded, and the pages load nothing from elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SCRIPTS = ROOT / "tinygrad_llm" / "study" / "common" / "page"
sys.path.insert(0, str(HERE))

import course_pages  # noqa: E402
import lesson_pages  # noqa: E402
import links  # noqa: E402
import reference  # noqa: E402
import shown_formulas  # noqa: E402
import site_pages  # noqa: E402

PAGES = {  # page -> the file that it is made from
    "index.md": "README.md",
    "course/index.md": "lessons/README.md",
    "course/book.md": "lessons/BOOK.md",
    "project/closeness.md": "tests/CLOSENESS.md",
    "project/folders.md": "tinygrad_llm/HOUSE.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changes.md": "CHANGELOG.md",
    "project/security.md": "SECURITY.md",
    "guide/options.md": "tinygrad_llm/training/OPTIONS.md",
    "ja/index.md": "README.ja.md",
    "ja/course.md": "lessons/README.ja.md",
}
WITH_FORMULAS = ("api", "course", "guide")
ELSEWHERE = "https://unpkg.com/iframe-worker/shim"
WRITTEN = (
    "attention.md",
    "find.md",
    "language-models.md",
    "talk.md",
    "lora-csv.md",
    "pytorch.md",
    "set-up.md",
)  # in docs/pages, under guide/


def main(arguments: list[str]) -> int:
    """Build the site; the exit status is mkdocs's: 0 without warnings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recorded", type=Path, help="a folder that run_all.py --record wrote")
    parser.add_argument(
        "--lessons", nargs="+", default=[], help="parts of paths, as for run_all.py"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    asked = parser.parse_args(arguments)
    work = asked.out.parent / "site_pages"
    shutil.rmtree(work, ignore_errors=True)
    (work / "pages").mkdir(parents=True)
    recorded = asked.recorded
    if recorded is None:
        recorded = work / "recorded"
        command = [sys.executable, str(ROOT / "lessons" / "run_all.py"), "--record", str(recorded)]
        if subprocess.run([*command, *asked.lessons]).returncode:
            return 1
    write_pages(work / "pages", recorded)
    configure(work)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir"]
    done = subprocess.run([*command, str(asked.out.resolve())], cwd=work, env=environment)
    if not done.returncode:
        own_search_frame(asked.out)
        show_formulas(asked.out)
        print(f"wrote {asked.out}/index.html")
    return done.returncode


def own_search_frame(site: Path) -> None:
    """Exchanges the one script that the theme loads from elsewhere for search_frame.js."""
    shutil.copyfile(HERE / "search_frame.js", site / "search" / "search_frame.js")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        place = Path(os.path.relpath(site / "search" / "search_frame.js", page.parent)).as_posix()
        page.write_text(text.replace(ELSEWHERE, place), encoding="utf-8")


def show_formulas(site: Path) -> None:
    """Formulas of lessons, guides and docstrings become MathML; the search has them as text."""
    for folder in WITH_FORMULAS:
        for page in (site / folder).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(shown_formulas.with_mathml(text), encoding="utf-8")


def write_pages(pages: Path, recorded: Path) -> None:
    """All pages as Markdown, and the files that they show."""
    sources = {ROOT / source: page for page, source in PAGES.items()}
    sources |= {
        p: f"figures/{p.stem.lower()}.md" for p in sorted((ROOT / "benchmarks").glob("*.md"))
    }
    (pages / "guide").mkdir()
    shutil.copytree(HERE / "pages" / "pictures", pages / "guide" / "pictures")
    for name in WRITTEN:  # their links are those of the site already
        shutil.copyfile(HERE / "pages" / name, pages / "guide" / name)
    sources |= site_pages.write_examples(pages / "examples")
    sources |= lesson_pages.write(recorded, pages)
    sources |= course_pages.write(pages, recorded)
    written = links.Pages(ROOT, pages, sources, os.environ.get("TINYGRAD_LLM_REPOSITORY", ""))
    for source, page in sources.items():
        if source.suffix == ".md":
            written.write(source, page)
    for name in ("extra.css", "map.js"):
        shutil.copyfile(HERE / name, pages / name)
    shutil.copyfile(SCRIPTS / "formulas.js", pages / "formulas.js")
    reference.write_ops(pages / "reference" / "ops.md")
    reference.write_explained(pages / "explain")
    reference.write_api(pages / "api")
    site_pages.write_played(pages / "play")
    site_pages.write_japanese(pages)
    site_pages.write_index(pages)


def configure(work: Path) -> None:
    """mkdocs.yml: the settings of docs/mkdocs.json, and the pages in their order."""
    settings: dict[str, Any] = json.loads((HERE / "mkdocs.json").read_text(encoding="utf-8"))
    options = settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"]["options"]
    options["extensions"] = [str(HERE / "what_differs.py")]
    pages = work / "pages"
    chapters = sorted(p for p in (pages / "course").iterdir() if p.is_dir())
    settings["nav"] = [
        {"Home": "index.md"},
        {
            "Guide": [
                "guide/set-up.md",
                "guide/language-models.md",
                "guide/talk.md",
                "guide/find.md",
                "guide/attention.md",
                "guide/lora-csv.md",
                "guide/pytorch.md",
                "guide/options.md",
            ]
        },
        {
            "Course": [
                "course/index.md",
                "course/map.md",
                "course/book.md",
                *({c.name: _listed(pages, c)} for c in chapters),
            ]
        },
        {"Explained": ["explain/index.md", "explain/formulas.md", "play/index.md"]},
        {"Examples": _listed(pages, pages / "examples")},
        {"Reference": ["reference/ops.md", *_listed(pages, pages / "api")]},
        {"Figures": _listed(pages, pages / "figures")},
        {"Project": _listed(pages, pages / "project")},
        {"日本語": ["ja/index.md", "ja/course.md", *_listed(pages, pages / "ja" / "course")]},
        {"All pages": ["all-pages.md"]},
    ]
    (work / "mkdocs.yml").write_text(
        json.dumps(settings, ensure_ascii=False, indent=1), encoding="utf-8"
    )


def _listed(pages: Path, folder: Path) -> list[str]:
    return [p.relative_to(pages).as_posix() for p in sorted(folder.glob("*.md"))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
