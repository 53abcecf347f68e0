"""Files that are there whole or not at all.

A file is written under a temporary name in the folder of its final name, flushed to the disk, and
then renamed: the rename is one step for the file system, so a reader sees the old file or the new
one, and a process killed in the middle leaves the old one.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .paths import local_path

__all__ = ["atomic_write", "remove_old_parts", "sync_folder"]

_PAUSES = (0.01, 0.05, 0.2, 0.5)  # seconds between attempts to replace a file on Windows


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in a folder (new files, renames) survive a power cut.

    Windows cannot open a folder, and some network file systems refuse; they order it themselves.
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(temporary: Path, path: Path) -> None:
    """os.replace; Windows refuses while anybody has the file open or mapped, so it is tried again.

    A virus scanner or an indexer lets go within a second; a memory map of this process when the
    arrays that were read from the file are gone.
    Raises: OSError from the disk; on Windows PermissionError that says what holds the file.
    """
    for pause in _PAUSES if sys.platform == "win32" else ():
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(pause)
    try:
        os.replace(temporary, path)
    except PermissionError as error:
        if sys.platform != "win32":
            raise
        raise PermissionError(
            error.errno,
            "Windows does not replace a file that is open or mapped: close what reads it, delete "
            "the tensors that were loaded from it, or write to another name",
            str(path),
        ) from error


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write into, which replaces `path` when the block ends without an error.

        with atomic_write("config.json") as file:
            file.write(text.encode())

    A symbolic link stays one: the file that it points to is replaced. A device or a pipe
    (/dev/null, /dev/stdout) is written to, never replaced. After an error (a full disk, Ctrl-C) the
    temporary file is removed and `path` is as it was.
    Raises: OSError from the disk, with the name of the file.
    """
    path = local_path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        import shutil
        import tempfile

        with tempfile.TemporaryFile() as file:  # has positions, which a pipe has not
            yield file
            file.seek(0)
            with open(path, "wb") as target:
                shutil.copyfileobj(file, target)
        return
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    temporary = path.with_name(f"{_part(path)}{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say whose file it was
        raise
    sync_folder(path.parent)


def _part(path: Path) -> str:
    """How the names of path's temporary files begin.

    Not with the whole name: names may have 255 bytes, and these are longer.
    """
    return f".{path.name[:40]}."


def remove_old_parts(path: str | os.PathLike[str], seconds: float = 86400.0) -> None:
    """Remove the temporary files that killed processes left for `path`.

    Only those that nothing was written to for so many seconds: others may be in use.
    """
    path = local_path(path)
    with suppress(OSError):
        for other in path.parent.iterdir():
            if other.name.startswith(_part(path)) and other.suffix == ".part":
                with suppress(OSError):
                    if time.time() - other.stat().st_mtime > seconds:
                        other.unlink()
