"""Texts cut into words for a metric, and runs of n words counted.

A metric of words depends on what a word is. Each cut here is that of a published program, so that
figures can be compared: a score without the name of its cut says little.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from ..files.packages import MissingPackage, install_extra

__all__ = ["CUTS", "Cut", "cut_texts", "cutter", "ngrams"]

Cut = str | Callable[[str], Sequence[str]]

_PUNCTUATION = re.compile(r"""([ !"#$%&()*+/:;<=>?@[\\\]^_`{|}~])""")
_AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
_BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_LETTERS_AND_DIGITS = re.compile(r"[a-z0-9]+")


def words_13a(text: str) -> list[str]:
    """Words as WMT cuts them: punctuation apart, "3.14" and "don't" whole.

    Equal to sacrebleu's "13a". Source: mteval-v13a.pl of NIST.
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for written, meant in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(written, meant)
    text = _PUNCTUATION.sub(r" \1 ", f" {text} ")
    text = _AFTER_NO_DIGIT.sub(r"\1 \2 ", text)
    text = _BEFORE_NO_DIGIT.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()


def characters(text: str) -> list[str]:
    """Every character except blanks: for Japanese and Chinese. Equal to sacrebleu's "char"."""
    return [character for character in text if not character.isspace()]


def character_pairs(text: str) -> list[str]:
    """Every two neighbours without a blank between them, a lone character as it is.

    For a search in Japanese and Chinese, which have no blanks between words; small letters.
    """
    pairs: list[str] = []
    for run in text.lower().split():
        pairs += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
    return pairs


def words_rouge(text: str) -> list[str]:
    """Runs of a-z and 0-9 in lower case: rouge-score's words without stemming.

    Everything else is dropped, Japanese as a whole.
    """
    return _LETTERS_AND_DIGITS.findall(text.lower())


def words_ja_mecab(text: str) -> list[str]:
    """Japanese words by MeCab with the IPA dictionary: sacrebleu's "ja-mecab".

    Raises: MissingPackage without the extra `evaluation`.
    """
    try:
        from sacrebleu.tokenizers.tokenizer_ja_mecab import TokenizerJaMecab

        if not _mecab:
            _mecab.append(TokenizerJaMecab())
    except (ImportError, RuntimeError) as error:
        raise MissingPackage(
            f'the cut "ja-mecab" is sacrebleu\'s: {install_extra("evaluation")}, or take "char"'
        ) from error
    return _mecab[0](text.rstrip()).split()


_mecab: list[Callable[[str], str]] = []  # made at the first use: it reads a dictionary of 50 MB

CUTS: dict[str, Callable[[str], Sequence[str]]] = {
    "13a": words_13a,
    "char": characters,
    "ja-mecab": words_ja_mecab,
    "pairs": character_pairs,
    "rouge": words_rouge,
    "spaces": str.split,
}


def cutter(cut: Cut) -> Callable[[str], Sequence[str]]:
    """The function of a cut's name; a function stays itself.

    cut: a key of CUTS, or a function from a text to its words, such as a tokenizer's
    Raises: ValueError for a name that does not exist.
    """
    if callable(cut):
        return cut
    if cut not in CUTS:
        raise ValueError(f"there is no cut {cut!r}: give a function, or one of {', '.join(CUTS)}")
    return CUTS[cut]


def cut_texts(texts: Sequence[str], cut: Cut) -> list[Sequence[str]]:
    """The words of every text.

    Raises: TypeError for one text instead of several; ValueError as cutter.
    """
    if isinstance(texts, str):
        raise TypeError("a metric takes a list of texts, got one text: put it into a list")
    words = cutter(cut)
    return [words(text) for text in texts]


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n neighbours occurs in tokens."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
