"""Short answers beside the right ones: equal, how many characters, how many members of a set.

They measure what llm-jp-eval's scores of the same names measure, but are not equal to them: its
character F1 ignores case, punctuation and the order of words, and its sets are divided by lines.
"""

from __future__ import annotations

import difflib
import unicodedata

__all__ = ["character_f1", "contains", "exact_match", "nfkc", "normalized_answer", "set_f1"]


def nfkc(text: str) -> str:
    """The text in Unicode's form NFKC: full width becomes half."""
    return unicodedata.normalize("NFKC", text)


def normalized_answer(text: str) -> str:
    """The text in Unicode's form NFKC, without blanks around it."""
    return nfkc(text).strip()


def exact_match(answer: str, right: str) -> float:
    """1.0 if both are the same text after normalisation, otherwise 0.0."""
    return float(normalized_answer(answer) == normalized_answer(right))


def contains(answer: str, right: str) -> float:
    """1.0 if the right text stands anywhere in the answer, after normalisation, in any case."""
    return float(normalized_answer(right).casefold() in normalized_answer(answer).casefold())


def character_f1(answer: str, right: str) -> float:
    """How much of both texts is common, in order: 2·M / (len(answer) + len(right)), 0 to 1.

    M: characters in the matching blocks of difflib.SequenceMatcher; case, punctuation and the order
    of words count. 1.0 for two empty texts.
    """
    a, b = normalized_answer(answer), normalized_answer(right)
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


def set_f1(answer: str, right: str, separator: str = ",") -> float:
    """F1 of two sets that texts name, their members divided by `separator`: 0 to 1.

    Order and repetitions do not matter; 1.0 for two empty sets.
    Raises: ValueError for an empty separator.
    """
    if not separator:
        raise ValueError("separator must have at least one character")
    a, b = (_members(text, separator) for text in (answer, right))
    if not a and not b:
        return 1.0
    common = len(a & b)
    return 2 * common / (len(a) + len(b))


def _members(text: str, separator: str) -> set[str]:
    return {part.strip() for part in normalized_answer(text).split(separator)} - {""}
