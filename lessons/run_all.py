"""Run every lesson and every solution, each in its own process, and print how long each took.

    python lessons/run_all.py              all of them
    python lessons/run_all.py 00_ 03_      those whose path contains 00_ or 03_
    python lessons/run_all.py --full 05_   the long runs, where a lesson has one (it says how long)
    python lessons/run_all.py --record F   and write what each cell of each lesson printed to folder F
    python lessons/run_all.py --jobs 2     two at a time (give each its share of the cores: OPENBLAS_NUM_THREADS=1)

A lesson passes if it ends without an error and writes its plot; a file of solutions, if the checks of each
exercise hold and refuse a wrong answer (checked.py). The exit code is 1 if one failed or if there was none to run, and 2 for an unknown option.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOLUTIONS = HERE / "solutions"
CHAPTER = re.compile(r"(\d\d|[A-Z])_\w+")  # 01_tensors, A_lora
LESSON = re.compile(r"\d\d_\w+\.py")


def lessons() -> list[Path]:
    """Every lesson, in order: lessons/CHAPTER/NN_NAME.py."""
    return sorted(p for p in HERE.glob("*/*.py") if _is_lesson(p))


def solutions() -> list[Path]:
    """Every file of solutions, in order: lessons/solutions/CHAPTER/NN_NAME.py, named as its lesson."""
    return sorted(p for p in SOLUTIONS.glob("*/*.py") if _is_lesson(p))


def _is_lesson(path: Path) -> bool:
    return bool(CHAPTER.fullmatch(path.parent.name) and LESSON.fullmatch(path.name))


def plots_of(lesson: Path) -> list[Path]:
    """The plots of a lesson: the files in the plots/ next to it whose names begin with its own."""
    return sorted((lesson.parent / "plots").glob(f"{lesson.stem}*.png"))


def run(lesson: Path, full: bool = False, record: Path | None = None) -> tuple[bool, float, str]:
    """Run one lesson: (whether it passed, seconds, what went wrong).

    record: a folder to which record.py writes the lesson's cells with their outputs
    """
    for plot in plots_of(lesson):
        plot.unlink()
    command = [sys.executable, str(lesson)]
    if SOLUTIONS in lesson.parents:
        command = [sys.executable, str(HERE / "checked.py"), str(lesson)]
    elif record is not None:
        out = record / lesson.parent.name / f"{lesson.stem}.json"
        command = [sys.executable, str(HERE / "record.py"), str(lesson), str(out)]
    has_full = "full_run(" in lesson.read_text(encoding="utf-8")
    if full and has_full:
        command.append("--full")
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
    start = time.perf_counter()
    result = subprocess.run(
        command, cwd=lesson.parent, env=environment,
        capture_output=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if result.returncode:
        return False, seconds, (result.stdout + result.stderr)[-3000:]
    if SOLUTIONS not in lesson.parents and not plots_of(lesson):
        return False, seconds, f"it wrote no plot: expected {lesson.parent}/plots/{lesson.stem}*.png"
    return True, seconds, ""


def _value_of(option: str, parts: list[str]) -> str | None:
    """The word after an option, which leaves the list together with it; "" if there is none."""
    if option not in parts:
        return None
    place = parts.index(option)
    parts.pop(place)
    return parts.pop(place) if place < len(parts) else ""


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    full = "--full" in arguments
    parts = [a for a in arguments if a != "--full"]
    record, jobs = _value_of("--record", parts), _value_of("--jobs", parts)
    if record == "" or (record and full):
        print(f"--record needs a folder, and does not go with --full\n\n{__doc__}")
        return 2
    if jobs is not None and not (jobs.isdigit() and int(jobs)):
        print(f"--jobs needs a number of 1 or more\n\n{__doc__}")
        return 2
    if unknown := [a for a in parts if a.startswith("-")]:
        print(f"unknown option {unknown[0]}\n\n{__doc__}")
        return 2
    files = [*lessons(), *solutions()]
    names = {p: p.relative_to(HERE).as_posix() for p in files}
    chosen = [p for p in files if not parts or any(part in names[p] for part in parts)]
    failed = 0
    folder = Path(record).resolve() if record else None
    start = time.perf_counter()
    pool = ThreadPoolExecutor(int(jobs or 1))
    results = pool.map(lambda lesson: run(lesson, full, folder), chosen)
    for lesson, (good, seconds, message) in zip(chosen, results):
        print(f"{'ok' if good else 'FAILED':7}{seconds:6.1f} s  {names[lesson]}", flush=True)
        if not good:
            failed += 1
            print(message, flush=True)
    if not chosen:
        print(f"no lesson's path contains {' or '.join(parts)}; there are\n" + "\n".join(names.values()))
    print(f"{len(chosen) - failed} passed, {failed} failed, {time.perf_counter() - start:.0f} s")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
