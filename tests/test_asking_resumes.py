"""Commands that ask a server which dies again and again: nothing is lost, the same call goes on."""

from __future__ import annotations

import hashlib
import json

import pytest
from chat_server import ChatServer, chatting

from tinygrad_llm.cli import main
from tinygrad_llm.retrieval import build_index

ENTRIES = [
    {"instruction": f"{word}?", "output": f"It is {word}.", "one": word, "two": word * 2}
    for word in ("Why is grass green", "2 + 2", "Name a river", "Spell cat", "Who am I", "Sing")
]
QUESTIONS = [{"question": entry["instruction"], "answer": entry["one"]} for entry in ENTRIES]
CHOICES = [{"question": f"{i}?", "choice0": "a", "choice1": "b", "label": i % 2} for i in range(6)]
COMMANDS = {
    "scores": ["judge", "entries.json"],
    "pairs": ["judge", "entries.json", "--pairwise"],
    "quiz": ["quiz", "questions.json", "--shots", "2", "--index", "index", "--k", "1"],
    "choices": ["quiz", "choices.json", "--shots", "1"],
    "instructions": ["make-data", "instructions", "entries.json", "--count", "5"],
    **{kind: ["make-data", kind, "entries.json"] for kind in
       ("preferences", "passive", "reflect", "refine")},
}  # fmt: skip
TROUBLE = [ChatServer.CLOSE, 503, ChatServer.CUT, b"<html>busy", ChatServer.SILENT, 404] * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("asking")
    for name, value in (("entries", ENTRIES), ("questions", QUESTIONS), ("choices", CHOICES)):
        (made / f"{name}.json").write_text(json.dumps(value))
    texts = [{"text": entry["output"], "title": entry["one"]} for entry in ENTRIES]
    build_index(texts, None, "").save(made / "index")
    return made


def reply(messages):
    """Another text for each question, which every command can read."""
    digest = hashlib.sha256(json.dumps(messages).encode()).hexdigest()
    n = int(digest[:2], 16)
    return f"Instruction: {digest[:40]} Score: {n % 100} [[{'ABC'[n % 3]}]]"


def results(out):
    """What a run wrote, without its usage, which tells how often it was asked."""
    without = lambda pairs: {k: v for k, v in pairs if k not in ("usage", "judge")}  # noqa: E731
    return [
        json.loads(path.read_text(), object_pairs_hook=without)
        for path in sorted(out.glob("*.json"))
    ]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.suite_cases(2)
def test_nothing_is_lost(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def call(out):
        with pytest.raises(SystemExit) as done:
            main([*COMMANDS[name], "--model", "m", "--server", server.address, "--attempts", "1",
                  "--timeout", "1", "--out", str(out)])  # fmt: skip
        return done.value.code or 0, capsys.readouterr()

    with chatting() as server:
        server.reply = reply
        code, shown = call(tmp_path / "whole")
        assert code == 0, shown.err
        n = len(server.requests)
        server.requests.clear()
        first = sorted(COMMANDS).index(name) % 6  # two kinds of trouble for each command
        server.script = [step for trouble in TROUBLE[first : first + 2] for step in (None, trouble)]
        failures = 2
        for _ in range(failures):
            code, shown = call(tmp_path / "broken")
            assert code == 2 and "run the same command again" in shown.err, shown.err
        code, shown = call(tmp_path / "broken")
        assert code == 0, shown.err
        assert len(server.requests) == n + failures, "each answer was asked for once"
        assert results(tmp_path / "whole") == results(tmp_path / "broken") != []
    code, shown = call(tmp_path / "broken")  # all of it is there: no server is needed
    assert code == 0, shown.err
