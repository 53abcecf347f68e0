"""Formulas of lessons and of docstrings as MathML, in built pages: their search keeps the text.

The formulas are found as in the pages that explain. Code and links stay as they are.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tinygrad_llm.study.common.formulas import equations, pieces, with_formulas, with_gaps  # noqa: E402

__all__ = ["with_mathml"]

ARTICLE = re.compile(r'(<article class="md-content__inner.*?</article>)', re.S)
PIECE = re.compile(r"(<[^>]+>)")
CLOSED = re.compile(  # what stays: code, and elements that have their own text
    r"<(code|pre|a|script|style|h[1-6]|math|summary|button)\b.*?</\1>", re.S
)
BLOCK = re.compile(  # a block of text without a language and without a title
    r'<div class="highlight"><pre><span></span><code>([^<]*)</code></pre></div>', re.S
)
SIGNS = re.compile(r"[−∂Σ∏√·²³≈∈∞←×½ᵀ₀-₉ₐ-ₜᵢ-ᵥα-ωΑ-Ω]|\w_\w")


def with_mathml(page: str) -> str:
    """A built page whose formulas, in the text and in blocks of formulas, are <math>."""
    parts = ARTICLE.split(page)
    parts[1::2] = [_texts(BLOCK.sub(_block, part)) for part in parts[1::2]]
    return "".join(parts)


def _block(match: re.Match[str]) -> str:
    """An indented block as lines of formulas, if half of its lines have equations with signs."""
    lines = [line for line in html.unescape(match[1]).splitlines() if line.strip()]
    shown = [
        line for line in lines if any(ok and SIGNS.search(text) for text, ok in equations(line))
    ]
    if not lines or 2 * len(shown) < len(lines):
        return match[0]
    rows = "".join(f"<p>{with_gaps(line.strip())}</p>" for line in lines)
    return f'<div class="formulas">{rows}</div>'


def _texts(article: str) -> str:
    """The article with the formulas of its sentences as MathML."""
    made, at = [], 0
    for match in CLOSED.finditer(article):
        made += [_sentences(article[at : match.start()]), match[0]]
        at = match.end()
    return "".join([*made, _sentences(article[at:])])


def _sentences(part: str) -> str:
    texts = PIECE.split(part)
    texts[::2] = [_sentence(text) if SIGNS.search(text) else text for text in texts[::2]]
    return "".join(texts)


def _sentence(text: str) -> str:
    """A text with its formulas, of which each has a sign, an equals sign, or is a letter alone."""
    return "".join(
        with_formulas(piece)
        if shown and (SIGNS.search(piece) or "=" in piece or len(piece) == 1)
        else html.escape(piece, quote=False)
        for piece, shown in pieces(html.unescape(text))
    )
