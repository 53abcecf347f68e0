"""Summaries: the data, one call, holes filled, and the command from data to table."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import finetune, models
from tinygrad_llm.cli import main
from tinygrad_llm.data.docstrings import docstrings
from tinygrad_llm.finetune import runs
from tinygrad_llm.finetune.sequences import PairDataset, sequence_trainer
from tinygrad_llm.finetune.summaries import data as summaries_data
from tinygrad_llm.finetune.summaries import reports
from tinygrad_llm.finetune.summaries.call import sentinel, sentinels_of
from tinygrad_llm.finetune.summaries.data import (
    add_spans,
    docstring_parts,
    restored_sentences,
)
from tinygrad_llm.finetune.summaries.report import cut_for, first_words
from tinygrad_llm.text import END_OF_TEXT, BPETokenizer

TINY = ["--emb-dim", "16", "--n-heads", "2", "--context-length", "40", "--steps", "3",
        "--test-texts", "6", "--max-target", "8", "--beams", "2", "--batch-tokens", "400",
        "--val-fraction", "0.01"]  # fmt: skip


# ------------------------------------------------------------------------------------- the data
SOURCE = '''"""What the module is for.

Much more about it.
"""

class TreeNode:
    """A node of a tree."""

    def addChild(self, new_child, *, at=0):
        """Put a child
        below the node.

        Parameters
        ----------
        at: the place
        """
'''


def test_docstrings_of_a_file(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "trees.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "pack" / "tests").mkdir()
    (tmp_path / "pack" / "tests" / "test_trees.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "old.py").write_text("print 'Python 2'", encoding="utf-8")
    assert [tuple(row) for row in docstrings(tmp_path, "my")] == [
        ("my.pack", "module trees", "What the module is for.", "Much more about it."),
        ("my.pack", "class tree node", "A node of a tree.", ""),
        ("my.pack", "add child (new child, at)", "Put a child below the node.",
         "Parameters at: the place"),
    ]  # fmt: skip


def test_no_module_is_in_two_parts(monkeypatch):
    row = summaries_data.Docstring
    rows = [row(f"python.m{i % 20}", f"f {i}", f"Does {i} and {i}.", "more" if i % 3 else "")
            for i in range(300)]  # fmt: skip
    monkeypatch.setattr(summaries_data, "python_docstrings", lambda: rows)
    train, val, test = docstring_parts(0.1, 0.2)
    group = {summary: int(summary.split()[1]) % 20 for part in (train, val, test)
             for _, summary in part}  # fmt: skip
    parts = [{group[summary] for _, summary in part} for part in (train, val, test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert 0 < len(val) <= 20 and len(val) < len(test) <= 40
    assert all(text.endswith("more") for text, _ in val + test)  # the others are for training
    assert any(text.endswith(":") for text, _ in train)


def test_restored_sentences_are_the_sentences():
    pairs = [("f (x): One two three four five six. Seven.", "A b c d e f g h i j."),
             ("富士山は日本で最も高い山である。", "山")]  # fmt: skip
    rows = dict(restored_sentences(pairs, 5.0, 0))
    assert sorted(rows.values()) == sorted(
        ["One two three four five six.", "A b c d e f g h i j.", "富士山は日本で最も高い山である。"]
    )
    for shown, whole in rows.items():
        left = [part for part in shown.split("_") if part.strip()]
        assert len(left) < len(whole) and all(part.strip() in whole for part in left)
    assert len(restored_sentences(pairs, 0.5, 0)) == 1


def test_reports_are_different_and_stay_the_same():
    rows = reports(50)
    assert rows == reports(60)[:50] and len(dict(rows)) == 50
    assert rows[0][1].split(" in ")[0].lower() in rows[0][0].lower()
    with pytest.raises(ValueError, match="between 1 and"):
        reports(10**6)


def tokenizer_of(texts, holes=4):
    return BPETokenizer.train(texts, 257 + holes, (END_OF_TEXT, *map(sentinel, range(holes))))


def test_spans_stand_behind_the_pairs():
    texts = ["the cat sat on the mat and slept", "a dog ran over the green field today"]
    tokenizer = tokenizer_of(texts)
    end = tokenizer.eot_token
    pairs = PairDataset([(text, "x") for text in texts], tokenizer, tokenizer, (end, end))
    assert add_spans(pairs, sentinels_of(tokenizer), end, 1.5, 0) == 3
    assert len(pairs) == 5 == len(pairs.lengths) and pairs[2][0][-1] == pairs[2][1][-1] == end
    added = [pairs[i] for i in (2, 3, 4)]
    assert pairs.lengths[2:].tolist() == [[len(a), len(b)] for a, b in added]


# ------------------------------------------------------------------------- one call for each task
@pytest.fixture(scope="module")
def trained():
    """A model that learned three texts by heart: their summary, and the word in their hole."""
    rows = [("red red blue", "red"), ("blue blue red", "blue"), ("green red green", "green")]
    holes = [(f"{sentinel(0)} {b}", f"{sentinel(0)} {a}")
             for a, b in (("sun", "shine"), ("rain", "fall"), ("snow", "flake"))]  # fmt: skip
    tokenizer = tokenizer_of([word for row in (*rows, *holes) for word in row] * 3)
    end = tokenizer.eot_token
    tg.manual_seed(0)
    config = models.T5Config(
        vocab_size=tokenizer.vocab_size, context_length=24, emb_dim=32, hidden_dim=64, n_layers=1,
        n_decoder_layers=1, n_heads=2, head_dim=16, drop_rate=0.0, start_token_id=end,
        pad_token_id=end,
    )  # fmt: skip

    class AsHoles:
        def encode(self, text):
            return tokenizer.encode(text, allowed_special="all")

    data = PairDataset([*rows, *holes], AsHoles(), AsHoles(), (end, end))
    model = models.T5(config)
    sequence_trainer(model, data, steps=150, batch_size=6, lr=1e-2, progress=False).run()
    return model, tokenizer


def test_summarize(trained):
    assert finetune.summarize(*trained, "red red blue") == "red"
    assert finetune.summarize(*trained, "blue blue red", num_beams=3) == "blue"
    drawn = {finetune.summarize(*trained, "green red", temperature=0.5, seed=1) for _ in "ab"}
    assert len(drawn) == 1
    long = finetune.summarize(*trained, "red " * 200, max_new_tokens=2)  # it is cut
    assert isinstance(long, str)


def test_infill(trained):
    result = finetune.infill(*trained, "<extra_id_0> fall")
    assert result.spans[0].strip() == "rain" and result.text.split() == ["rain", "fall"]
    two = finetune.infill(*trained, "<extra_id_0> fall <extra_id_1>")
    assert len(two.spans) == 2 and "extra_id" not in two.text


def test_infill_says_what_is_wrong(trained):
    model, tokenizer = trained
    for text in ("no hole", "<extra_id_1> first", "<extra_id_0> <extra_id_0>"):
        with pytest.raises(ValueError, match="in this order"):
            finetune.infill(model, tokenizer, text)
    plain = BPETokenizer.train("a text a text", 257)
    with pytest.raises(ValueError, match="has no <extra_id_0>"):
        finetune.infill(model, plain, "<extra_id_0> a")
    with pytest.raises(ValueError, match="no token that ends"):
        finetune.summarize(model, BPETokenizer.train("a text a text", 256, ()), "a")


# ---------------------------------------------------------------------------------- the baselines
def test_baselines_and_cuts():
    assert first_words(["a b c d", "e"], 2, "words") == ["a b", "e"]
    assert first_words(["富士山は"], 3, "char") == ["富士山"]
    assert (
        cut_for(["Mount Fuji", "is high!"]) == "words"
        and cut_for(["富士山", "NHKの番組"]) == "char"
    )


# ------------------------------------------------------------------------------------ the command
def call(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    shown = capsys.readouterr()
    return done.value.code or 0, shown.out, shown.err


def test_the_command_from_data_to_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, shown, error = call(
        capsys, "finetune", "summarize", "sample", *TINY, "--spans", "0.5", "--no-bert-score",
        "--out", "run",
    )  # fmt: skip
    assert code == 0, error
    rows = ["first 6 words", "of the nearest text", "greedy", "2 beams", "sampling",
            "top-k, k = 20", "top-p, p = 0.9"]  # fmt: skip
    assert all(row in shown for row in rows) and "sentences with gaps" in shown
    assert "greedy - of the nearest text: ROUGE-L -" in shown
    scores = json.loads((tmp_path / "run" / "test.json").read_text())["scores"]
    assert list(scores) == rows and scores["greedy"]["rougeL"]["low"] <= 1.0
    texts = json.loads((tmp_path / "run" / "summaries.json").read_text())
    assert len(texts) == 6 and set(rows) < set(texts[0])
    assert (tmp_path / "run" / "ways.png").stat().st_size > 5000
    code, answer, error = call(capsys, "finetune", "ask", "run", "The mayor in Arden lost a boat.")
    assert code == 0, error


@pytest.mark.slow
def test_a_run_continues_with_the_same_sentences(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for more in (["sample", *TINY, "--spans", "0.5", "--out", "run"], ["--resume", "run"]):
        steps = ["--steps", "4"] if "--resume" in more else []
        code, _, error = call(capsys, "finetune", "summarize", *more, *steps, "--no-bert-score")
        assert code == 0, error


def test_data_in_japanese_is_scored_by_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"{i}番目の山は高い。雪がある。", "title": f"山{i}"} for i in range(40)]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "pages.jsonl").write_text(lines, encoding="utf-8")
    code, shown, error = call(
        capsys, "finetune", "summarize", "pages.jsonl", "--summary-column", "title", *TINY[:-2],
        "--val-fraction", "0.1",
    )  # fmt: skip
    assert code == 0, error
    assert "first 3 letters" in shown or "first 2 letters" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.csv"], "nothing.csv"),
        (["sample", "--cut", "mecab"], "words, char, ja-mecab"),
        (["sample", "--n-heads", "3"], "multiple of"),
        (["sample", "--val-fraction", "0.6", "--test-fraction", "0.5"], "nothing to train on"),
    ],
)
def test_bad_options(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, error = call(capsys, "finetune", "summarize", *arguments, "--plan")
    assert code == 2 and words in error


def test_ways_of_a_run_are_those_of_its_options():
    run = runs.Summarize.options
    assert {"beams", "top_k", "top_p", "temperature", "spans", "restore"} <= set(vars(run()))
    assert np.isclose(run().top_p, 0.9)
