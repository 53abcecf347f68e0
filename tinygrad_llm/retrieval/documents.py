"""Documents of a folder: texts, Markdown, HTML without its tags, and rows of JSON."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from ..files.json_files import parse_json, read_bounded
from ..files.paths import local_path

__all__ = ["SUFFIXES", "Documents", "read_folder", "text_of_html"]

SUFFIXES = (".txt", ".md", ".html", ".htm", ".jsonl")
_HIDDEN = {"script", "style", "template", "noscript"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
    "section", "table", "td", "th", "title", "tr", "ul",
}  # fmt: skip


class Documents(NamedTuple):
    """documents {"text", "title"}; how many files they come from; the files that were left out."""

    documents: list[dict[str, str]]
    n_files: int
    left_out: list[str]


class _Text(HTMLParser):
    """Collects the text between tags; a block begins a new line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0  # open tags whose text nobody sees
        self._as_it_is = 0  # open <pre>, where line breaks count

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in _HIDDEN
        self._as_it_is += tag == "pre"
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN and self._hidden:
            self._hidden -= 1
        if tag == "pre" and self._as_it_is:
            self._as_it_is -= 1
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data if self._as_it_is else data.replace("\n", " "))


def text_of_html(page: str) -> str:
    """The text of a page without tags, scripts and styles; blocks stand on separate lines."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def read_folder(folder: str | os.PathLike[str]) -> Documents:
    """The documents in a folder and in the folders in it, in the order of their paths.

    .txt and .md are read as they are, .html and .htm without tags; each line of .jsonl is an object
    with "text" and, if it has one, "title". Other files and those whose names begin with a dot are
    not looked at. A file that is not text in UTF-8, or a line that is not such an object, leaves
    the file out; an empty text leaves the document out. A title is the path in the folder.
    Raises: ValueError if it is not a folder, or nothing in it can be read: it says what was there.
    """
    root = local_path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: name one with {', '.join(SUFFIXES)} files")
    documents: list[dict[str, str]] = []
    left_out: list[str] = []
    n_files = 0
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        try:
            made = [d for d in _documents(path, inside.as_posix()) if d["text"].strip()]
        except (OSError, ValueError) as error:
            left_out.append(f"{inside.as_posix()}: {error}")
            continue
        if made:
            documents += made
            n_files += 1
        else:
            left_out.append(f"{inside.as_posix()}: it is empty")
    if not documents:
        others = f"; left out: {'; '.join(left_out[:3])}" if left_out else ""
        raise ValueError(f"{root} has no text in {', '.join(SUFFIXES)} files{others}")
    return Documents(documents, n_files, left_out)


def _documents(path: Path, title: str) -> list[dict[str, str]]:
    """The documents of one file.

    Raises: OSError or ValueError if it is not what its name says.
    """
    data = read_bounded(path, "a document")
    if b"\0" in data:
        raise ValueError("it is binary, not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not text in UTF-8 ({error.reason} at byte {error.start})"
        ) from None
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return [
            _row(line, title, number)
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
    if suffix in (".html", ".htm"):
        text = text_of_html(text)
    return [{"text": text.replace("\r\n", "\n"), "title": title}]


def _row(line: str, title: str, number: int) -> dict[str, str]:
    row = parse_json(line, f"line {number}")
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ValueError(f'line {number} is not an object with a "text": {json.dumps(row)[:60]}')
    own = row.get("title")
    return {"text": row["text"], "title": own if isinstance(own, str) else f"{title}:{number}"}
