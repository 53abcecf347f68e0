"""The answer in a text that a model wrote: its last box, what it states, or its last number.

find_answer("It is 7. I checked 3 times.", "stated")      # Extracted(answer="7", rule="sentence")
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["FALLBACKS", "Extracted", "extract_answer", "find_answer", "last_boxed"]

FALLBACKS = ("none", "number", "text", "stated")

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_PLAIN = r"(?:(?<![\w)\]}])[-−])?(?:\d+(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?"
_NUMBER = re.compile(_PLAIN)

# No part may repeat without a bound: a text of marks alone would take minutes.
# What may stand for an answer: a formula in $ or \( \), a tuple, or a number with marks around it
_FORMULA = r"\$(?=\S)(?:\\[A-Za-z]+|[^$A-Za-z\n]){1,200}(?<=\S)\$|\\\((?:(?!\\[()]).){1,200}\\\)"
_TUPLE = rf"\(\s?{_PLAIN}(?:,\s?{_PLAIN})+\s?\)"
_MARKED = rf"[*_`'\"“「(]{{0,4}}[$€£¥]?\s?{_PLAIN}(?:\s?[%°])?[*_`'\"”」)]{{0,4}}"
_VALUE = rf"(?:{_FORMULA}|{_TUPLE}|{_MARKED})"
_SUM = r"(?:[\d\s.,()+\-−*/×·÷^$€£¥]{1,80}?=\s{0,4}){0,4}"  # "3 + 4 =" before the value
_END = r"(?=\s{0,2}(?:[A-Za-z°%]{1,30}\s?){0,2}(?:[.!?;,](?!\d)|\n|$|です|だ|である|。|、))"
_NAMED = re.compile(
    r"(?:\b(?:answer|result|solution)(?:\s+(?:to|of)\b[^.\n:]{1,60}?)?[*_\s]{0,4}"
    r"(?:[:=]|\s(?:is|was|would\s+be|will\s+be|should\s+be|equals)\b)"
    rf"|答え?(?:は|：|:)|解答(?:は|：|:))[*_\s]{{0,4}}:?[*_\s]{{0,4}}(?P<value>{_SUM}{_VALUE})"
    rf"|(?P<before>{_VALUE})\s+is\s+(?:the|my)\s+(?:final\s+|correct\s+)?answer",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####\s*(?P<value>[^\n]+)")
_BOLD = re.compile(r"\*\*(?P<value>[^*\n]+)\*\*")
_SENTENCE = re.compile(
    rf"(?P<equals>[=≈])\s{{0,4}}(?P<right>{_VALUE}){_END}"
    r"|(?:(?<!which )\b(?:is|are|was|were|be|equals?|makes?|gives?|leaves?|gets?|totals?|has|have"
    r"|(?<=it)'s)|は)\s+"
    r"(?:(?:now|left\swith|still|only|exactly|therefore|thus|equal\sto|a\stotal\sof)\s+)?"
    rf"(?P<value>{_VALUE}){_END}",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"\b(?:answer|result|solution)\s+(?:is|was|would\s+be)\s*:?\s*(?P<value>[^.!?;,\n]+)",
    re.IGNORECASE,
)


class Extracted(NamedTuple):
    """answer: what was found, or None; rule: the one that found it, of these, or "none":

    "box": the last \\boxed{...}; "hashes": after the last ####; "named": after the last "answer
    is", "result:" or 答え; "bold": the last number in bold; "equation": after the last "=" that
    ends a clause; "sentence": after the last "is", "makes" or "has" whose number ends a clause;
    "number": the last number; "words": what follows "answer is" in a text without numbers;
    "text": the whole text
    """

    answer: str | None
    rule: str


def last_boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...} of a text, whose braces may be nested.

    Without braces, as in "\\boxed 5", it is the next letter, digit or LaTeX command. None if there
    is none, and if the braces of the last one are not closed: then the answer was cut, and an
    earlier box is not the answer.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    rest = text[boxes[-1].end() :]
    if not rest.startswith("{"):
        one = re.match(r"\\[A-Za-z]+|[^\s{}$]", rest)
        return one[0] if one else None
    depth = 0
    for i, letter in enumerate(rest):
        escaped = i > 0 and rest[i - 1] == "\\" and not rest[:i].endswith("\\\\")
        if letter in "{}" and not escaped:
            depth += 1 if letter == "{" else -1
            if depth == 0:
                return rest[1:i].strip()
    return None


def extract_answer(text: str, fallback: str = "none") -> str | None:
    """The answer of find_answer, without its rule."""
    return find_answer(text, fallback).answer


def find_answer(text: str, fallback: str = "none") -> Extracted:
    """The last boxed answer of a text, or, where it has none, what `fallback` says.

    fallback: "none"; "number" for the last number; "text" for the last number or else the whole
    text; "stated" for what the text says its answer is, by the rules of Extracted in their order.
    Which one is used changes scores a lot, so a comparison has to use one.
    Raises: ValueError for another fallback.
    """
    if fallback not in FALLBACKS:
        raise ValueError(f"fallback must be one of {', '.join(FALLBACKS)}, got {fallback!r}")
    boxed = last_boxed(text)
    if boxed is not None:
        return Extracted(boxed, "box")
    if fallback == "none" or _BOX.search(text):
        return Extracted(None, "none")
    stated = _stated(text) if fallback == "stated" else None
    if stated is not None:
        return stated
    numbers = _NUMBER.findall(text)
    if numbers:
        return Extracted(_plain(numbers[-1]), "number")
    whole = text.strip()
    if fallback == "number" or not whole:
        return Extracted(None, "none")
    words = _last(_WORDS, whole) if fallback == "stated" else None
    if words is not None:
        return Extracted(words["value"].strip(" *_`'\"“”「」:"), "words")
    return Extracted(whole, "text")


def _stated(text: str) -> Extracted | None:
    """The answer that a text names, or None if it names none."""
    hashes, named = _last(_HASHES, text), _last(_NAMED, text)
    if hashes is not None:
        return Extracted(_plain(hashes["value"]), "hashes")
    if named is not None:
        return Extracted(_plain(named["value"] or named["before"]), "named")
    bold = [m["value"] for m in _BOLD.finditer(text) if _NUMBER.search(m["value"])]
    if bold:
        sentence = _last(_SENTENCE, bold[-1])
        value = (
            (sentence["value"] or sentence["right"]) if sentence else _NUMBER.findall(bold[-1])[-1]
        )
        return Extracted(_plain(value), "bold")
    sentence = _last(_SENTENCE, text)
    if sentence is None:
        return None
    if sentence["equals"]:
        return Extracted(_plain(sentence["right"]), "equation")
    return Extracted(_plain(sentence["value"]), "sentence")


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = list(pattern.finditer(text))
    return matches[-1] if matches else None


def _plain(value: str) -> str:
    """The value without what stands before "=" and the marks around it."""
    value = value.strip().rpartition("=")[2].strip(" *_`'\"“”「」$€£¥%°.")
    value = value.removeprefix("\\(").removesuffix("\\)").strip()
    if not re.fullmatch(_TUPLE, value):
        value = value.lstrip("(")
        if "(" not in value:
            value = value.rstrip(")")
    return value.replace("−", "-")
