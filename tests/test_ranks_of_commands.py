"""pretrain and finetune on several ranks: --ranks, launchers, errors, kills and Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ranks import environment, needs_mpi, on_ranks, run

from tinygrad_llm.training import find_checkpoint, read_metrics
from tinygrad_llm.training.checkpoint import checkpoints_in
from tinygrad_llm.weights import load_file

pytestmark = [needs_mpi, pytest.mark.skipif(os.name != "posix", reason="mpiexec elsewhere")]
LONG = [pytest.mark.slow, pytest.mark.ci]
PROGRAM = [sys.executable, "-m", "tinygrad_llm.cli"]
TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40
SMALL = [
    *("--tokenizer", "char", "--context-length", "16", "--emb-dim", "16", "--n-heads", "2"),
    *("--n-layers", "1", "--batch-size", "5", "--sample-tokens", "4", "--eval-every", "4"),
]


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


def command(*words, **more):
    """(exit code, output) of the program with these words."""
    return run([*PROGRAM, *map(str, words)], seconds=200, OMP_NUM_THREADS="", **more)


def same_numbers(one, other, tolerance=2e-5):
    """Two runs have the same losses, scores and weights."""
    a, b = (read_metrics(f"{folder}/metrics.jsonl") for folder in (one, other))
    assert len(a) == len(b) > 2
    for x, y in zip(a, b, strict=True):
        assert x.keys() - {"mfu"} == y.keys() - {"mfu"}
        for name in x.keys() - {"mfu", "seconds"}:
            assert x[name] == pytest.approx(y[name], rel=tolerance, abs=1e-6), (name, x, y)
    weights = [load_file(find_checkpoint(f).path / "model.safetensors") for f in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        expected = np.asarray(weights[1][name])
        worst = np.abs(np.asarray(array) - expected).max()
        assert worst <= 100 * tolerance * max(np.abs(expected).max(), 0.01), (name, worst)


def test_checks_of_trainers_on_ranks(tmp_path):
    code, output = on_ranks(2, "-m", "on_ranks", "shared_batches", RUN_FOLDER=str(tmp_path))
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


@pytest.mark.slow
@pytest.mark.parametrize("n", [pytest.param(3, marks=pytest.mark.ci), 4])
def test_checks_of_trainers_on_more_ranks(n, tmp_path):
    code, output = on_ranks(n, "-m", "on_ranks", "shared_batches", RUN_FOLDER=str(tmp_path))
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


def test_pretrain_on_two_ranks_is_pretrain_in_one_process(text):
    """Its lines, its numbers, and then with another number of ranks."""
    made = ["pretrain", text, *SMALL, "--drop-rate", "0", "--steps", "8"]
    code, output = command(*made, "--out", "two", "--ranks", "2")
    assert code == 0, output
    assert len(re.findall(r"^ranks +2, each with \d+ threads? and its part", output, re.M)) == 1
    assert re.search(r"^rank 0 +32 tokens per step, memory .* MB, sends 0.0 MB per step$", output,
                     re.M), output  # fmt: skip
    assert re.search(r"^rank 1 +48 tokens per step", output, re.M)
    assert re.search(r"^all ranks +80 tokens per step, memory", output, re.M)
    assert output.count("step 8: validation loss") == output.count("next   ") == 1
    assert json.loads(open("two/config.json").read())["ranks"] == 2
    code, output = command(*made, "--out", "one")
    assert code == 0, output
    same_numbers("two", "one")


@pytest.mark.slow
@pytest.mark.ci
def test_another_number_of_ranks_goes_on(text):
    made = ["pretrain", text, *SMALL, "--drop-rate", "0.3", "--steps", "4"]
    code, output = command(*made, "--out", "two", "--ranks", "2")
    assert code == 0, output
    code, output = command("pretrain", "--resume", "two", "--steps", "6", "--ranks", "4")
    assert code == 0 and "ranks        4, each" in output, output
    mpi = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "3"]
    code, output = run([*mpi, "-m", "tinygrad_llm.cli", "pretrain", "--resume", "two",
                        "--steps", "7"])  # fmt: skip
    assert code == 0 and "ranks        3, each" in output, output
    code, output = command("pretrain", "--resume", "two", "--steps", "9", "--ranks", "1")
    assert code == 0 and "ranks" not in output and find_checkpoint("two").step == 9, output


TINY = [*("--emb-dim", 16, "--n-heads", 2, "--n-layers", 1, "--batch-size", 5, "--steps", 4)]
TASK = [*TINY, "--drop-rate", 0, "--eval-every", 2, "--seed", 1]
TUNED = ["--batch-size", 5, "--steps", 4, "--drop-rate", 0, "--eval-every", 2, "--answers", 1]
KINDS = {
    "classify": ["sample", *TASK, "--vocab-size", 300, "--context-length", 48],
    "instruct": ["sample", *TUNED, "--base", "base"],
    "dpo": ["sample", *TUNED, "--base", "base"],
    "ner": ["sample", *TASK],
    "nli": ["sample", *TASK],
    "sts": ["sample", *TASK],
    "choice": ["sample", *TASK],
    "embed": ["sample", *TASK, "--loss", "supervised"],
    "translate": ["sample", *TASK],
    "summarize": ["sample", *TASK, "--no-bert-score"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.ci] * (k in ("dpo", "embed"))) for k in KINDS]
)
def test_every_kind_of_finetuning_on_two_ranks(kind, text):
    options = KINDS[kind]
    if "base" in options:
        made = ["pretrain", text, *SMALL, "--steps", "2", "--out", "base", "--tokenizer", "bpe",
                "--vocab-size", "280", "--context-length", "400", "--batch-size", "2",
                "--val-fraction", "0.3"]  # fmt: skip
        code, output = command(*made)
        assert code == 0, output
    for n in (1, 2):
        code, output = command("finetune", kind, *options, "--out", n, "--ranks", n)
        assert code == 0, output
        assert output.count("next   ") == 1 and ("ranks        2" in output) == (n == 2)
    same_numbers("1", "2", 1e-4)
    code, output = command("finetune", kind, "--resume", "2", "--steps", 5, "--plan")
    assert code == 0 and "all ranks " in output, output
