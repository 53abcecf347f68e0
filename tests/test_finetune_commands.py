"""tinygrad-llm finetune as people type it: what it prints and leaves, what it says when wrong."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data import data_file

import tinygrad_llm
import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.finetune.options import ClassifyOptions
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTClassifier, GPTConfig, save_pretrained
from tinygrad_llm.text import load_tokenizer
from tinygrad_llm.training import find_checkpoint, read_metrics
from tinygrad_llm.training.checkpoint import checkpoints_in
from tinygrad_llm.training.settings import resolved

ROOT = Path(tinygrad_llm.__file__).parent.parent
COLOURS = ["red", "blue", "green", "pink", "gold"]
ENTRIES = [
    {"instruction": f"Say {i}.", "input": COLOURS[i % 5], "output": f"It is {COLOURS[i % 5]}."}
    for i in range(40)
]
PAIRS = [
    {**e, "chosen": e["output"], "rejected": f"No {e['input']} at all!"} for e in ENTRIES
]  # fmt: skip
ROWS = [
    (f"number {i} is {'large and red' if i % 2 else 'small and blue'}", "even odd".split()[i % 2])
    for i in range(60)
]
TINY = [
    *("--vocab-size", 280, "--context-length", 32, "--emb-dim", 16, "--n-heads", 2),
    *("--n-layers", 1),
]
TEXT = "".join(f"{e['instruction']} {e['input']} {e['output']} ### Response:\n" for e in ENTRIES)


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    shown = capsys.readouterr()
    return done.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data files, a pretrained base and an instruction run."""
    folder = tmp_path_factory.mktemp("finetune")
    before = os.getcwd()
    os.chdir(folder)
    try:
        Path("text.txt").write_text(TEXT)
        Path("entries.json").write_text(json.dumps(ENTRIES))
        Path("pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
        with open("rows.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *ROWS])
        for arguments in (
            ["pretrain", "text.txt", "--out", "runs/base", "--steps", 6, "--vocab-size", 280,
             "--context-length", 160, "--emb-dim", 16, "--n-heads", 2, "--n-layers", 1],
            ["pretrain", "text.txt", "--out", "runs/char", "--steps", 2, "--tokenizer", "char",
             "--context-length", 160, "--emb-dim", 16, "--n-heads", 2, "--n-layers", 1],
            ["finetune", "instruct", "entries.json", "--base", "runs/base", "--epochs", 2,
             "--out", "runs/tuned", "--answer-tokens", 5],
            ["finetune", "classify", "rows.csv", "--epochs", 6, "--out", "runs/classes", *TINY],
        ):  # fmt: skip
            with pytest.raises(SystemExit) as done:
                main([str(a) for a in arguments])
            assert not done.value.code
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def cli(made, capsys, tmp_path, monkeypatch):
    """Runs a command line in a copy of that folder: (exit code, stdout, stderr)."""
    shutil.copytree(made, tmp_path / "x", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "x")
    return lambda *arguments: call(capsys, *arguments)


def shows(out, *lines):
    for line in lines:
        assert re.search("^.*" + line, out, re.M), f"{line} not in:\n{out}"


# ----------------------------------------------------------------------------------- classify
@pytest.mark.slow
@pytest.mark.ci
def test_classify_says_what_it_did_and_leaves_everything(cli):
    code, out, err = cli("finetune", "classify", "rows.csv", "--epochs", 6, *TINY)
    assert (code, err) == (0, "")
    run = Path("runs/classify-rows-1")
    shows(
        out,
        r"data +rows.csv: 30 even, 30 odd; 42 for training, 6 for validation, 12 for the test",
        r"tokenizer +bpe, 280 tokens",
        r"weights +[\d,]+, [\d,]+ of them trained \(100.0%\)",
        r"texts +2\d\d in 18 steps",
        r"time +about .* as just measured, [\d,]+ texts/s",
        r"step 0: validation loss 0.\d+, accuracy \d.\d+, train accuracy \d.\d+",
        r"step 18/18  loss \S+  lr \S+  [\d,]+ texts/s  MFU \d+%  0.0 s left",
        r"class +precision  recall +f1  texts",
        r"true/pred +even +odd",
        r"test accuracy +\d+.\d\d% after",
        r"plots +runs/classify-rows-1/loss.png, runs/classify-rows-1/confusion.png",
        r"tinygrad-llm finetune ask runs/classify-rows-1",
    )
    for picture in ("loss.png", "confusion.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")
    test = json.loads((run / "test.json").read_text())
    assert sum(map(sum, test["confusion"])) == 12 and f"{test['accuracy']:.2%}" in out
    assert isinstance(find_checkpoint(run).build_model(), GPTClassifier)


@pytest.mark.slow
@pytest.mark.ci
def test_the_config_of_a_run_repeats_it(cli):
    for out in ("runs/a", "runs/b"):
        code, _, err = cli(
            "finetune", "classify", "--config", "runs/classes/config.json", "--steps", 3,
            "--out", out,
        )  # fmt: skip
        assert (code, err) == (0, "")
    a, b = (find_checkpoint(f"runs/{x}").build_model() for x in "ab")
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert np.array_equal(p.array, q.array)


def test_asking_a_classifier(cli, monkeypatch):
    code, out, _ = cli("finetune", "ask", "runs/classes", "number 3 is large and red")
    assert code == 0 and re.fullmatch(r"(even|odd)  \d+.\d%\n", out)
    monkeypatch.setattr("sys.stdin", iter(["one\n", "\n", "two\n"]))
    code, out, _ = cli("finetune", "ask", "runs/classes", "-")
    assert code == 0 and len(out.splitlines()) == 2
    code, _, err = cli("finetune", "ask", "runs/classes", "")
    assert code == 2 and "TEXT: the text '' has no tokens" in err


@pytest.mark.parametrize("options", [["--pool", "first", "--no-causal"], ["--pool", "last"]])
def test_other_ways_to_look(cli, options):
    code, out, err = cli("finetune", "classify", "rows.csv", "--steps", 3, *TINY, *options)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_classify_with_other_tokenizers(cli, kind):
    code, out, err = cli(
        "finetune", "classify", "rows.csv", "--steps", 2, "--tokenizer", kind,
        "--out", f"runs/{kind}",
        "--emb-dim", 8, "--n-heads", 2, "--n-layers", 1, "--context-length", 32,
    )  # fmt: skip
    assert (code, err) == (0, "")
    shows(out, rf"tokenizer +{kind}, [\d,]+ tokens")
    saved = load_tokenizer(find_checkpoint(f"runs/{kind}").path / "tokenizer.json")
    assert saved.eot_token is not None and saved.decode(saved.encode("number 2")) == "number 2"


def test_classify_on_a_base_with_lora(cli):
    code, out, err = cli(
        "finetune", "classify", "rows.csv", "--base", "runs/base", "--lora", "--lora-rank", 2,
        "--steps", 4, "--out", "runs/l",
    )  # fmt: skip
    assert (code, err) == (0, "")
    shows(
        out,
        r"base +runs/base/checkpoints/step-00000006, step 6: 1 layers",
        r"trained \(\d+.\d%, in LoRA layers\)",
        r"adapter +runs/l/adapter, in PEFT's format",
    )
    config = json.loads(Path("runs/l/adapter/adapter_config.json").read_text())
    assert config["modules_to_save"] == ["out_head"] and config["r"] == 2
    base, tuned = (find_checkpoint(f"runs/{x}").build_model() for x in ("base", "l"))
    weight = tuned.model.trf_blocks[0].att.qkv.linear.weight
    assert np.array_equal(weight.array, base.trf_blocks[0].att.qkv.weight.array)
    assert len(lora.layers(tuned)) == 4
    code, out, err = cli("finetune", "ask", "runs/l", "number 3 is red")
    assert (code, err) == (0, "")


def test_frozen_layers(cli):
    code, out, err = cli(
        "finetune", "classify", "rows.csv", "--base", "runs/base", "--steps", 3, "--out", "runs/f",
        "--train-only", "final_norm,out_head",
    )  # fmt: skip
    assert (code, err) == (0, "")
    base, tuned = (find_checkpoint(f"runs/{x}").build_model() for x in ("base", "f"))
    assert np.array_equal(tuned.model.tok_emb.weight.array, base.tok_emb.weight.array)
    norms = tuned.model.final_norm.weight.array, base.final_norm.weight.array
    assert not np.array_equal(*norms)


@pytest.mark.slow
@pytest.mark.ci
def test_resuming_a_classifier_ends_as_if_nothing_had_happened(cli):
    options = ["finetune", "classify", "rows.csv", "--checkpoint-every", 2, *TINY]
    assert cli(*options, "--steps", 8, "--out", "runs/whole")[0] == 0
    # a run of the same 8 steps that is stopped after the 5th
    before = tinygrad_llm.training.loop.Trainer._train_step

    def stop(trainer):
        if trainer.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return before(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tinygrad_llm.training.loop.Trainer, "_train_step", stop)
        code, out, err = cli(*options, "--steps", 8, "--out", "runs/part")
    assert code == 130 and "finetune classify --resume runs/part" in out
    assert err == "tinygrad-llm: stopped\n"
    code, out, err = cli("finetune", "classify", "--resume", "runs/part")
    assert (code, err) == (0, "") and "resuming" in out
    a, b = (find_checkpoint(f"runs/{x}") for x in ("whole", "part"))
    assert a.step == b.step == 8
    for p, q in zip(a.build_model().parameters(), b.build_model().parameters(), strict=True):
        assert np.array_equal(p.array, q.array)


# ----------------------------------------------------------------------------------- instruct
def test_instruct(cli):
    code, out, err = cli(
        "finetune", "instruct", "entries.json", "--base", "runs/base", "--steps", 10,
        "--answer-tokens", 4, "--eval-every", 5, "--mask-instruction",
    )  # fmt: skip
    assert (code, err) == (0, "")
    run = Path("runs/instruct-entries-1")
    shows(
        out,
        r"data +entries.json: 34 instructions for training, 2 for validation, 4 for the test",
        r"tokens +[\d,]+ in 10 steps",
        r"step 5: validation loss",
        r"expected +It is",
        r"answers +4 in runs/instruct-entries-1/answers.json: \d exactly as expected",
        r"finetune dpo --base runs/instruct-entries-1",
    )
    answers = json.loads((run / "answers.json").read_text())
    assert [a["instruction"] for a in answers] == [e["instruction"] for e in ENTRIES[34:38]]
    assert all("model_response" in a for a in answers)
    code, out, err = cli("finetune", "ask", run, "Say 3.", "--input", "red", "--tokens", 3)
    assert (code, err) == (0, "") and out.endswith("\n")
    code, out, err = cli("generate", run, "--tokens", 3)
    assert (code, err) == (0, "")


def test_a_tuned_model_with_lora_is_a_base_too(cli):
    code, _, err = cli(
        "finetune", "instruct", "entries.json", "--base", "runs/base", "--steps", 3, "--lora",
        "--out", "runs/il", "--answers", 0,
    )  # fmt: skip
    assert (code, err) == (0, "")
    code, out, err = cli("generate", "runs/il", "--tokens", 3)
    assert (code, err) == (0, "")
    code, out, err = cli(
        "finetune", "dpo", "pairs.jsonl", "--base", "runs/il", "--steps", 2, "--answers", 0
    )
    assert (code, err) == (0, "")
    code, out, err = cli(  # and its adapter can be trained further
        "finetune", "instruct", "entries.json", "--base", "runs/base", "--steps", 2,
        "--adapter", "runs/il/adapter", "--answers", 0,
    )  # fmt: skip
    assert (code, err) == (0, "") and "in LoRA layers" in out


# ---------------------------------------------------------------------------------------- dpo
def test_dpo(cli):
    code, out, err = cli(
        "finetune", "dpo", "pairs.jsonl", "--base", "runs/tuned", "--steps", 12, "--lr", 3e-3,
        "--answers", 1, "--answer-tokens", 4, "--out", "runs/dpo",
    )  # fmt: skip
    assert (code, err) == (0, "")
    shows(
        out,
        r"data +pairs.jsonl: 34 pairs for training, 2 for validation, 4 for the test",
        r"pairs +\d\d in 12 steps",
        r"step 0: validation loss 0.6931, chosen reward 0.0000, rejected reward 0.0000, margin",
        r"before +",
        r"after +",
        r"test +loss 0.\d+, margin \d.\d+ \(chosen",
    )
    lines = [x for x in read_metrics("runs/dpo/metrics.jsonl") if "val_loss" in x]
    assert lines[-1]["val_margin"] > 0 and lines[-1]["val_loss"] < lines[0]["val_loss"]


@pytest.mark.slow
@pytest.mark.ci
def test_resuming_dpo_wants_its_reference(cli):
    options = ["finetune", "dpo", "pairs.jsonl", "--base", "runs/tuned", "--answers", 0]
    assert cli(*options, "--steps", 4, "--out", "runs/whole")[0] == 0
    assert cli(*options, "--steps", 2, "--out", "runs/part")[0] == 0
    code, out, err = cli("finetune", "dpo", "--resume", "runs/part", "--steps", 4)
    assert (code, err) == (0, "")
    assert find_checkpoint("runs/part").step == 4
    base = find_checkpoint("runs/tuned").path
    weights = base / "model.safetensors"
    manifest = json.loads((base / "manifest.json").read_text())
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    import zlib

    manifest["files"]["model.safetensors"][1] = zlib.crc32(data)
    (base / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = cli("finetune", "dpo", "--resume", "runs/part", "--steps", 6)
    assert code == 2 and "have changed since the run began" in err
    shutil.rmtree("runs/tuned")
    code, _, err = cli("finetune", "dpo", "--resume", "runs/part", "--steps", 6)
    assert code == 2 and "does not exist" in err


def test_pairs_that_teach_nothing_can_be_left_out(cli):
    pairs = [dict(p) for p in PAIRS]
    pairs[2]["rejected"] = pairs[2]["chosen"]
    pairs[3]["chosen"] = ""
    Path("pairs.json").write_text(json.dumps(pairs))
    options = ["finetune", "dpo", "pairs.json", "--base", "runs/base", "--answers", 0]
    code, _, err = cli(*options, "--steps", 2)
    assert code == 2 and "entry 3: 'chosen' is empty" in err
    pairs[3]["chosen"] = "Yes."
    Path("pairs.json").write_text(json.dumps(pairs))
    code, _, err = cli(*options, "--steps", 2)
    assert code == 2 and "entry 2: its chosen and rejected responses are equal" in err
    code, out, err = cli(*options, "--steps", 2, "--skip-unusable")
    assert (code, err) == (0, "") and "1 pairs of equal or empty responses are left out" in out


# --------------------------------------------------------------------------------- bad values
CLASSIFY, INSTRUCT, DPO = (
    ("classify", "rows.csv"), ("instruct", "entries.json"), ("dpo", "pairs.jsonl"),
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([*INSTRUCT], "--base: name the model to start from"),
        ([*DPO], "--base: name the model to start from"),
        ([*INSTRUCT, "--base", "runs/none"], "--base: runs/none does not exist"),
        ([*INSTRUCT, "--base", "gpt3"], r"gpt3 does not exist \(did you mean gpt2"),
        ([*INSTRUCT, "--base", "runs/classes"], "runs/classes is a classifier"),
        ([*INSTRUCT, "--base", "runs/char"], "has no <|endoftext|>"),
        ([*CLASSIFY, "--base", "runs/char"], "has no <|endoftext|>"),
        ([*INSTRUCT, "--base", "text.txt"], "--base: "),
        (["instruct", "none.json", "--base", "runs/base"], "there is no file none.json"),
        (["instruct", "runs", "--base", "runs/base"], "runs is a folder, expected a file"),
        (["instruct", "rows.csv", "--base", "runs/base"], "rows.csv is not JSON"),
        (["instruct", "pairs.jsonl", "--base", "runs/base", "--style", "llama"],
         "no prompt style is called 'llama'"),
        (["dpo", "entries.json", "--base", "runs/base"], "entry 0 has no 'chosen'; it has instr"),
        (["classify", "none.csv"], "there is no file none.csv"),
        (["classify", "rows.csv", "--text-column", "body"],
         "rows.csv has no column 'body'; it has text, label"),
        (["classify", "entries.json"], "entry 0 has no column 'text'; it has instruction, input"),
        ([*CLASSIFY, "--classes", "even,prime"], "row 1 has the label 'odd', the classes are even"),
        ([*CLASSIFY, "--classes", "even,odd,prime"], "no row has the label 'prime'"),
        ([*CLASSIFY, "--classes", "even,even"], "the labels must differ"),
        ([*CLASSIFY, "--pool", "middle"], "pool must be last, last_real, first, mean"),
        ([*CLASSIFY, "--vocab-size", 5000], "--vocab-size: vocab_size 5000 is too large"),
        ([*CLASSIFY, "--tokenizer", "words"], "words is neither bpe, wordpiece, unigram or gpt2"),
        ([*CLASSIFY, "--max-length", 999], "max_length of the data set is 999, but the model's"),
        ([*CLASSIFY, "--val-fraction", 0.7, "--test-fraction", 0.3], "leave nothing to train on"),
        ([*CLASSIFY, "--val-fraction", 0.01], "the validation part of 0 rows has no text"),
        ([*CLASSIFY, "--epochs", 0], "--epochs must be more than 0, got 0"),
        ([*CLASSIFY, "--epochs", 1, "--steps", 3], "steps and epochs were both given"),
        ([*CLASSIFY, "--lr", "nan"], "--lr must be more than 0, got nan"),
        ([*CLASSIFY, "--lr", 1e-4, "--min-lr", 1], "--min-lr 1 is above --lr 0.0001"),
        ([*CLASSIFY, "--emb-dim", 15], "emb_dim must be a multiple of n_heads"),
        ([*CLASSIFY, "--freeze", "blocks.*"], "no weight is called 'blocks.*'; there are: model"),
        ([*CLASSIFY, "--freeze", "*"], "every weight of the model is frozen"),
        ([*CLASSIFY, "--freeze", "tok_emb", "--train-only", "out_head"], "were both given"),
        ([*CLASSIFY, "--lora", "--freeze", "tok_emb"], "--lora freezes the base:"),
        ([*CLASSIFY, "--lora", "--lora-names", "query"], "no Linear is called 'query'; there are:"),
        ([*CLASSIFY, "--lora", "--lora-rank", 0], "--lora-rank must be at least 1, got 0"),
        ([*CLASSIFY, "--adapter", "none"], "a LoRA adapter is a folder with adapter_config.json"),
        ([*DPO, "--base", "runs/base", "--beta", 0], "--beta must be more than 0, got 0"),
        ([*DPO, "--base", "runs/base", "--label-smoothing", 0.5], "less than 0.5, got 0.5"),
        ([*DPO, "--base", "runs/base", "--max-length", 20], "entry 0: its prompt has"),
        ([*INSTRUCT, "--base", "runs/base", "--max-length", 20, "--mask-instruction"],
         "cut at max_length=20 before the response begins"),
        ([*INSTRUCT, "--base", "runs/base", "--max-length", 999], "the model's context is 160"),
        ([*CLASSIFY, "--resume", "runs/base"], "was written by something else, not by fi"),
        ([*CLASSIFY, "--resume", "runs/tuned"], "was written by instruct, not by"),
        ([*CLASSIFY, "--resume", "runs/classes", "--lr", 0.5], "--lr 0.5: the checkpoint"),
        ([*CLASSIFY, "--config", "none.toml"], "--config: there is no file none.toml"),
        ([*CLASSIFY, "--out", "runs/classes"], "runs/classes holds a run already"),
        (["ask", "runs/base", "x"], "was not fine-tuned: tinygrad-llm generate runs/base"),
        (["ask", "runs/none", "x"], "runs/none does not exist"),
        (["ask", "runs/tuned", "x", "--tokens", 0], "--tokens must be between 1 and 1,000,000"),
        (["ask", "runs/tuned", "x" * 500], "leaves no room in the context of 160"),
    ],
)  # fmt: skip
def test_bad_values(cli, arguments, message):
    code, out, err = cli("finetune", *arguments)
    assert code == 2, (out, err)
    assert re.search(message, err) or message in err
    assert err.startswith("tinygrad-llm: ") and err.count("\n") == 1, err


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "x.csv is empty"),
        ("text,label\n", "has a header and no rows"),
        ("text,label\na,b,c\n", "x.csv, line 2: 3 columns, the header has 2"),
        ("text,label\na,x\n,y\n", "row 1 has no text"),
        ("text,label\na,\nb,y\n", "row 0 has no label: 'a'"),
        ("text,label\na,x\nb,x\n", "all rows have the label 'x'"),
        ("text,label\na,x\nb,y\n", "the training part of 1 rows has no text of the class"),
        (b"text,label\n\xff,x\n", r"x.csv is not UTF-8 \(byte 11\)"),
    ],
)
def test_bad_tables(cli, text, message):
    Path("x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, err = cli("finetune", "classify", "x.csv")
    assert code == 2 and re.search(message, err), err


@pytest.mark.parametrize(
    "content, message",
    [
        ("{}", "x.json should hold a list of entries, it holds a dict"),
        ("[]", "x.json holds no entries"),
        ("[1]", "x.json: entry 0 should be an object, it is 1"),
        ('[{"instruction": "a"}]', "entry 0 has no 'output'; it has instruction"),
        ('[{"instruction": "a", "output": 3}]', "entry 0: 'output' should be a text, got 3"),
        ('[{"instruction": "a", "output": " "}]', "entry 0: 'output' is empty"),
        ('[{"instruction": "a", "output": "b"}]', "1 entries leave none for training"),
        ('[{"instruction"', "x.json is not JSON"),
    ],
)
def test_bad_entries(cli, content, message):
    Path("x.json").write_text(content)
    code, _, err = cli("finetune", "instruct", "x.json", "--base", "runs/base")
    assert code == 2 and re.search(message, err), err


@pytest.mark.slow
@pytest.mark.ci
def test_a_folder_of_gpt2s_weights_is_a_base(cli, monkeypatch):
    """Weights in Hugging Face's layout, here random and tiny, with GPT-2's tokenizer."""
    monkeypatch.setenv("TINYGRAD_LLM_DATA", str(data_file("vocab.bpe").parent))
    model = GPT(GPTConfig(50257, 96, emb_dim=8, n_heads=2, n_layers=1, drop_rate=0.0))
    save_pretrained(model, "weights")
    for name, data in (("classify", "rows.csv"), ("instruct", "entries.json")):
        code, out, err = cli(
            "finetune", name, data, "--base", "weights", "--steps", 2, "--out", f"runs/{name}",
            "--plain", *(["--answers", 1] if name == "instruct" else []),
        )  # fmt: skip
        assert (code, err) == (0, "")
        shows(out, "base +weights: 1 layers, 2 heads, 8 channels, context 96, 50,257 tokens")
    Path("weights/model.safetensors").write_bytes(b"no weights")
    code, _, err = cli("finetune", "classify", "rows.csv", "--base", "weights")
    assert code == 2 and "--base: weights/model.safetensors" in err
    save_pretrained(GPT(GPTConfig(300, 96, emb_dim=8, n_heads=2, n_layers=1)), "weights")
    code, _, err = cli("finetune", "classify", "rows.csv", "--base", "weights")
    assert code == 2 and "has 300 tokens and no tokenizer" in err


def test_a_text_that_spells_a_special_token(cli):
    entries = [dict(e) for e in ENTRIES]
    entries[1]["output"] = "The end <|endoftext|>"
    Path("x.json").write_text(json.dumps(entries))
    code, _, err = cli("finetune", "instruct", "x.json", "--base", "runs/base", "--steps", 1)
    assert code == 2 and "the text spells the special token '<|endoftext|>'" in err


def test_an_adapter_for_another_base(cli):
    code, _, err = cli(
        "finetune", "classify", "rows.csv", "--base", "runs/base", "--lora", "--steps", 1,
        "--out", "runs/l",
    )  # fmt: skip
    assert (code, err) == (0, "")
    code, _, err = cli("finetune", "classify", "rows.csv", *TINY, "--n-layers", 2, "--emb-dim", 32,
                       "--adapter", "runs/l/adapter")  # fmt: skip
    assert code == 2 and "out_head.weight has shape (2, 16), the model expects (2, 32)" in err


def test_a_base_without_its_tokenizer(cli):
    base = find_checkpoint("runs/base").path
    manifest = json.loads((base / "manifest.json").read_text())
    del manifest["files"]["tokenizer.json"]
    (base / "manifest.json").write_text(json.dumps(manifest))
    (base / "tokenizer.json").unlink()
    code, _, err = cli("finetune", "instruct", "entries.json", "--base", "runs/base")
    assert code == 2 and "holds no tokenizer.json, so its model cannot read text" in err


def test_data_that_changed_under_a_run(cli):
    with open("rows.csv", "a") as file:
        file.write("one more,odd\n")
    code, _, err = cli("finetune", "classify", "--resume", "runs/classes", "--steps", 99)
    assert code == 2 and "has changed since the run began: it had 60 rows, it has 61" in err


def test_a_full_disk_is_reported_before_the_run(cli, monkeypatch):
    full = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    code, _, err = cli("finetune", "classify", "rows.csv", *TINY)
    assert code == 2 and "0 MB free, and 4 checkpoints take" in err


def test_offline(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGRAD_LLM_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for arguments, file in (
        (["classify", "sms-spam"], "sms-spam.tsv"),
        (["instruct", "instruction-data", "--base", "runs/base"], "instruction-data.json"),
        (
            ["dpo", "instruction-preferences", "--base", "runs/base"],
            "instruction-data-with-preference.json",
        ),
        (["instruct", "entries.json", "--base", "gpt2"], "gpt2.safetensors"),
    ):
        code, _, err = cli("finetune", *arguments)
        assert code == 2 and f"{file} is not in" in err and "Without a network" in err, err


def test_only_the_plan(cli):
    code, out, err = cli("finetune", "classify", "rows.csv", "--plan", *TINY)
    assert (code, err) == (0, "") and "time " in out
    assert not Path("runs/classify-rows-1").exists()


def test_other_commands_know_a_run_of_finetune(cli):
    code, _, err = cli("pretrain", "--resume", "runs/tuned")
    assert code == 2 and "tinygrad-llm finetune instruct --resume runs/tuned continues it" in err
    code, _, err = cli("generate", "runs/classes")
    assert code == 2 and "is a classifier, which writes no text" in err


def test_only_a_learning_rate(cli):
    for arguments in (
        ["finetune", "classify", "rows.csv", "--find-lr", *TINY],
        ["pretrain", "text.txt", "--tokenizer", "char", "--find-lr", *TINY[2:]],
    ):
        code, out, err = cli(*arguments)
        assert (code, err) == (0, "")
        shows(out, r"learning rate", r"plot +runs/\S+-lr.png")
        picture = Path(re.search(r"plot +(\S+)", out)[1])
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert not list(Path("runs").glob("classify-rows-1"))
    for name in (["pretrain"], ["finetune", "classify"]):
        run = "runs/base" if name == ["pretrain"] else "runs/classes"
        code, _, err = cli(*name, "--resume", run, "--find-lr")
        assert code == 2 and "--find-lr is for a run that has not begun" in err


def test_layers_of_options():
    o = resolved(ClassifyOptions, {"lr": 1.0, "steps": 5}, {"epochs": 2.0})
    assert (o.lr, o.steps, o.epochs, o.pool) == (1.0, None, 2.0, ClassifyOptions().pool)


def test_finetune_stands_after_pretrain(capsys):
    _, out, _ = call(capsys, "--help")
    names = re.findall(r"^  ([a-z]+)  ", out.partition("Commands:")[2], re.M)
    assert names[:2] == ["pretrain", "finetune"] and "study" in names


def test_help_names_every_option(capsys):
    for name in ("classify", "instruct", "dpo", "ask"):
        code, out, _ = call(capsys, "finetune", name, "--help")
        assert code == 0 and "Examples:" in out
    code, out, err = call(capsys, "finetune")
    assert code == 2 and "classify" in err


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a matter of POSIX")
def test_a_killed_run_goes_on(made, tmp_path):
    shutil.copytree(made, tmp_path / "x")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    start = [sys.executable, "-m", "tinygrad_llm.cli", "finetune", "classify"]
    options = list(map(str, ["rows.csv", "--steps", 400, "--checkpoint-every", 1, *TINY]))
    process = subprocess.Popen(
        [*start, *options, "--out", "runs/k"], cwd=tmp_path / "x", env=environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list((tmp_path / "x/runs/k").glob("checkpoints/step-0000000[1-9]")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = subprocess.run(
        [*start, "--resume", "runs/k", "--steps", "30", "--checkpoint-every", "30"],
        cwd=tmp_path / "x", env=environment, capture_output=True, text=True,
    )  # fmt: skip
    step = find_checkpoint(tmp_path / "x/runs/k").step
    assert done.returncode == 0 or f"the run is at step {step} already" in done.stderr


# -------------------------------------------------------------------------------- the real data
def spam(capsys, monkeypatch, tmp_path, *options):
    """The test accuracy of finetune classify on the balanced split of 1,045, 149 and 300."""
    monkeypatch.setenv("TINYGRAD_LLM_DATA", str(data_file("sms-spam.tsv").parent))
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "finetune", "classify", "--out", "spam", *options)
    assert (code, err) == (0, "")
    assert "1,045 for training, 149 for validation, 300 for the test" in out
    return json.loads(Path("spam/test.json").read_text())["accuracy"]


@pytest.mark.slow
@pytest.mark.ci
def test_spam_from_random_weights_small(capsys, monkeypatch, tmp_path):
    """About ten seconds."""
    small = ["--emb-dim", 64, "--n-layers", 2, "--epochs", 3]
    assert spam(capsys, monkeypatch, tmp_path, *small) >= 0.90


@pytest.mark.slow
def test_spam_from_random_weights(capsys, monkeypatch, tmp_path):
    """The command without any option: about a minute."""
    assert spam(capsys, monkeypatch, tmp_path) >= 0.93


# ---------------------------------------------------------------------------------- on a GPU
@pytest.mark.parametrize("name", ["classify", "instruct", "dpo"])
@pytest.mark.suite_cases(1)
def test_on_another_device_and_back(cli, name, other_device):
    data = {"classify": ["rows.csv", *TINY], "instruct": ["entries.json", "--base", "runs/base"],
            "dpo": ["pairs.jsonl", "--base", "runs/tuned"]}[name]  # fmt: skip
    shared = ["finetune", name, *data, "--steps", 3, "--drop-rate", 0, "--warmup", 0]
    answers = [] if name == "classify" else ["--answers", 1, "--answer-tokens", 3]
    try:
        losses = []
        for out, device in (("runs/here", []), ("runs/there", ["--device", other_device])):
            code, _, err = cli(*shared, *answers, "--out", out, *device)
            assert code == 0, err
            losses.append([line["loss"] for line in read_metrics(f"{out}/metrics.jsonl")
                           if "loss" in line])  # fmt: skip
            shutil.copytree(out, f"{out}-on")
        assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=2e-3)
        for run, device in (("runs/here-on", other_device), ("runs/there-on", "cpu")):
            code, _, err = cli("finetune", name, "--resume", run, "--steps", 4, "--device", device)
            assert code == 0, err
        asked = [cli("finetune", "ask", "runs/there", "number 3", "--device", d)[1]
                 for d in ("cpu", other_device)]  # fmt: skip
        assert asked[0] == asked[1] != ""
    finally:
        tinygrad_llm.cuda.fast_dropout(False)
        for run in ("here", "here-on", "there", "there-on"):
            shutil.rmtree(f"runs/{run}", ignore_errors=True)


# ------------------------------------------------------------------ published bases, and QLoRA
@pytest.fixture
def published(cli):
    """A tiny Llama in transformers' layout with a byte-level tokenizer and a chat template."""
    from tinygrad_llm.models import Llama, LlamaConfig
    from tinygrad_llm.text.letters import spell

    torch.manual_seed(0)
    model = Llama(LlamaConfig(
        vocab_size=264, context_length=160, emb_dim=64, hidden_dim=64, n_layers=2, n_heads=2,
        n_kv_heads=1, head_dim=32, tie_weights=True,
    ))  # fmt: skip
    save_pretrained(model, "llama")
    vocabulary = {spell(bytes([i])): i for i in range(256)}
    ends = [
        {"id": 256 + i, "content": name, "special": True, "lstrip": False, "rstrip": False,
         "normalized": False, "single_word": False}
        for i, name in enumerate(("<|start|>", "<|end|>"))
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}  # fmt: skip
    Path("llama/tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": ends, "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": None},
    }))  # fmt: skip
    template = (
        "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
    )
    Path("llama/tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|end|>", "chat_template": template})
    )
    return cli


