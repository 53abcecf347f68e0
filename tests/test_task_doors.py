"""What the commands and calls of the tasks say of data, options and texts that cannot be used."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import finetune
from tinygrad_llm.cli import main
from tinygrad_llm.evaluation import bootstrap
from tinygrad_llm.files import json_files
from tinygrad_llm.finetune import TaskModel
from tinygrad_llm.finetune.files import read_columns, read_labelled
from tinygrad_llm.finetune.pairs import PairModel, character_tokenizer
from tinygrad_llm.finetune.runs.encoders import need_different_labels
from tinygrad_llm.finetune.runs.tables import begin_table, table_options
from tinygrad_llm.finetune.sequences.writing import most_tokens
from tinygrad_llm.finetune.table_options import CompareOptions, VariationsOptions
from tinygrad_llm.generation import fill_mask
from tinygrad_llm.generation.options import Beams
from tinygrad_llm.models import (
    T5,
    Bert,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    T5Config,
    Tagger,
    Transformer,
    TransformerConfig,
    registry,
)
from tinygrad_llm.models.classifier import GPTClassifier
from tinygrad_llm.models.sentence import SentenceEncoder
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training.checkpoint import StorageError, find_checkpoint, save_checkpoint
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.settings import resolved


def refused(capsys, *arguments):
    """What a refused command says; one line."""
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    shown = capsys.readouterr().err.strip()
    assert done.value.code == 2 and "internal error" not in shown
    return shown.splitlines()[-1]


# ------------------------------------------------------------------------------------------ files
def test_files_that_are_read_whole_have_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "a long text,x\n" * 9)
    monkeypatch.setattr(json_files, "_LARGEST", 60)
    with pytest.raises(ValueError, match="has 137 bytes: too large for a file of texts"):
        read_labelled(path)


def test_nan_is_not_a_label(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"a": "x", "label": NaN}]')
    with pytest.raises(ValueError, match="'label' should be a text or a number, got nan"):
        read_columns(path, [("text_column", "a"), ("label_column", "label")])


def test_a_header_without_rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n")
    with pytest.raises(ValueError, match="has a header and no rows"):
        read_labelled(path)


@pytest.mark.parametrize(
    ("command", "flags"),
    [("translate", "--source and --target"), ("summarize", "--text-column and --summary-column")],
)
def test_a_missing_column_names_the_options_of_its_command(tmp_path, capsys, command, flags):
    path = tmp_path / "rows.csv"
    path.write_text("one,two\na,b\n")
    assert refused(capsys, "finetune", command, path).endswith(f"(choose with {flags})")
    entries = tmp_path / "rows.json"
    entries.write_text('[{"one": "a"}]')
    assert refused(capsys, "finetune", command, entries).endswith(f"(choose with {flags})")


# ----------------------------------------------------------------------------------------- labels
def test_equal_labels_correlate_with_nothing(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    rows = "".join(f"text {i},other {i},3\n" for i in range(30))
    path.write_text("sentence1,sentence2,label\n" + rows)
    assert "have the label 3: a correlation needs labels" in refused(
        capsys, "finetune", "sts", path
    )
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "".join(f"text number {i}\n" for i in range(30)))
    assert "have the label 3" in refused(capsys, "finetune", "embed", texts, "--sts", path)
    need_different_labels([])


def test_a_score_that_is_never_defined_has_no_interval():
    interval = bootstrap(np.zeros((5, 2)), lambda rows: float("nan"))
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert json_files.finite({"a": [float("nan"), 1.0, (2, float("inf"))]}) == {
        "a": [None, 1.0, [2, None]]
    }


# ----------------------------------------------------------------------------------------- tables
def test_a_table_is_resumed_with_its_own_options(tmp_path):
    options = resolved(VariationsOptions, {"most": 60, "rows": "1,2"})
    begin_table(tmp_path / "t", "variations", options)
    (tmp_path / "t" / "table.json").write_text("{}")
    stored = table_options(tmp_path / "t", "variations")
    assert stored.pop("folder") == str(tmp_path / "t")
    again = resolved(VariationsOptions, stored)
    assert dataclasses.asdict(again) == dataclasses.asdict(options)
    begin_table(tmp_path / "t", "variations", dataclasses.replace(options, rows="3"))  # more rows
    with pytest.raises(OptionError, match="holds a table of other options"):
        begin_table(tmp_path / "t", "variations", dataclasses.replace(options, most=61))
    with pytest.raises(OptionError, match="written by finetune 'variations', not by"):
        begin_table(tmp_path / "t", "compare", CompareOptions())
    assert table_options(tmp_path / "t", "variations")["rows"] == "3"


def test_options_that_failed_before_the_first_file_may_change(tmp_path):
    begin_table(tmp_path, "compare", CompareOptions(data="nothing"))
    begin_table(tmp_path, "compare", CompareOptions(data="sample"))
    assert table_options(tmp_path, "compare")["data"] == "sample"


def test_tables_stay_out_of_other_folders(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for command in ("variations", "compare"):
        assert "holds a run" in refused(capsys, "finetune", command, "sample", "--out", "run")
        shown = refused(capsys, "finetune", command, "--resume", "run")
        assert f"holds no table of finetune {command}" in shown
        refused(capsys, "finetune", command, "--resume", "missing")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["checkpoints", "run"]


def test_wrong_rows_are_refused_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rows in ("0", "20", "1,x", ""):
        assert "--rows must be numbers from 1 to 19" in refused(
            capsys, "finetune", "variations", "--rows", rows
        )
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    assert "has no column 'text'" in refused(capsys, "finetune", "variations", bad)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("summarize", "sample", "--spans", "1e9"), "--spans must be between 0 and 1,000"),
        (("embed", "sample", "--positive", "nan"), "--positive must be a finite number"),
        (("translate", "sample", "--context-length", "1"), "--context-length must be at least 2"),
        (("summarize", "sample", "--max-source", "1"), "--max-source must be at least 2, a token"),
        (("summarize", "sample", "--top-p", "0"), "--top-p must be more than 0 and less than 1"),
    ],
)
def test_options_out_of_range(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "finetune", *arguments)


# ------------------------------------------------------------------------------------------ calls
SIZES = {"context_length": 24, "emb_dim": 8, "hidden_dim": 8, "n_heads": 2, "n_layers": 1}


def pair_model(kind, n_classes):
    tokenizer = character_tokenizer(["abc def", "def abc"])
    config = BertConfig(tokenizer.vocab_size, **SIZES, n_classes=n_classes)
    return PairModel(BertForSequenceClassification(config), tokenizer, kind, 20, ("x", "y"))


def test_what_is_not_a_text_is_not_read_as_one():
    nli, sts, choice = pair_model("nli", 2), pair_model("sts", 1), pair_model("choice", 1)
    with pytest.raises(TypeError, match="a text must be a str, got NoneType"):
        finetune.infer("abc", None, nli)
    with pytest.raises(TypeError, match="a text must be a str, got NoneType"):
        finetune.rate("abc", None, sts)
    with pytest.raises(TypeError, match="answers must be a list of texts, got str"):
        finetune.choose("abc", "abc", choice)
    with pytest.raises(TypeError, match="answers must be a list of texts, got int"):
        finetune.choose("abc", 5, choice)
    best, shares = finetune.choose("abc", np.array(["abc", "def"]), choice)
    assert best in (0, 1) and abs(sum(shares) - 1) < 1e-6
    encoder = BertConfig(nli.tokenizer.vocab_size, **SIZES)
    tagger = Tagger(Bert(encoder), ["P"])
    for wrong in (5, None, ["abc"], b"abc"):
        with pytest.raises(TypeError, match="a text must be a str"):
            finetune.tag(tagger, nli.tokenizer, wrong)


def test_what_is_not_a_run():
    tokenizer = pair_model("nli", 2).tokenizer
    calls = (finetune.tag, finetune.translate, finetune.summarize, finetune.infill,
             finetune.classify, finetune.fill_mask)  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError, match="run must be the folder of a run, a Checkpoint or a"):
            call("abc", tokenizer)
        with pytest.raises(StorageError, match="holds no checkpoint"):
            call("abc", Path(__file__).parent)


def saved(folder, model, tokenizer, **settings):
    """The folder of a run that holds this model."""
    config = {"model": registry.describe(model), **settings}
    tokenizer.save(folder.with_suffix(".json"))
    files = {"tokenizer.json": folder.with_suffix(".json").read_bytes()}
    save_checkpoint(folder / "checkpoints", 1, model, {}, config, files=files)
    return folder


def test_each_call_takes_the_folder_of_a_run(tmp_path):
    torch.manual_seed(3)
    letters = character_tokenizer(["abc def", "def abc"])
    words = BPETokenizer.train("one two " * 9, 260, ["<|endoftext|>"])
    sizes, end = BertConfig(letters.vocab_size, **SIZES), words.eot_token
    pair = {**SIZES, "n_decoder_layers": 1, "start_token_id": end, "pad_token_id": end}
    masked, tagger = BertForMaskedLM(sizes), Tagger(Bert(sizes), ("person",))
    sums = Transformer(TransformerConfig(words.vocab_size, **pair))
    classes = GPTClassifier(Bert(sizes), 2, pad_token_id=0)
    rows = [
        (finetune.fill_mask, "a [MASK]", masked, letters, {}),
        (finetune.tag, "abc def", tagger, letters, {}),
        (finetune.translate, "one", sums, words, {}),
        (finetune.summarize, "one", sums, words, {}),
        (finetune.classify, "abc", classes, letters, {}),
    ]
    for call, text, model, tokenizer, settings in rows:
        run = saved(tmp_path / call.__name__, model, tokenizer, **settings)
        expected = call(model, tokenizer, text)  # the order of fill_mask
        for way in (run, str(run), find_checkpoint(run), TaskModel(model, tokenizer)):
            assert call(text, way) == expected
    run = saved(tmp_path / "named", classes, letters, classes=["ham", "spam"], max_length=4)
    name, p = finetune.classify("abc", run)
    assert name in ("ham", "spam") and finetune.classify("abc", run, names=[0, 1])[1] == p
    short = saved(tmp_path / "short", sums, words, max_source=2, max_target=3)
    expected = finetune.summarize("one two", TaskModel(sums, words), max_source=2, max_new_tokens=3)
    assert finetune.summarize("one two", short) == expected
    with pytest.raises(TypeError, match="tag needs a Tagger, got Transformer .*summarize"):
        finetune.tag("abc", tmp_path / "summarize")
    kinds = saved(tmp_path / "nli", BertForSequenceClassification(BertConfig(
        letters.vocab_size, **SIZES, n_classes=2)), letters, finetune="nli", max_length=9,
        classes=["x", "y"])  # fmt: skip
    assert finetune.infer("abc", "def", kinds) == finetune.infer(
        "abc", "def", TaskModel.load(kinds)
    )
    assert finetune.embed("abc", saved(tmp_path / "e", Bert(sizes), letters)).shape == (8,)


def test_a_run_of_another_task_writes_nothing(tmp_path):
    """A translation is not a summary: another vocabulary reads it, or the answer means nothing."""
    words = BPETokenizer.train("one two " * 9, 260, ["<|endoftext|>"])
    end = words.eot_token
    pair = {**SIZES, "n_decoder_layers": 1, "start_token_id": end, "pad_token_id": end}
    model = Transformer(TransformerConfig(words.vocab_size, **pair))
    runs = {
        name: saved(tmp_path / name, model, words, finetune=name)
        for name in ("translate", "summarize")
    }
    assert isinstance(finetune.translate("one", runs["translate"]), str)
    assert isinstance(finetune.summarize("one", runs["summarize"]), str)
    for call in (finetune.summarize, finetune.infill):
        with pytest.raises(ValueError, match="needs a run of finetune summarize, got one of"):
            call("one", runs["translate"])
    with pytest.raises(ValueError, match="translate needs a run of finetune translate, got one of"):
        finetune.translate("one", runs["summarize"])


def test_texts_of_unknown_characters_are_named():
    """Their vectors are equal, so that their cosine is 1 without meaning."""
    letters = pair_model("nli", 2).tokenizer
    encoder = Bert(BertConfig(letters.vocab_size, **SIZES))
    model = finetune.SentenceEmbedder(SentenceEncoder(encoder), letters)
    with pytest.warns(UserWarning, match="2 of 3 texts have only characters .* such as '猫'"):
        finetune.embed(["猫", "abc", "犬犬"], model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finetune.embed(["猫a", "[MASK]"], model)


def test_an_empty_text_is_named_without_a_row():
    with pytest.raises(ValueError, match="^the text '' has no tokens"):
        finetune.infer("abc", "", pair_model("nli", 2))
    encoder = SentenceEncoder(Bert(BertConfig(pair_model("nli", 2).tokenizer.vocab_size, **SIZES)))
    model = finetune.SentenceEmbedder(encoder, pair_model("nli", 2).tokenizer)
    with pytest.raises(ValueError, match="^the text '' has no tokens"):
        finetune.embed("", model)
    with pytest.raises(ValueError, match="^text 1: the text '' has no tokens"):
        finetune.embed(["abc", ""], model)


def test_what_embed_takes():
    pairs = pair_model("nli", 2)
    encoder = Bert(BertConfig(pairs.tokenizer.vocab_size, **SIZES))
    model = finetune.SentenceEmbedder(SentenceEncoder(encoder), pairs.tokenizer)
    for wrong in (5, None, b"abc"):
        with pytest.raises(TypeError, match="texts must be a text or a list of them"):
            finetune.embed(wrong, model)
    assert finetune.embed((t for t in ("abc", "def")), model).shape == (2, 8)


def test_numbers_of_tokens():
    tokenizer = BPETokenizer.train("one two " * 9, 260, ["<|endoftext|>"])
    end = tokenizer.eot_token
    torch.manual_seed(0)
    sizes = {**SIZES, "n_decoder_layers": 1, "head_dim": 4}
    config = T5Config(tokenizer.vocab_size, **sizes, start_token_id=end, pad_token_id=end)
    model = T5(config)
    for wrong, kind in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(kind, match="max_source must be"):
            finetune.summarize(model, tokenizer, "one", max_source=wrong)
    assert most_tokens(model, 10**9) == most_tokens(model, None) == 23
    assert most_tokens(model, 5) == 5
    finetune.summarize(model, tokenizer, "one", max_new_tokens=10**9)  # ends at the context


def test_fill_mask_wants_a_text():
    pairs = pair_model("nli", 2)
    model = BertForMaskedLM(BertConfig(pairs.tokenizer.vocab_size, **SIZES))
    for wrong in (5, None, ["[MASK]"]):
        with pytest.raises(TypeError, match="a text must be a str"):
            fill_mask(model, pairs.tokenizer, wrong)
    for wrong in (1.5, None, True):
        with pytest.raises(TypeError, match="top_k must be an integer"):
            fill_mask(model, pairs.tokenizer, "a", wrong)


def test_a_tokenizer_of_another_model():
    pairs = pair_model("nli", 2)
    n = pairs.tokenizer.vocab_size
    sizes = BertConfig(n - 1, **SIZES)
    with pytest.raises(ValueError, match=f"has {n} tokens and the model {n - 1}: take the token"):
        fill_mask(BertForMaskedLM(sizes), pairs.tokenizer, "a [MASK]")
    tagger = Tagger(Bert(sizes), ("person",))
    small = Transformer(TransformerConfig(n - 1, **SIZES, n_decoder_layers=1))
    classes = GPTClassifier(Bert(sizes), 2, pad_token_id=0)
    for call, model in (
        (finetune.tag, tagger), (finetune.translate, small), (finetune.summarize, small),
        (finetune.infill, small), (finetune.classify, classes),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"has {n} tokens and the model {n - 1}: take the "):
            call(model, pairs.tokenizer, "abc")
    own = TransformerConfig(n, source_vocab_size=n - 1, **SIZES, n_decoder_layers=1)
    with pytest.raises(ValueError, match=f"has {n} tokens and the model {n - 1}: take the token"):
        finetune.translate(Transformer(own), (pairs.tokenizer, pairs.tokenizer), "abc")
    with pytest.raises(ValueError, match=f"has {n} tokens and the model {n - 1}: take the token"):
        finetune.embed(
            "abc", finetune.SentenceEmbedder(SentenceEncoder(Bert(sizes)), pairs.tokenizer)
        )
    with pytest.raises(ValueError, match=f"has {n} tokens and the model {n - 1}: take the token"):
        nli = BertForSequenceClassification(BertConfig(n - 1, **SIZES, n_classes=2))
        finetune.infer("abc", "def", PairModel(nli, pairs.tokenizer, "nli", 20, ("x", "y")))


def test_beams_have_a_limit():
    with pytest.raises(ValueError, match="num_beams must be at most 4,096, got 1,000,000,000"):
        Beams(10**9)
