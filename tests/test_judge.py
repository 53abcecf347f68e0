"""A judge over HTTP: scores and winners in its texts, both orders, bad answers, runs resumed."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from chat_server import ChatServer, chatting
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.cli import main
from tinygrad_llm.client import ChatClient, ChatError, Limits
from tinygrad_llm.evaluation.judge import Judge, as_questions
from tinygrad_llm.evaluation.verdicts import parse_score, parse_verdict

QUESTIONS = [
    {"instruction": f"Question {i}?", "input": "more" * (i % 2), "output": f"right {i}",
     "one": f"right {i}" if i % 3 else "wrong", "two": "wrong" + "." * (i % 3 == 0)}
    for i in range(6)
]  # fmt: skip


@pytest.fixture
def server():
    with chatting() as running:
        yield running


def judge_of(server, tmp_path=None, **options):
    limits = Limits(attempts=2, timeout=0.3, time_limit=0.6)
    client = ChatClient(server.address, "judge", limits=limits, cache=tmp_path,
                        sleep=lambda seconds: None)  # fmt: skip
    return Judge(client, **options)


def section(text, name):
    return text.partition(f"<{name}>\n")[2].partition(f"\n</{name}>")[0]


# -------------------------------------------------------------------------- what a text says
@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("85", 85), ("Score: 85", 85), ("**Score:** 85/100", 85), ("I'd score it 90.", 90),
        ("The answer has 3 errors of 7. Score: 40", 40), ("85 out of 100, 2 facts are off", 85),
        ("On a scale from 0 to 100, this is a 70.", 70), ("0-100: 70", 70), ("[[61.5]]", 61.5),
        ("Rating: [[5]]. No: [[6]]", 6), ("【7】", 7),
        ("評価：８５点", 85), ("スコアは70です。", 70), ("0", 0),
        ("100/100", 100), ("<think>maybe 20? or 30</think>\nScore: 50", 50), ("10, yes: 10", 10),
        ("Score: 85/100 because of 2 slips", 85), ("-5", None), ("Score: -5", None), ("", None),
        ("Score: 101", None), ("good", None), ("between 40 and 60", None), ("3 of 7", None),
        ("<think>Score: 40", None), ("1.000.000", None), ("GPT4 says so", None), ("v2.5x", None),
    ],
)  # fmt: skip
def test_scores_in_texts(text, score):
    assert parse_score(text) == score


def test_scales():
    assert parse_score("8/10", 1, 10) == 8 and parse_score("0", 1, 10) is None
    assert parse_score("On a scale of 1 to 10: 7", 1, 10) == 7
    with pytest.raises(ValueError, match="below"):
        parse_score("1", 5, 5)


@given(st.integers(0, 100), st.sampled_from(["{}", "Score: {}", "I say {}/100", "x [[{}]] y 3"]))
def test_every_score_is_read(n, text):
    assert parse_score(text.format(n)) == n


@given(st.text("0123456789./-[]: Score", max_size=20))
def test_scores_stay_on_the_scale(text):
    score = parse_score(text)
    assert score is None or 0 <= score <= 100


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("A is better. [[A]]", 1), ("[[A]] no, [[B]]", 0), ("[[C]]", 0.5), ("[[2]]", 0), ("b", 0),
        ("Answer: **A**", 1), ("A is good, B is better", None), ("", None), ("[[D]]", None),
        ("<think>[[A]]", None), ("<think>[[A]]</think>[[B]]", 0),
    ],
)  # fmt: skip
def test_verdicts_in_texts(text, vote):
    assert parse_verdict(text) == vote


@pytest.mark.parametrize(("name", "mean"), [("sft", 5.3), ("dpo", 5.75)])
def test_stored_judges_are_read_as_flexeval_read_them(name, mean):
    path = data_file(f"evaluation/flexeval-vicuna-judge-{name}.jsonl")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    scores = [parse_score(row["llm_score_output"], 1, 10) for row in rows]
    assert scores == [row["llm_score"] for row in rows]
    assert float(np.mean(scores)) == mean


def test_stored_verdicts_are_read_as_flexeval_read_them():
    path = data_file("evaluation/flexeval-vicuna-pairwise-judge.jsonl")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    votes = [parse_verdict(row["rationale"]) for row in rows]
    expected = [{"model1": 1.0, "model2": 0.0}.get(row["winner"], 0.5) for row in rows]
    assert votes == expected and len(rows) == 160


# -------------------------------------------------------------------------------- a judge
def test_absolute_scores(server):
    def reply(messages):
        text = messages[-1]["content"]
        right = section(text, "answer_to_grade") == section(text, "correct_answer")
        return "Score: 90" if right else "Score: 20"

    server.reply = reply
    judge = judge_of(server)
    scores = judge.score(QUESTIONS, "one")
    assert scores.scores == [20, 90, 90, 20, 90, 90] and scores.unread == 0
    assert scores.interval().value == pytest.approx(400 / 6) and 50 in scores.interval()
    assert section(server.questions[1], "task") == "Question 1?\n\nmore"
    server.script = ["no idea", "Score: 900", "Score: 0"]
    scores = judge.score(QUESTIONS[:3], "one")
    assert scores.scores == [None, None, 0] and scores.unread == 2 and scores.read == [0]
    server.script = ["hm"]
    assert math.isnan(judge.score(QUESTIONS[:1], "one").interval().value)


def test_pairs_in_both_orders(server):
    def reply(messages):
        text = messages[-1]["content"]
        right = section(text, "correct_answer")
        a, b = section(text, "answer_a") == right, section(text, "answer_b") == right
        return "[[A]]" if a >= b else "[[B]]"  # prefers what it reads first

    server.reply = reply
    votes = judge_of(server).compare(QUESTIONS, "one", "two")
    assert votes.votes == [0.5, 1, 1, 0.5, 1, 1] and votes.disagreed == 2
    assert votes.win_rates() == {"one": 5 / 6, "two": 1 / 6}
    assert votes.win_rate().value == pytest.approx(5 / 6)
    assert votes.bradley_terry()["one"] == pytest.approx(1000 + 200 * math.log10(5))
    assert votes.elo()["one"] > 1000
    server.script = ["[[A]]", "who knows", "[[C]]", "[[C]]"]
    votes = judge_of(server).compare(QUESTIONS[:2], "one", "two")
    assert votes.votes == [None, 0.5] and votes.unread == 1 and votes.disagreed == 0
    with pytest.raises(ValueError, match="itself"):
        judge_of(server).compare(QUESTIONS, "one", "one")


def test_entries_that_cannot_be_judged():
    for value, message in {
        "{}": "a list", "[]": "a list", "[1]": "entry 0", '[{"instruction": "a"}]': "'output'",
        '[{"instruction": "a", "output": "b", "input": 3, "x": "y"}]': "input is not",
        '[{"instruction": "a", "output": "b"}]': "no text 'x'",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            as_questions(json.loads(value), ["x"])


def test_a_run_that_broke_asks_only_for_the_rest(server, tmp_path):
    server.reply = lambda messages: "Score: 50"
    server.script = ["Score: 1", "Score: 2", 503, 503]
    with pytest.raises(ChatError, match=r"request 3 of 6: .*503"):
        judge_of(server, tmp_path).score(QUESTIONS, "one")
    judge = judge_of(server, tmp_path)
    assert judge.score(QUESTIONS, "one").scores == [1, 2, 50, 50, 50, 50]
    assert len(server.requests) == 4 + 4 and judge.client.usage.cached == 2


# ------------------------------------------------------------------------------ the command
@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers.json").write_text(json.dumps(QUESTIONS))

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main(["judge", *map(str, arguments)])
        shown = capsys.readouterr()
        return done.value.code or 0, shown.out, shown.err

    return call


def test_the_command_scores_and_resumes(cli, server, tmp_path):
    server.reply = lambda messages: (
        "Score: 80" if "right" in section(messages[-1]["content"], "answer_to_grade") else "hm"
    )
    server.script = ["Score: 70", 400]
    arguments = ["answers.json", "--server", server.address, "--model", "m", "--out", "judged"]
    code, out, err = cli(*arguments)
    assert code == 2 and "request 2 of 6" in err and "same command" in err
    code, out, err = cli(*arguments, "--price-read", 1, "--price-written", 2)
    assert code == 0, err
    assert "11 requests" in out and "1 from the cache" in out and "cost" in out
    result = json.loads((tmp_path / "judged" / "results.json").read_text())
    assert result["scores"]["one"]["scores"] == [70, 80, 80, None, 80, 80]
    assert result["scores"]["two"]["unread"] == 6 and "no score" in out
    n = len(server.requests)
    code, again, _ = cli(*arguments)
    assert code == 0 and len(server.requests) == n and "0 requests" in again
    server.reply = lambda messages: (
        f"Score: {section(messages[-1]['content'], 'answer_to_grade')[-1]}"
    )
    code, out, _ = cli(*arguments, "--baseline", "--limit", 3, "--model", "other")
    assert code == 0 and "(correct answer): 1.000 [" in out and "(answer of another): 1.000" in out
    assert cli(*arguments, "--baseline", "--pairwise")[0] == 2


def test_the_command_compares(cli, server):
    server.reply = lambda messages: (
        "[[A]]" if "right" in section(messages[-1]["content"], "answer_a") else "[[B]]"
    )
    arguments = ["answers.json", "--server", server.address, "--model", "m", "--pairwise"]
    code, out, err = cli(*arguments, "--plan")
    assert code == 0 and "12 requests" in out and not server.requests
    code, out, err = cli(*arguments)
    assert code == 0, err
    assert "one" in out and "0.833" in out and "Bradley-Terry" in out and "Elo" in out
    code, out, err = cli(*arguments, "--protocol", "ollama", "--answers", "two", "--answers", "one")
    assert code == 0 and len(server.requests) == 24 and "0.167" in out


def test_the_command_refuses(cli, server, monkeypatch):
    common = ["answers.json", "--server", server.address, "--model", "m"]
    for more, message in {
        ("--scale", "5"): "--scale", ("--scale", "9-3"): "--scale", ("--limit", "0"): "--limit",
        ("--answers", "three"): "'three'", ("--protocol", "x"): "--protocol",
        ("--pairwise", "--answers", "one"): "two answers", ("--key", "A_KEY"): "A_KEY",
        ("--price-read", "-1"): "price", ("--budget", "1"): "--price",
        ("--price-read", "1e9", "--budget", "1"): "more than",
    }.items():  # fmt: skip
        code, _, err = cli(*common, *more)
        assert code == 2 and message in err, (more, err)
    assert not server.requests
    for name in ("missing.json", "/dev/null"):
        assert cli(name, *common[1:])[0] == 2
    server.script = [ChatServer.CLOSE] * 9
    assert cli(*common, "--attempts", 1)[0] == 2
