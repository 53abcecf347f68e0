"""Text from outside for a terminal: what would move the cursor or change colours is shown instead.

A corpus, a file's name, a server's answer or what a model generated may hold any character. Printed
as they are, control characters can clear the screen, change its title, or write over lines.
"""

from __future__ import annotations

import sys
from typing import TextIO

__all__ = ["one_line", "printable", "say", "visible"]

_KEPT = "\n\t"  # the layout of a text
# Characters that turn the direction of what follows, with which a text can look like another one.
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *map(ord, _TURNS)]


def _sign(code: int) -> str:
    """The picture of an ASCII control character (␛ for escape), an escape for the others."""
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_SIGNS = {code: _sign(code) for code in _CONTROLS if chr(code) not in _KEPT}


def visible(text: str) -> str:
    """The text with signs in place of control characters; line breaks and tabs stay.

    "\\x1b[31m" becomes "␛[31m", and half of a surrogate pair becomes "\\ud800". The line break of
    Windows becomes "\\n".
    """
    text = text.replace("\r\n", "\n").translate(_SIGNS)
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """The same for a name in a table or a plot: line breaks and tabs become signs too."""
    return visible(text).replace("\n", "␊").replace("\t", "␉")


def printable(text: str, stream: TextIO | None = None) -> str:
    """The text as a stream can show it; None: standard output.

    Control characters become signs, and characters that the stream's encoding does not have "?".
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return visible(text).encode(encoding, "replace").decode(encoding)


def say(text: str = "", end: str = "\n", file: TextIO | None = None) -> None:
    """Print a line that may hold a text from outside: a name, a path, an answer.

    file: where to; None for standard output
    """
    print(printable(text, file), end=end, file=file)
