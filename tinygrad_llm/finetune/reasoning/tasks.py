"""Small tasks whose answers a program can check, made from a seed: every machine has the same.

    make_questions("sums", 81, seed=0)         # [{"instruction": "3+4=", "output": "7"}, ...]

"sums" are the 81 sums of two digits from 1 to 9. The others have a question in words; `seed` draws
them, and two seeds share hardly a question. "chain-sum", "letter-counting" and "products" are those
of reasoning-gym, where it is installed, see gym.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .gym import GYM, gym_questions

__all__ = ["ALL_TASKS", "SHORT", "TASKS", "make_questions"]

Question = dict[str, str]

SHORT = " Answer with a number alone."
_THINGS = ("apples", "pears", "books", "coins", "stamps", "cards", "shells", "pens")
_NAMES = ("Ann", "Ben", "Cora", "Dan", "Eva", "Finn", "Gina", "Hugo")
_WORDS = (
    "banana", "letter", "coffee", "balloon", "committee", "pepper", "mississippi", "tomato",
    "success", "bookkeeper", "giraffe", "penguin", "parallel", "address", "classroom", "sunflower",
)  # fmt: skip


def _sums() -> list[Question]:
    """All sums of two digits from 1 to 9, in order."""
    pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    return [{"instruction": f"{a}+{b}=", "output": str(a + b)} for a, b in pairs]


def _addition(draw: random.Random) -> Question:
    a, b = draw.randint(10, 99), draw.randint(10, 99)
    return {"instruction": f"What is {a} + {b}?", "output": str(a + b)}


def _arithmetic(draw: random.Random) -> Question:
    a, b, c = draw.randint(2, 12), draw.randint(2, 12), draw.randint(1, 20)
    if draw.random() < 0.5:
        return {"instruction": f"What is {a} * {b} + {c}?", "output": str(a * b + c)}
    return {"instruction": f"What is {a + b + c} - {b} - {c}?", "output": str(a)}


def _counting(draw: random.Random) -> Question:
    word = draw.choice(_WORDS)
    letter = draw.choice(sorted(set(word)))
    question = f'How many times does the letter "{letter}" appear in "{word}"?'
    return {"instruction": question, "output": str(word.count(letter))}


def _words(draw: random.Random) -> Question:
    name, other = draw.sample(_NAMES, 2)
    thing, a, b = draw.choice(_THINGS), draw.randint(3, 20), draw.randint(2, 15)
    if draw.random() < 0.5:
        text = f"{name} has {a} {thing}. {other} gives {name} {b} more."
        return {
            "instruction": f"{text} How many {thing} does {name} have now?", "output": str(a + b)
        }  # fmt: skip
    text = f"{name} has {a + b} {thing} and gives {b} of them to {other}."
    return {"instruction": f"{text} How many {thing} are left?", "output": str(a)}


TASKS: dict[str, Callable[[random.Random], Question] | None] = {
    "sums": None, "addition": _addition, "arithmetic": _arithmetic, "counting": _counting,
    "words": _words,
}  # fmt: skip


ALL_TASKS = (*TASKS, *GYM)


def make_questions(
    task: str, n: int, seed: int = 0, exclude: set[str] | None = None
) -> list[Question]:
    """n different questions of a task, as dicts with "instruction" and "output".

    exclude: questions that may not come, such as those of the training set
    A task that has fewer questions than n returns all of them; "sums" are always all 81.
    Raises: ValueError for an unknown task; ImportError if reasoning-gym is not installed.
    """
    if task in GYM:
        return gym_questions(task, n, seed, exclude)
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(ALL_TASKS)}, got {task!r}")
    one = TASKS[task]
    if one is None:
        return _sums()
    draw, seen = random.Random(f"{task} {seed}"), set(exclude or ())
    questions: list[Question] = []
    for _ in range(50 * n):
        question = one(draw)
        question["instruction"] += SHORT
        if question["instruction"] not in seen:
            seen.add(question["instruction"])
            questions.append(question)
        if len(questions) == n:
            break
    return questions
