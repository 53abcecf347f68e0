"""Questions with known answers, made by rule from Python's language reference.

`pydoc_data.topics` is a part of every Python: the texts that help("for") shows. A cloze question is
a sentence with a quoted word replaced by a gap; a title asks for the topic that it stands over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .chunks import Chunk

__all__ = [
    "GAP", "Question", "cloze_questions", "half_questions", "python_topics", "sentences",
    "sentences_of_chunks", "split_by_source", "title_questions",
]  # fmt: skip

GAP = "____"
_QUOTED = re.compile(r'"([A-Za-z_]\w*(?:\(\))?)"|「(\w{2,20})」')
_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|(?<=[。！？])\s*")
WORDS, LETTERS = (8, 40), (15, 150)  # of a sentence with spaces between words, and without


class Question(NamedTuple):
    """A question, its answer, and the numbers of the chunks in which the answer stands."""

    text: str
    answer: str
    relevant: frozenset[int]


def python_topics() -> tuple[list[dict[str, str]], dict[str, str]]:
    """The documents {"text", "title"} of this Python's reference without their headings; headings.

    The headings are by title. Two topics with the same text are one document.
    """
    from pydoc_data.topics import topics

    documents: list[dict[str, str]] = []
    headings: dict[str, str] = {}
    seen: set[str] = set()
    for name, text in sorted(topics.items()):
        heading, _, rest = text.partition("\n")
        rest = rest.lstrip("*=-~\n")
        if rest.strip() and rest not in seen:
            seen.add(rest)
            documents.append({"text": rest, "title": name})
            headings[name] = heading.strip()
    return documents, headings


def sentences(text: str) -> list[str]:
    """The sentences of the paragraphs of a text, without those of code and lists.

    A Japanese sentence ends with 。 and counts by its characters.
    """
    made: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        first = paragraph[:1]
        if first.isupper() or (first.isalpha() and not first.isascii() and not first.islower()):
            made += _ENDS.split(" ".join(paragraph.split()))
    return [sentence for sentence in made if _is_sentence(sentence)]


def _is_sentence(text: str) -> bool:
    if text.endswith("."):
        return WORDS[0] <= len(text.split()) <= WORDS[1]
    return text.endswith("。") and LETTERS[0] <= len(text) <= LETTERS[1]


def sentences_of_chunks(chunks: Sequence[Chunk]) -> list[str]:
    """The sentences of texts that are known by their chunks alone, each once.

    The first sentence of a chunk that is not the first of its text may have lost its beginning, so
    it is left out; where chunks overlap, the chunk before has the whole of it.
    """
    made: dict[str, None] = {}
    for chunk in chunks:
        own = sentences(chunk.text)
        begins = bool(own) and " ".join(chunk.text.split()).startswith(own[0])
        made |= dict.fromkeys(own[1:] if chunk.number and begins else own)
    return list(made)


def cloze_questions(
    chunks: Sequence[Chunk], texts: Sequence[str] | None, n: int, seed: int = 0
) -> list[Question]:
    """At most n sentences with a gap where a quoted word stood; the word is the answer.

    texts: the documents, None for what the chunks say of them; chunks: of them. A sentence counts
    if one chunk or more has all of it.
    """

    def made(sentence: str) -> tuple[str, str, str] | None:
        quoted = _QUOTED.search(sentence)
        if quoted is None:
            return None
        answer = quoted[1] or quoted[2]
        around = ('"', '"') if quoted[1] else ("「", "」")
        return sentence.replace(answer.join(around), GAP), answer, sentence

    return _questions(chunks, texts, n, seed, made)


def half_questions(
    chunks: Sequence[Chunk], texts: Sequence[str] | None, n: int, seed: int = 0
) -> list[Question]:
    """At most n second halves of sentences; the answer is the first half.

    texts, chunks: as cloze_questions. A chunk is right if it has the half.
    """

    def made(sentence: str) -> tuple[str, str, str]:
        words = sentence.split()
        if len(words) >= WORDS[0]:
            middle = len(words) // 2
            first, second = " ".join(words[:middle]), " ".join(words[middle:])
        else:
            first, second = sentence[: len(sentence) // 2], sentence[len(sentence) // 2 :]
        return second, first, second

    return _questions(chunks, texts, n, seed, made)


def _questions(
    chunks: Sequence[Chunk], texts: Sequence[str] | None, n: int, seed: int,
    rule: Callable[[str], tuple[str, str, str] | None],
) -> list[Question]:  # fmt: skip
    """At most n questions in a random order.

    rule: sentence -> (question, answer, what a right chunk has in it), None for no question
    """
    plain = [" ".join(chunk.text.split()) for chunk in chunks]
    if texts is None:
        possible = sentences_of_chunks(chunks)
    else:
        possible = list(dict.fromkeys(s for text in texts for s in sentences(text)))
    ruled = [made for made in map(rule, possible) if made is not None]
    questions: list[Question] = []
    for i in np.random.default_rng(seed).permutation(len(ruled)):
        if len(questions) == n:
            break
        question, answer, piece = ruled[int(i)]
        relevant = frozenset(j for j, text in enumerate(plain) if piece in text)
        if relevant:
            questions.append(Question(question, answer, relevant))
    return questions


def split_by_source(
    questions: Sequence[Question], chunks: Sequence[Chunk], share: float = 0.5, seed: int = 0
) -> tuple[list[Question], list[Question]]:
    """(questions on `share` of the documents, questions on the others).

    A question whose right chunks are in documents of both parts is in neither.
    """
    sources = sorted({chunk.source for chunk in chunks})
    order = np.random.default_rng(seed).permutation(len(sources))
    first = {sources[int(i)] for i in order[: round(share * len(sources))]}
    parts: tuple[list[Question], list[Question]] = ([], [])
    for question in questions:
        inside = {chunks[i].source in first for i in question.relevant}
        if len(inside) == 1:
            parts[0 if inside.pop() else 1].append(question)
    return parts


def title_questions(chunks: Sequence[Chunk], headings: dict[str, str]) -> list[Question]:
    """Each heading as a query: the chunks of its topic are right, its name is the answer.

    A chunk of another topic with the same text as one of them is right too.
    """
    by_text: dict[str, set[int]] = {}
    by_source: dict[str, set[int]] = {}
    for i, chunk in enumerate(chunks):
        by_text.setdefault(chunk.text, set()).add(i)
    for chunk in chunks:
        by_source.setdefault(chunk.source, set()).update(by_text[chunk.text])
    return [
        Question(heading, name, frozenset(by_source[name]))
        for name, heading in headings.items()
        if name in by_source
    ]
