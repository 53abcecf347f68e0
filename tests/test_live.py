"""A run that is watched: what it writes beside its metrics, and how it waits and goes on."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from test_kill_resume import command, new_run
from test_training import trainer

from tinygrad_llm.serve.fields import ApiError
from tinygrad_llm.serve.watching import LineReader, WatchedRun, thinned
from tinygrad_llm.training import find_checkpoint, read_metrics
from tinygrad_llm.training.live import layer_norms
from tinygrad_llm.training.reporting import Reporter


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr(Reporter, "plot", lambda self: None)


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def weights(folder):
    checkpoint = find_checkpoint(folder)
    return checkpoint.step, {k: v.numpy() for k, v in checkpoint.build_model().state_dict().items()}


def equal(a, b):
    assert a[0] == b[0] and a[1].keys() == b[1].keys()
    for name in a[1]:
        np.testing.assert_array_equal(a[1][name], b[1][name])


# -------------------------------------------------------------------------------- what is written
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_layers_norms_make_up_the_norm_before_clipping(tmp_path, clip):
    trainer(tmp_path, steps=20, clip=clip).run(plan=False)
    lines = read_metrics(tmp_path / "gradients.jsonl")
    whole = {x["step"]: x["grad_norm"] for x in read_metrics(tmp_path / "metrics.jsonl")
             if "grad_norm" in x}  # fmt: skip
    assert [line["step"] for line in lines] == [10, 20]
    for line in lines:
        assert list(line["norms"])[:2] == ["tok_emb", "pos_emb"]
        assert {"trf_blocks.0", "trf_blocks.1", "final_norm"} <= line["norms"].keys()
        norm = math.sqrt(sum(v * v for v in line["norms"].values()))
        assert norm == pytest.approx(whole[line["step"]], rel=1e-3)
    assert clip is None or min(whole.values()) > clip  # the case that is tested


def test_layers_without_finite_gradients_are_left_out():
    class P:
        def __init__(self, values):
            self.grad = None if values is None else type("G", (), {"array": np.array(values)})

    named = [("a.0.x.weight", P([3.0])), ("a.0.y.bias", P([4.0])), ("a.1.w", P([np.nan])),
             ("b.weight", P(None)), ("c", P([[2.0]]))]  # fmt: skip
    assert layer_norms(named, 2.0) == {"a.0": 10.0, "c": 4.0}


def test_texts_and_state_and_a_run_that_goes_on_from_before(tmp_path):
    options = {"sample": lambda model: "a text\x1b", "sample_every": 2, "checkpoint_every": 3}
    trainer(tmp_path, steps=6, **options).run(plan=False)
    assert [x["step"] for x in read_metrics(tmp_path / "samples.jsonl")] == [2, 4]
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["state"], state["step"], state["steps"]) == ("ended", 6, 6)
    again = trainer(tmp_path, steps=8, **options)
    (older,) = tmp_path.glob("checkpoints/step-*3")
    again.run(resume=older, plan=False)
    assert [x["step"] for x in read_metrics(tmp_path / "samples.jsonl")] == [2, 4, 6]


# ------------------------------------------------------------------------------ pause and go on
def test_a_pause_between_steps_changes_nothing(tmp_path):
    trainer(tmp_path / "a", steps=9).run(plan=False)
    folder, states = tmp_path / "b", []

    def sample(model):
        (folder / "pause").touch()
        return ""

    def go_on():
        until(lambda: watched.state()["state"] == "paused")
        states.append(watched.state())
        saved.append(find_checkpoint(folder).step)
        watched.ask(False)

    watched, saved = WatchedRun(folder), []
    helper = threading.Thread(target=go_on)
    helper.start()
    trainer(folder, steps=9, sample=sample, sample_every=5, checkpoint_every=100).run(plan=False)
    helper.join(60)
    assert states[0] == {"state": "paused", "step": 5, "steps": 9, "pause_asked": True}
    assert saved == [5] and watched.state()["state"] == "ended"
    equal(weights(tmp_path / "a"), weights(folder))


def test_a_run_that_begins_does_not_wait_for_an_old_question(tmp_path):
    (tmp_path / "pause").touch()
    assert trainer(tmp_path, steps=3).run(plan=False).step == 3
    assert not (tmp_path / "pause").exists()


def test_a_signal_ends_a_run_that_waits(tmp_path):
    def sample(model):
        (tmp_path / "pause").touch()
        return ""

    def interrupt():
        until(lambda: WatchedRun(tmp_path).state()["state"] == "paused")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, steps=9, sample=sample, sample_every=4).run(plan=False)
    assert WatchedRun(tmp_path).state()["state"] == "stopped"
    trainer(tmp_path, steps=9).run(resume=True, plan=False)


@pytest.mark.slow  # three processes
def test_killed_while_it_waits_it_ends_as_if_nothing_had_happened(tmp_path):
    plain, folder = tmp_path / "runs" / "plain", tmp_path / "runs" / "paused"
    plain.parent.mkdir()
    environment = {**os.environ, "TINYGRAD_LLM_LOOPS": "0"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "check": True}
    subprocess.run(new_run(plain, 40), **quiet)
    watched = WatchedRun(folder)
    run = subprocess.Popen(new_run(folder, 40), env=environment, stdout=subprocess.DEVNULL)
    try:
        until(lambda: watched.status()["losses"])
        watched.ask(True)
        until(lambda: watched.state()["state"] == "paused")
        step = watched.state()["step"]
        assert find_checkpoint(folder).step == step and 0 < step < 40
        assert watched.status()["losses"][-1][0] == step
    finally:
        run.kill()
        run.wait(60)
    assert (folder / "pause").exists()
    os.utime(folder / "metrics.jsonl", (0, 0))
    assert watched.state()["state"] == "stopped"
    with pytest.raises(ApiError, match="does not train now"):
        watched.ask(True)
    subprocess.run(command("pretrain", "--resume", folder), **quiet)
    equal(weights(plain), weights(folder))
    names = ("step", "loss", "grad_norm", "val_loss")
    curves = [[[line.get(n) for n in names] for line in read_metrics(f / "metrics.jsonl")]
              for f in (plain, folder)]  # fmt: skip
    assert curves[0] == curves[1]


# ------------------------------------------------------------------------------------ watching it
def test_lines_are_read_once_and_anew_after_a_change(tmp_path):
    path = tmp_path / "lines.jsonl"
    reader = LineReader(path)
    assert reader.update() == []
    path.write_bytes(b'{"step": 1}\n{"step": 2}\nnonsense\n[1]\n{"step": "x"}\n{"st')
    assert [x["step"] for x in reader.update()] == [1, 2]
    with open(path, "ab") as file:
        file.write(b'ep": 3}\n')
    assert [x["step"] for x in reader.update()] == [1, 2, 3]
    (tmp_path / "new").write_bytes(b'{"step": 7}\n{"step": 8}\n' * 20)
    os.replace(tmp_path / "new", path)
    assert len(reader.update()) == 40
    path.write_bytes(b'{"step": 9}\n')
    assert [x["step"] for x in reader.update()] == [9]


def test_curves_stay_small_and_keep_their_end():
    assert thinned([], 5) == [] and thinned([1, 2], 5) == [1, 2]
    for n in (5, 6, 99, 100_000):
        few = thinned(range(n), 5)
        assert len(few) <= 5 and few[-1] == n - 1 and few == sorted(few)


def test_files_of_a_run_that_are_nonsense(tmp_path):
    watched = WatchedRun(tmp_path / "later")
    assert watched.status()["state"] == "waiting"
    (tmp_path / "later").mkdir()
    for name in ("state.json", "metrics.jsonl", "samples.jsonl", "gradients.jsonl"):
        (tmp_path / "later" / name).write_bytes(b'{"step": 1, "loss": "x", "norms": 3}\n\xff')
    status = watched.status()
    assert (status["state"], status["losses"], status["gradients"]) == ("waiting", [], [])
    for process in (0, -1, "x", 2**80, None):
        text = json.dumps({"state": "running", "process": process, "step": [], "steps": 4})
        (tmp_path / "later" / "state.json").write_text(text)
        os.utime(tmp_path / "later" / "metrics.jsonl", (0, 0))
        assert watched.state()["state"] == "stopped"
