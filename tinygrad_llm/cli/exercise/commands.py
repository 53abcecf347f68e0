"""tinygrad-llm exercise: list, start, check, hint, solution; quiz.py has the quiz."""

from __future__ import annotations

import textwrap
from pathlib import Path

import typer

from ...files.paths import local_path
from ...files.plain_text import say, visible
from ...files.program import command_line
from ...study.exercises.catalogue import Exercise, exercise, exercises
from ...study.exercises.child import TIME_LIMIT, Report, check_file
from ...study.exercises.progress import Progress
from ..errors import BadValue
from .quiz import answered, quiz

__all__ = ["app"]

app = typer.Typer(
    help="Write the backward pass of every op yourself, and see what is wrong with it.",
    epilog="tinygrad-llm exercise start   begins with the first; check   grades it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_NAME = typer.Argument(None, help="The exercise; without it, the one started last.")
_FOLDER = typer.Option("exercises", "--folder", help="Where your files and your progress are.")


@app.command(name="list", help="Show all exercises in order, and which of them you have passed.")
def list_(
    folder: str = _FOLDER,
    chapter: str | None = typer.Option(None, help="Show the chapters whose name contains this."),
) -> None:
    """Show all exercises in order, and which of them have been passed.

    Raises: BadValue if no chapter's name contains --chapter.
    """
    progress = _progress(folder)
    shown = ""
    for e in exercises():
        if chapter and chapter.lower() not in e.chapter.lower():
            continue
        if e.chapter != shown:
            shown = e.chapter
            say(f"\n{shown}")
        mark = "✓" if e.name in progress.done else "→" if e.name == progress.current else " "
        say(f"  {mark} {e.name:<34} {_short(e.title, 60)}")
    if not shown:
        raise _bad(f"no chapter's name contains {chapter!r}")
    say(f"\n{len(progress.done)} of {len(exercises())} passed", end="")
    following = progress.next_exercise(progress.current)
    say(f"; next: {command_line('exercise', 'start', following.name)}" if following else "")
    say(f"{answered(progress)}: {command_line('exercise', 'quiz')}")


@app.command()
def start(
    name: str | None = typer.Argument(None, help="The exercise; without it, the next one."),
    folder: str = _FOLDER,
    again: bool = typer.Option(
        False, "--again", help="Start again: your file is kept as *.old.py."
    ),
    derive: bool = typer.Option(
        False, "--derive", help="Leave out the backward formula: the last hint has it."
    ),
) -> None:
    """Write an exercise's file, without the part that is your task."""
    progress = _progress(folder)
    if name is None:
        following = progress.next_exercise(progress.current)
        if following is None:
            say("You have passed every exercise.")
            return
        name = following.name
    e = _exercise(name)
    path = local_path(folder) / f"{e.name}.py"
    if path.exists() and not again:
        say(f"{path} exists already: continue with it, or start again with --again")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(path.with_suffix(".old.py"))
        path.write_text(e.template(derive), "utf-8")
        progress.hints.pop(e.name, None)
        progress.derive = [name for name in progress.derive if name != e.name]
        progress.derive += [e.name] if derive and e.is_op else []
        say(f"wrote {path}")
    progress.current = e.name
    progress.save()
    say(f"{e.name}: {e.title}")
    if derive and not e.is_op:
        say("This one is built, not derived: its file is the same with and without --derive.")
    say(f"Write the lines marked `your lines`, then: {command_line('exercise', 'check')}")


@app.command(help="Grade your file: its gradient, dtype, what it changes, shares and saves.")
def check(
    name: str | None = _NAME,
    folder: str = _FOLDER,
    seconds: float = typer.Option(TIME_LIMIT, help="How long your code may take."),
) -> None:
    """Grade the file of an exercise.

    Raises: BadValue if it was not started, or --seconds is not positive; typer.Exit with code 1 if
    it is not right.
    """
    progress = _progress(folder)
    e = _exercise(name or _current(progress))
    path = _path(folder, e)
    if not seconds > 0:
        raise _bad(f"--seconds must be more than 0, got {seconds:g}")
    report = check_file(e.name, path, seconds)
    show(report)
    progress.current = e.name
    if report.passed:
        progress.passed(e.name)
        progress.save()
        following = progress.next_exercise(e.name)
        say(f"\nPassed: {len(progress.done)} of {len(exercises())}.", end=" ")
        if following:
            say(f"Next: {command_line('exercise', 'start', following.name)}   ({following.title})")
        else:
            say("That was the last one.")
        return
    progress.save()
    n = len(e.hints(e.name in progress.derive)) - progress.hints.get(e.name, 0)
    say(
        f"\nNot yet. {n} hint{'s' * (n != 1)} left: {command_line('exercise', 'hint')}" if n else ""
    )
    raise typer.Exit(1)


@app.command()
def hint(
    name: str | None = _NAME,
    folder: str = _FOLDER,
    every: bool = typer.Option(False, "--all", help="Show all of them."),
) -> None:
    """Show the next hint, and those before it."""
    progress = _progress(folder)
    e = _exercise(name or _current(progress))
    hints = e.hints(e.name in progress.derive)
    before = min(progress.hints.get(e.name, 0), len(hints))
    n = len(hints) if every else min(before + 1, len(hints))
    for i, text in enumerate(hints[:n]):
        number = f"{i + 1}/{len(hints)}  "
        if "\n" not in text:  # a formula keeps its lines
            text = textwrap.fill(text, 96 - len(number))
        say(number + text.replace("\n", "\n" + " " * len(number)))
    if n == before:
        say(f"There are no more. To see the answer: {command_line('exercise', 'solution', e.name)}")
    progress.hints[e.name] = n
    progress.save()


@app.command()
def solution(name: str | None = _NAME, folder: str = _FOLDER) -> None:
    """Print the answer: the real op, or the solution of what is built."""
    say(_exercise(name or _current(_progress(folder))).solution(), end="")


app.command()(quiz)


def show(report: Report) -> None:
    """Print a report: one line per aspect, and what the file printed."""
    for row in report.rows:
        lines = visible(row.text).split("\n")
        say(f"{'✓' if row.ok else '✗'} {row.aspect}{': ' if row.text else ''}{lines[0]}")
        for line in lines[1:]:
            say(f"  {line}")
    printed = visible(report.printed.strip()).splitlines()
    if printed:
        say(f"\nYour file printed{' (the last lines)' * (len(printed) > 20)}:")
        for line in printed[-20:]:
            say(f"  {_short(line, 200)}")


def _short(text: str, n: int) -> str:
    return text if len(text) <= n else text[: n - 1] + "…"


def _bad(message: str) -> Exception:
    return BadValue(message)


def _progress(folder: str) -> Progress:
    try:
        return Progress(local_path(folder))
    except ValueError as error:
        raise _bad(str(error)) from None


def _exercise(name: str) -> Exercise:
    try:
        return exercise(name)
    except ValueError as error:
        raise _bad(str(error)) from None


def _current(progress: Progress) -> str:
    if progress.current is None:
        raise _bad(f"name an exercise, or start one: {command_line('exercise', 'start')}")
    return progress.current


def _path(folder: str, e: Exercise) -> Path:
    path = local_path(folder) / f"{e.name}.py"
    if not path.is_file():
        raise _bad(f"there is no {path}: start with {command_line('exercise', 'start', e.name)}")
    return path
