"""Ten questions for each chapter of the lessons, with the reasons of their answers.

A file of quizzes/ holds a chapter's questions, with an empty line between two:

    The question, on one line or several
    - an answer that is wrong
    + the answer that is right
    = why

The order of its answers is not that of the file: they are sorted by a hash, so that no place is the
right one more often than by chance.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Question", "chapter_of", "chapters", "questions"]

FOLDER = Path(__file__).parent / "quizzes"


@dataclass(frozen=True)
class Question:
    """One question: its answers, the place of the right one, and why it is right."""

    text: str
    answers: tuple[str, ...]
    right: int
    why: str


def chapters() -> list[str]:
    """The chapters with a quiz, in order: 00_backprop, 01_tensors, ..."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def chapter_of(name: str) -> str:
    """The one chapter that is called so, or whose name contains this: "attention", "03".

    Raises: ValueError if there is none, or more than one.
    """
    every = chapters()
    part = name.lower()
    exact = [c for c in every if part in (c.lower(), _number(c), _number(c).lstrip("0") or "0")]
    matches = exact or [c for c in every if part and part in c.lower()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"{name!r} may be {' or '.join(matches)}: write more of the name")
    close = difflib.get_close_matches(name, every, n=3, cutoff=0.4)
    near = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise ValueError(f"there is no chapter {name!r}{near}: they are {', '.join(every)}")


def _number(chapter: str) -> str:
    return chapter.partition("_")[0].lower()  # "03" of 03_attention, "a" of A_lora


@cache
def questions(chapter: str) -> tuple[Question, ...]:
    """The questions of a chapter, by its whole name."""
    text = (FOLDER / f"{chapter}.txt").read_text("utf-8")
    return tuple(_question(part) for part in text.strip().split("\n\n"))


def _question(part: str) -> Question:
    lines = part.splitlines()
    first, *_, last = (i for i, line in enumerate(lines) if line[:2] in ("- ", "+ "))
    text = " ".join(lines[:first])
    answers = sorted(lines[first : last + 1], key=lambda line: _place(text, line[2:]))
    return Question(
        text=text,
        answers=tuple(line[2:] for line in answers),
        right=next(i for i, line in enumerate(answers) if line.startswith("+")),
        why=" ".join(line.removeprefix("= ") for line in lines[last + 1 :]),
    )


def _place(text: str, answer: str) -> bytes:
    """What answers are sorted by: as good as random, and the same wherever the question stands.

    The number in front was chosen so that in each chapter all three places occur among the right.
    """
    return hashlib.sha256(f"16\n{text}\n{answer}".encode()).digest()
