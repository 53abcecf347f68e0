"""The formulas within a text, found and shown as MathML; what is not understood stays as it is.

    with_formulas("y = x·σ(x), also called swish")     '<math alttext="y = x·σ(x)">…</math>, also …'

A formula's attribute alttext is its Unicode form: the pages' script copies that.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .html import escape
from .mathml import Formula, NotAFormula

__all__ = ["GAP", "equations", "with_formulas", "with_gaps", "with_lines"]

BEGINS = re.compile(r"(?<![\w.\-/'\"`=°])[A-Za-zÀ-ÖØ-öø-ſα-ωΑ-Ω∂√|(\[⌊⌈\d−½∫]")
WORD = re.compile(r"[A-Za-z]{2,}(?:_[A-Za-z]+)*")
ALSO_WORDS = frozenset("aAI")  # letters that are words too
NO_FORMULA = re.compile(  # a name with an underscore, a call of names, a list, a path
    r"[a-z]_[a-z_]{3,}|[A-Za-z0-9_.]{2,}(?:\([A-Za-z0-9_.,= ]*\))?|[(\[][A-Za-z0-9_\s,.=]*[)\]]"
    r"|[A-Za-z0-9_/]*[A-Za-z]{2,}[A-Za-z0-9_/]*"
)
GAP = re.compile(r" {3,}")
EQUATION = re.compile(r"\S +(?:\+?=|≈|←) +\S")


def with_formulas(text: str) -> str:
    """A text for a page, its formulas as <math>; everything else is escaped."""
    return "".join(_words(t) if m is None else _math(t, m) for t, m in pieces(text))


def with_gaps(text: str) -> str:
    """A text whose formulas are separated by three spaces or more, for a page."""
    return "<span class=gap> </span>".join(map(with_formulas, GAP.split(text)))


def with_lines(text: str) -> str:
    """The lines of a text as paragraphs with their formulas, for a page."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = "".join(f"<p>{with_gaps(line)}</p>" for line in lines)
    return f'<div class="doc">{paragraphs}</div>'


def _words(text: str) -> str:
    """Escaped text; what stands in backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


@lru_cache(4096)
def pieces(text: str) -> tuple[tuple[str, str | None], ...]:
    """The text in pieces: (text, None) for words, (formula's text, MathML) for a formula."""
    parts: list[tuple[str, str | None]] = []
    plain = at = 0
    while at < len(text):
        if text[at] in '`"':  # code and quotations stay
            closing = text.find(text[at], at + 1)
            at = closing + 1 if closing > 0 else at + 1
            continue
        match = BEGINS.search(text, at)
        if match is None:
            break
        quote = re.search(r"[`\"]", text[at : match.start() + 1])
        if quote and text.find(quote[0], at + quote.start() + 1) > 0:
            at += quote.start()
            continue
        start = match.start()
        formula = _formula(text, start)
        if formula is None:
            word = WORD.match(text, start)
            at = word.end() if word else start + 1
            continue
        if start > plain:
            parts.append((text[plain:start], None))
        parts.append((text[start : formula.end], formula.content))
        plain = at = formula.end
    if plain < len(text):
        parts.append((text[plain:], None))
    return tuple(parts)


def _formula(text: str, start: int) -> Formula | None:
    """The formula at this place, if it is worth being shown as one."""
    try:
        formula = Formula(text, start)
    except NotAFormula:
        return None
    written = text[start : formula.end]
    if formula.relations:
        return formula if formula.rich or " " in written else None
    if len(written) == 1:
        after = text[formula.end : formula.end + 2]
        ends = r"[,;:)]" if written in ALSO_WORDS else r"[ ,;:)]|$|\.( |$)"
        return formula if written.isalpha() and re.match(ends, after) else None
    return formula if formula.rich and not NO_FORMULA.fullmatch(written) else None


def _math(text: str, content: str) -> str:
    return f'<math alttext="{escape(text)}">{content}</math>'


def equations(doc: str) -> list[tuple[str, bool]]:
    """(text, whether it is shown as a formula) of every equation in a docstring.

    An equation is what contains "=", "≈" or "←" between spaces, between gaps of three spaces and
    the ends of lines that separate formulas, outside of code.
    """
    result = []
    for line in doc.splitlines():
        for part in re.split(r" {3,}|Backward: ", line.strip()):
            if "`" in part or not EQUATION.search(part):
                continue
            shown = any(m and EQUATION.search(t) for t, m in pieces(part))
            result.append((part, shown))
    return result