def test_a_published_base_with_its_chat_template(published):
    pytest.importorskip("jinja2")
    code, out, err = published(
        "finetune", "instruct", "entries.json", "--base", "llama", "--lora", "--steps", 2,
        "--answers", 1, "--answer-tokens", 3, "--out", "runs/chat", "--mask-instruction",
    )  # fmt: skip
    assert (code, err) == (0, ""), err
    shows(out, "base +llama: 2 layers", "adapter +runs/chat/adapter, in PEFT's format")
    config = json.loads(Path("runs/chat/config.json").read_text())
    assert config["style"] == "chat"
    adapter = json.loads(Path("runs/chat/adapter/adapter_config.json").read_text())
    assert "model.layers.0.self_attn.q_proj" in adapter["target_modules"]
    code, out, err = published("finetune", "ask", "runs/chat", "Add <|end|>.", "--tokens", 3)
    assert (code, err) == (0, "")
    code, _, err = published(
        "finetune", "instruct", "entries.json", "--base", "runs/base", "--style", "chat",
    )  # fmt: skip
    assert code == 2 and "has no chat template" in err


@pytest.mark.parametrize("kind", ["nf4", "q4_1"])
@pytest.mark.slow
@pytest.mark.ci
def test_a_qlora_run_resumes_as_if_nothing_had_happened(published, kind):
    options = [
        "finetune", "instruct", "entries.json", "--base", "llama", "--lora", "--quantize", kind,
        "--style", "alpaca", "--epochs", 1, "--answers", 0, "--checkpoint-every", 2,
    ]  # fmt: skip
    code, out, err = published(*options, "--out", "runs/q")
    assert (code, err) == (0, ""), err
    shows(out, rf"in LoRA layers on {kind}\)")
    last = find_checkpoint("runs/q")
    model = last.build_model()
    n = model.n_parameters()
    assert n == sum(p.numel() for p in model.parameters()) + 264 * 64 + 2 * (
        64 * 128 + 64 * 64 + 3 * 64 * 64
    )
    shutil.copytree("runs/q", "runs/cut")
    for path in checkpoints_in("runs/cut/checkpoints")[1:]:
        shutil.rmtree(path)
    code, out, err = published("finetune", "instruct", "--resume", "runs/cut", "--answers", 0)
    assert (code, err) == (0, ""), err
    again = find_checkpoint("runs/cut").build_model()
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy(), name)
    ids = torch.tensor([[1, 2, 3, 250]])
    np.testing.assert_array_equal(again(ids).detach().numpy(), model(ids).detach().numpy())
    code, out, err = published(
        "finetune", "instruct", "entries.json", "--base", "runs/q", "--steps", 1, "--answers", 0,
        "--style", "alpaca",
    )  # fmt: skip
    assert (code, err) == (0, ""), err


