"""A quiz for a chat model over HTTP: without examples, after some, and with passages to read.

    quiz = Quiz(ChatClient("http://localhost:11434", "llama3", protocol="ollama", cache="replies"))
    plain = quiz.ask(items)                                         # zero-shot
    after = quiz.ask(items, shots=shots)                            # few-shot
    reading = quiz.ask(items, passages=[index_of_texts(i.question) for i in items])
    print(plain.interval("contains"), plain.usage)                  # and what it cost

The shots are turns of a conversation, as chat models are trained on. Questions with choices are
answered by a letter, the others by a few words.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..client import ChatClient, Usage
from .answers import contains, exact_match, shared_characters
from .intervals import Interval, bootstrap
from .questions import LETTERS, Item, Words, choice_prompt, parse_letter
from .verdicts import after_thoughts

__all__ = ["SCORES", "Quiz", "QuizResult"]

Message = dict[str, str]
_LETTER = "Reply with the letter of the right answer and nothing else."
_FEW_WORDS = "Answer the question with a few words and nothing else."
_PASSAGES = "Passages that may help:\n{passages}\n\n"
_PLAIN = Words("Question: ", "")
SCORES: dict[str, Callable[[str, str], float]] = {
    "contains": contains, "exact_match": exact_match, "shared_characters": shared_characters,
}  # fmt: skip


@dataclass(frozen=True)
class QuizResult:
    """What was answered to each item, and what it cost.

    scores: by name, float64 (N); of questions with choices `right` alone
    unread: replies without a letter, which count as wrong
    usage: what this quiz added to that of the client
    """

    replies: list[str] = field(repr=False)
    scores: dict[str, np.ndarray] = field(repr=False)
    unread: int
    usage: Usage

    def interval(self, name: str, seed: int = 0) -> Interval:
        """The mean of a score; one question alone has no interval."""
        rows = self.scores[name]
        if len(rows) < 2:
            return Interval(float(rows.mean()), np.nan, np.nan)
        return bootstrap(rows, seed=seed)


@dataclass(frozen=True)
class Quiz:
    """Asks the questions of a quiz; client: of the model that answers."""

    client: ChatClient

    def messages(
        self, item: Item, shots: Sequence[Item] = (), passages: Sequence[str] = ()
    ) -> list[Message]:
        """The conversation that ends with the question."""
        turns = [{"role": "system", "content": _LETTER if item.choices else _FEW_WORDS}]
        for shot in shots:
            answer = LETTERS[shot.label] if shot.choices else shot.answer
            turns += [{"role": "user", "content": _question(shot)},
                      {"role": "assistant", "content": answer}]  # fmt: skip
        numbered = [f"[{n}] {' '.join(text.split())}" for n, text in enumerate(passages, 1)]
        read = _PASSAGES.format(passages="\n".join(numbered)) if passages else ""
        return [*turns, {"role": "user", "content": read + _question(item)}]

    def all_messages(
        self, items: Sequence[Item], shots: Sequence[Item] = (),
        passages: Sequence[Sequence[str]] | None = None,
    ) -> list[list[Message]]:  # fmt: skip
        """A conversation for each item, for the client's `estimate`.

        Raises: ValueError without items, if some have choices and others not, or for another number
        of lists of passages.
        """
        if not items or len({bool(item.choices) for item in [*items, *shots]}) > 1:
            raise ValueError("a quiz needs questions, all with choices or all without")
        texts = [()] * len(items) if passages is None else passages
        if len(texts) != len(items):
            raise ValueError(f"{len(items)} questions and {len(texts)} lists of passages")
        return [self.messages(item, shots, own) for item, own in zip(items, texts, strict=True)]

    def ask(
        self, items: Sequence[Item], shots: Sequence[Item] = (),
        passages: Sequence[Sequence[str]] | None = None,
        note: Callable[[int, int], object] | None = None,
    ) -> QuizResult:  # fmt: skip
        """The model's answers to all items.

        shots: shown with their answers; passages: texts for each item, or None
        note: is called with (questions done, all questions)
        Raises: ValueError as all_messages; ChatError with the question's number: what was answered
        stays in the client's cache.
        """
        conversations: list[Sequence[Mapping[str, str]]] = [
            *self.all_messages(items, shots, passages)
        ]
        before = copy.copy(self.client.usage)
        replies = [
            (after_thoughts(reply.text) or "").strip()
            for reply in self.client.ask_all(conversations, note)
        ]
        usage = self.client.usage.since(before)
        if not items[0].choices:
            scores = {
                name: np.array([score(r, i.answer) for r, i in zip(replies, items, strict=True)])
                for name, score in SCORES.items()
            }
            return QuizResult(replies, scores, 0, usage)
        letters = [parse_letter(r, len(i.choices)) for r, i in zip(replies, items, strict=True)]
        right = [float(letter == i.label) for letter, i in zip(letters, items, strict=True)]
        return QuizResult(replies, {"right": np.array(right)}, letters.count(None), usage)


def _question(item: Item) -> str:
    if item.choices:
        return choice_prompt(item, _PLAIN).rstrip()
    return _PLAIN.question + item.question
