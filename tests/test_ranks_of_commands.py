"""pretrain and finetune on several ranks: --ranks, launchers, errors, kills and Ctrl-C."""

from __future__ import annotations

import contextlib
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
from test_shards import documents, write

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.cli.places import place
from tinygrad_llm.cli.ranks import _Waiting
from tinygrad_llm.training import OptionError, Trainer, find_checkpoint, read_metrics
from tinygrad_llm.training.checkpoint import checkpoints_in
from tinygrad_llm.training.presets import resolve
from tinygrad_llm.training.pretraining import Pretraining
from tinygrad_llm.training.ranks import Ranks
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


def same_numbers(one, other, tolerance=2e-5, weights_too=True):
    """Two runs have the same losses, scores and weights."""
    a, b = (read_metrics(f"{folder}/metrics.jsonl") for folder in (one, other))
    assert len(a) == len(b) > 2
    for x, y in zip(a, b, strict=True):
        assert x.keys() - {"mfu"} == y.keys() - {"mfu"}
        for name in x.keys() - {"mfu", "seconds"}:
            assert x[name] == pytest.approx(y[name], rel=tolerance, abs=1e-6), (name, x, y)
    if not weights_too:
        return
    weights = [load_file(find_checkpoint(f).path / "model.safetensors") for f in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        expected = np.asarray(weights[1][name])
        worst = np.abs(np.asarray(array) - expected).max()
        assert worst <= 100 * tolerance * max(np.abs(expected).max(), 0.01), (name, worst)


@pytest.mark.slow
@pytest.mark.ci
def test_checks_of_trainers_on_ranks(tmp_path):
    code, output = on_ranks(2, "-m", "on_ranks", "shared_batches", RUN_FOLDER=str(tmp_path))
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


def checks_of_divided_parameters(n, folder, **more):
    code, output = on_ranks(n, "-m", "on_ranks", "divided_training", RUN_FOLDER=str(folder), **more)
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


@pytest.mark.slow
@pytest.mark.ci
def test_checks_of_trainers_with_divided_parameters(tmp_path):
    checks_of_divided_parameters(2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("n", [pytest.param(2, marks=pytest.mark.ci), 3])
def test_more_checks_of_trainers_with_divided_parameters(n, tmp_path):
    checks_of_divided_parameters(n, tmp_path, LONG="1")


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
@pytest.mark.parametrize("packing", ["windows", "isolated"])
def test_shards_on_two_ranks(text, tmp_path, packing):
    """Ranks take different rows of the same batches."""
    write(tmp_path / "shards", {"train": [documents(1, 40)], "val": [documents(2, 9)]})
    made = ["pretrain", "--data", "shards", "--packing", packing, *SMALL[2:], "--drop-rate", "0",
            "--steps", "8"]  # fmt: skip
    for out, ranks in (("two", "2"), ("one", "1")):
        code, output = command(*made, "--out", out, "--ranks", ranks)
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


@pytest.mark.slow
@pytest.mark.ci
def test_divided_weights_go_on_with_another_number_of_ranks(text):
    """Two ranks write what three, one, and a command read; the numbers are one process's."""
    made = ["pretrain", text, *SMALL, "--drop-rate", "0", "--steps", "8", "--checkpoint-every", "4"]
    code, output = command(*made, "--out", "one")
    assert code == 0, output
    code, output = command(*made, "--out", "two", "--ranks", "2", "--shard", "fsdp")
    assert code == 0 and output.count("sample 3") == 1, output
    same_numbers("two", "one")
    code, output = command("generate", "two", "--prompt", "the", "--tokens", "3")
    assert code == 0, output
    code, output = command("pretrain", "--resume", "two", "--steps", "9", "--ranks", "3")
    assert code == 0 and "ranks        3, each" in output, output
    code, output = command("pretrain", "--resume", "two", "--steps", "10", "--ranks", "1")
    assert code == 0 and find_checkpoint("two").step == 10, output
    code, output = command("pretrain", "--resume", "two", "--steps", "11", "--ranks", "2",
                           "--shard", "zero2")  # fmt: skip
    assert code == 0, output


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
    "rerank": ["sample", *TASK],
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
    # of choice the first gradients are rounding errors, which AdamW makes as large as any
    loose = kind in ("choice", "rerank")
    same_numbers("1", "2", 1e-3 if loose else 1e-4, not loose)
    if kind in ("dpo", "embed"):
        divided = ["--out", 3, "--ranks", 2, "--shard", "fsdp"]
        code, output = command("finetune", kind, *options, *divided)
        assert code == 0 and output.count("next   ") == 1, output
        same_numbers("1", "3", 1e-4)
    code, output = command("finetune", kind, "--resume", "2", "--steps", 5, "--plan")
    assert code == 0 and "all ranks " in output, output


# --------------------------------------------------------------------------------- bad values
@pytest.mark.parametrize(
    "ranks,variables,text_of_error",
    [
        ("0", {}, r"--ranks must be between 1 and 1,024, got 0"),
        ("-1", {}, r"--ranks must be between 1 and 1,024, got -1"),
        ("1000000", {}, r"--ranks must be between 1 and 1,024, got 1000000"),
        ("6", {}, r"--ranks 6: a batch has 5 rows, .* --batch-size of 6 or more, or fewer ranks"),
        ("2", {"RANK": "0", "WORLD_SIZE": "3"}, r"--ranks 2: .* made 3 processes \(WORLD_SIZE\)"),
        ("2", {"RANK": "0", "WORLD_SIZE": "1"}, r"--ranks 2: .* made 1 process \(WORLD_SIZE\)"),
        ("3", {"PMI_RANK": "1", "PMI_SIZE": "2"}, r"rank 1: --ranks 3: .* made 2 processes"),
    ],
)
def test_ranks_that_cannot_be(ranks, variables, text_of_error, text, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert called("pretrain", text, *SMALL, "--ranks", ranks, "--out", "x") == 2
    assert re.fullmatch(f"tinygrad-llm: {text_of_error}.*\n", capsys.readouterr().err)
    assert not os.path.exists("x")


def called(*words):
    """The exit code of the program, in this process."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return end.value.code


def test_more_ranks_than_cores_and_none_without_mpi4py(text, monkeypatch, capsys):
    many = ["pretrain", text, *SMALL, "--batch-size", "1000", "--ranks", "1000"]
    assert called(*many) == 2
    assert "more than" in (output := capsys.readouterr().err) and "wait for each other" in output
    monkeypatch.setattr("tinygrad_llm.distributed.is_mpi_available", lambda: False)
    assert called("pretrain", text, *SMALL, "--ranks", "2") == 2
    assert 'pip install "tinygrad_llm[mpi]"' in capsys.readouterr().err


def test_slurm_counts_only_where_srun_started_the_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "PMI_RANK", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert place() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert place() == (1, 4)


def test_options_for_several_in_one_process_say_how(text):
    options = resolve({"corpus": text, "ranks": 2, "steps": 2}, {})
    with pytest.raises(OptionError, match="this is one process: start it with tinygrad-llm launch"):
        Pretraining(options, False).run()
    trainer = Trainer(torch.nn.Linear(1, 1), None, [], steps=1, loss=len, folder=None)
    trainer.setup.reduce = lambda parameters, targets: targets
    trainer.setup.count = len
    trainer.stepper.graph, trainer.stepper._last = True, [[]]
    with pytest.raises(RuntimeError, match="this rank's batch has no targets"):
        trainer.stepper._graph_or_eager_step(None)
    trainer.setup.ranks = Ranks(0, 2)
    with pytest.raises(RuntimeError, match="graph=True is for one process"):
        trainer.stepper._graph_or_eager_step(None)
    with pytest.raises(OptionError, match="`graph` is for one process|needs `device`|graph"):
        resolve({"corpus": text, "ranks": 2, "graph": True}, {})


def test_an_error_is_printed_once(text):
    code, output = command("pretrain", "nothing.txt", "--ranks", "2")
    assert code == 2 and output.count("tinygrad-llm: CORPUS: ") == 1 and "rank 1" not in output


# ------------------------------------------------------------------------------ kills, Ctrl-C
@pytest.mark.parametrize(
    "note,text",
    [
        (None, "the run had not begun: start it again with the same command"),
        ("pretrain --resume cut", "to continue: pretrain --resume cut"),
    ],
)
def test_the_message_about_a_killed_rank(note, text, tmp_path, capsys):
    """A run that was resumed has checkpoints, also if it was killed before it began."""
    path = tmp_path / "note"
    if note is not None:
        path.write_text(note, encoding="utf-8")
    waiting = _Waiting([], path)
    waiting.failed = [(1, -signal.SIGKILL)]
    assert waiting._explain() == 128 + signal.SIGKILL
    assert capsys.readouterr().err == (
        f"tinygrad-llm: rank 1 was ended by SIGKILL, and the other ranks were stopped; {text}\n"
    )


def descendants(pid):
    """The processes that a process has started, and theirs."""
    pids = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
            for child in map(int, file.read().split()):
                pids += [child, *descendants(child)]
    return pids


def ranks_of(pid):
    """The processes of the ranks, in order."""
    pids = []
    for child in descendants(pid):
        with contextlib.suppress(OSError), open(f"/proc/{child}/cmdline") as file:
            if "spawn_main" in file.read():
                pids.append(child)
    return sorted(pids)


def are_gone(pids, seconds=60):
    """Whether the processes end in time; a zombie has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        left = []
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] != "Z":
                    left.append(pid)
        if not left:
            return True
        time.sleep(0.05)
    return False


LIVELY = [*SMALL, "--drop-rate", "0.2", "--checkpoint-every", "1", "--eval-every", "50",
          "--accumulation", "2", "--batch-size", "4"]  # fmt: skip


def started(words, log):
    """The program, running, once it has written another checkpoint."""
    before = newest()
    process = subprocess.Popen([*PROGRAM, *words], stdout=log, stderr=log, env=environment())
    until = time.monotonic() + 120
    while newest() == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    return process


def newest():
    return (checkpoints_in("cut/checkpoints") or [None])[-1]


def kills_and_resumes(text, kills, steps, seed, shard="none"):
    draw = random.Random(seed)
    made = ["pretrain", text, *LIVELY, "--steps", str(steps), "--ranks", "2", "--shard", shard,
            "--out"]  # fmt: skip
    code, output = command(*made, "whole")
    assert code == 0, output
    reached, resume = 0, ["pretrain", "--resume", "cut"]
    for _ in range(kills):
        before = newest()
        with open("log.txt", "wb") as log:
            process = started(resume if newest() else [*made, "cut"], log)
            children, processes = ranks_of(process.pid), descendants(process.pid)
            time.sleep(draw.uniform(0, 0.2))
            who = draw.choice(["rank", "rank", "all"])
            pids = [draw.choice(children)] if who == "rank" else [process.pid, *children]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            begun = time.monotonic()
            code = process.wait(60)
        output = open("log.txt", encoding="utf-8").read()
        assert time.monotonic() - begun < 60, f"seed {seed}: {output}"
        assert are_gone([process.pid, *processes]), f"orphans, seed {seed}"
        if who == "rank":
            expected = r"rank [01] was ended by SIGKILL, .* to continue: .*pretrain --resume cut\n"
            if newest() == before:  # a busy machine: killed before it began
                expected += "|the run had not begun: start it again with the same command\n"
            assert code == 128 + signal.SIGKILL and re.search(expected, output), (seed, output)
            assert "Traceback" not in output and "internal error" not in output, (seed, output)
        checkpoint = find_checkpoint("cut")
        assert checkpoint.path == newest()  # the newest one of that name is whole ...
        checkpoint.build_model()
        assert len(checkpoint.state()["random_of_ranks"]) == 2
        assert checkpoint.step >= reached, f"progress was lost; seed {seed}"
        reached = checkpoint.step
    code, output = command(*resume)
    assert code == 0, output
    whole, cut = find_checkpoint("whole").path, find_checkpoint("cut").path
    assert whole.name == cut.name == f"step-{steps:08d}"
    for name in ("model.safetensors", "training.safetensors"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), f"{name}; seed {seed}"
    same_numbers("whole", "cut", 0)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks into /proc")
@pytest.mark.parametrize("shard", ["none", "fsdp"])
def test_killed_three_times(text, shard):
    kills_and_resumes(text, 3, 150, random.randrange(10**6), shard)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks into /proc")
def test_killed_twenty_times(text):
    kills_and_resumes(text, 20, 900, random.randrange(10**6))


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks into /proc")
@pytest.mark.parametrize(
    "number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_stop_saves_and_says_how_to_go_on(text, number, code):
    made = ["pretrain", text, *LIVELY, "--steps", "100000", "--ranks", "2", "--out", "cut"]
    with open("log.txt", "wb") as log:
        process = started(made, log)
        processes = descendants(process.pid)
        process.send_signal(number)
        assert process.wait(60) == code and are_gone(processes)
    output = open("log.txt", encoding="utf-8").read()
    saved = re.findall(r"^saved (cut/checkpoints/step-\d+); to continue: .*--resume cut$", output,
                       re.M)  # fmt: skip
    assert saved == [str(newest())]
    assert "rank" not in output.split("finishing this step")[1], output
