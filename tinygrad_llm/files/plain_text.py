"""Text from outside for a terminal: what would move the cursor or change colours is shown instead.

A corpus, a file's name, a server's answer or what a model generated may hold any character. Printed
as they are, control characters can clear the screen, change its title, or write over lines.
"""

from __future__ import annotations

__all__ = ["visible"]

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
