"""tinygrad-llm exercise quiz: ten questions on a chapter of the lessons."""

from __future__ import annotations

import textwrap

import typer

from ...files.paths import local_path
from ...files.plain_text import say
from ...files.program import command_line
from ...study.exercises.progress import Progress
from ...study.exercises.quiz import Question, chapter_of, chapters, questions
from ..errors import BadValue

__all__ = ["answered", "quiz"]

LETTERS = "abcdefgh"


def quiz(
    chapter: str | None = typer.Argument(
        None, help="A chapter of the lessons, or a part of its name; without it, all are listed."
    ),
    folder: str = typer.Option("exercises", "--folder", help="Where your progress is."),
    answers: bool = typer.Option(
        False, "--answers", help="Show the questions with their answers, and ask nothing."
    ),
) -> None:
    """Answer ten questions on a chapter of the lessons; your best result is kept.

    Raises: BadValue for a chapter that is unknown or not the only one.
    """
    try:
        progress = Progress(local_path(folder))
        name = None if chapter is None else chapter_of(chapter)
    except ValueError as error:
        raise BadValue(str(error)) from None
    if name is None:
        _list(progress)
        return
    asked = questions(name)
    if answers:
        for i, question in enumerate(asked):
            _show(i, question)
            say(f"   {LETTERS[question.right]}. {question.why}\n")
        return
    right = 0
    for i, question in enumerate(asked):
        _show(i, question)
        given = _answer(len(question.answers))
        if given is None:
            say(f"\nEnded: {right} of {i} right. Only a whole quiz is kept.")
            return
        right += given == question.right
        verdict = "Right." if given == question.right else f"No: {LETTERS[question.right]}."
        say(textwrap.fill(f"{verdict} {question.why}", 96) + "\n")
    best = max(right, progress.quiz.get(name, 0))
    progress.quiz[name] = best
    progress.save()
    say(f"{name}: {right} of {len(asked)} right" + (f", your best {best}" if best > right else ""))


def answered(progress: Progress) -> str:
    """How many of the quizzes were answered without a mistake, as a text."""
    every = chapters()
    right = sum(progress.quiz.get(name) == len(questions(name)) for name in every)
    return f"{right} of {len(every)} quizzes without a mistake"


def _list(progress: Progress) -> None:
    for name in chapters():
        n, best = len(questions(name)), progress.quiz.get(name)
        say(f"  {'✓' if best == n else ' '} {name:<28} " + ("" if best is None else f"{best}/{n}"))
    say(f"\nBegin with: {command_line('exercise', 'quiz', chapters()[0])}")


def _show(i: int, question: Question) -> None:
    say(textwrap.fill(f"{i + 1}. {question.text}", 96, subsequent_indent="   "))
    for letter, answer in zip(LETTERS, question.answers, strict=False):
        say(
            textwrap.fill(
                f"{letter}) {answer}", 96, initial_indent="   ", subsequent_indent=" " * 6
            )
        )


def _answer(n: int) -> int | None:
    """The answer that was typed, from 0; None at the end of the input, or for q."""
    while True:
        try:
            typed = input(f"   {LETTERS[0]} to {LETTERS[n - 1]}, or q to end: ").strip().lower()
        except EOFError:
            return None
        if typed == "q":
            return None
        if len(typed) == 1 and typed in LETTERS[:n]:
            return LETTERS.index(typed)
        say(f"   {typed!r} is not one of {', '.join(LETTERS[:n])}")
