"""A page as the server sends it: its policy stands in the header too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...study.common.html import escape, page, policy_of
from ..app import Page

__all__ = ["PATHS", "served_page"]

_FILES = Path(__file__).parent / "files"
PATHS = {"chat": "/chat", "classify": "/classify", "embed": "/embed", "run": "/run"}

_TOP = """{links}<div class="top"><h1 data-word="title">{title}</h1>
<button id="language" type="button"></button></div>"""
_KEY = """<div id="locked" class="hidden"><label><span data-word="key">Key of the server</span>
<input id="key" type="password" autocomplete="off"></label></div>"""


def served_page(
    name: str, title: str, body: str, styles: Sequence[str], scripts: Sequence[str],
    pages: Sequence[str],
) -> Page:  # fmt: skip
    """A page of this body, in which {top} is the heading and {key} the field for the server's key.

    name: of the page in PATHS; styles and scripts: files of files/, besides those of all pages;
    pages: names of the pages to which it leads
    Its policy allows the styles and scripts in it by their hashes, and requests to this server.
    """
    top = _TOP.format(links=_links(name, pages), title=escape(title))
    text = page(
        title, body.replace("{top}", top).replace("{key}", _KEY),
        styles=[_FILES / file for file in ("pages.css", *styles)],
        scripts=["heat.js", *(_FILES / file for file in ("words.js", "server.js", *scripts))],
        policy="connect-src 'self'",
    )  # fmt: skip
    return Page(text.encode("utf-8"), policy=f"{policy_of(text)}; frame-ancestors 'none'")


def _links(name: str, pages: Sequence[str]) -> str:
    if len({name, *pages}) < 2:
        return ""
    links = "".join(
        f'<a href="{path}" data-word="nav_{one}"{here}></a>'
        for one, path in PATHS.items() if one in (name, *pages)
        for here in [' aria-current="page"' if one == name else ""]
    )  # fmt: skip
    return f'<nav data-label="nav">{links}</nav>\n'
