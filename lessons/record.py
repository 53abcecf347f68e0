"""Run one lesson cell by cell, and write what each cell printed and drew.

    python lessons/record.py lessons/CHAPTER/NN_NAME.py OUT.json    (run_all.py --record does it for all)

OUT.json is a list of cells: {"kind": "markdown" or "code", "text", "output", "plots"}; the plots are copied to the
folder plots beside it. The lesson runs as it does alone: as __main__, in its folder; what other processes print while
a cell runs belongs to that cell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

CELL = re.compile(r"^# %%.*$", re.M)


def cells_of(source: str) -> list[dict[str, Any]]:
    """The cells of a lesson: {"kind", "text", "line"}, line the number of lines before its text."""
    marks = list(CELL.finditer(source))
    ends = [mark.start() for mark in marks[1:]] + [len(source)]
    cells = []
    for mark, end in zip(marks, ends):
        text = source[mark.end() + 1 : end]
        kind = "markdown" if "[markdown]" in mark.group() else "code"
        line = source.count("\n", 0, mark.end() + 1)
        if kind == "markdown":
            text = "\n".join(re.sub("^# ?", "", row) for row in text.splitlines())
        cells.append({"kind": kind, "text": text.strip("\n"), "line": line, "code": source[mark.end() + 1 : end]})
    return [cell for cell in cells if cell["text"]]


def plots(lesson: Path) -> dict[str, int]:
    """A lesson's plots, whose names begin with its own, and when each was written."""
    folder = lesson.parent / "plots"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(f"{lesson.stem}*.png")}


def record(lesson: Path) -> list[dict[str, Any]]:
    """Run the cells of a lesson in this process; its standard output goes to a file meanwhile."""
    cells = cells_of(lesson.read_text(encoding="utf-8"))
    main = types.ModuleType("__main__")  # its names are not those of this script
    main.__file__ = str(lesson)  # so that processes that the lesson starts import the lesson
    sys.modules["__main__"] = main
    sys.argv = [str(lesson)]
    sys.path[0] = str(lesson.parent)
    os.chdir(lesson.parent)
    before = plots(lesson)
    with tempfile.TemporaryFile() as printed:
        usual = os.dup(1)
        os.dup2(printed.fileno(), 1)
        try:
            start = 0
            for cell in cells:
                code = cell.pop("code")
                line = cell.pop("line")
                cell.update(output="", plots=[])
                if cell["kind"] == "markdown":
                    continue
                exec(compile("\n" * line + code, str(lesson), "exec"), main.__dict__)
                sys.stdout.flush()
                end = os.fstat(printed.fileno()).st_size
                cell["output"] = os.pread(printed.fileno(), end - start, start).decode("utf-8", "replace")
                start = end
                now = plots(lesson)
                cell["plots"] = sorted(name for name in now if now[name] != before.get(name))
                before = now
        finally:
            sys.stdout.flush()
            os.dup2(usual, 1)
    return cells


if __name__ == "__main__":
    lesson_file, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    recorded = record(lesson_file)
    out.parent.mkdir(parents=True, exist_ok=True)
    for drawn in sorted({name for cell in recorded for name in cell["plots"]}):
        (out.parent / "plots").mkdir(exist_ok=True)
        shutil.copyfile(lesson_file.parent / "plots" / drawn, out.parent / "plots" / drawn)
    out.write_text(json.dumps(recorded, ensure_ascii=False, indent=1), encoding="utf-8")
