"""tinygrad-llm serve as people type it: what it says, whom it lets in, how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_chat import tiny_folder
from typer.testing import CliRunner

import tinygrad_llm
from tinygrad_llm.cli import app
from tinygrad_llm.cli.serve import _is_local

for package in ("jinja2", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(package)

ROOT = Path(tinygrad_llm.__file__).parent.parent
KEY = "a-key-of-24-characters!!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("served") / "tiny")


def refused(*arguments, **environment):
    done = CliRunner().invoke(app, ["serve", *map(str, arguments)], env=environment)
    return str(done.exception)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_serves_ends_and_starts_again_at_the_same_port(folder, tmp_path, end):
    httpx = pytest.importorskip("httpx")
    (tmp_path / "key").write_text(f"{KEY}\n")
    port = "0"
    for _ in range(2 if end is signal.SIGKILL else 1):
        server = subprocess.Popen(
            [sys.executable, "-m", "tinygrad_llm.cli", "serve", folder, "--port", port,
             "--key-file", tmp_path / "key"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_LLM_LOOPS": "0"},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            printed = server.stderr.readline()
            assert re.fullmatch(r"tiny at http://127\.0\.0\.1:\d+/v1 \(Ctrl-C ends\)\n", printed), (
                printed
            )
            port = re.search(r":(\d+)/", printed)[1]
            address = f"http://127.0.0.1:{port}/v1/models"
            assert httpx.get(address).status_code == 401
            listed = httpx.get(address, headers={"authorization": f"Bearer {KEY}"}).json()
            assert [model["id"] for model in listed["data"]] == ["tiny"]  # a name, never a path
            server.send_signal(end)
            server.wait(60)
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()
            server.wait()
            server.stderr.close()


def test_others_need_a_key(folder, tmp_path):
    none = {"TINYGRAD_LLM_API_KEY": None}
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        assert f"--host {host} lets other machines ask" in refused(folder, "--host", host, **none)
    (tmp_path / "short").write_text("secret")
    printed = refused(folder, "--key-file", tmp_path / "short")
    assert (
        "must hold one line of at least 16 ASCII characters" in printed and "secret" not in printed
    )
    assert "at least 16" in refused(folder, TINYGRAD_LLM_API_KEY="x\ny" * 20)


def test_which_addresses_are_this_machine():
    assert all(map(_is_local, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(_is_local, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "")))


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--port", 65536), ("--batch", 0), ("--queue", -1), ("--threads", 0), ("--seconds", 0)],
)
def test_options_out_of_range(folder, flag, value):
    assert f"{flag} must be" in refused(folder, flag, value)


def test_without_the_packages(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert 'pip install "tinygrad_llm[serve]"' in refused(folder)