@pytest.mark.slow
@pytest.mark.ci
def test_qlora_on_a_gpu_has_the_losses_of_a_cpu(published, other_device):
    """Trained, stored, resumed and asked with --device cuda."""
    options = [
        "finetune", "instruct", "entries.json", "--base", "llama", "--lora", "--quantize", "nf4",
        "--style", "alpaca", "--steps", 2, "--answers", 0,
    ]  # fmt: skip
    losses = {}
    for device in ("cpu", other_device):
        run = f"runs/{device}"
        code, out, err = published(*options, "--device", device, "--out", run)
        assert (code, err) == (0, ""), err
        code, out, err = published("finetune", "instruct", "--resume", run, "--steps", 4)
        assert (code, err) == (0, ""), err
        rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        losses[device] = [row[k] for row in rows for k in ("loss", "val_loss") if k in row]
    assert len(losses["cpu"]) >= 6
    np.testing.assert_allclose(losses[other_device], losses["cpu"], rtol=1e-5)
    code, out, err = published(
        "finetune", "ask", f"runs/{other_device}", "Hello", "--device", other_device
    )
    assert (code, err) == (0, ""), err
    code, _, err = published(*options, "--device", other_device, "--graph", "--out", "runs/graph")
    assert code == 2 and "--graph cannot be captured with a quantised base" in err, err


