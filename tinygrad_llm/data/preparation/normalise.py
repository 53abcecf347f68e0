"""One spelling for what is written in several ways: line ends, spaces, widths, repeated marks."""

from __future__ import annotations

import re
import unicodedata

from ...text.stages.japanese import JAPANESE_RULES

__all__ = ["japanese", "plain", "without_gutenberg"]

# Controls (not tab and line feed), the marks that turn the direction of a text, soft hyphens and
# spaces of no width; the other line ends of Unicode
_INVISIBLE = re.compile(
    "[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)
_INVISIBLE_ASCII = re.compile("[\0-\x08\x0e-\x1f\x7f]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_LINE_ENDS_ASCII = re.compile("\r\n?|[\x0b\x0c]")
_BLANK_LINES = re.compile("\n{3,}")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_RULES = [(re.compile(pattern), sign) for pattern, sign in JAPANESE_RULES]

_GUTENBERG = re.compile(
    r"^.{0,20}\*\*\* ?(START|END) OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)"
    r"(?:[^*]{0,300}\*\*\*|.*$)",  # a long title takes two lines, up to the second ***
    re.M | re.I,
)
_OLD_START = re.compile(r"^\*END\*? ?THE SMALL PRINT.*$|^.*SMALL PRINT!.*\*END\*.*$", re.M)
_OLD_END = re.compile(r"^End of (?:the |this )?Project Gutenberg.*$", re.M | re.I)
_CREDITS = re.compile(r"\A\s*(?:Produced by|E-text prepared by|Transcribed by)\b.*?\n\s*\n", re.S)


def plain(text: str) -> str:
    """Line feeds end lines, no line ends in spaces, one blank line at most; composed characters.

    Characters that are not seen (controls, spaces of no width) are left out. Unicode's form C.
    """
    if text.isascii():
        if "\r" in text or "\x0b" in text or "\x0c" in text:
            text = _LINE_ENDS_ASCII.sub("\n", text)
        if _INVISIBLE_ASCII.search(text):
            text = _INVISIBLE_ASCII.sub("", text)
        if " \n" in text or "\t\n" in text:
            text = _without_end_spaces(text, " \t")
    else:
        text = _LINE_ENDS.sub("\n", text)
        text = _INVISIBLE.sub("", text.encode("utf-8", "replace").decode())
        text = _without_end_spaces(unicodedata.normalize("NFC", text), " \t\u00a0\u3000")
    return (_BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text).strip()


def _without_end_spaces(text: str, spaces: str) -> str:
    """No line ends in one of the spaces. A pattern would try each place of a long row of spaces."""
    return "\n".join(line.rstrip(spaces) for line in text.split("\n"))


def japanese(text: str) -> str:
    """Japanese as its tokenizers' normaliser writes it: NFKC, one wave dash, no repeated marks.

    Only lines with kana are changed: ２０２６年ｶﾞ！！ becomes 2026年ガ!.
    """
    if text.isascii() or not _KANA.search(text):
        return text
    return "\n".join(_japanese(line) if _KANA.search(line) else line for line in text.split("\n"))


def _japanese(line: str) -> str:
    line = unicodedata.normalize("NFKC", line)
    for pattern, sign in _RULES:
        line = pattern.sub(sign, line)
    return line


def without_gutenberg(text: str) -> str:
    """A book of Project Gutenberg without the licence before and after it."""
    if "utenberg" not in text and "GUTENBERG" not in text:
        return text
    begin, end = 0, len(text)
    for match in _GUTENBERG.finditer(text):
        if match[1].upper() == "START":
            begin = match.end()
        else:
            end = min(end, match.start())
    if begin == 0 and (old := _OLD_START.search(text)):
        begin = old.end()
    if (last := _OLD_END.search(text, begin)) and last.start() > len(text) // 2:
        end = min(end, last.start())
    if begin == 0 and end == len(text):
        return text
    return _CREDITS.sub("", text[begin:end]).strip() if begin < end else text
