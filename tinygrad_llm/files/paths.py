"""Paths as users write them: every function of the package that takes a path sends it through here.

A shell replaces `~` only at the beginning of an unquoted word, so `--out=~/runs`, a settings file,
an environment variable and a Python program would otherwise write into a folder called "~".
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["home_folder", "local_path"]


def local_path(path: str | bytes | os.PathLike[str]) -> Path:
    """The path, with `~` at its beginning as the user's home folder and `~name` as that of `name`.

    Where there is no such folder (a user id without an entry and without HOME) it stays as it is;
    `./~` is a file of that name.
    """
    return Path(os.path.expanduser(os.fsdecode(path)))


def home_folder() -> Path | None:
    """The user's home folder; None for a user without one."""
    home = os.path.expanduser("~")
    return None if home == "~" else Path(home)
