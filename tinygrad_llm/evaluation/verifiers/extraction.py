"""The answer in a text that a model wrote: what stands in its last box, or its last number."""

from __future__ import annotations

import re

__all__ = ["FALLBACKS", "extract_answer", "last_boxed"]

FALLBACKS = ("none", "number", "text")

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_NUMBER = re.compile(r"-?(?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")


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
    """The last boxed answer of a text, or, where it has none, what `fallback` says.

    fallback: "none"; "number" for the last number; "text" for the last number or else the whole
    text. Which one is used changes scores a lot, so a comparison has to use one.
    Raises: ValueError for another fallback.
    """
    if fallback not in FALLBACKS:
        raise ValueError(f"fallback must be one of {', '.join(FALLBACKS)}, got {fallback!r}")
    boxed = last_boxed(text)
    if boxed is not None or fallback == "none" or _BOX.search(text):
        return boxed
    numbers = _NUMBER.findall(text)
    if numbers:
        return str(numbers[-1])
    return text.strip() or None if fallback == "text" else None
