"""Links of a file in the repository become links of its page in the site."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Pages"]

LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.M | re.S)


class Pages:
    """Pages made from files of the repository.

    root        the repository; pages: the folder of the site's Markdown
    sources     file -> its page, a path within pages
    repository  the address of the repository on its host, or ""
    """

    def __init__(
        self, root: Path, pages: Path, sources: Mapping[Path, str], repository: str
    ) -> None:
        self.root, self.pages, self.sources = root, pages, sources
        self.repository = repository.rstrip("/")

    def write(self, source: Path, page: str) -> None:
        """One page: the text of its file, with links to other pages."""
        text = source.read_text(encoding="utf-8")
        parts = FENCED.split(text)  # every second one is code
        parts[::2] = [LINK.sub(lambda m: self._link(m, source, page), part) for part in parts[::2]]
        path = self.pages / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(parts), encoding="utf-8")

    def _link(self, match: re.Match[str], source: Path, page: str) -> str:
        picture, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group()
        name, _, anchor = target.partition("#")
        file = Path(os.path.normpath(source.parent / name))
        if picture:
            copied = self.pages / "pictures" / file.relative_to(self.root)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)
            return f"![{text}]({_relative(copied, self.pages / page)})"
        if file in self.sources:
            anchor = f"#{anchor}" if anchor else ""
            return (
                f"[{text}]({_relative(self.pages / self.sources[file], self.pages / page)}{anchor})"
            )
        if self.repository and file.exists():
            place = file.relative_to(self.root).as_posix()
            return f"[{text}]({self.repository}/blob/main/{place})"
        return text if text.startswith("`") else f"`{text}`"


def _relative(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()
