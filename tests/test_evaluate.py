"""Questions in three ways, reports with baselines, and the command that measures a model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm.cli import evaluate as evaluate_module
from tinygrad_llm.cli import main
from tinygrad_llm.evaluation import continuation_scores, measure_text, reports
from tinygrad_llm.evaluation.questions import (
    Item,
    Words,
    answer_choices,
    answer_texts,
    choice_prompt,
    parse_letter,
    prompt_of,
    right,
)
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

TOKENIZER = CharTokenizer.train("Question: Answer:ABC. abcdefgh?\n")
ITEMS = [
    Item.of_choices(f"{a}{b}?", [a, b + a, "c" * n], n % 3)
    for n, (a, b) in enumerate(["ab", "bc", "cd", "de", "ef"], start=1)
]


@pytest.fixture(scope="module")
def model():
    tg.manual_seed(4)
    made = GPT(GPTConfig(vocab_size=TOKENIZER.vocab_size, context_length=96, emb_dim=8, n_heads=2,
                         n_layers=1, drop_rate=0.5))  # fmt: skip
    for p in made.parameters():
        p.data = p.data * 6
    return made


def test_prompts():
    assert choice_prompt(ITEMS[0], Words()) == "Question: ab?\nA. a\nB. ba\nC. c\nAnswer:"
    words = Words("問題：", "回答：")
    shown = prompt_of(ITEMS[0], ITEMS[1:2], words, False)
    assert shown == "問題：bc?\n回答： cc\n\n問題：ab?\n回答："
    assert "Answer: C\n\nQuestion" in prompt_of(ITEMS[0], ITEMS[1:2], Words(), True)
    with pytest.raises(ValueError, match="one of 1 choices"):
        Item.of_choices("?", ["a"], 1)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", 1), ("B. dog", 1), ("(C)", 2), ("The answer is C because", 2), ("Ｂ。", 1),
        ("A dog", None), ("Bad", None), ("", None), ("D", None), ("D. or B.", 1), ("It's B", 1),
        ("answer: **A** is", 0),
    ],
)  # fmt: skip
def test_letters_in_texts(text, letter):
    assert parse_letter(text, 3) == letter


def test_three_ways_to_choose(model):
    shots = ITEMS[3:]
    items = ITEMS[:3]
    by_letter = answer_choices(model, TOKENIZER, items, "log_prob", shots=shots[:1])
    by_text = answer_choices(model, TOKENIZER, items, "teacher_forcing", shots=shots)
    for item, letter, text in zip(items, by_letter, by_text, strict=True):
        prompt = prompt_of(item, shots[:1], Words(), True)
        scores = continuation_scores(model, TOKENIZER, [(prompt, f" {c}") for c in "ABC"])
        assert letter == int(np.argmax([s.log_prob for s in scores]))
        prompt = prompt_of(item, shots, Words(), False)
        pairs = [(prompt, f" {c}") for c in item.choices]
        values = [
            s.log_prob / len(c) for s, (_, c) in
            zip(continuation_scores(model, TOKENIZER, pairs), pairs, strict=True)
        ]  # fmt: skip
        assert text == int(np.argmax(values))
    written = answer_choices(model, TOKENIZER, items, "letter")
    assert all(answer in (None, 0, 1, 2) for answer in written)
    assert right([None, 2, items[2].label], items).tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="no method 'x'"):
        answer_choices(model, TOKENIZER, items, "x")
    with pytest.raises(ValueError, match="no choices"):
        answer_choices(model, TOKENIZER, [Item("a", "b")], "letter")


def test_written_answers_are_greedy_and_one_line(model):
    (text,) = answer_texts(model, TOKENIZER, ITEMS[:1], max_new_tokens=12)
    prompt = prompt_of(ITEMS[0], (), Words(), False)
    ids = generate(model, TOKENIZER.encode(prompt), 12)
    whole = TOKENIZER.decode(ids.tolist())[len(prompt) :]
    assert text == whole.lstrip().partition("\n")[0].strip() and "\n" not in text


@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=9), st.integers(1, 5))
def test_parts_are_the_text(lines, n):
    text = "\n".join(lines) + "\n"
    parts = reports.parts_of(text, n)
    assert "".join(parts) == text and len(parts) <= n


def test_figures_of_a_text(model):
    text = "abc. \n" * 40 + "Question?\n" * 9
    parts = reports.parts_of(text)
    rows = reports.text_rows(model, TOKENIZER, parts, window=20)
    each = [measure_text(model, TOKENIZER, part, window=20) for part in parts]
    nats = sum(one.nats for one in each)
    n_bytes, tokens = (sum(getattr(one, n) for one in each) for n in ("n_bytes", "n_tokens"))
    figure = reports.report(rows, None, reports.bits_per_byte).score
    assert figure.value == pytest.approx(nats / math.log(2) / n_bytes)
    assert figure.low < figure.value < figure.high
    assert reports.perplexity(rows) == pytest.approx(math.exp(nats / tokens))
    assert 0 < reports.compressed_bits_per_byte(text) < 2
    same = reports.report(rows, rows, reports.bits_per_byte).difference
    assert same.value == same.low == same.high == 0
    alone = reports.report(rows[:1], rows[:1], reports.bits_per_byte)
    assert math.isnan(alone.score.low) and math.isnan(alone.difference.value)


def test_baselines():
    rows = reports.choice_baselines(ITEMS)
    assert rows["chance"].tolist() == [1 / 3] * 5
    assert rows["always 2."].mean() == 2 / 5


# ------------------------------------------------------------------------------- the command
@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Data files and, as "one" and "two", a model that has learned the text and one that has not.

    tests/test_fuzz_options.py runs the command on a run of pretrain.
    """
    lines = [f"Question: {c}?\nA. {c}\nB. x\nAnswer: {'AB'[i % 2]}\n\n"
             for i, c in enumerate("abcdefgh" * 9)]  # fmt: skip
    (tmp_path / "text.txt").write_text("".join(lines))
    rows = [{"question": f"{c}?", "choice0": c, "choice1": "x", "label": i % 2}
            for i, c in enumerate("abcdefgh")]  # fmt: skip
    (tmp_path / "choices.jsonl").write_text("\n".join(map(json.dumps, rows)))
    answers = [{"question": f"{c}?", "answer": c} for c in "abcdefgh"]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    tokenizer = CharTokenizer.train("".join(lines))
    sizes = GPTConfig(vocab_size=tokenizer.vocab_size, context_length=64, emb_dim=16, n_heads=2,
                      n_layers=1, drop_rate=0.0)  # fmt: skip
    tg.manual_seed(1)
    one, two = GPT(sizes), GPT(sizes)
    optimizer = tg.optim.AdamW(one.parameters(), lr=0.02)
    ids = tg.tensor([tokenizer.encode("".join(lines[i : i + 3]))[:60] for i in range(6)])
    for _ in range(20):
        optimizer.zero_grad()
        logits = one(ids[:, :-1])
        tg.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    models = {"one": one, "two": two}
    monkeypatch.setattr(
        evaluate_module,
        "_load",
        lambda name, device: evaluate_module._Model(name, models[name], tokenizer),
    )
    return tmp_path


