"""A docstring as HTML: paragraphs, formulas, lists of arguments, and drawings as they are.

A docstring here has one form: sentences that wrap at 100 columns, formulas indented by four spaces
with gaps of three between them, and arguments as a word, two spaces and a description whose later
lines are indented.
"""

from __future__ import annotations

import re

from ..common.formulas import GAP, with_formulas, with_gaps
from ..common.html import escape

__all__ = ["prose"]

# what begins a paragraph; approximate="tanh": says for which case of an argument a formula holds
NEW = re.compile(r"(Backward|Saves|Sources?|Raises|Computed|Forward)\b[ :,]|[a-z_]+=\S+: ")
ARGUMENT = re.compile(r"([A-Za-z_][\w, .]*?) {2,}(\S.*)")
DRAWN = re.compile(r"[─│┌┐└┘├┬►▼]")


def prose(doc: str) -> str:
    """The docstring as HTML, and as plain text to copy under it."""
    blocks, lines = [], doc.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        kind, end = _kind(lines, at), at + 1
        while end < len(lines) and _goes_on(kind, lines, end):
            end += 1
        blocks.append(_SHOWN[kind](lines[at:end]))
        at = end
    copy = f"<details><summary>as plain text</summary><pre>{escape(doc)}</pre></details>"
    return f'<div class="doc">{"".join(blocks)}{copy}</div>'


def _kind(lines: list[str], at: int) -> str:
    line = lines[at]
    if not line.startswith("    "):
        return "arguments" if _is_argument(lines, at) else "paragraph"
    group = []
    for other in lines[at:]:
        if not other.startswith("    "):
            break
        group.append(other)
    aligned = any(re.search(r"\d {2,}\d", other) for other in group)
    return "drawing" if aligned or any(map(DRAWN.search, group)) else "formulas"


def _is_argument(lines: list[str], at: int) -> bool:
    match = ARGUMENT.fullmatch(lines[at])
    if match is None or "=" in match[1] or len(match[1]) > 30:
        return False
    near = [lines[i] for i in (at - 1, at + 1) if 0 <= i < len(lines)]
    column = match.start(2)
    return any(
        re.match(r" {6,}\S", other) or
        ((m := ARGUMENT.fullmatch(other)) is not None and m.start(2) == column)
        for other in near
    )  # fmt: skip


def _is_long(lines: list[str], at: int) -> bool:
    """Whether an argument begins whose name is as long as the column of names is wide."""
    following = lines[at + 1] if at + 1 < len(lines) else ""
    match = re.match(r"[a-z]+_\w+ (?=\S)", lines[at])
    return match is not None and len(following) - len(following.lstrip()) == match.end()


def _goes_on(kind: str, lines: list[str], at: int) -> bool:
    """Whether the line belongs to the block of this kind that is open."""
    line = lines[at]
    if kind == "paragraph":
        plain = bool(line.strip()) and not line.startswith("    ") and not NEW.match(line)
        return plain and not _is_argument(lines, at)
    if kind == "arguments":
        return line.startswith("      ") or _is_argument(lines, at) or _is_long(lines, at)
    return line.startswith("    ")


def _paragraph(lines: list[str]) -> str:
    """One paragraph, broken where a gap of three spaces separates formulas."""
    text = " ".join(line.strip() if not GAP.search(line.strip()) else line for line in lines)
    return f"<p>{with_gaps(text.strip())}</p>"


def _formulas(lines: list[str]) -> str:
    rows = []
    for line in lines:
        parts = "".join(f"<span>{with_formulas(part)}</span>" for part in GAP.split(line.strip()))
        rows.append(f'<div class="formulas">{parts}</div>')
    return "".join(rows)


def _drawing(lines: list[str]) -> str:
    return f'<pre tabindex="0">{escape(chr(10).join(line[4:] for line in lines))}</pre>'


def _arguments(lines: list[str]) -> str:
    terms: list[tuple[str, str]] = []
    for i, line in enumerate(lines):
        match = ARGUMENT.fullmatch(line) or re.fullmatch(r"(\w+) (\S.*)", line)
        if match and (not line.startswith(" ") or not i):
            terms.append((match[1], match[2]))
        elif terms:
            terms[-1] = terms[-1][0], f"{terms[-1][1]} {line.strip()}"
    rows = "".join(
        f"<dt><code>{escape(name)}</code></dt><dd>{with_formulas(text)}</dd>"
        for name, text in terms
    )
    return f"<dl>{rows}</dl>"


_SHOWN = {
    "paragraph": _paragraph,
    "formulas": _formulas,
    "drawing": _drawing,
    "arguments": _arguments,
}