@pytest.mark.parametrize("options, message", [
    (["--quantize", "q9"], "--quantize must be int8, q8_0, q4_0, q4_1, nf4, gguf, got 'q9'"),
    (["--quantize", "nf4"], "--quantize freezes the base: add --lora"),
    (["--quantize", "nf4", "--lora", "--drop-rate", 0.1], "--drop-rate cannot change in a qu"),
    (["--quantize", "gguf", "--lora"], 'quantize="gguf" keeps the formats of a GGUF file'),
])  # fmt: skip
def test_a_base_that_cannot_be_quantised(published, options, message):
    code, _, err = published("finetune", "instruct", "entries.json", "--base", "llama", *options)
    assert code == 2 and message in err, err


def test_damaged_quantised_weights_are_one_clear_line(published):
    code, out, err = published(
        "finetune", "instruct", "entries.json", "--base", "llama", "--lora", "--quantize", "nf4",
        "--style", "alpaca", "--steps", 1, "--answers", 0, "--out", "runs/q",
    )  # fmt: skip
    assert (code, err) == (0, ""), err
    from tinygrad_llm.layers import quantized
    from tinygrad_llm.weights import SafeTensorsFile, save_file

    checkpoint = find_checkpoint("runs/q")
    path = checkpoint.path / "quantized.safetensors"
    model = checkpoint.build_model()
    file = SafeTensorsFile(path)
    arrays, about = (
        {k: np.array(a) for k, a in file.items()},
        json.loads(file.metadata["quantized"]),
    )
    name = next(iter(about["layers"]))
    for changed, metadata, message in (
        ({**arrays, "0.codes": arrays["0.codes"][:-1]}, about, "expected shape"),
        ({k: a for k, a in arrays.items() if k != "0.codes"}, about, "missing"),
        (arrays, {**about, "layers": {"no.layer": 0}}, "no Linear or Embedding called"),
        (arrays, {**about, "layers": {name: 99}}, "has the matrix 99"),
        (arrays, {"matrices": 3}, "should say which matrices"),
        (arrays, {**about, "matrices": [{"class": "X"}]}, "no kind of matrix"),
    ):
        save_file(changed, path, {"quantized": json.dumps(metadata)})
        with pytest.raises(ValueError, match=message):
            quantized.load(model, path)
