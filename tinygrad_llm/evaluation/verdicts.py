"""What a judge meant: the score or the winner in a text that says more than that.

Nothing is guessed: where a text does not say one score clearly, the answer is None, which is
counted and is not a 0.
"""

from __future__ import annotations

import re

from .answers import nfkc

__all__ = ["after_thoughts", "parse_score", "parse_verdict"]

_NUMBER = r"-?\d+(?:\.\d+)?"
_IN_BRACKETS = re.compile(rf"(?:\[\[|【)\s*({_NUMBER})(?:\s*/\s*{_NUMBER})?\s*(?:\]\]|】)")
_NAMED = re.compile(
    r"(?:score|rating|grade|評価|スコア|点数|得点)(?:値)?\W{0,4}(?:is\b|of\b|は|が|as\b|it\b)?"
    rf"\W{{0,4}}(?<![\d.-])({_NUMBER})(?![\d%])",
    re.I,
)
_OUT_OF = re.compile(rf"({_NUMBER})\s*(?:点?\s*/|out of)\s*({_NUMBER})", re.I)
_SCALE = re.compile(
    rf"(?:between\s+|from\s+)?(?<![\d.])({_NUMBER})\s*(?:-|–|〜|~|to|and|から)\s*({_NUMBER})", re.I
)
_ANY = re.compile(rf"(?<![\w.-]){_NUMBER}(?![\w%]|\.\d)", re.ASCII)
_VERDICT = re.compile(r"(?:\[\[|【)\s*([A-Z]|[0-9])\s*(?:\]\]|】)", re.I)
_ALONE = re.compile(r"\W*(?:(?:answer|assistant|response|verdict|winner)\W+)*([ABC])\W*", re.I)
_NAMES = {"A": 1.0, "1": 1.0, "B": 0.0, "2": 0.0, "C": 0.5, "3": 0.5}


def after_thoughts(text: str) -> str | None:
    """What a model wrote after its thoughts in <think>...</think>; None if it only thought."""
    before, tag, after = text.rpartition("</think>")
    return None if not tag and "<think>" in before + after else after


def _spoken(text: str) -> str | None:
    """The text after a model's thoughts, in Unicode's form NFKC; None if it only thought."""
    after = after_thoughts(text)
    return None if after is None else nfkc(after)


def parse_score(text: str, low: float = 0.0, high: float = 100.0) -> float | None:
    """The score in a judge's text, between low and high; None if there is not exactly one.

    In this order: the last "[[7]]" or "【7】"; the last number after a word such as "Score:"; the
    last "7/10" or "7 out of 10" where 10 is `high`; the only number in the text. A scale ("from 0
    to 100") and a number outside of it do not count.
    Raises: ValueError unless low < high.
    """
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    spoken = _spoken(text)
    if spoken is None:
        return None
    spoken = _SCALE.sub(lambda m: m[0] if _pair(m) != (low, high) else " ", spoken)
    numbers = _IN_BRACKETS.findall(spoken) or _NAMED.findall(spoken)
    if not numbers:
        numbers = [m[1] for m in _OUT_OF.finditer(spoken) if float(m[2]) == high]
    if not numbers:
        numbers = _ANY.findall(spoken)
        if len({float(number) for number in numbers}) > 1:
            return None
    value = float(numbers[-1]) if numbers else None
    return value if value is not None and low <= value <= high else None


def _pair(match: re.Match[str]) -> tuple[float, float]:
    return float(match[1]), float(match[2])


def parse_verdict(text: str) -> float | None:
    """The first answer's score in a judge's text: 1 it won, 0 it lost, 0.5 a draw; None: not said.

    It counts the last [[A]], [[B]] or [[C]] (a draw), or [[1]], [[2]], [[3]], or 【1】 as Japanese
    judges write; else a text that is nothing more than such a letter.
    """
    spoken = _spoken(text)
    if spoken is None:
        return None
    marks = _VERDICT.findall(spoken)
    alone = _ALONE.fullmatch(spoken)
    name = marks[-1] if marks else alone[1] if alone else ""
    return _NAMES.get(name.upper())
