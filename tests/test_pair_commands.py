"""finetune nli, sts, choice and embed as people type them: on the sample and on files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from data import data_file

from tinygrad_llm.cli import main
from tinygrad_llm.data import corpora
from tinygrad_llm.files import downloads
from tinygrad_llm.files.downloads import DATA_VARIABLE
from tinygrad_llm.finetune import PairModel, SentenceEmbedder, choose, infer, rate, similarity
from tinygrad_llm.finetune.runs import NLI, STS, Choice, Embed
from tinygrad_llm.models import registry, save_pretrained
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS
from tinygrad_llm.training import find_checkpoint
from tinygrad_llm.training.settings import resolved

TINY = ["--emb-dim", 16, "--n-heads", 2, "--n-layers", 1, "--steps", 4, "--plain"]


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in arguments])
        shown = capsys.readouterr()
        return done.value.code or 0, shown.out, shown.err

    return call


def shows(out, *lines):
    for line in lines:
        assert re.search("^.*" + line, out, re.M), f"{line} not in:\n{out}"


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", ["roberta", "distilbert", "modernbert"])
def test_every_family_is_a_base(cli, name):
    """The head is that of the family; the run answers, and goes on."""
    tokenizer = BPETokenizer.train("Ana is here and there. " * 9, 270, ENCODER_TOKENS)
    sizes = dict(vocab_size=tokenizer.vocab_size, context_length=200, emb_dim=16, n_layers=1)
    family = registry.masked()[name]
    save_pretrained(family.model(family.presets["tiny"].resized(**sizes, n_heads=2)), "base")
    tokenizer.save("base/tokenizer.json")
    more = ["--lora"] if name == "modernbert" else []
    code, _, err = cli("finetune", "nli", "sample", "--base", "base", "--steps", 2, "--plain",
                       "--max-length", 16, "--out", "runs/a", *more)  # fmt: skip
    assert (code, err) == (0, "")
    model = PairModel.load("runs/a").model
    kind = family.name.replace("MaskedLM", "SequenceClassification")
    assert type(model).__name__ == kind
    assert 0.3 < infer("Ana is here.", "Ana is there.", "runs/a")[1] < 1.0
    code, _, err = cli("finetune", "nli", "--resume", "runs/a", "--steps", 3)
    assert (code, err) == (0, "") and find_checkpoint("runs/a").step == 3


@pytest.mark.slow
@pytest.mark.ci
def test_nli(cli):
    """From the sample to the answer, with LoRA and checkpointing; then resumed."""
    code, out, err = cli(
        "finetune", "nli", "sample", *TINY, "--lora", "--gradient-checkpointing",
        "--accumulation", 2, "--out", "runs/a",
    )  # fmt: skip
    assert (code, err) == (0, "")
    shows(
        out,
        r"data +sample: 300 contradiction, 300 entailment, 600 neutral; \d+ for training, \d+ for",
        r"tokenizer +char, \d+ tokens",
        r"weights +[\d,]+, [\d,]+ of them trained \(\d+.\d%, in LoRA layers\)",
        r"step 4/4 ",
        r"true/pred +contradiction +entailment +neutral",
        r"test accuracy +0\.\d+ \[0\.\d+, 0\.\d+\] +\(95 % interval\)",
        r"baseline +0\.\d+ \[.*\] +always neutral; difference",
        r'finetune ask runs/a "..." --input "..."',
    )
    stored = json.loads(Path("runs/a/test.json").read_text())
    assert len(stored["accuracy"]["score"]) == 3 and stored["rows"] > 200
    assert Path("runs/a/confusion.png").read_bytes().startswith(b"\x89PNG")
    assert Path("runs/a/adapter").is_dir()
    code, out, _ = cli("finetune", "ask", "runs/a", "Ana is here.", "--input", "Ana is there.")
    assert code == 0 and re.fullmatch(r"(contradiction|entailment|neutral)  \d+\.\d%\n", out)
    label, p = infer("Ana is here.", "Ana is there.", "runs/a")
    assert out.startswith(label) and 0.3 < p < 1.0
    code, out, _ = cli("finetune", "ask", "runs/a", "Ana is here.")
    assert code != 0
    code, out, err = cli("finetune", "nli", "--resume", "runs/a", "--steps", 5)
    assert (code, err) == (0, "") and find_checkpoint("runs/a").step == 5
    with pytest.raises(ValueError, match="needs a run of finetune sts, got one of nli"):
        rate("a", "b", "runs/a")


def test_sts_on_a_file(cli):
    rows = [("a\tb\ty")] + [f"text {i}\ttext {i % 7}\t{i % 5}" for i in range(60)]
    Path("my.tsv").write_text("\n".join(rows))
    columns = ["--first-column", "a", "--second-column", "b", "--label-column", "y"]
    code, out, err = cli("finetune", "sts", "my.tsv", *TINY, *columns, "--tokenizer", "bpe",
                         "--vocab-size", 270, "--test-fraction", 0.3)  # fmt: skip
    assert (code, err) == (0, "")
    shows(
        out, r"data +my.tsv: 60 pairs with labels from 0 to 4", r"step 4: .*pearson -?\d.*spearman",
        r"test pearson +-?\d\.\d+ \[", r"test spearman", r"baseline .*shared pairs of characters",
        r"is +\d\.\d\d  predicted",
    )  # fmt: skip
    run = "runs/sts-my-1"
    assert {"scores.png", "test.json"} <= {p.name for p in Path(run).iterdir()}
    model = PairModel.load(run)
    _, out, _ = cli("finetune", "ask", run, "text 1", "--input", "text 2")
    assert float(out) == pytest.approx(rate("text 1", "text 2", model), abs=0.006)
    code, _, err = cli("finetune", "sts", "my.tsv", *TINY)
    assert code != 0 and "has no column 'sentence1'" in err and "--first-column" in err
    Path("my.tsv").write_text("\n".join([*rows, "text\ttext\tmany"]))
    code, _, err = cli("finetune", "sts", "my.tsv", *TINY, *columns)
    assert code != 0 and "line 62: the label should be a number, got 'many'" in err


def test_what_an_encoder_refuses(cli):
    code, _, err = cli("finetune", "nli", "sample", *TINY, "--lora", "--quantize", "nf4")
    assert code != 0 and "--quantize is for language models" in err
    code, _, err = cli("finetune", "nli", "sample", *TINY, "--emb-dim", 15)
    assert code != 0 and "emb_dim must be a multiple of n_heads" in err
    code, _, err = cli("finetune", "choice", "sample", *TINY, "--answer-columns", "a,a")
    assert code != 0 and "two different columns or more are needed" in err
    code, _, err = cli("finetune", "sts", "nothing.tsv", *TINY)
    assert code != 0 and "there is no file nothing.tsv" in err
    code, _, err = cli("finetune", "sts", "sample", *TINY, "--max-length", 4)
    assert code != 0 and "too little room for 2 texts" in err


def test_choice(cli):
    code, out, err = cli("finetune", "choice", "sample", *TINY, "--worst", 1)
    assert (code, err) == (0, "")
    shows(out, r"data +sample: 600 questions with 5 answers", r"texts +\d+ in 4 steps|questions",
          r"test accuracy", r"right \w+ \(\d+\.\d%\), chosen")  # fmt: skip
    run = "runs/choice-sample-1"
    question, answers = "Which of these is a fruit?", ["pear", "horse", "zinc"]
    best, shares = choose(question, answers, run)
    assert sum(shares) == pytest.approx(1.0) and shares[best] == max(shares)
    _, out, _ = cli("finetune", "ask", run, question, "--input", " | ".join(answers))
    assert out.startswith(answers[best])


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param("unsupervised", marks=[pytest.mark.slow, pytest.mark.ci]),
        "supervised",
    ],
)
def test_embed(cli, loss):
    lora = [] if loss == "supervised" else ["--lora", "--lora-names", "model.trf_blocks.*"]
    code, out, err = cli("finetune", "embed", "sample", *TINY, "--loss", loss, *lora)
    assert (code, err) == (0, "")
    shows(out, r"data +sample: [\d,]+ \w+.* for training, \d+ and \d+ scored pairs",
          r"step 4: validation loss .*spearman", r"before training +0\.\d+ \[.*difference",
          r"test spearman +0\.\d+ \[")  # fmt: skip
    run = "runs/embed-sample-1"
    assert Path(run, "cosines.png").is_file()
    stored = json.loads(Path(run, "test.json").read_text())
    assert {"before", "after", "baseline", "gain", "difference"} <= set(stored["spearman"])
    cosine = similarity("Ana is here.", "Ben is here.", run)
    assert cosine == SentenceEmbedder.load(find_checkpoint(run)).similarity(
        "Ana is here.", "Ben is here."
    )
    _, out, _ = cli("finetune", "ask", run, "Ana is here.", "--input", "Ben is here.")
    assert out == f"cosine {cosine:.3f}\n"
    code, out, err = cli("finetune", "sts", "sample", "--base", run, "--steps", 1, "--plain")
    assert (code, err) == (0, ""), "trained vectors are a base for pairs"
    shows(out, r"base +runs/embed-sample-1/checkpoints/step-00000004, step 4: 1 layers, 2 heads")


@pytest.mark.slow
@pytest.mark.ci
def test_embed_on_files(cli):
    lines = [{"text": f"text number {i}"} for i in range(40)]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    scored = [{"sentence1": f"s {i}", "sentence2": f"s {i % 3}", "label": i % 6} for i in range(30)]
    Path("s.json").write_text(json.dumps(scored))
    code, _, err = cli("finetune", "embed", "t.jsonl", *TINY)
    assert code != 0 and "`sts`: name pairs with labels" in err or "--sts" in err
    code, out, err = cli("finetune", "embed", "t.jsonl", "--sts", "s.json", *TINY)
    assert (code, err) == (0, "") and "36 texts for training" in out
    rows = ["a\tb\tc"] + [f"the {i}\tit is {i}\tnot {i}" for i in range(30)]
    Path("p.tsv").write_text("\n".join(rows))
    code, out, err = cli(
        "finetune", "embed", "p.tsv", "--sts", "s.json", *TINY, "--loss", "supervised",
        "--first-column", "a", "--second-column", "b", "--negative-column", "c",
    )  # fmt: skip
    assert (code, err) == (0, "") and "27 pairs of texts for training" in out


@pytest.mark.parametrize("kind", [NLI, STS, Choice, Embed])
def test_without_the_data_the_sample_stands_in(kind, monkeypatch, tmp_path):
    monkeypatch.setenv(downloads.DATA_VARIABLE, str(tmp_path))

    def no_network(*_, **__):
        raise downloads.DownloadError("no network")

    monkeypatch.setattr(downloads, "_download", no_network)
    run = kind(resolved(kind.options), progress=False)
    notes = []
    run.note = notes.append
    run.read_data()
    assert run.o.data == "sample" and "sample" in notes[0] and f"finetune {kind.name}" in notes[0]


@pytest.mark.parametrize(
    ("kind", "parts", "classes"),
    [
        (NLI, (1704, 243, 487), 3), (STS, (11206, 1245, 1457), None),
        (Choice, (8045, 894, 1119), None),
    ],
)  # fmt: skip
def test_jglue(kind, parts, classes, monkeypatch):
    """The published data, where it is: parts without a common sentence, all labels read."""
    for name in ("jsts-train", "jsts-valid", "jnli-valid", "jcommonsenseqa-train"):
        file = data_file(corpora.NAMED[name].file_name)
    root = file.parents[corpora.NAMED[name].file_name.count("/")]
    monkeypatch.setenv(DATA_VARIABLE, str(root))
    run = kind(resolved(kind.options), progress=False)
    run.note = lambda line: None
    run.read_data()
    sizes = tuple(map(len, (run.train, run.val, run.test)))
    assert all(abs(a - b) <= 15 for a, b in zip(sizes, parts, strict=True)), sizes
    if kind is NLI:
        assert run.names == ["contradiction", "entailment", "neutral"]
