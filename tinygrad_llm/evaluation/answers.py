"""Short answers beside the right ones: equal, how many characters, how many members of a set.

exact_match, character_f1 and set_f1 are those of llm-jp-eval. Its character F1 is
token_sort_ratio of fuzzywuzzy 0.18, which with python-Levenshtein, as llm-jp-eval installs it,
measures the longest common subsequence. (Without that package fuzzywuzzy takes the matching blocks
of difflib, which are never more; rapidfuzz measures the same as here but does not round.)
"""

from __future__ import annotations

import difflib
import re
import unicodedata

__all__ = [
    "character_f1", "common_subsequence", "contains", "exact_match", "nfkc", "normalized_answer",
    "set_f1", "shared_characters",
]  # fmt: skip

_LATIN1 = dict.fromkeys(range(128, 256))  # characters that fuzzywuzzy leaves out


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


def common_subsequence(a: str, b: str) -> int:
    """The length of the longest text whose characters stand in a and in b, in this order.

    Computed for all characters of a together, as bits of one number.
    Source: Hyyrö (2004), "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for i, letter in enumerate(a):
        places[letter] = places.get(letter, 0) | 1 << i
    everything = (1 << len(a)) - 1
    row = everything  # a bit is 0 where the length grows
    for letter in b:
        matches = row & places.get(letter, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(a) - row.bit_count()


def character_f1(answer: str, right: str) -> float:
    """How many characters are common, with the words of both sorted: 0 to 1, in hundredths.

    Of both texts, normalised: characters U+0080 to U+00FF are left out, what is neither a letter
    nor a digit nor "_" becomes a space, capital letters small ones; the words are sorted and joined
    by spaces. Then 2·L / (len(answer) + len(right)), rounded to hundredths, with L the length of
    the longest common subsequence; 1.0 for equal texts, two empty ones too, and 0.0 if one is
    empty.
    """
    a, b = (_sorted_words(normalized_answer(text)) for text in (answer, right))
    if a == b:
        return 1.0
    if not a or not b:
        return 0.0
    return round(100 * (2.0 * common_subsequence(a, b) / (len(a) + len(b)))) / 100.0


def _sorted_words(text: str) -> str:
    words = re.sub(r"\W", " ", text.translate(_LATIN1)).lower().split()
    return " ".join(sorted(words))


def shared_characters(answer: str, right: str) -> float:
    """2·M / (len(answer) + len(right)), 0 to 1; M: characters in difflib's matching blocks.

    Case, punctuation and the order of words count, which is stricter than character_f1. 1.0 for two
    empty texts.
    """
    a, b = normalized_answer(answer), normalized_answer(right)
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


def set_f1(answer: str, right: str, separator: str = "\n") -> float:
    """F1 of two sets that texts name, their members divided by `separator`: 0 to 1.

    2·C / (A + R): A different lines of the answer, of which C stand in the right text too, and its
    R lines. An empty line is a member as any other, and one that the right text repeats counts as
    often there: both as in llm-jp-eval. The order does not matter.
    Raises: ValueError for an empty separator.
    """
    if not separator:
        raise ValueError("separator must have at least one character")
    texts = (normalized_answer(text).split(separator) for text in (answer, right))
    a, b = ([part.strip() for part in parts] for parts in texts)
    common = len(set(a) & set(b))
    return 2 * common / (len(set(a)) + len(b))
