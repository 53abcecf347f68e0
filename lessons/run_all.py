"""Run every lesson and every solution, each in a process of its own, and say what it took.

    python lessons/run_all.py              all of them
    python lessons/run_all.py 00 03        those whose path holds 00 or 03

A lesson has passed if it ended without an error and, unless it is a solution, wrote its plot. Exit
code 1 if one failed, or if there was none to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def lessons() -> list[Path]:
    """Every lesson and solution, in order: files in numbered folders, named by number."""
    return sorted(p for p in HERE.glob("*/**/*.py") if p.name[0].isdigit())


def plots_of(lesson: Path) -> list[Path]:
    """The plots a lesson wrote: files beside it in plots/ that begin with its name."""
    return sorted((lesson.parent / "plots").glob(f"{lesson.stem}*.png"))


def run(lesson: Path) -> tuple[bool, float, str]:
    for plot in plots_of(lesson):
        plot.unlink()
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(lesson)], cwd=lesson.parent, env=environment,
        capture_output=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        return False, seconds, (done.stdout + done.stderr)[-3000:]
    if "solutions" not in lesson.parts and not plots_of(lesson):
        return False, seconds, f"it wrote no plot: wanted {lesson.parent}/plots/{lesson.stem}*.png"
    return True, seconds, ""


def main(wanted: list[str]) -> int:
    chosen = [p for p in lessons() if not wanted or any(w in str(p.relative_to(HERE)) for w in wanted)]
    failed = 0
    for lesson in chosen:
        good, seconds, trouble = run(lesson)
        print(f"{'ok' if good else 'FAILED':7}{seconds:6.1f} s  {lesson.relative_to(HERE)}", flush=True)
        if not good:
            failed += 1
            print(trouble, flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
