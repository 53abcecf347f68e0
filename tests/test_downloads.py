"""Downloads from a server on this machine: good, cut short, wrong, slow, missing."""

import hashlib
import io
import os
import socket
import sys
import zipfile
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


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv(DATA_VARIABLE, "~/data")
    assert cache_folder() == Path.home() / "data"
    monkeypatch.setenv(DATA_VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
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
