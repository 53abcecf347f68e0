"""Downloads from a server on this machine: good, cut short, wrong, slow, missing."""

import hashlib
import io
import os
import socket
import sys
import tempfile
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from http_server import serving

from tinygrad_llm.files import downloads
from tinygrad_llm.files.atomic import atomic_write
from tinygrad_llm.files.downloads import (
    DATA_VARIABLE,
    DownloadError,
    RemoteFile,
    cache_folder,
    fetch,
    sha256_of,
)

TEXT = "".join(f"line {i} of a text\n" for i in range(8000)).encode()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as running:
        yield running


def remote(*addresses, data=TEXT, **changes):
    fields = {
        "file_name": "text.txt",
        "addresses": addresses,
        "sha256": hashlib.sha256(data).hexdigest(),
        "n_bytes": len(data),
        "licence": "none",
        "description": "a test",
        **changes,
    }
    return RemoteFile(**fields)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["good", "chunked"])
def test_a_good_download_is_kept_and_not_repeated(server, tmp_path, kind):
    file = remote(server.add("/a", kind, TEXT))
    folder = tmp_path / "new" / "folder"
    seen = []
    path = fetch(file, folder, progress=lambda done, total: seen.append((done, total)))
    assert path == folder / "text.txt" and path.read_bytes() == TEXT
    done = [n for n, _ in seen]
    assert done == sorted(done) and done[-1] == len(TEXT) and len(done) > 1
    assert {total for _, total in seen} == {len(TEXT) if kind == "good" else None}
    assert fetch(file, folder) == path
    assert server.requests == ["/a"] and names(folder) == ["text.txt"]
    if os.name == "posix":
        umask = os.umask(0)
        os.umask(umask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    "kind, data, message",
    [
        ("short", TEXT, "cut short: {half:,} of {all:,} bytes came"),
        ("good", TEXT[:-1], "cut short|other bytes"),
        ("good", TEXT[:-1] + b"x", "it sent other bytes: sha256 [0-9a-f]{{64}}, expected"),
        ("good", TEXT + b"x", "more than expected"),
        ("chunked", TEXT[:5000], "cut short: 5,000 of {all:,} bytes came"),
        ("slow", TEXT, "nothing came for 0.3 seconds"),
        ("silent", b"", "nothing came for 0.3 seconds"),
        ("404", b"", "the server answered 404 Not Found"),
    ],
    ids=["short", "one byte short", "changed", "longer", "chunks end", "slow", "silent", "404"],
)
def test_a_bad_download_leaves_nothing_and_says_what_to_do(server, tmp_path, kind, data, message):
    file = remote(server.add("/a", kind, data))
    with pytest.raises(
        DownloadError, match=message.format(half=len(TEXT) // 2, all=len(TEXT))
    ) as caught:
        fetch(file, tmp_path, timeout=0.3)
    assert names(tmp_path) == []
    text = str(caught.value)
    for part in (server.address + "/a", str(tmp_path / "text.txt"), file.sha256, DATA_VARIABLE):
        assert part in text


def test_no_network(tmp_path):
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/a"
        with pytest.raises(
            DownloadError, match="(?s)could not be downloaded.*Connection.*put it at"
        ):
            fetch(remote(address), tmp_path)


def test_addresses_are_tried_in_order(server, tmp_path):
    addresses = [server.add("/bad", "short", TEXT), server.address + "/none"]
    addresses.append(server.add("/good", "good", TEXT))
    assert fetch(remote(*addresses), tmp_path).read_bytes() == TEXT
    assert server.requests == ["/bad", "/none", "/good"]


@pytest.mark.parametrize(
    "data", [b"", TEXT[:-1], TEXT[:-1] + b"x"], ids=["empty", "short", "changed"]
)
def test_a_wrong_file_is_named_and_stays(server, tmp_path, data):
    file = remote(server.add("/a", "good", TEXT))
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(
        DownloadError, match="is not the file it should be.*left as it is"
    ) as caught:
        fetch(file, tmp_path)
    assert str(path) in str(caught.value) and file.sha256 in str(caught.value)
    assert path.read_bytes() == data and server.requests == []


def archive(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return data.getvalue()


def test_a_member_of_a_zip(server, tmp_path):
    file = remote(server.add("/z", "good", archive(readme="hi", inside=TEXT)), member="inside")
    assert fetch(file, tmp_path).read_bytes() == TEXT
    assert names(tmp_path) == ["text.txt"]


@pytest.mark.parametrize(
    "data, message",
    [
        (archive(other=TEXT), "no member 'inside'"),
        (archive(inside=TEXT + b"x"), "inside in its zip has"),
        (archive(inside=TEXT[:-1] + b"x"), "other bytes"),
        (b"no zip at all", "a zip that cannot be read"),
        (b"", "a zip that cannot be read"),
        (archive(inside=TEXT)[:-30], "a zip that cannot be read"),
        (bytes(3 * len(TEXT) + (1 << 20)), "more than expected"),
    ],
    ids=["other member", "longer", "changed", "no zip", "empty", "cut", "too large"],
)
def test_a_bad_zip(server, tmp_path, data, message):
    file = remote(server.add("/z", "good", data), member="inside")
    with pytest.raises(DownloadError, match=message) as caught:
        fetch(file, tmp_path)
    assert "it is the zip's member inside" in str(caught.value)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("x")
    file = remote(server.add("/a", "good", TEXT))
    with pytest.raises(DownloadError, match=f"cannot be created.*Set {DATA_VARIABLE}"):
        fetch(file, tmp_path / "file" / "folder")
    assert server.requests == []


def test_a_full_disk_is_not_blamed_on_the_network(server, tmp_path, monkeypatch):
    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(remote(server.add("/a", "good", TEXT), server.address + "/b"), tmp_path)
    assert not isinstance(caught.value, DownloadError)
    assert names(tmp_path) == [] and server.requests == ["/a"]


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(remote(server.add("/a", "good", TEXT)), tmp_path, progress=stop)
    assert names(tmp_path) == []


def test_atomic_write(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        assert path.read_bytes() == b"old"
        raise RuntimeError
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]
    with atomic_write(str(path)) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["file"]
    assert sha256_of(path) == hashlib.sha256(b"new").hexdigest()
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "file"):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_what_is_not_a_file_is_written_to_and_stays(tmp_path):
    """Root who saves to /dev/null must not put a file there, for every program of the machine."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    for path in (pipe, link):
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with atomic_write(path) as file:
            file.write(b"header")
            file.seek(0)
            file.write(b"H")
        assert os.read(reader, 99) == b"Header" and pipe.is_fifo() and link.is_symlink()
        os.close(reader)
    assert names(tmp_path) == ["link", "pipe"]


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv(DATA_VARIABLE, "~/data")
    assert cache_folder() == Path.home() / "data"
    monkeypatch.setenv(DATA_VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    home = tmp_path / "home"
    for platform, folder in [
        ("linux", tmp_path),
        ("darwin", home / "Library" / "Caches"),
        ("win32", tmp_path),
    ]:
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == folder / "tinygrad_llm"
    monkeypatch.delenv("LOCALAPPDATA")
    assert cache_folder() == home / "AppData" / "Local" / "tinygrad_llm"
    monkeypatch.setattr(sys, "platform", "linux")
    for wrong in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", wrong)
        assert cache_folder() == home / ".cache" / "tinygrad_llm"


def test_the_cache_folder_of_a_user_without_a_home(monkeypatch, tmp_path):
    """As in a container whose user has a number only."""
    for name in (DATA_VARIABLE, "HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == Path(tempfile.gettempdir()) / "tinygrad_llm"
    monkeypatch.setenv(DATA_VARIABLE, "~nobody-of-this-name/data")
    assert cache_folder() == Path("~nobody-of-this-name/data")


# ------------------------------------------------------------ failures of every library on the way
FAILURES = {
    "not an address": "no address",
    "no scheme": "://x",
    "a file": "file:///etc/hostname",
    "ftp": "ftp://127.0.0.1/a",
    "data": "data:text/plain,hello",
    "a wrong port": "http://127.0.0.1:99999999/a",
    "a port of letters": "http://127.0.0.1:abc/a",
    "a name that IDNA refuses": "http://a" + "é" * 80 + ".example/a",
    "control characters": "http://127.0.0.1/a b\nc",
    "half an IPv6 address": "http://[::1/a",
    "no host": "http:///a",
}


@pytest.mark.parametrize("address", FAILURES.values(), ids=FAILURES)
def test_an_address_that_fails_is_not_the_last_one(server, tmp_path, address):
    good = server.add("/good", "good", TEXT)
    assert fetch(remote(address, good), tmp_path).read_bytes() == TEXT
    with pytest.raises(DownloadError, match="could not be downloaded"):
        fetch(remote(address, file_name="other"), tmp_path)


ANSWERS = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "a wrong status": b"HTTP/1.1 abc OK\r\n\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    "a line too long": b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
    "a wrong chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "a chunk cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "a length of other digits": "HTTP/1.1 200 OK\r\nContent-Length: ²\r\n\r\n".encode("latin-1"),
    "a long length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "redirect to a file": b"HTTP/1.1 302 Go\r\nLocation: file:///etc/hostname\r\n\r\n",
    "redirect to ftp": b"HTTP/1.1 301 Go\r\nLocation: ftp://127.0.0.1/a\r\n\r\n",
    "redirect to nothing": b"HTTP/1.1 302 Go\r\nLocation: http://[::1\r\n\r\n",
    "redirect to itself": b"HTTP/1.1 302 Go\r\nLocation: /a\r\n\r\n",
    "an error with colours": b"HTTP/1.1 500 \x1b[31mred\r\n\r\n",
}


@contextmanager
def answering(*pieces, wait=0.0):
    """A server that answers each request with these bytes, piece by piece."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        if wait and over.wait(wait):
                            break
                    connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_fails_is_not_the_last_one(server, tmp_path, answer):
    good = server.add("/good", "good", TEXT)
    with answering(answer) as address:
        assert fetch(remote(address, good), tmp_path).read_bytes() == TEXT
        (tmp_path / "text.txt").unlink()
        with pytest.raises(DownloadError) as caught:
            fetch(remote(address), tmp_path, timeout=5.0)
    assert names(tmp_path) == [] and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["headers", "bytes"])
