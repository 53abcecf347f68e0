"""Questions for a language model: choices in three ways, and answers that it writes.

    letter            it writes a letter after the choices; what it writes is read
    log_prob          after the choices, the letter with the highest probability
    teacher_forcing   without the choices, the answer whose text is likeliest, per byte

The first needs a model that follows instructions, the second one that knows what letters stand for,
the third only one that knows the language. Their figures differ, and a figure without its way says
little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..generation import stream_text
from ..models.base import LanguageModel
from ..text import Tokenizer
from .answers import character_f1, exact_match, nfkc, set_f1
from .likelihood import continuation_scores, first_token

__all__ = [
    "METHODS", "METRICS", "Item", "Words", "answer_choices", "answer_texts", "choice_prompt",
    "parse_letter", "prompt_of", "right",
]  # fmt: skip

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
METHODS = ("letter", "log_prob", "teacher_forcing")
METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match, "character_f1": character_f1, "set_f1": set_f1,
}  # fmt: skip
# A letter before a mark or at the end, or one that is named as the answer: "A dog" has none.
_LETTER = re.compile(
    r"(?<![A-Za-z])(?:(?:answer|choice|option)(?: is|:)? \W?(?P<named>[A-Z])(?![A-Za-z'])"
    r"|(?P<alone>[A-Z])(?=\s*(?:[^\w\s']|$)))",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Item:
    """A question with its answer; with choices, `label` is the number of the right one from 0."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    label: int = -1

    @staticmethod
    def of_choices(question: str, choices: Sequence[str], label: int) -> Item:
        """An item whose answer is the choice with number `label`.

        Raises: ValueError for a label that is not one of the choices, or more than 26 of them.
        """
        if not 0 <= label < len(choices) <= len(LETTERS):
            raise ValueError(f"the label must be one of {len(choices)} choices (26 at most), "
                             f"got {label}")  # fmt: skip
        return Item(question, choices[label], tuple(choices), label)


@dataclass(frozen=True)
class Words:
    """The words of a prompt: before the question, and before the answer."""

    question: str = "Question: "
    answer: str = "Answer:"


def choice_prompt(item: Item, words: Words) -> str:
    """A question, its choices behind letters, and the words before the answer."""
    lines = [f"{LETTERS[i]}. {choice}" for i, choice in enumerate(item.choices)]
    return "\n".join([words.question + item.question, *lines, words.answer])


def _plain_prompt(item: Item, words: Words) -> str:
    return f"{words.question}{item.question}\n{words.answer}"


def prompt_of(item: Item, shots: Sequence[Item], words: Words, with_letters: bool) -> str:
    """The shots with their answers, then the question: a prompt that the answer follows.

    with_letters: show choices, and answer with letters; else answer with texts
    """
    make = choice_prompt if with_letters else _plain_prompt
    done = [
        f"{make(shot, words)} {LETTERS[shot.label] if with_letters else shot.answer}\n\n"
        for shot in shots
    ]
    return "".join(done) + make(item, words)


def parse_letter(text: str, n: int) -> int | None:
    """The number of the first of n letters in a text, before a mark or named; None without one."""
    for match in _LETTER.finditer(nfkc(text)):
        letter = match["named"] or match["alone"]
        if letter in LETTERS[:n]:
            return LETTERS.index(letter)
    return None


def answer_choices(
    model: LanguageModel, tokenizer: Tokenizer, items: Sequence[Item], method: str, *,
    shots: Sequence[Item] = (), words: Words | None = None, batch_size: int = 8,
) -> list[int | None]:  # fmt: skip
    """The number of the choice that the model takes for each item; None: it named none.

    method: one of METHODS; shots: items that are shown with their answers
    Raises: ValueError for another method, items without choices; as continuation_scores.
    """
    words = Words() if words is None else words
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}: give one of {', '.join(METHODS)}")
    if not all(item.choices for item in [*items, *shots]):
        raise ValueError("an item has no choices")
    if method == "letter":
        texts = _written(model, tokenizer, [prompt_of(i, shots, words, True) for i in items], 8)
        return [parse_letter(t, len(i.choices)) for t, i in zip(texts, items, strict=True)]
    by_letter = method == "log_prob"
    pairs, sizes = [], []
    for item in items:
        prompt = prompt_of(item, shots, words, by_letter)
        for letter, choice in zip(LETTERS, item.choices, strict=False):
            continuation = f" {letter if by_letter else choice}"
            pairs.append((prompt, continuation))
            sizes.append(1 if by_letter else len(continuation.encode("utf-8", "surrogatepass")))
    scores = continuation_scores(model, tokenizer, pairs, batch_size)
    values = [score.log_prob / size for score, size in zip(scores, sizes, strict=True)]
    answers: list[int | None] = []
    for item in items:
        own, values = values[: len(item.choices)], values[len(item.choices) :]
        answers.append(own.index(max(own)))
    return answers


def answer_texts(
    model: LanguageModel, tokenizer: Tokenizer, items: Sequence[Item], *,
    shots: Sequence[Item] = (), words: Words | None = None, max_new_tokens: int = 32,
) -> list[str]:  # fmt: skip
    """What the model writes after each question, greedily, up to the end of the line."""
    words = Words() if words is None else words
    prompts = [prompt_of(item, shots, words, False) for item in items]
    return [text.strip() for text in _written(model, tokenizer, prompts, max_new_tokens)]


def _written(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], n: int
) -> list[str]:
    """Up to n tokens after each prompt, without what follows the first line that is not empty."""
    begin = first_token(tokenizer)
    end = tokenizer.eot_token
    options: dict[str, Any] = {} if end is None else {"stop_tokens": [end]}
    texts = []
    for prompt in prompts:
        ids = list(tokenizer.encode(prompt, disallowed_special=(), add_special_tokens=False))
        text = ""
        for piece in stream_text(model, ids if begin is None else [begin, *ids], n,
                                 tokenizer=tokenizer, **options):  # fmt: skip
            text += piece
            if "\n" in text.lstrip():
                break
        texts.append(text.lstrip().partition("\n")[0])
    return texts


def right(answers: Sequence[int | None], items: Sequence[Item]) -> np.ndarray:
    """1.0 where the answer is right, otherwise 0.0: float64 (N)."""
    pairs = zip(answers, items, strict=True)
    return np.array([float(answer == item.label) for answer, item in pairs])
