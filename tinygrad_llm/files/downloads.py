"""Files published elsewhere: their addresses, their checks, and the local folder that keeps them.

Nothing here needs more than the standard library. A download is written under a temporary name,
checked, and only then renamed (see atomic.py): a file under its final name is always whole and
right. A file that is there but wrong is named in an error and left as it is, because it may be the
user's own.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import atomic_write, remove_old_parts
from .paths import home_folder, local_path
from .plain_text import visible

__all__ = [
    "DATA_VARIABLE",
    "DownloadError",
    "Progress",
    "RemoteFile",
    "cache_folder",
    "check_file",
    "fetch",
    "sha256_of",
]

DATA_VARIABLE = "TINYGRAD_LLM_DATA"
Progress = Callable[[int, "int | None"], None]


class DownloadError(OSError):
    """A file is missing and could not be downloaded, or the file that is there is the wrong one."""


@dataclass(frozen=True)
class RemoteFile:
    """One file: where it is published, and how to recognize it.

    file_name:   its name in the cache folder, perhaps with folders: "jglue/train.json"
    addresses:   http(s) addresses, tried in this order
    sha256:      of the file itself (of the member, where the address is a zip), or None if it is
        not known: then the code that reads the file has to check it
    n_bytes:     its size in bytes, or None if it is not known
    licence:     what its authors allow
    description: one sentence
    member:      the file's name inside the zip at the address, or None if the address is the file
    about_bytes: its size as computed from what it holds, for one whose n_bytes is not known
    """

    file_name: str
    addresses: tuple[str, ...]
    sha256: str | None
    n_bytes: int | None
    licence: str
    description: str
    member: str | None = None
    about_bytes: int | None = None

    @property
    def size(self) -> str:
        """Its size for somebody who thinks of a download."""
        about, n_bytes = "", self.n_bytes
        if n_bytes is None:
            about, n_bytes = "about ", self.about_bytes
        return "size unknown" if n_bytes is None else f"{about}{n_bytes / 1e6:,.0f} MB"

    @property
    def expected(self) -> str:
        """What is known of its size and checksum, in words."""
        size = None if self.n_bytes is None else f"{self.n_bytes:,} bytes"
        digest = None if self.sha256 is None else f"sha256 {self.sha256}"
        return ", ".join(part for part in (size, digest) if part) or "size and sha256 unknown"


def cache_folder() -> Path:
    """The folder that keeps downloads (it may not exist yet).

    The environment variable TINYGRAD_LLM_DATA if it is set; otherwise
    %LOCALAPPDATA%\\tinygrad_llm on Windows, ~/Library/Caches/tinygrad_llm on macOS, and
    $XDG_CACHE_HOME/tinygrad_llm or ~/.cache/tinygrad_llm elsewhere. A user without a home folder
    has it in the system's folder for temporary files.
    """
    chosen = os.environ.get(DATA_VARIABLE)
    if chosen:
        return local_path(chosen)
    base = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", ""))
    if sys.platform == "darwin" or not base.is_absolute():  # XDG: ignore a relative path
        home = home_folder()
        if home is None:
            return Path(tempfile.gettempdir()) / "tinygrad_llm"
        caches = {"win32": "AppData/Local", "darwin": "Library/Caches"}
        base = home / caches.get(sys.platform, ".cache")
    return base / "tinygrad_llm"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(local_path(path), "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_file(path: str | os.PathLike[str], remote: RemoteFile) -> None:
    """Raises: DownloadError unless the file at `path` has the size and the SHA-256 of `remote`."""
    path = local_path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        size = path.stat().st_size
        matches = remote.n_bytes is None or size == remote.n_bytes
        digest = "(not computed)"
        if matches and remote.sha256 is not None:
            digest = sha256_of(path)
            matches = digest == remote.sha256
    except OSError as error:
        raise DownloadError(f"{path} cannot be read ({error}). {_MOVE}") from error
    if not matches:
        raise DownloadError(
            f"{path} is not the file it should be: it has {size:,} bytes and sha256 {digest}, "
            f"expected {remote.expected}. It was left as it is. {_MOVE}"
        )


_MOVE = f"Move it away to download it again, or set {DATA_VARIABLE} to another folder."


def fetch(
    remote: RemoteFile,
    folder: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
    time_limit: float | None = None,
) -> Path:
    """The path of a checked local copy of `remote`, downloaded into `folder` if it is not there.

    folder:   where to look for it and to put it; cache_folder() if None
    progress: called as progress(bytes so far, bytes in all or None) while downloading
    timeout:  seconds without a byte after which the next address is tried
    time_limit: seconds in all after which the next address is tried; None: ten minutes, and a
        second more for every 100 kB of the file

    Raises: DownloadError if the file there is wrong or cannot be read, if no address returned the
    right bytes (the message says which file to put where), or if writing is not allowed; OSError
    for a full disk.
    """
    folder = cache_folder() if folder is None else local_path(folder)
    path = folder / remote.file_name
    try:
        there = path.stat() is not None
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be reached ({error}). Set {DATA_VARIABLE} to a folder that "
            "can be read and written."
        ) from error
    if there:
        check_file(path, remote)
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_old_parts(path)
    except OSError as error:
        raise DownloadError(
            f"{remote.file_name} is not at {path}, and the folder {folder} cannot be created "
            f"({error}). Set {DATA_VARIABLE} to a folder that can be written."
        ) from error
    if time_limit is None:
        time_limit = 600.0 + (remote.n_bytes or 0) / 1e5
    reasons = []
    for address in remote.addresses:
        try:
            _download(address, path, remote, progress, timeout, time_limit)
            return path
        except DownloadError as error:
            reasons.append(f"  {address}: {visible(str(error))}")
        except PermissionError as error:
            raise DownloadError(
                f"{remote.file_name} is not in {folder}, and writing there is not allowed "
                f"({error}). Set {DATA_VARIABLE} to a folder that can be written."
            ) from error
    inside = "" if remote.member is None else f" (it is the zip's member {remote.member})"
    raise DownloadError(
        f"{remote.file_name} is not in {folder}, and it could not be downloaded:\n"
        + "\n".join(reasons)
        + f"\nWithout a network, fetch it elsewhere{inside} and put it at {path} "
        f"({remote.expected}), "
        f"or set {DATA_VARIABLE} to a folder that has it."
    )


def _download(
    address: str, path: Path, remote: RemoteFile, progress: Progress | None, timeout: float,
    time_limit: float,
) -> None:  # fmt: skip
    """Download one address to `path`.

    Raises: DownloadError with the reason if that fails.
    """
    whole = remote.member is None
    expected = remote.n_bytes if whole else None
    at_most = remote.n_bytes
    if remote.n_bytes is not None and not whole:
        at_most = 2 * remote.n_bytes + (1 << 20)
    archive = io.BytesIO()
    digest = hashlib.sha256()
    with atomic_write(path) as file:
        for chunk, received, total in _chunks(address, timeout, time_limit, expected, at_most):
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
                f"it sent other bytes: sha256 {digest.hexdigest()}, expected {remote.sha256}"
            )


def _chunks(
    address: str, timeout: float, time_limit: float, expected: int | None, at_most: int | None
) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield (bytes, bytes so far, bytes in all or None).

    Raises: DownloadError for every error of the network, and of what is used to read from it.
    """
    received, total = 0, None
    end = time.monotonic() + time_limit
    try:
        with _opened(address, timeout, time_limit) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            while chunk := response.read1(1 << 16):
                received += len(chunk)
                if at_most is not None and received > at_most:
                    raise DownloadError(f"it sent more than {at_most:,} bytes, more than expected")
                if time.monotonic() > end:
                    raise DownloadError(_TOO_SLOW.format(time_limit, f"{received:,} bytes came"))
                yield chunk, received, total
    except DownloadError:
        raise
    except Exception as error:
        raise DownloadError(_network_words(error, timeout)) from error
    n_bytes = expected if total is None else total
    if n_bytes is not None and received < n_bytes:
        raise DownloadError(f"it was cut short: {received:,} of {n_bytes:,} bytes came")


