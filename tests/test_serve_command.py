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
from tinygrad_llm.cli.serve import _is_local, _names

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


def test_what_cannot_be_served_together(folder, tmp_path):
    assert "name a MODEL to serve, or a run to watch with --run FOLDER" in refused()
    assert "--name is for one MODEL" in refused(folder, folder, "--name", "x")
    assert "--loaded must be" in refused(folder, "--loaded", 0)
    assert "there is no model" in refused(folder, tmp_path / "none", "--loaded", 1)
    (tmp_path / "file").write_text("x")
    assert "--run must be a run's folder" in refused("--run", tmp_path / "file")


def test_names_for_clients_are_all_different_and_no_paths():
    named = _names(["runs/a", "/other/a", "b.gguf", "embeddings"], None, None, None)
    assert named == {"a": "runs/a", "a-2": "/other/a", "b": "b.gguf", "embeddings-2": "embeddings"}
    assert _names(["runs/a"], "mine", None, None) == {"mine": "runs/a"}


@pytest.mark.slow  # two processes
def test_several_models_a_classifier_and_a_run_as_people_type_it(folder, tmp_path):
    httpx = pytest.importorskip("httpx")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_LLM_LOOPS": "0"}
    program = [sys.executable, "-m", "tinygrad_llm.cli"]
    run = tmp_path / "classes"
    subprocess.run(
        [*program, "finetune", "classify", "sample", "--steps", "2", "--out", run, "--emb-dim", "8",
         "--n-heads", "2", "--n-layers", "1", "--vocab-size", "300", "--context-length", "48"],
        env=environment, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    server = subprocess.Popen(
        [*program, "serve", folder, folder, run, "--loaded", "1", "--run", run, "--port", "0"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        printed = server.stderr.readline()
        assert printed.startswith("tiny, tiny-2, classes at http://"), printed
        address = re.search(r"http://[^/]+", printed)[0]
        with httpx.Client(base_url=address, timeout=60) as client:
            listed = {m["id"]: m["kind"] for m in client.get("/v1/models").json()["data"]}
            model = "language-model"
            assert listed == {"tiny": model, "tiny-2": model, "classes": "classifier"}
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "seed": 1}
            texts = [
                client.post("/v1/chat/completions", json={"model": m, **body}).json()["choices"]
                for m in ("tiny", "tiny-2", "tiny")
            ]
            assert texts[0] == texts[1] == texts[2]
            answer = client.post("/v1/classify", json={"input": "a free prize"}).json()
            assert len(answer["classes"]) > 1 and "".join(t["token"] for t in answer["tokens"])
            watched = client.get("/v1/run").json()
            assert (watched["state"], watched["step"], watched["name"]) == ("ended", 2, "classes")
            for path in ("/", "/chat", "/classify", "/embed", "/run"):
                assert client.get(path).text.startswith("<!doctype html>")
            assert str(tmp_path) not in client.get("/v1/run").text + client.get("/run").text
    finally:
        server.kill()
        server.wait()
        server.stderr.close()
