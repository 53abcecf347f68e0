"""Training data that a chat model writes: what is made of replies, and what is left out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from chat_server import chatting
from data import data_file

from tinygrad_llm.cli import main
from tinygrad_llm.client import ChatClient, Reply
from tinygrad_llm.finetune import written_data
from tinygrad_llm.finetune.written_data import KINDS, estimate, new_entries, rewrite_entries

ENTRY = {"instruction": "Name a colour.", "input": "of the sky", "output": "Blue is its colour."}
OTHER = {"instruction": "What is 2 + 2?", "output": "4"}


class Fake:
    """Answers with the next of some texts, and remembers what was asked."""

    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    def ask(self, question, *, sample=0):
        self.asked.append((question, sample))
        text = self.texts.pop(0)
        return text if isinstance(text, Reply) else Reply(text, "stop")


def test_passive_voice():
    client = Fake('<think>hm</think> "Blue is worn by it."\n', "`4` or 5")
    made = rewrite_entries(client, "passive", [ENTRY, OTHER])
    assert made.entries == [{**ENTRY, "output_2": "Blue is worn by it."},
                            {**OTHER, "output_2": "`4` or 5"}]  # fmt: skip
    assert made.left_out == [] and "<text>\nBlue is its colour.\n</text>" in client.asked[0][0]


def test_preferences_say_which_is_better():
    entries = [{**OTHER, "instruction": f"{chr(65 + i) * 9}?"} for i in range(12)]
    client = Fake(*["It is 4, dear."] * 12)
    made = rewrite_entries(client, "preferences", entries, seed=3, threshold=None)
    polite = ["more polite" in question for question, _ in client.asked]
    assert 2 < sum(polite) < 10
    for entry, nice in zip(made.entries, polite, strict=True):
        pair = (entry["chosen"], entry["rejected"])
        assert pair == (("It is 4, dear.", "4") if nice else ("4", "It is 4, dear."))


def test_reflection_and_refinement():
    client = Fake("Too easy.\n**Instruction:** Name two colours.", "Red and blue.")
    made = rewrite_entries(client, "reflect", [ENTRY])
    assert made.entries == [
        {"instruction": "Name two colours.", "input": "", "output": "Red and blue."}
    ]
    assert client.asked[1][0] == "Name two colours."
    client = Fake("It lacks a reason.", "Blue, as air scatters it.", "OK.")
    made = rewrite_entries(client, "refine", [ENTRY, OTHER])
    assert made.entries == [
        {**ENTRY, "output": "Blue, as air scatters it.", "output_before": ENTRY["output"]}, OTHER,
    ]  # fmt: skip
    assert "It lacks a reason." in client.asked[1][0] and len(client.asked) == 3


@pytest.mark.parametrize(
    ("kind", "reply", "why"),
    [
        ("passive", " ", "empty"), ("passive", "<think>so", "empty"),
        ("passive", Reply("Blue is", "length"), "cut"),
        ("passive", '"Blue is its colour."', "the answer itself"),
        ("reflect", "One line.\nAnother.", "Instruction:"),
    ],
)  # fmt: skip
def test_replies_that_cannot_be_used(kind, reply, why):
    made = rewrite_entries(Fake(reply, "x was y"), kind, [ENTRY])
    assert made.entries == [] and made.left_out[0][0] == 0 and why in made.left_out[0][1]


def test_near_duplicates_are_not_asked_about():
    twin = {**ENTRY, "output": ENTRY["output"] + "."}
    client = Fake("a", "b")
    made = rewrite_entries(client, "passive", [ENTRY, twin, OTHER, twin])
    assert made.left_out == [(1, "a near-duplicate of entry 0"), (3, "a near-duplicate of entry 0")]
    assert [entry["output_2"] for entry in made.entries] == ["a", "b"]
    assert len(rewrite_entries(Fake(*"abcd"), "passive", [ENTRY, twin] * 2, threshold=None)
               .entries) == 4  # fmt: skip
    entries = json.loads(data_file("evaluation/instruction-examples.json").read_text("utf-8"))
    client = Fake(*map(str, range(200)))
    made = rewrite_entries(client, "passive", entries)
    assert [i for i, _ in made.left_out] == [74] and len(client.asked) == 199


def test_many_entries_are_compared_by_minhash(monkeypatch):
    monkeypatch.setattr(written_data, "_MANY", 2)
    words = "name three rivers of europe that flow into the black sea and say where each begins"
    entries = [{**ENTRY, "instruction": text} for text in (words, "name a bird", words + " now")]
    made = rewrite_entries(Fake(*"ab"), "passive", entries, threshold=0.4)
    assert made.left_out == [(2, "a near-duplicate of entry 0")]


def test_new_tasks_follow_examples_and_are_new():
    client = Fake(
        "Instruction: Name a river.", "The Rhine.", "name a river.", "Instruction: Count to 3.",
        "1, 2, 3",
    )  # fmt: skip
    made = new_entries(client, [ENTRY, OTHER], 2, seed=1)
    assert [entry["output"] for entry in made.entries] == ["The Rhine.", "1, 2, 3"]
    assert made.left_out == [(1, "a near-duplicate: name a river.")]
    assert [sample for _, sample in client.asked] == [0, 0, 1, 2, 0]
    assert "- Name a colour." in client.asked[0][0] and "- Name a river." in client.asked[2][0]
    made = new_entries(Fake(*[" "] * 9), [ENTRY], 2)
    assert made.entries == [] and len(made.left_out) == 6  # it ends
    with pytest.raises(ValueError, match="there are none"):
        new_entries(Fake(), [], 1)
    with pytest.raises(ValueError, match="no kind 'x'"):
        rewrite_entries(Fake(), "x", [ENTRY])


def test_costs_are_estimated_and_fall_with_what_is_there(tmp_path):
    with chatting() as server:
        server.reply = lambda messages: f"Instruction: {len(messages[-1]['content'])} words"
        client = ChatClient(server.address, "m", cache=tmp_path)
        for kind in KINDS:
            expected = estimate(client, kind, [ENTRY, OTHER], 9)
            assert expected.requests == (4 if kind in ("reflect", "refine") else 2), kind
            rewrite_entries(client, kind, [ENTRY, OTHER])
            assert estimate(client, kind, [ENTRY, OTHER], 9).requests == 0
        expected = estimate(client, "instructions", [ENTRY, OTHER], 9, count=30)
        assert expected.requests == 60 and not expected.cost


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main(["make-data", *map(str, arguments), "--model", "m"])
        shown = capsys.readouterr()
        return SimpleNamespace(code=done.value.code or 0, out=shown.out, err=shown.err)

    (tmp_path / "entries.json").write_text(json.dumps([ENTRY, OTHER, ENTRY]))
    (tmp_path / "empty.json").write_text("[]")
    for arguments, message in {
        ("x",): "KIND 'x'", ("passive",): "needs a file", ("passive", "none.json"): "none.json",
        ("passive", "empty.json"): "no entries", ("instructions", "--count", 0): "--count",
        ("refine", "entries.json", "--threshold", 2): "--threshold",
        ("refine", "entries.json", "--temperature", -1): "--temperature",
        ("refine", "entries.json", "--limit", 0): "--limit",
        ("refine", "entries.json", "--price-read", "1e9", "--budget", 1): "more than",
    }.items():  # fmt: skip
        done = call(*arguments)
        assert done.code == 2 and message in done.err, (arguments, done.err)
    with chatting() as server:
        done = call("instructions", "--server", server.address, "--count", 3, "--plan")
        assert done.code == 0 and "6 requests" in done.out and not server.requests
        done = call("passive", "entries.json", "--server", server.address)
        assert done.code == 0, done.err
        assert "2 entries, 1 left out" in done.out and "near-duplicate of entry 0" in done.out
        assert server.requests[0][2]["temperature"] == 0.0
        made = json.loads((tmp_path / "made-data" / "entries.json").read_text())
        assert [entry["instruction"] for entry in made] == ["Name a colour.", "What is 2 + 2?"]
        assert json.loads((tmp_path / "made-data" / "left_out.json").read_text())[0]["number"] == 2
