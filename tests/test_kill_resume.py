"""A real training process, killed at random moments and resumed, ends as if nothing had happened.

The process is `tinygrad-llm pretrain` with dropout, writing a checkpoint after every step, so that
many of the kills fall into the writing of one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinygrad_llm
from tinygrad_llm.training import find_checkpoint, read_metrics
from tinygrad_llm.training.checkpoint import checkpoints_in

if sys.platform == "win32":
    pytest.skip("kill -9 is a matter of POSIX", allow_module_level=True)

TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40


def command(*arguments):
    return [sys.executable, "-m", "tinygrad_llm.cli", *map(str, arguments)]


def new_run(folder, steps):
    text = folder.parent.parent / "text.txt"
    text.write_text(TEXT)
    return command(
        *(
            "pretrain",
            text,
            "--tokenizer",
            "char",
            "--steps",
            steps,
            "--checkpoint-every",
            1,
            "--out",
            folder,
        ),
        *("--context-length", 16, "--emb-dim", 32, "--n-heads", 2, "--n-layers", 2),
        *("--batch-size", 4, "--accumulation", 2, "--drop-rate", 0.2, "--eval-every", 7),
        *("--sample-every", 11, "--sample-tokens", 5),
    )


def new_tuning(folder, steps):
    """finetune classify with LoRA layers and dropout, on the sample of simple texts."""
    return command(
        *("finetune", "classify", "sample", "--steps", steps, "--checkpoint-every", 1),
        *("--out", folder, "--emb-dim", 16, "--n-heads", 2, "--n-layers", 1, "--batch-size", 4),
        *("--vocab-size", 300, "--context-length", 48, "--lora", "--lora-dropout", 0.1),
        *("--accumulation", 2, "--drop-rate", 0.2, "--eval-every", 50),
    )


RUNS = {"pretrain": new_run, "finetune classify": new_tuning}


def environment():
    package = str(Path(tinygrad_llm.__file__).parent.parent)
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": package}


def finish(arguments):
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def newest(folder):
    checkpoints = checkpoints_in(folder / "checkpoints")
    return checkpoints[-1].name if checkpoints else ""


def start_and_kill(arguments, folder, delay):
    """Starts the process and kills it `delay` seconds after its first checkpoint."""
    before = newest(folder)
    log = open(folder.parent / "log.txt", "ab")
    process = subprocess.Popen(arguments, env=environment(), stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while newest(folder) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    log.close()
    assert process.returncode in (0, -signal.SIGKILL), (folder.parent / "log.txt").read_text()
    return process.returncode


def losses(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k not in ("seconds", "mfu")} for line in lines]


def kill_and_compare(tmp_path, kills, steps, seed, kind="pretrain"):
    whole = tmp_path / "whole" / "run"
    whole.parent.mkdir()
    start, resume = RUNS[kind], [*kind.split(), "--resume"]
    finish(start(whole, steps))

    cut = tmp_path / "cut" / "run"
    cut.parent.mkdir()
    draw = random.Random(seed)
    reached = done = in_writing = 0
    while done < kills:
        begun = (cut / "checkpoints").exists() and checkpoints_in(cut / "checkpoints")
        arguments = command(*resume, cut) if begun else start(cut, steps)
        code = start_and_kill(arguments, cut, draw.uniform(0.0, 0.06))
        assert code == -signal.SIGKILL, f"ended before the kill {done}; seed {seed}"
        done += 1
        checkpoint = find_checkpoint(cut)  # the newest one of that name is whole ...
        assert checkpoint.path == checkpoints_in(cut / "checkpoints")[-1]
        checkpoint.build_model()
        checkpoint.state()
        assert checkpoint.step >= reached, "progress was lost"
        reached = checkpoint.step
        in_writing += any((cut / "checkpoints").glob(".writing-*"))
    finish(command(*resume, cut))
    print(f"{kind}, seed {seed}: {kills} kills, {in_writing} while a checkpoint was written")

    a, b = find_checkpoint(whole), find_checkpoint(cut)
    assert a.step == b.step == steps
    for name in ("model.safetensors", "training.safetensors", "tokenizer.json"):
        assert (a.path / name).read_bytes() == (b.path / name).read_bytes(), f"{name}; seed {seed}"
    state = [json.loads((c.path / "state.json").read_text()) for c in (a, b)]
    for each in state:
        del each["state"]["seconds"]
    assert state[0] == state[1]
    assert losses(whole) == losses(cut)
    return in_writing


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.slow
@pytest.mark.ci
def test_killed_three_times(tmp_path, kind):
    kill_and_compare(tmp_path, kills=3, steps=50, seed=random.randrange(10**6), kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_killed_fifty_times(tmp_path, kind):
    seed = random.randrange(10**6)
    in_writing = kill_and_compare(tmp_path, kills=50, steps=700, seed=seed, kind=kind)
    assert in_writing >= 5  # enough of them hit the writing of a checkpoint
