"""The judge, make-data and quiz against our own server with SmolLM2, over a real socket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from published import needs_weights

import tinygrad_llm
from tinygrad_llm.cli import main

for package in ("jinja2", "fastapi", "uvicorn"):
    pytest.importorskip(package)

ROOT = Path(tinygrad_llm.__file__).parent.parent
NAME = "smollm2-135m-instruct"
ENTRIES = [
    {"instruction": f"What is the capital of {land}?", "output": f"It is {city}.",
     "right": f"{city}.", "wrong": "I had an egg for breakfast."}
    for land, city in {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo"}.items()
]  # fmt: skip


@contextmanager
def served(port="0"):
    """The port of a server with SmolLM2; it is killed at the end, as by a machine that fails."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tinygrad_llm.cli", "serve", NAME, "--port", port],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = iter(server.stderr.readline, "")
        yield next(match[1] for line in lines if (match := re.search(r":(\d+)/v1 ", line)))
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.weights
def test_smollm2_judges_and_a_server_that_dies_loses_nothing(tmp_path, monkeypatch, capsys):
    needs_weights(NAME)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "entries.json").write_text(json.dumps(ENTRIES))
    quiz = [{"question": entry["instruction"], "answer": entry["right"][:-1]} for entry in ENTRIES]
    (tmp_path / "quiz.json").write_text(json.dumps(quiz))

    def call(port, *arguments):
        server = ["--server", f"http://127.0.0.1:{port}/v1", "--model", NAME, "--attempts", 1]
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in [*arguments, *server, "--reply-tokens", 30]])
        shown = capsys.readouterr()
        return done.value.code or 0, shown.out, shown.err

    with served() as port:
        code, out, err = call(port, "judge", "entries.json", "--limit", 2)
        assert code == 0 and "4 requests" in out, err
    code, _, err = call(port, "judge", "entries.json")
    assert code == 2 and "request 3 of 3" in err and "run the same command again" in err
    with served(port) as again:
        assert again == port
        code, out, err = call(port, "judge", "entries.json")
        assert code == 0 and "2 requests, 4 from the cache" in out, err
        scores = json.loads((tmp_path / "judged" / "results.json").read_text())["scores"]
        assert all(len(scores[name]["replies"]) == 3 for name in ("right", "wrong"))
        code, out, err = call(port, "judge", "entries.json", "--pairwise", "--out", "pairs")
        assert code == 0 and "6 requests" in out, err
        code, out, err = call(port, "quiz", "quiz.json")
        assert code == 0, err
        ways = json.loads((tmp_path / "quiz" / "results.json").read_text())["ways"]
        assert sum(ways["zero-shot"]["scores"]["contains"]) >= 2, ways  # it knows two capitals
        code, out, err = call(port, "make-data", "passive", "entries.json", "--limit", 1)
        assert code == 0 and "1 requests" in out, err
