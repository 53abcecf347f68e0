"""The map of the course and the pages that close a chapter: its quiz and its references.

lessons/course.json says which chapters each one needs; titles and minutes stand in
lessons/README.md, the questions of a quiz in tinygrad_llm/study/exercises/quizzes.
"""

from __future__ import annotations

import html
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tinygrad_llm.study.exercises.quiz import questions  # noqa: E402

__all__ = ["Chapter", "chapters", "drawn", "write", "written"]

LESSONS = ROOT / "lessons"
HEADING = re.compile(r"^## (\w+): (.+)$", re.M)
MINUTES_OF_AN_EXERCISE = 15
WIDTH, HEIGHT, GAP_X, GAP_Y = 196, 44, 24, 36  # of a box of the map, in pixels
LINES_APART = 5  # pixels between lines that pass through the same gap
IN_A_ROW = 4  # the most boxes; more that stand at one level take several rows
REFERENCES = "REFERENCES.md"


@dataclass(frozen=True)
class Chapter:
    """A chapter: what it is about, the chapters that come before it, and its work.

    minutes: of reading and running, as lessons/README.md says; exercises: their number
    """

    name: str
    title: str
    needs: tuple[str, ...]
    lessons: int
    minutes: int
    exercises: int

    @property
    def hours(self) -> float:
        """Hours with the exercises, in steps of a half."""
        return round((self.minutes + MINUTES_OF_AN_EXERCISE * self.exercises) / 30) / 2


def chapters() -> dict[str, Chapter]:
    """Every chapter by its name, in the course's order."""
    needs = json.loads((LESSONS / "course.json").read_text(encoding="utf-8"))
    parts = HEADING.split((LESSONS / "README.md").read_text(encoding="utf-8"))[1:]
    made = {}
    for name, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        files = sorted((LESSONS / name).glob("*.py"))
        minutes = [int(n) for n in re.findall(r"\.py\) \| (\d+) \|", text)]
        exercises = sum(_exercises(file.read_text(encoding="utf-8")) for file in files)
        before = tuple(needs[name]["needs"])
        made[name] = Chapter(name, title, before, len(files), sum(minutes), exercises)
    return made


def _exercises(lesson: str) -> int:
    last = lesson.partition("\n# ## Exercises\n")[2]
    return len(re.findall(r"^# \d+\. ", last, flags=re.M))


def levels(course: dict[str, Chapter]) -> dict[str, int]:
    """The level of each chapter: 0 if it needs none, else one below the lowest that it needs."""
    made: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in made:
            made[name] = 1 + max((level(before) for before in course[name].needs), default=-1)
        return made[name]

    for name in course:
        level(name)
    return made


