"""A quiz over HTTP: without examples, after some, with passages; scores and costs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chat_server import chatting

from tinygrad_llm.cli import main
from tinygrad_llm.client import ChatClient, Price
from tinygrad_llm.evaluation.questions import Item
from tinygrad_llm.evaluation.quiz import Quiz
from tinygrad_llm.retrieval import build_index

CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Peru": "Lima", "Cuba": "Havana"}
ITEMS = [Item(f"What is the capital of {land}?", city) for land, city in CAPITALS.items()]
CHOICES = [Item.of_choices(f"{n} + 1?", [str(n + 1), str(n)], 0) for n in range(4)]


@pytest.fixture
def server():
    with chatting() as running:
        yield running


def test_conversations(server):
    quiz = Quiz(ChatClient(server.address, "m"))
    turns = quiz.messages(ITEMS[0], ITEMS[1:2], ["Paris is\na city.", "b"])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[1]["content"] == "Question: What is the capital of Italy?"
    assert turns[2]["content"] == "Rome"
    assert turns[3]["content"] == (
        "Passages that may help:\n[1] Paris is a city.\n[2] b\n\n"
        "Question: What is the capital of France?"
    )
    turns = quiz.messages(CHOICES[2], CHOICES[:1])
    assert "letter" in turns[0]["content"] and turns[2]["content"] == "A"
    assert turns[3]["content"] == "Question: 2 + 1?\nA. 3\nB. 2"


def test_scores_and_what_each_way_cost(server, tmp_path):
    def reply(messages):
        reads = "Paris" in messages[-1]["content"]
        return "<think>?</think> I think it is Paris." if reads or len(messages) > 2 else "Rome"

    server.reply = reply
    client = ChatClient(server.address, "m", cache=tmp_path, price=Price(1e6, 1e6))
    quiz = Quiz(client)
    plain = quiz.ask(ITEMS)
    assert plain.scores["exact_match"].tolist() == [0, 1, 0, 0, 0]
    assert plain.usage.requests == 5 and plain.usage.cost == 5 * 16
    after = quiz.ask(ITEMS[:1], shots=ITEMS[1:3])
    assert after.scores["contains"].tolist() == [1.0] and after.scores["exact_match"][0] == 0
    assert after.usage.requests == 1 and np.isnan(after.interval("contains").low)
    reading = quiz.ask(ITEMS[:2], passages=[["Paris."], []])
    assert reading.replies == ["I think it is Paris.", "Rome"]
    again = Quiz(ChatClient(server.address, "m", cache=tmp_path, price=Price(1e6, 1e6))).ask(ITEMS)
    assert (
        again.usage.requests == 0
        and again.usage.saved == 80
        and "80.0000 saved" in str(again.usage)
    )
    assert (again.scores["contains"] == plain.scores["contains"]).all()


def test_letters(server):
    server.script = ["A", "The answer is B.", "no", "(A)"]
    result = Quiz(ChatClient(server.address, "m")).ask(CHOICES)
    assert result.scores["right"].tolist() == [1, 0, 0, 1] and result.unread == 1
    with pytest.raises(ValueError, match="all with choices"):
        Quiz(ChatClient(server.address, "m")).ask([ITEMS[0], CHOICES[0]])
    with pytest.raises(ValueError, match="1 lists"):
        Quiz(ChatClient(server.address, "m")).ask(ITEMS, passages=[["a"]])


def test_the_command(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main(["quiz", *map(str, arguments), "--model", "m", "--server", server.address])
        shown = capsys.readouterr()
        return done.value.code or 0, shown.out, shown.err

    rows = [{"question": item.question, "answer": item.answer} for item in ITEMS]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    (tmp_path / "empty.json").write_text("[]")
    texts = [{"text": f"{b} is the capital of {a}.", "title": a} for a, b in CAPITALS.items()]
    build_index(texts, None, "").save(tmp_path / "index")
    for more, message in {
        ("none.json",): "none.json", ("empty.json",): "no entries", ("q.json", "--k", 0): "--k",
        ("q.json", "--shots", 5): "--shots", ("q.json", "--limit", 0): "--limit",
        ("q.json", "--index", "none"): "none", ("q.json", "--budget", 1): "--price",
    }.items():  # fmt: skip
        code, _, err = call(*more)
        assert code == 2 and message in err, (more, err)
    code, out, err = call("q.json", "--shots", 1, "--index", "index", "--plan")
    assert code == 0 and "12 requests" in out and not server.requests, err

    def reply(messages):
        text = messages[-1]["content"]
        land = text.rpartition("of ")[2].rstrip("?")
        return CAPITALS[land] if CAPITALS[land] in text else "I do not know"

    server.reply = reply
    code, out, err = call("q.json", "--shots", 1, "--index", "index", "--k", 2,
                          "--price-read", 1, "--price-written", 2)  # fmt: skip
    assert code == 0, err
    assert "1.000 [1.000, 1.000]  retrieval, 1.000 [1.000, 1.000] more than zero-shot" in out
    assert "0.000 [0.000, 0.000]  zero-shot" in out and "1-shot" in out and "cost" in out
    ways = json.loads((tmp_path / "quiz" / "results.json").read_text())["ways"]
    assert ways["retrieval"]["scores"]["exact_match"] == [1, 1, 1, 1]
