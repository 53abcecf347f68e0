"""Answers in LaTeX as one plain form, in which equal answers mostly are equal texts."""

from __future__ import annotations

import re

__all__ = ["normalise"]

_SPACES = re.compile(
    r"(?<!\\)\\[,;:!> ]|\\q?quad\b|~|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle\b"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree\b|°")
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"\\(?:text|mbox|mathrm)\s*\{[^{}]*\}\s*(?:\^\s*\{?\d\}?)?\s*$")
_WORDS = re.compile(r"(?<=[\d)}])\s+(?:[a-z]{2,}\s*)+(?:\^\s*\{?\d\}?)?\.?$", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?")
_IN = re.compile(r"^[A-Za-z]\s*\\in\b\s*")
_KEPT = re.compile(r"\b(?:pi|sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|or|and)\b", re.IGNORECASE)

_SIGNS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "√": r"\sqrt", "≤": r"\le ", "≥": r"\ge ", "±": r"\pm ", "∪": r"\cup ", "²": "^2", "³": "^3",
    "½": r"\frac{1}{2}",
}  # fmt: skip


def normalise(answer: str) -> str:
    """An answer without what does not change its value.

    Removed: dollar signs, spacing commands, sizes of brackets, degrees, percent signs, units in
    words at the end, "x \\in" at the beginning, commas and thin spaces between thousands, a
    full stop at the end. \\dfrac and \\tfrac become \\frac. A text (\\text{...}) becomes its words.
    A comma between thousands needs exactly three digits after it and no space: "1,234" is one
    number, "1, 234" and "(1,234)" are two.
    """
    text = answer.strip()
    for sign, latex in _SIGNS.items():
        text = text.replace(sign, latex)
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "").replace("%", "")
    text = re.sub(r",\s*\\!\s*", ",", text)
    text = re.sub(r"\\[dtc]frac\b", r"\\frac", text)
    text = re.sub(r"\\[dtc]frac(?=\d)", r"\\frac", text)
    text = _DEGREES.sub("", _SPACES.sub(" ", text)).strip().rstrip(".").strip()
    text = _IN.sub("", text)
    without_unit = _UNIT.sub("", text).strip()
    text = _TEXT.sub(lambda m: m[1].strip(), without_unit or text).strip()
    if not _KEPT.search(text):
        text = _WORDS.sub("", text).strip()
    if not text.startswith(("(", "[", "{", "\\{")):
        text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    return re.sub(r"\s+", " ", text)