def rows_of(course: dict[str, Chapter]) -> dict[str, int]:
    """The row of each chapter on the map: its level, where a level of many boxes takes several."""
    by_level: dict[int, list[str]] = {}
    for name, level in levels(course).items():
        by_level.setdefault(level, []).append(name)
    made: dict[str, int] = {}
    first = 0
    for _, names in sorted(by_level.items()):
        count = -(-len(names) // IN_A_ROW)
        for i, name in enumerate(names):
            made[name] = first + i * count // len(names)
        first += count
    return made


def drawn(course: dict[str, Chapter]) -> str:
    """The map as SVG: a box for each chapter, with lines from those that it needs."""
    depth = rows_of(course)
    rows: dict[int, list[str]] = {}
    for name, row in depth.items():
        rows.setdefault(row, []).append(name)
    widest = max(map(len, rows.values()))
    width = widest * (WIDTH + GAP_X) + GAP_X
    corners = {}
    for row, names in rows.items():
        left = (width - len(names) * (WIDTH + GAP_X) + GAP_X) / 2
        for i, name in enumerate(names):
            corners[name] = (left + i * (WIDTH + GAP_X), GAP_Y / 2 + row * (HEIGHT + GAP_Y))
    height = len(rows) * (HEIGHT + GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><title>The map of the course</title>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    ]
    gaps = {
        row: [left + i * (WIDTH + GAP_X) - GAP_X / 2 for i in range(len(names) + 1)]
        for row, names in rows.items()
        for left in [corners[names[0]][0]]
    }
    used: dict[tuple[int, float], int] = {}
    for name, chapter in course.items():
        for before in chapter.needs:
            between = [gaps[row] for row in range(depth[before] + 1, depth[name])]
            parts.append(_line(corners[before], corners[name], between, used))
    for name, chapter in course.items():
        x, y = corners[name]
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#e8eaf6" '
            f'stroke="#3f51b5"/><text x="{x + WIDTH / 2:g}" y="{y + 18:g}" text-anchor="middle" '
            f'font-weight="bold" fill="#1a237e">{html.escape(name)}</text>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 35:g}" text-anchor="middle" fill="#303030">'
            f"{chapter.lessons} lessons, {chapter.hours:g} hours</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(
    start: tuple[float, float],
    end: tuple[float, float],
    gaps: list[list[float]],
    used: dict[tuple[int, float], int],
) -> str:
    """The line from below one box to the top of another, through the gaps of the rows between.

    start, end: the boxes' upper left corners; gaps: the x of each row's gaps between its boxes;
    used: (y, x) of a gap -> how many lines are in it, so that they do not lie on each other
    """
    x, y = start[0] + WIDTH / 2, start[1] + HEIGHT
    goal = end[0] + WIDTH / 2
    path = [f"M{x:g} {y:g}"]
    for row in gaps:
        gap = min(row, key=lambda at: (abs(at - x) + abs(at - goal), abs(at - goal)))
        place = (round(y), gap)
        used[place] = used.get(place, 0) + 1
        to = gap + (-1) ** used[place] * (used[place] // 2) * LINES_APART
        path.append(_bend(x, y, to, y + GAP_Y) + f" V{y + GAP_Y + HEIGHT:g}")
        x, y = to, y + GAP_Y + HEIGHT
    path.append(_bend(x, y, goal, end[1]))
    return f'<path d="{" ".join(path)}" fill="none" stroke="#7986cb" stroke-width="1.5"/>'


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    """A curve of SVG that begins and ends downwards."""
    middle = (y + to_y) / 2
    return f"C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"


def write(pages: Path, recorded: Path) -> dict[Path, str]:
    """Writes the map, and a quiz for each chapter that has a recorded lesson.

    Returns the chapters' references, file -> page, for links.Pages.
    """
    course = chapters()
    lessons = {name: sorted((recorded / name).glob("*.json")) for name in course}
    there = {name: files[0].stem for name, files in lessons.items() if files}
    (pages / "course").mkdir(parents=True, exist_ok=True)
    (pages / "course" / "map.svg").write_text(drawn(course), encoding="utf-8")
    (pages / "course" / "map.md").write_text(_map(course, there), encoding="utf-8")
    for name in there:
        (pages / "course" / name).mkdir(exist_ok=True)
        (pages / "course" / name / "quiz.md").write_text(_quiz(name), encoding="utf-8")
    return {LESSONS / name / REFERENCES: f"course/{name}/references.md" for name in there}


def _map(course: dict[str, Chapter], there: dict[str, str]) -> str:
    """there: the chapters that have pages, and the name of the first lesson of each"""
    rows = []
    for c in course.values():
        name, last = f"`{c.name}`", "quiz, references"
        if c.name in there:
            name = f"[{name}]({c.name}/{there[c.name]}.md)"
            last = f"[quiz]({c.name}/quiz.md), [references]({c.name}/references.md)"
        before = ", ".join(f"`{n}`" for n in c.needs) or "Python, and a little calculus"
        rows.append(f"| {name} | {c.title} | {before} | {c.hours:g} | {last} |")
    return (
        "---\nhide: [toc, navigation]\n---\n\n# The map of the course\n\n"
        "A chapter stands below those that it needs, and a line leads from each of them to it. "
        "The hours count reading, running, and a "
        "quarter of an hour for each exercise.\n\n"
        '<div class="map" markdown>\n\n'
        "![The chapters, each below those that it needs](map.svg)\n\n</div>\n\n"
        "The shortest path to a model that writes: `01_tensors`, `02_text`, `03_attention`, "
        "`04_gpt`, `05_pretraining`. Who wants to see every derivative first begins with "
        "`00_backprop`.\n\n"
        "| chapter | what it is about | needs | hours | after it |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nAll together: {sum(c.hours for c in course.values()):g} hours.\n\n"
        "`tinygrad-llm exercise quiz 03` asks the ten questions of a chapter in the terminal, and "
        "keeps your best result.\n"
    )


def _quiz(name: str) -> str:
    parts = [f"# Quiz: {name}", "Ten questions. Decide first, then open the answer."]
    for i, q in enumerate(questions(name)):
        answers = "\n".join(
            f"- **{letter})** {written(answer)}"
            for letter, answer in zip("abcdefgh", q.answers, strict=False)
        )
        why = f"<p><strong>{'abcdefgh'[q.right]})</strong> {html.escape(q.why)}</p>"
        parts += [
            f"**{i + 1}.** {written(q.text)}",
            answers,
            f"<details><summary>Answer</summary>{why}</details>",
        ]
    return "\n\n".join(parts) + "\n"


def written(text: str) -> str:
    """The text for Markdown: signs that Markdown would take as its own stay as they are."""
    return re.sub(r"([*_`\[\]<>#|])", r"\\\1", text)