def run(folder, capsys, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as done:
        main(["evaluate", *map(str, arguments)])
    shown = capsys.readouterr()
    return done.value.code or 0, shown.out, shown.err


def test_the_command(folder, capsys, monkeypatch):
    code, out, err = run(folder, capsys, monkeypatch, "one", "--data", "text.txt", "--against",
                         "two", "--window", 32, "--stride", 16)  # fmt: skip
    assert code == 0, err
    assert "bits per byte" in out and "not chance" in out and "LZMA" in out and "perplexity" in out
    code, out, err = run(folder, capsys, monkeypatch, "one", "--task", "choice", "--data",
                         "choices.jsonl", "--shots", 2, "--against", "one")  # fmt: skip
    assert code == 0, err
    for word in ("letter", "log_prob", "teacher_forcing", "chance", "may be chance", "6, after 2"):
        assert word in out
    assert "longer than one's context" in out
    for data in ("answers.json", "choices.jsonl"):
        code, out, err = run(folder, capsys, monkeypatch, "one", "--task", "answer", "--data", data,
                             "--limit", 3)  # fmt: skip
        assert code == 0, err
        assert "exact_match" in out and "set_f1" in out and "commonest answer" in out


def test_what_the_command_refuses(folder, capsys, monkeypatch):
    (folder / "empty.txt").write_text(" \n")
    (folder / "other.txt").write_text("日本語")
    for more, message in {
        ("--task", "x"): "--task", ("--method", "x"): "--method", ("--shots", "-1"): "--shots",
        ("--limit", "0"): "--limit", ("--window", "65"): "window must be from 1 to 64",
        ("--stride", "0"): "--stride", ("--data", "empty.txt"): "is empty",
        ("--data", "missing.txt"): "missing.txt", ("--task", "choice"): "--data",
        ("--task", "answer", "--data", "answers.json", "--shots", "8"): "--shots",
        ("--task", "choice", "--data", "answers.json"): "choice0", ("--data", "other.txt"): "日",
    }.items():  # fmt: skip
        code, _, err = run(folder, capsys, monkeypatch, "one", "--data", "text.txt", *more)
        assert code == 2 and message in err, (more, err)


def test_a_missing_column_names_no_flag_that_is_not_there(capsys, tmp_path):
    (tmp_path / "a.json").write_text('[{"question": "a", "reply": "b"}]', encoding="utf-8")
    command = ["evaluate", "smollm2-135m-instruct", "--task", "answer", "--data"]
    with pytest.raises(SystemExit, match="2"):
        main([*command, str(tmp_path / "a.json")])
    error = capsys.readouterr().err
    assert "has no column 'answer'; it has question, reply" in error and "--answer" not in error