_TOO_SLOW = "it took more than {:g} seconds: {}"


def _network_words(error: Exception, timeout: float) -> str:
    """What went wrong, from an error of urllib, http, ssl, socket or a codec."""
    import urllib.error

    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"nothing came for {timeout:g} seconds"
    return f"{type(reason).__name__}: {reason}"


def _opened(address: str, timeout: float, time_limit: float) -> Any:
    """The server's answer, of which the headers have come.

    A thread asks: neither looking up a name nor a server that sends its headers byte by byte can
    take longer than the time limit.
    Raises: DownloadError if they do, or for an address that is not http(s).
    """
    import urllib.parse
    import urllib.request  # here, because it takes as long to import as NumPy does

    def check(url: str, what: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise DownloadError(f"{what} {url}: only http and https are read")

    class OnlyHttp(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any,
                             newurl: str) -> Any:  # fmt: skip
            check(newurl, "it leads to")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    check(address, "the address is")
    request = urllib.request.Request(address, headers={"User-Agent": "tinygrad_llm"})
    answer: list[Any] = []
    late = threading.Event()

    def ask() -> None:
        try:
            answer.append(urllib.request.build_opener(OnlyHttp).open(request, timeout=timeout))
        except Exception as error:
            answer.append(error)
        if late.is_set() and hasattr(answer[0], "close"):
            answer[0].close()

    thread = threading.Thread(target=ask, name="tinygrad_llm download", daemon=True)
    thread.start()
    thread.join(time_limit)
    if not answer:
        late.set()
        raise DownloadError(_TOO_SLOW.format(time_limit, "no answer came"))
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def _unzip(archive: io.BytesIO, remote: RemoteFile) -> bytes:
    """The bytes of remote.member in a zip archive."""
    import zipfile

    assert remote.member is not None
    try:
        with zipfile.ZipFile(archive) as zipped:
            size = zipped.getinfo(remote.member).file_size
            if remote.n_bytes not in (None, size):
                raise DownloadError(
                    f"{remote.member} in its zip has {size:,} bytes, expected {remote.n_bytes:,}"
                )
            return zipped.read(remote.member)
    except KeyError as error:
        raise DownloadError(f"its zip has no member {remote.member!r}") from error
    except DownloadError:
        raise
    except Exception as error:  # of zipfile, zlib, lzma and struct, each with its own
        raise DownloadError(f"it sent a zip that cannot be read ({error})") from error
