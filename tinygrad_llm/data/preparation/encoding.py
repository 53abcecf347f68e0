"""From bytes to text: which encoding it is, and the repair of what was decoded with a wrong one."""

from __future__ import annotations

import codecs
import re
from functools import cache
from typing import Any

__all__ = ["decode", "repaired"]

# Two characters that stand together where the bytes of UTF-8 were read as Latin-1 or Windows-1252
_WRONG = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
_SHIFTS = (b"\x1b$B", b"\x1b$@")  # in ISO-2022-JP (of mails) the two-byte characters begin here
_MAIL = "iso2022_jp_ext"
_KANA = re.compile("[\u3041-\u30ff]")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
          (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip


def decode(data: bytes, encoding: str | None = None) -> tuple[str | None, str | None]:
    """(text, encoding) of the bytes of a file; no text if it is not one.

    A byte order mark decides; else ISO-2022-JP if its escape sequences are there and all bytes are
    ASCII; else UTF-8 if it fits; else the Japanese encoding with which kana come out, and
    Windows-1252, which fits everything. encoding: that of the file's bytes before
    """
    for mark, name in _MARKS:
        if encoding is None and data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    if encoding is None and b"\0" in data:
        return None, None
    may_be_mail = encoding in (None, "utf-8", _MAIL) and data.isascii()
    if may_be_mail and any(shift in data for shift in _SHIFTS):
        text = data.decode(_MAIL, "replace")
        if text.count("\ufffd") * 100 < len(text):
            return text, _MAIL
    for name in (encoding or "utf-8", "utf-8"):
        try:
            return data.decode(name), name
        except UnicodeDecodeError as error:
            if name == "utf-8" and error.start > 1000:  # a wrong byte here and there
                text = data.decode("utf-8", "replace")
                if text.count("\ufffd") * 100 < len(text):
                    return text, name
    for name in ("euc_jp", "cp932"):
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        if len(_KANA.findall(text)) * 10 > len(text):
            return text, name
    return data.decode("cp1252", "replace"), "cp1252"


def repaired(text: str) -> str:
    """The text, with ftfy's repair of lines that were decoded with a wrong encoding: "cafÃ©".

    Nothing else that ftfy can change is changed: quotation marks, ligatures, widths.
    Source: Speer (2019), "ftfy".
    """
    if text.isascii() or not _WRONG.search(text):
        return text
    lines = text.split("\n")
    return "\n".join(_repair(line) if _WRONG.search(line) else line for line in lines)


def _repair(line: str) -> str:
    import ftfy

    fixed: str = ftfy.fix_text(line, _options())
    return fixed.replace("\n", " ")


@cache
def _options() -> Any:
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False, remove_terminal_escapes=False, fix_latin_ligatures=False,
        fix_character_width=False, uncurl_quotes=False, fix_line_breaks=False,
        remove_control_chars=False, normalization=None, explain=False,
    )  # fmt: skip
