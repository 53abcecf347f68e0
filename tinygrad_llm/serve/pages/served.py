"""A page as the server sends it: its policy stands in the header too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...study.common.html import page, policy_of
from ..app import Page

__all__ = ["served_page"]

_FILES = Path(__file__).parent / "files"


def served_page(title: str, body: str, styles: Sequence[str], scripts: Sequence[str]) -> Page:
    """A page of this body; styles and scripts name files of files/.

    Its policy allows the styles and scripts in it by their hashes, and requests to this server.
    """
    text = page(
        title, body, styles=[_FILES / name for name in styles],
        scripts=["heat.js", *(_FILES / name for name in scripts)], policy="connect-src 'self'",
    )  # fmt: skip
    return Page(text.encode("utf-8"), policy=f"{policy_of(text)}; frame-ancestors 'none'")
