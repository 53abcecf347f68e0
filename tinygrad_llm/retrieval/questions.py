"""Questions with known answers, made by rule from Python's language reference.

`pydoc_data.topics` is a part of every Python: the texts that help("for") shows. A cloze question is
a sentence with a quoted word replaced by a gap; a title asks for the topic that it stands over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .chunks import Chunk

__all__ = ["GAP", "Question", "cloze_questions", "python_topics", "sentences", "title_questions"]

GAP = "____"
_QUOTED = re.compile(r'"([A-Za-z_]\w*(?:\(\))?)"')


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
    """The sentences of the paragraphs of a text, without those of code and lists."""
    made = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph[:1].isupper():
            joined = " ".join(paragraph.split())
            made += re.split(r"(?<=[.!?])\s+(?=[A-Z])", joined)
    return [s for s in made if s.endswith(".") and 8 <= len(s.split()) <= 40]


def cloze_questions(
    chunks: Sequence[Chunk], texts: Sequence[str], n: int, seed: int = 0
) -> list[Question]:
    """At most n sentences with a gap where a quoted word stood; the word is the answer.

    texts: the documents; chunks: of them. A sentence counts if one chunk or more has all of it.
    """
    plain = [" ".join(chunk.text.split()) for chunk in chunks]
    possible = list(
        dict.fromkeys(s for text in texts for s in sentences(text) if _QUOTED.search(s))
    )
    made: list[Question] = []
    for i in np.random.default_rng(seed).permutation(len(possible)):
        if len(made) == n:
            break
        sentence = possible[int(i)]
        answer = _QUOTED.findall(sentence)[0]
        relevant = frozenset(j for j, text in enumerate(plain) if sentence in text)
        if relevant:
            gap = re.sub(rf'"{re.escape(answer)}"', GAP, sentence)
            made.append(Question(gap, answer, relevant))
    return made


def title_questions(chunks: Sequence[Chunk], headings: dict[str, str]) -> list[Question]:
    """Each heading as a query: the chunks of its topic are right, its name is the answer."""
    by_source: dict[str, set[int]] = {}
    for i, chunk in enumerate(chunks):
        by_source.setdefault(chunk.source, set()).add(i)
    return [
        Question(heading, name, frozenset(by_source[name]))
        for name, heading in headings.items()
        if name in by_source
    ]
