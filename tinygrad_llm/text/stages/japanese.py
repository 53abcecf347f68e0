"""Japanese: words by MeCab (the extra "ja"), and one spelling for what is written in several ways.

Japanese has no spaces between words. MeCab finds the words with a dictionary and a table of costs:
the best path through all words that fit, by Viterbi's algorithm, as Unigram's (Kudo, Yamamoto and
Matsumoto 2004, "Applying conditional random fields to Japanese morphological analysis").
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ...files.packages import MissingPackage, importing, install_extra
from ..split import SPACE

__all__ = ["JAPANESE_RULES", "japanese_normalizer", "japanese_words", "mecab"]

_RUN = re.compile(rf"[^{SPACE}\0]+")  # MeCab stops at a zero byte
_REPEATED = "ー〜!?。、・"
# (pattern, sign): the forms of the wave dash and of the hyphen; of a repeated sign one remains
JAPANESE_RULES = [("[~∼∾〰～]", "〜"), ("[‐‑‒–⁃−]", "-")]
JAPANESE_RULES += [(f"[{sign}]{{2,}}", sign) for sign in _REPEATED]


@cache
def mecab() -> Any:
    """MeCab with the dictionary of unidic-lite, as a fugashi.Tagger that returns words.

    Raises: MissingPackage if fugashi or its dictionary is not installed.
    """
    install = f"{install_extra('ja')} (or fugashi and unidic-lite alone)"
    with importing("Japanese words need MeCab", install):
        import fugashi
    try:
        return fugashi.Tagger("-Owakati")
    except RuntimeError as error:
        raise MissingPackage(f"MeCab found no dictionary: {install}") from error


def japanese_words(text: str, keep_spaces: bool = True) -> list[str]:
    """The words of a text, in order.

    keep_spaces: white space is kept, so that the pieces together are the text: one space belongs to
        the word after it, other white space is a piece; otherwise it is left out
    """
    pieces: list[str] = []
    done = 0
    for run in _RUN.finditer(text):
        words = _words(run.group())
        gap = text[done : run.start()] if keep_spaces else ""
        if gap.endswith(" "):
            gap, words[0] = gap[:-1], " " + words[0]
        pieces += [gap, *words] if gap else words
        done = run.end()
    if keep_spaces and done < len(text):
        pieces.append(text[done:])
    return pieces


def _words(run: str) -> list[str]:
    """The words of a text without white space; together they are the text."""
    words = [word for word in mecab().parse(run).split(" ") if word]
    if "".join(words) == run:
        return words
    pieces = []
    done = 0
    for word in words:  # MeCab left something out: it becomes a piece
        place = run.find(word, done)
        if place >= 0:
            pieces += [run[done:place], word]
            done = place + len(word)
    return [piece for piece in [*pieces, run[done:]] if piece]


def japanese_normalizer() -> dict[str, Any]:
    """The description of a normaliser for Japanese, made of stages of tokenizer.json.

    NFKC makes letters and digits half as wide as characters and katakana full (Ａ１ｶﾞ becomes
    A1ガ); the forms of the wave dash become one, and so do those of the hyphen; of a sign that is
    repeated (ー 〜 ! ? 。 、 ・) one remains. The sign 々 stays: it is a part of words.
    """
    stages: list[dict[str, Any]] = [{"type": "NFKC"}]
    stages += [
        {"type": "Replace", "pattern": {"Regex": pattern}, "content": sign}
        for pattern, sign in JAPANESE_RULES
    ]
    return {"type": "Sequence", "normalizers": stages}
