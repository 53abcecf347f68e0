"""What a text looks like: its language, its share of marks. No model, only counts."""

from __future__ import annotations

import re

import numpy as np

from .shingles import code_points

__all__ = ["language_of", "symbol_share"]

# The commonest short words that few other languages have
_STOP_WORDS = {
    "en": "the of and to in is that it for was with as his on be at by this had not are but from",
    "de": "der die und das ist nicht ein eine zu den mit von sich dem auf für auch wie des sie",
    "fr": "le la les et des est une que dans pour pas qui sur avec plus par ne ce au il sont",
    "es": "el los las una por para con del que es se lo como más pero sus le ya este son",
}
_OF_WORD: dict[str, list[str]] = {}
for _language, _words in _STOP_WORDS.items():
    for _word in _words.split():
        _OF_WORD.setdefault(_word, []).append(_language)
_LATIN_WORD = re.compile("[a-zà-ÿœ]+")
_SAMPLE = 20_000  # characters at most, from the middle

# (first, last) code points of scripts
_SCRIPTS = (
    ("latin", 0x41, 0x5A), ("latin", 0x61, 0x7A), ("latin", 0xC0, 0x24F), ("ru", 0x400, 0x4FF),
    ("kana", 0x3041, 0x30FF), ("kana", 0xFF66, 0xFF9D), ("han", 0x3400, 0x9FFF),
    ("ko", 0xAC00, 0xD7A3), ("ko", 0x1100, 0x11FF),
)  # fmt: skip

_MARK = np.zeros(0x10000, bool)
_MARK[:0x80] = [not (chr(i).isalnum() or chr(i).isspace()) for i in range(0x80)]
for _first, _last in (
    (0x80, 0xA9), (0xAB, 0xB4), (0xB6, 0xB9), (0xBB, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7),
    (0x2010, 0x2BFF), (0x3001, 0x3004), (0x3008, 0x3020), (0x30FB, 0x30FB), (0xD800, 0xF8FF),
    (0xFE30, 0xFE6F), (0xFF01, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF65),
):  # fmt: skip
    _MARK[_first : _last + 1] = True


def symbol_share(text: str) -> float:
    """The share of characters that are marks and signs: not letters, digits or spaces."""
    if not text:
        return 0.0
    points = code_points(text)
    if points.dtype == np.uint8:
        counts = np.bincount(points, minlength=0x80)
        return float(counts[_MARK[:0x80]].sum() / len(points))
    marks = _MARK[np.minimum(points, 0xFFFF)]
    return float(np.count_nonzero(marks) / len(points))


def language_of(text: str) -> str:
    """ "en", "de", "fr", "es", "ja", "zh", "ko" or "ru"; "unknown" where nothing points to one.

    By script, and among those of Latin letters by the commonest words. 20,000 characters from the
    middle of the text are looked at.
    """
    if len(text) > _SAMPLE:
        middle = (len(text) - _SAMPLE) // 2
        text = text[middle : middle + _SAMPLE]
    points = code_points(text)
    counts = dict.fromkeys(("latin", "kana", "han", "ko", "ru"), 0)
    if points.dtype == np.uint8:
        counts["latin"] = int(np.count_nonzero((points | 0x20) - 0x61 < 26))
    else:
        for script, first, last in _SCRIPTS:
            counts[script] += int(np.count_nonzero((points >= first) & (points <= last)))
    asian = counts["kana"] + counts["han"]
    best = max(("latin", counts["latin"]), ("asian", 2 * asian), ("ko", 2 * counts["ko"]),
               ("ru", counts["ru"]), key=lambda pair: pair[1])  # fmt: skip
    if best[1] == 0:
        return "unknown"
    if best[0] == "asian":
        return "ja" if 20 * counts["kana"] > asian else "zh"
    return best[0] if best[0] != "latin" else _latin_language(text.lower())


def _latin_language(text: str) -> str:
    votes = dict.fromkeys(_STOP_WORDS, 0)
    words = _LATIN_WORD.findall(text)
    for word in words:
        for language in _OF_WORD.get(word, ()):
            votes[language] += 1
    language = max(votes, key=lambda name: votes[name])
    return language if 20 * votes[language] >= len(words) > 0 else "unknown"