def test_a_server_that_drips_is_left(server, tmp_path, head):
    """Each byte comes in time, and the whole never does."""
    first = head or b"HTTP/1.1 200 OK\r\n"
    good = server.add("/good", "good", TEXT)
    drops = [b"x"] * 2000  # 40 seconds
    with answering(first, *drops, wait=0.02) as address:
        began = time.monotonic()
        assert fetch(remote(address, good), tmp_path, time_limit=0.3).read_bytes() == TEXT
        assert time.monotonic() - began < 30
        with pytest.raises(DownloadError, match="took more than 0.3 seconds"):
            fetch(remote(address, file_name="b"), tmp_path, time_limit=0.3)


def test_a_broken_library_is_not_the_end(server, tmp_path, monkeypatch):
    good = server.add("/good", "good", TEXT)
    errors = [RuntimeError("of ssl"), ValueError("of a codec"), LookupError("x"), MemoryError()]
    for error in errors:
        calls = []

        def opened(address, *times, error=error, calls=calls, true=downloads._opened):
            calls.append(address)
            if len(calls) == 1:
                raise error
            return true(address, *times)

        with monkeypatch.context() as patch:
            patch.setattr(downloads, "_opened", opened)
            assert fetch(remote(good, good), tmp_path).read_bytes() == TEXT
        (tmp_path / "text.txt").unlink()


