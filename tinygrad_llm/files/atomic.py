"""Files that are there whole or not at all.

A file is written under a temporary name beside its place, flushed to the disk, and then renamed:
the rename is one step for the file system, so that a reader sees the old file or the new one, and
a process killed in the middle leaves the old one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def sync_folder(folder: str | Path) -> None:
    """Makes the names in a folder (new files, renames) survive a power cut.

    Windows cannot open a folder, and some network file systems refuse; they order it themselves.
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write into that replaces `path` when the block ends without an error.

        with atomic_write("config.json") as file:
            file.write(text.encode())

    On an error (a full disk, Ctrl-C) the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say whose file it was
        raise
    sync_folder(path.parent)
