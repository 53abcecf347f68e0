"""Files published elsewhere: their addresses, their checks, and the local folder that keeps them.

Nothing here needs more than the standard library. A download is written to a temporary name in the
folder of its final name, checked, synced and only then renamed, so a file under its final name is
whole and right, whatever happened. A file that is there but wrong is named in an error and left as
it is: it may be somebody's.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

DATA_VARIABLE = "TINYGRAD_LLM_DATA"
Progress = Callable[[int, "int | None"], None]


class DownloadError(OSError):
    """A file is missing here and no address gave it, or what is here is wrong."""


@dataclass(frozen=True)
class RemoteFile:
    """One file, where it is published, and how to know it.

    file_name:   its name in the cache folder
    addresses:   http(s) addresses, tried in this order
    sha256:      of the file itself (of the member, where the address is a zip), or None where it is
        not known: then whoever reads the file has to check it
    n_bytes:     its size in bytes, or None where that is not known
    licence:     what its authors allow
    description: one sentence
    member:      the file's name inside the zip at the address, or None where the address is the
        file
    """

    file_name: str
    addresses: tuple[str, ...]
    sha256: str | None
    n_bytes: int | None
    licence: str
    description: str
    member: str | None = None

    @property
    def wanted(self) -> str:
        """What is known of its size and checksum, in words."""
        size = None if self.n_bytes is None else f"{self.n_bytes:,} bytes"
        digest = None if self.sha256 is None else f"sha256 {self.sha256}"
        return ", ".join(part for part in (size, digest) if part) or "size and sha256 unknown"


def cache_folder() -> Path:
    """The folder that keeps downloads (it may not exist yet).

    The environment variable TINYGRAD_LLM_DATA if set; else %LOCALAPPDATA%\\tinygrad_llm on Windows,
    ~/Library/Caches/tinygrad_llm on macOS, and $XDG_CACHE_HOME/tinygrad_llm or
    ~/.cache/tinygrad_llm elsewhere.
    """
    chosen = os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if not base.is_absolute():  # the XDG specification: a relative path is to be ignored
            base = Path.home() / ".cache"
    return base / "tinygrad_llm"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write: it becomes `path` when the block ends well, and vanishes otherwise.

    It is a temporary file in the same folder, synced to the disk and then renamed: nobody ever sees
    half a file under the name `path`, and an older file of that name stays whole until the new one
    is.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_file(path: str | os.PathLike[str], remote: RemoteFile) -> None:
    """Raise DownloadError unless the file at `path` has the size and the SHA-256 of `remote`."""
    path = Path(path)
    size = path.stat().st_size
    right = remote.n_bytes is None or size == remote.n_bytes
    found = "(not computed)"
    if right and remote.sha256 is not None:
        found = sha256_of(path)
        right = found == remote.sha256
    if not right:
        raise DownloadError(
            f"{path} is not the file it should be: it has {size:,} bytes and sha256 {found}, "
            f"wanted {remote.wanted}. It was left as it is; "
            f"move it away to download it again, or set {DATA_VARIABLE} to another folder."
        )


def fetch(
    remote: RemoteFile,
    folder: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """The path of a checked local copy of `remote`, downloaded into `folder` if it is not there.

    folder:   where to look and to put it; cache_folder() if None
    progress: called as progress(bytes so far, bytes in all or None) while downloading
    timeout:  seconds without a byte after which an address is given up

    Raises DownloadError if the file there is wrong or no address gave the right bytes (the message
    says which file to put where), and OSError if the folder cannot be written.
    """
    folder = cache_folder() if folder is None else Path(folder)
    path = folder / remote.file_name
    if path.exists():
        check_file(path, remote)
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{remote.file_name} is not at {path}, and the folder {folder} cannot be made "
            f"({error}). Set {DATA_VARIABLE} to a folder that can be written."
        ) from error
    reasons = []
    for address in remote.addresses:
        try:
            _download(address, path, remote, progress, timeout)
            return path
        except DownloadError as error:
            reasons.append(f"  {address}: {error}")
    inside = "" if remote.member is None else f" (it is the zip's member {remote.member})"
    raise DownloadError(
        f"{remote.file_name} is not in {folder}, and it could not be downloaded:\n"
        + "\n".join(reasons)
        + f"\nWithout a network, fetch it elsewhere{inside} and put it at {path} "
        f"({remote.wanted}), "
        f"or set {DATA_VARIABLE} to a folder that has it."
    )


def _download(
    address: str, path: Path, remote: RemoteFile, progress: Progress | None, timeout: float
) -> None:
    whole = remote.member is None
    expected = remote.n_bytes if whole else None
    at_most = remote.n_bytes
    if remote.n_bytes is not None and not whole:
        at_most = 2 * remote.n_bytes + (1 << 20)
    archive = io.BytesIO()
    digest = hashlib.sha256()
    with replacing(path) as file:
        for chunk, received, total in _chunks(address, timeout, expected, at_most):
            if whole:
                file.write(chunk)
                digest.update(chunk)
            else:
                archive.write(chunk)
            if progress is not None:
                progress(received, total)
        if not whole:
            data = _unzip(archive, remote)
            file.write(data)
            digest.update(data)
        if remote.sha256 not in (None, digest.hexdigest()):
            raise DownloadError(
                f"it sent other bytes: sha256 {digest.hexdigest()}, wanted {remote.sha256}"
            )


def _chunks(
    address: str, timeout: float, expected: int | None, at_most: int | None
) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield (bytes, bytes so far, bytes in all or None); all network trouble is a DownloadError."""
    import http.client  # here, because they take as long to import as NumPy does
    import urllib.error
    import urllib.request

    request = urllib.request.Request(address, headers={"User-Agent": "tinygrad_llm"})
    received, total = 0, None
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            while chunk := response.read1(1 << 16):
                received += len(chunk)
                if at_most is not None and received > at_most:
                    raise DownloadError(f"it sent more than {at_most:,} bytes, more than expected")
                yield chunk, received, total
    except urllib.error.HTTPError as error:
        raise DownloadError(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, DownloadError):
            raise
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            raise DownloadError(f"nothing came for {timeout:g} seconds") from error
        raise DownloadError(f"{type(reason).__name__}: {reason}") from error
    wanted = expected if total is None else total
    if wanted is not None and received < wanted:
        raise DownloadError(f"it was cut short: {received:,} of {wanted:,} bytes came")


def _unzip(archive: io.BytesIO, remote: RemoteFile) -> bytes:
    import zipfile

    assert remote.member is not None
    try:
        with zipfile.ZipFile(archive) as zipped:
            size = zipped.getinfo(remote.member).file_size
            if remote.n_bytes not in (None, size):
                raise DownloadError(
                    f"{remote.member} in its zip has {size:,} bytes, wanted {remote.n_bytes:,}"
                )
            return zipped.read(remote.member)
    except KeyError as error:
        raise DownloadError(f"its zip has no member {remote.member!r}") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DownloadError(f"it sent no readable zip ({error})") from error
