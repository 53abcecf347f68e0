"""Data for training, made from an index: questions with right and wrong passages.

    questions = half_questions(index.chunks, None, 500)
    wrong = hard_negatives(index, questions, 3)
    rows = passage_rows(index, questions, wrong)         # for finetune rerank and finetune embed
    entries = instruction_rows(index, questions, wrong)                  # for finetune instruct

Source: Karpukhin et al. (2020), "Dense Passage Retrieval", section 3.2: the best passage of BM25
that does not hold the answer is a hard negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .answers import ASKED, REFUSAL, instruction_examples
from .index import Index
from .questions import Question

__all__ = ["hard_negatives", "instruction_rows", "passage_rows"]


def hard_negatives(
    index: Index, questions: Sequence[Question], n: int = 3, way: str | None = "bm25", seed: int = 0
) -> list[list[int]]:
    """For each question the numbers of the n best chunks that are wrong, the best first.

    way: of Index.search. Where it finds too few, others are taken at random. A chunk with the text
    of a right one is not wrong, and no text is taken twice.
    Raises: ValueError for n below 1, or an index with too few chunks; as Index.search.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
    random = np.random.default_rng(seed)
    made = []
    for question in questions:
        seen = {_text(index, i) for i in question.relevant}
        hits = [p.id for p in index.search(question.text, 2 * n + len(question.relevant), way)]
        wrong: list[int] = []
        for i in (*hits, *random.permutation(len(index)).tolist()):
            if len(wrong) < n and _text(index, i) not in seen:
                wrong.append(i)
                seen.add(_text(index, i))
        if len(wrong) < n:
            raise ValueError(
                f"{n} wrong passages are needed, {len(wrong):,} of the {len(index):,} chunks have "
                f"other texts than the right ones of {question.text[:60]!r}"
            )
        made.append(wrong)
    return made


def passage_rows(
    index: Index, questions: Sequence[Question], wrong: Sequence[Sequence[int]], most: int = 1
) -> list[dict[str, str]]:
    """Rows {"question", "passage", "negative1", "negative2", ...}.

    wrong: for each question chunks of hard_negatives; most: right chunks of a question that get a
    row each, the first ones
    Raises: ValueError for different numbers of questions and of lists.
    """
    rows = []
    for question, others in zip(questions, wrong, strict=True):
        negatives = {f"negative{n}": _text(index, i) for n, i in enumerate(others, 1)}
        for right in sorted(question.relevant)[:most]:
            rows.append({"question": question.text, "passage": _text(index, right), **negatives})
    return rows


def instruction_rows(
    index: Index, questions: Sequence[Question], wrong: Sequence[Sequence[int]],
    unanswerable: float = 0.2, seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Entries of finetune instruct: the prompt of `rag ask` with passages, and the answer.

    wrong: for each question wrong chunks, which stand beside the right one in a random order.
    unanswerable: the share of questions whose right passage is missing: the answer is then REFUSAL
    Raises: ValueError for a share outside [0, 1], or different numbers; as instruction_examples.
    """
    if not 0 <= unanswerable <= 1:
        raise ValueError(f"unanswerable must be from 0 to 1, got {unanswerable}")
    random = np.random.default_rng(seed)
    asked, answers, passages = [], [], []
    for question, others in zip(questions, wrong, strict=True):
        missing = random.random() < unanswerable
        chosen = list(others) if missing else [min(question.relevant), *others]
        order = random.permutation(len(chosen))
        asked.append(ASKED.format(question.text))
        answers.append(REFUSAL if missing else question.answer)
        passages.append([_text(index, chosen[int(i)]) for i in order])
    return instruction_examples(asked, answers, passages)


def _text(index: Index, i: int) -> str:
    return " ".join(index.chunks[i].text.split())