def damaged_archive():
    data = bytearray(archive(inside=TEXT))
    data[60:90] = b"\xff" * 30  # the packed bytes
    return bytes(data)


def encrypted_archive():
    data = bytearray(archive(inside=TEXT))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def archive_of_another_method():
    data = bytearray(archive(inside=TEXT))
    data[8] = data[data.rindex(b"PK\x01\x02") + 10] = 77
    return bytes(data)


@pytest.mark.parametrize("make", [damaged_archive, encrypted_archive, archive_of_another_method])
def test_a_zip_of_every_damage(server, tmp_path, make):
    bad, good = server.add("/bad", "good", make()), server.add("/z", "good", archive(inside=TEXT))
    assert fetch(remote(bad, good, member="inside"), tmp_path).read_bytes() == TEXT
    with pytest.raises(DownloadError, match="a zip that cannot be read"):
        fetch(remote(bad, member="inside", file_name="b"), tmp_path)


def test_what_a_killed_process_left_is_removed(server, tmp_path):
    old = tmp_path / ".text.txt.123-abcd.part"
    new, other = tmp_path / ".text.txt.124-abcd.part", tmp_path / ".more.txt.123-abcd.part"
    for path in (old, new, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (1e9, 1e9))
    fetch(remote(server.add("/a", "good", TEXT)), tmp_path)
    assert names(tmp_path) == sorted(["text.txt", new.name, other.name])


# ------------------------------------------------------------------ folders that cannot be used
def refusing(name, path, error):
    """Path.NAME as it is, except that it raises the error for one path."""
    true = getattr(Path, name)

    def method(self, *args, **kwargs):
        if Path(self) == path:
            raise error
        return true(self, *args, **kwargs)

    return method


def test_a_cache_folder_that_cannot_be_read(server, tmp_path, monkeypatch):
    file = remote(server.add("/a", "good", TEXT))
    error = PermissionError(13, "Permission denied", str(tmp_path / "text.txt"))
    monkeypatch.setattr(Path, "stat", refusing("stat", tmp_path / "text.txt", error))
    with pytest.raises(DownloadError, match=f"cannot be reached.*{DATA_VARIABLE}"):
        fetch(file, tmp_path)


def test_a_file_in_the_cache_that_cannot_be_read(server, tmp_path, monkeypatch):
    file = remote(server.add("/a", "good", TEXT))
    (tmp_path / "text.txt").write_bytes(TEXT)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(downloads, "sha256_of", refuse)
    with pytest.raises(DownloadError, match=f"text.txt cannot be read.*{DATA_VARIABLE}"):
        fetch(file, tmp_path)


def test_a_folder_in_place_of_the_file(server, tmp_path):
    (tmp_path / "text.txt").mkdir()
    with pytest.raises(DownloadError, match="text.txt cannot be read .*is a folder"):
        fetch(remote(server.add("/a", "good", TEXT)), tmp_path)


def test_a_folder_that_cannot_be_written(server, tmp_path, monkeypatch):
    @contextmanager
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))
        yield

    monkeypatch.setattr(downloads, "atomic_write", refuse)
    with pytest.raises(DownloadError, match=f"writing there is not allowed.*{DATA_VARIABLE}"):
        fetch(remote(server.add("/a", "good", TEXT)), tmp_path)


def test_errors_of_the_progress_function_are_its_own(server, tmp_path):
    def progress(done, total):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fetch(remote(server.add("/a", "good", TEXT)), tmp_path, progress=progress)
    assert names(tmp_path) == []
