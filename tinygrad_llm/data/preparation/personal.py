"""Personal data in texts, replaced by marks: e-mail addresses, phone, card and IP numbers.

By patterns alone, so some are missed and some that are none are found: names and addresses stay.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["MARKS", "scrubbed"]

MARKS = {"email": "[EMAIL]", "card": "[CARD]", "ip": "[IP]", "phone": "[PHONE]"}

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@"
    r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
_IP = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})"
    r"(?![\w:]|\.\d)"
)
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
# +81 3-1234-5678, (03) 1234-5678, 090-1234-5678, 555-123-4567: with a plus sign, brackets or signs
# between groups, so that years and plain numbers stay
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|\(0?\d{1,4}\) ?\d{1,4}[ .-]\d{3,4}"
    r"|0\d{1,4}-\d{1,4}-\d{3,4}|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4})(?![\w-]|\.\d)"
)
_DIGIT = re.compile(r"\d")


def scrubbed(text: str) -> str:
    """The text with [EMAIL], [CARD], [IP] and [PHONE] in place of such data.

    A card's number has 13 to 19 digits and a right check digit (Luhn, ISO/IEC 7812).
    """
    if "@" in text:
        text = _EMAIL.sub(MARKS["email"], text)
    if _DIGIT.search(text):
        text = _CARD.sub(lambda m: MARKS["card"] if _luhn(m[0]) else m[0], text)
        text = _PHONE.sub(MARKS["phone"], text)
    if "." in text or ":" in text:
        text = _IP.sub(lambda m: MARKS["ip"] if _is_address(m[0]) else m[0], text)
    return text


def _luhn(number: str) -> bool:
    digits = [int(c) for c in number if c.isdigit()][::-1]
    doubled = [2 * d - 9 * (d > 4) for d in digits[1::2]]
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_address(text: str) -> bool:
    if set(text) == {":"} or text.count(":") == 2 and "::" not in text:  # 12:30:00
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
