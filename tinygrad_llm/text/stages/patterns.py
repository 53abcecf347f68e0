r"""Regular expressions of tokenizer files, for Python's `re`.

Such files write \p{L} (letters), \p{N} (numbers), and mean Unicode's classes by \s and \w. Python's
`re` does not have the first, and means something else by the others, so every class is spelled out
here, from Python's Unicode table. Of the rest only what cannot take forever is accepted: a group
may be repeated at most once (?), so that no repetition stands inside another.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache

from ...files.untrusted import describe
from ..split import BASIC_PLANE, SPACE
from .part import Part

__all__ = ["GPT2", "LLAMA3", "O200K", "QWEN2", "QWEN35", "Pattern", "class_ranges", "of_part"]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LATER = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _LATER
QWEN2 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _LATER
QWEN35 = (
    _ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _ENDINGS
    + r"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _ENDINGS
    + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # fmt: skip
LONGEST = 4096  # characters of a pattern
MOST_REPEATS = 40  # of all its alternatives together
MOST_COUNT = 100  # of a repetition {m,n}
_WORD_SIGNS = ("\u200c-\u200d", "\u24b6-\u24e9", "\U0001f130-\U0001f149",
               "\U0001f150-\U0001f169", "\U0001f170-\U0001f189")  # fmt: skip
_CATEGORY = re.compile(r"[LMNPSZC][a-z&]?$")
_COUNT = re.compile(r"\{(\d{1,6})(,(\d{1,6})?)?\}")
_NAMED = {"s": SPACE, "t": r"\t", "n": r"\n", "r": r"\r", "f": r"\x0c", "v": r"\x0b"}


class Pattern:
    """A checked regular expression; `find` cuts a text with it.

    source: as in the file.
    Raises: ValueError for what is not accepted.
    """

    def __init__(self, source: str) -> None:
        if len(source) > LONGEST:
            raise ValueError(f"a pattern of {len(source):,} characters, more than {LONGEST}")
        self.source = source
        self._compiled: dict[int, re.Pattern[str]] = {}
        self.of("")  # says now what is wrong

    def of(self, text: str) -> re.Pattern[str]:
        """The pattern of `re` that is right for this text: see split.py for the two planes."""
        plain = text.isascii() or max(text, default="") < chr(BASIC_PLANE)
        end = BASIC_PLANE if plain else sys.maxunicode + 1
        if end not in self._compiled:
            self._compiled[end] = _compile(self.source, end)
        return self._compiled[end]

    def find(self, text: str) -> list[tuple[str, bool]]:
        """The text in pieces: those that match (True) and those between them (False)."""
        compiled = self.of(text)
        pieces = compiled.findall(text)
        if sum(map(len, pieces)) == len(text):
            return [(piece, True) for piece in pieces if piece]
        return list(_cut(compiled, text))

    def sub(self, replacement: str, text: str) -> str:
        """The text with the replacement, as it stands, for every match that is not empty."""
        return self.of(text).sub(lambda match: replacement if match.group() else "", text)


def _cut(compiled: re.Pattern[str], text: str) -> Iterator[tuple[str, bool]]:
    end = 0
    for match in compiled.finditer(text):
        if match.start() > end:
            yield text[end : match.start()], False
        if match.group():
            yield match.group(), True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def of_part(part: Part) -> Pattern:
    """The pattern of a part: its field "pattern" is {"Regex": ...} or {"String": ...}.

    Raises: ValueError if it is neither, or a pattern that is not accepted.
    """
    field = part.part("pattern")
    if field is not None and "Regex" in field.fields:
        return _pattern(field.get("Regex", str))
    if field is not None and "String" in field.fields:
        return _pattern("".join(map(_literal, field.get("String", str))))
    raise ValueError(f"{part.where}: 'pattern' should be {{'Regex': ...}} or {{'String': ...}}")


@cache
def _pattern(source: str) -> Pattern:
    return Pattern(source)


def _literal(c: str) -> str:
    return "\\" + c if c.isascii() and not c.isalnum() and c.isprintable() else c


@cache
def class_ranges(category: str, end: int) -> str:
    """The characters below `end` of a Unicode category (L, Lu, ...) as ranges for [...] of `re`."""
    n = len(category)
    ranges = []
    start = None
    for point in range(end + 1):
        inside = point < end and unicodedata.category(chr(point))[:n] == category
        if inside and start is None:
            start = point
        elif not inside and start is not None:
            ranges.append(f"{re.escape(chr(start))}-{re.escape(chr(point - 1))}")
            start = None
    return "".join(ranges)


def _outside(ranges: str, end: int) -> str:
    """The characters that are not in the ranges, as ranges."""
    inside = re.compile(f"[{ranges}]") if ranges else None
    other: list[str] = []
    start = None
    for point in range(sys.maxunicode + 2):
        out = point <= sys.maxunicode and not (inside and inside.match(chr(point)))
        if out and start is None:
            start = point
        elif not out and start is not None:
            other.append(f"\\U{start:08x}-\\U{point - 1:08x}")
            start = None
    return "".join(other)


def _compile(source: str, end: int) -> re.Pattern[str]:
    try:
        return re.compile(_Translation(source, end).all())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern {describe(source)} is not accepted: {error}") from error


class _Translation:
    """Reads a pattern from left to right and writes it for `re`."""

    def __init__(self, source: str, end: int) -> None:
        self.source, self.end = source, end
        self.place = 0
        self.repeats = 0

    def error(self, what: str) -> ValueError:
        return ValueError(
            f"the pattern {describe(self.source)} is not accepted: {what} at position {self.place}"
        )

    def take(self, n: int = 1) -> str:
        taken = self.source[self.place : self.place + n]
        if len(taken) < n:
            raise self.error("it ends too early")
        self.place += n
        return taken

    def next_is(self, *texts: str) -> str | None:
        return next((t for t in texts if self.source.startswith(t, self.place)), None)

    def all(self) -> str:
        written = self.alternatives(0)
        if self.place < len(self.source):
            raise self.error("a bracket that was not opened")
        return written

    def alternatives(self, depth: int) -> str:
        if depth > 8:
            raise self.error("groups nested too deeply")
        written = []
        while self.place < len(self.source) and not self.next_is(")"):
            if self.next_is("|"):
                written.append(self.take())
                continue
            atom, group = self.atom(depth)
            written.append(atom + self.repeat(group))
        return "".join(written)

    def atom(self, depth: int) -> tuple[str, bool]:
        """One atom, written for `re`, and whether it is a group."""
        c = self.take()
        if c == "(":
            head = self.next_is("?:", "?=", "?!", "?<=", "?<!", "?i:", "?")
            if head == "?":
                raise self.error("a kind of group that is not known here")
            self.take(len(head or ""))
            inside = self.alternatives(depth + 1)
            if self.take() != ")":
                raise self.error("a group without an end")
            return f"({head or '?:'}{inside})", True
        if c == "[":
            return self.character_class(), False
        if c == "\\":
            members, negated = self.escape()
            return f"[{'^' if negated else ''}{members}]" if members else "(?!)", False
        if c in "*+?{}":
            raise self.error(f"{c!r} without anything before it")
        if c in "^$":
            return c if c == "^" else r"\Z", True
        return ("(?s:.)" if c == "." else re.escape(c)), False

    def repeat(self, group: bool) -> str:
        mark = self.next_is("*", "+", "?")
        if mark is not None:
            self.take()
        elif match := _COUNT.match(self.source, self.place):
            least, _, most = match.groups()
            if max(int(least), int(most or 0)) > MOST_COUNT:
                raise self.error(f"a repetition of more than {MOST_COUNT}")
            mark = self.take(len(match.group()))
        else:
            return ""
        if self.next_is("+", "?", "*", "{"):
            raise self.error("a second sign of repetition (possessive or lazy)")
        if group and mark != "?":
            raise self.error("a repeated group")
        self.repeats += mark != "?"
        if self.repeats > MOST_REPEATS:
            raise self.error(f"more than {MOST_REPEATS} repetitions")
        return mark

    def character_class(self) -> str:
        negated = bool(self.next_is("^"))
        self.take(negated)
        members: list[str] = []
        while not self.next_is("]"):
            c = self.take()
            if c == "[" or self.next_is("&&"):
                raise self.error("a class in a class")
            if c != "\\":
                members.append(c if c == "-" and members and self.plain_range() else re.escape(c))
                continue
            inside, inverted = self.escape()
            members.append(_outside(inside, self.end) if inverted else inside)
        self.take()
        if not members:
            raise self.error("an empty class")
        inside = "".join(members)
        if not inside:  # characters that lie on no plane of this text
            return "(?s:.)" if negated else "(?!)"
        return f"[{'^' if negated else ''}{inside}]"

    def plain_range(self) -> bool:
        """Whether the minus sign just read stands between two single characters."""
        return not self.next_is("]", "\\", "[")

    def escape(self) -> tuple[str, bool]:
        """What follows a backslash: members of a class, and whether they are negated."""
        c = self.take()
        if c in _NAMED:
            return _NAMED[c], False
        if c == "S":
            return SPACE, True
        if c in "dD":
            return class_ranges("Nd", self.end), c == "D"
        if c in "wW":
            return self.word(), c == "W"
        if c in "pP":
            return self.category(), c == "P"
        if c in "xu":
            return self.number(c), False
        if c.isalnum():
            raise self.error(f"\\{c}, which is not known here")
        return re.escape(c), False

    def word(self) -> str:
        signs = [s for s in _WORD_SIGNS if ord(s[0]) < self.end]
        categories = ("L", "M", "Nd", "Nl", "Pc")
        return "".join([*(class_ranges(name, self.end) for name in categories), *signs])

    def category(self) -> str:
        name = self.take()
        if name == "{":
            close = self.source.find("}", self.place)
            name = self.take(max(close - self.place, 0) + 1)[:-1]
        if not _CATEGORY.match(name) or name.endswith("&"):
            raise self.error(f"the class {describe(name)}, which is not known here")
        return class_ranges(name, self.end)

    def number(self, kind: str) -> str:
        if self.next_is("{"):
            close = self.source.find("}", self.place)
            digits = self.take(max(close - self.place, 0) + 1)[1:-1]
        else:
            digits = self.take(2 if kind == "x" else 4)
        if not re.fullmatch("[0-9a-fA-F]{1,6}", digits) or int(digits, 16) > sys.maxunicode:
            raise self.error(f"the character number {describe(digits)}")
        return re.escape(chr(int(digits, 16)))
