"""A run that goes back, and training states that are edited: nothing is lost, nothing believed."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import time

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.training import (
    StorageError,
    Trainer,
    find_checkpoint,
    read_metrics,
    save_checkpoint,
)
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.runs import check_disk

NAN = torch.full((1, 2), math.nan)


def first(state):
    """The moments of the first parameter."""
    return state["optimizer"]["state"][0]


def group(state):
    """The hyperparameters of the only group."""
    return state["optimizer"]["param_groups"][0]


def long_run(folder, steps, **options):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    batches = [torch.full((3, 2), float(i)) for i in range(4)]
    return Trainer(
        model, optimizer, batches, steps=steps, folder=folder, progress=False, checkpoint_every=1,
        loss=lambda m, x: m(x).pow(2).mean(), count=len, **{"keep": 3, **options},
    )  # fmt: skip


def test_going_back_keeps_the_new_line_and_the_old_one(tmp_path):
    long_run(tmp_path, 6).run(plan=False)
    folder = tmp_path / "checkpoints"
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["step-00000004", "step-00000005", "step-00000006"]
    long_run(tmp_path, 5).run(resume=folder / "step-00000004", plan=False)
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000004", "step-00000005"]
    aside = tmp_path / "checkpoints-left-1"
    assert sorted(p.name for p in aside.iterdir()) == ["metrics.jsonl", *names[1:]]
    assert find_checkpoint(tmp_path).step == 5  # the new line
    assert find_checkpoint(aside).step == 6  # the old one can still be resumed
    again = long_run(tmp_path, 8)
    again.run(resume=True, plan=False)
    assert sorted(p.name for p in folder.iterdir()) == [f"step-0000000{n}" for n in (6, 7, 8)]
    again = long_run(tmp_path, 7)
    again.run(resume=folder / "step-00000006", plan=False)
    assert (tmp_path / "checkpoints-left-2").is_dir()


def places(folder, name):
    """The same checkpoint, spelt in ways that a user may spell it."""
    there = folder / "checkpoints" / name
    link = folder.parent / "a link"
    if not link.exists():
        link.symlink_to(folder, target_is_directory=True)
    return {
        "absolute": there.absolute(), "text": str(there), "with dots": folder / ".." / folder.name
        / "checkpoints" / name, "a link": link / "checkpoints" / name, "a slash": f"{there}/",
        "relative": os.path.relpath(there),
    }  # fmt: skip


@pytest.mark.parametrize(("step", "n"), [(None, 1), (5, 1), (4, 2), (3, 3)])
def test_room_for_checkpoints_after_going_back(tmp_path, monkeypatch, step, n):
    """Newer checkpoints are kept elsewhere, so that they make no room; older ones are replaced."""
    run = tmp_path / "run"
    long_run(run, 5).run(plan=False)
    checkpoint = find_checkpoint(run)
    if step is not None:
        checkpoint = find_checkpoint(run / "checkpoints" / f"step-0000000{step}")
    model = nn.Linear(10, 10)
    each = 3 * 110 * 4
    keep = len(list((run / "checkpoints").iterdir()))
    assert keep == 3
    disk = shutil.disk_usage(tmp_path)
    for free in (n * each, n * each - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: disk._replace(free=free))
        if free == n * each:
            check_disk(run, keep, model, checkpoint)
            continue
        with pytest.raises(OptionError, match=f"and {n} checkpoints? takes?"):
            check_disk(run, keep, model, checkpoint)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize(("spelling", "step"), [
    ("absolute", 3), ("absolute", 4), ("text", 3), ("with dots", 4), ("a link", 3), ("a slash", 4),
    ("relative", 3),
])  # fmt: skip
def test_going_back_to_any_place_of_the_same_checkpoint(tmp_path, monkeypatch, spelling, step):
    """The new line is newer than what was there, however the checkpoint was named."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    long_run(run, 5).run(plan=False)
    before = (run / "metrics.jsonl").read_text()
    where = places(run, f"step-0000000{step}")[spelling]
    long_run("run", 8).run(resume=where, plan=False)
    names = [f"step-0000000{n}" for n in (6, 7, 8)]
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == names
    assert find_checkpoint(run).step == 8
    aside = run / "checkpoints-left-1"
    assert find_checkpoint(aside).step == 5
    assert (aside / "metrics.jsonl").read_text() == before
    steps = [line["step"] for line in read_metrics(run / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[-1] == 8


def test_going_back_and_stopping_before_the_first_checkpoint(tmp_path):
    """What continues is the line that the user chose, and the command that is printed says so."""
    long_run(tmp_path, 5).run(plan=False)
    back = long_run(tmp_path, 9)
    back.stepper.step = lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        back.run(resume=tmp_path / "checkpoints" / "step-00000003", plan=False)
    assert find_checkpoint(tmp_path).step == 3
    again = long_run(tmp_path, 9)
    again.run(resume=True, plan=False)
    whole = long_run(tmp_path / "whole", 9)
    whole.run(plan=False)
    assert torch.equal(whole.model.weight, again.model.weight)


def test_going_back_twice_and_forth(tmp_path):
    """Each line that was left is complete in its own folder, and can be resumed."""
    long_run(tmp_path, 6).run(plan=False)
    folder = tmp_path / "checkpoints"
    for number, step in enumerate((4, 4, 4), 1):
        long_run(tmp_path, 6).run(resume=folder / f"step-{step:08d}", plan=False)
        assert find_checkpoint(tmp_path / f"checkpoints-left-{number}").step == 6
        assert find_checkpoint(tmp_path).step == 6
    other = long_run(tmp_path / "other", 8)
    other.run(resume=tmp_path / "checkpoints-left-2", plan=False)
    whole = long_run(tmp_path / "whole", 8)
    whole.run(plan=False)
    assert torch.equal(whole.model.weight, other.model.weight)


@pytest.mark.parametrize("keep", [1, 2, 3, 5])
def test_a_resumed_run_has_at_most_one_checkpoint_more(tmp_path, monkeypatch, keep):
    """While one is written, the most that lie there together are keep + 1."""
    long_run(tmp_path, 6, keep=keep).run(plan=False)
    folder, most = tmp_path / "checkpoints", []
    real = os.replace

    def replace(source, target):
        most.append(len([p for p in folder.iterdir() if any(p.iterdir())]))
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    long_run(tmp_path, 9, keep=keep).run(resume=True, plan=False)
    assert most and max(most) <= keep + 1
    assert len(list(folder.iterdir())) == keep


def test_a_folder_that_cannot_be_left(tmp_path, monkeypatch):
    long_run(tmp_path, 5).run(plan=False)

    def refuse(self, target):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with pytest.raises(StorageError, match="Permission denied|not allowed"):
        long_run(tmp_path, 9).run(resume=tmp_path / "checkpoints" / "step-00000003", plan=False)
    monkeypatch.undo()
    assert find_checkpoint(tmp_path).step == 5


STATES = {
    "tokens of minus one": lambda s: s.update(tokens=-1),
    "tokens of a text": lambda s: s.update(tokens="1"),
    "seconds of NaN": lambda s: s.update(seconds=math.nan),
    "no seconds": lambda s: s.pop("seconds"),
    "a last loss of a text": lambda s: s.update(last_loss="1.5"),
    "an optimizer of a list": lambda s: s.update(optimizer=[]),
    "groups of a text": lambda s: s["optimizer"].update(param_groups="x"),
    "a rate of NaN": lambda s: group(s).update(lr=math.nan),
    "a rate of minus one": lambda s: group(s).update(lr=-1.0),
    "a rate of a text": lambda s: group(s).update(lr="0.1"),
    "betas above one": lambda s: group(s).update(betas=(1.5, 0.9)),
    "params of a number": lambda s: group(s).update(params=7),
    "a step of minus five": lambda s: first(s).update(step=torch.tensor(-5.0)),
    "a step of NaN": lambda s: first(s).update(step=torch.tensor(math.nan)),
    "moments of NaN": lambda s: first(s).update(exp_avg=NAN),
    "squares below zero": lambda s: first(s).update(exp_avg_sq=torch.full((1, 2), -1.0)),
    "moments of another shape": lambda s: first(s).update(exp_avg=torch.ones(3)),
    "moments of a text": lambda s: first(s).update(exp_avg="x"),
    "random numbers of a list": lambda s: s.update(random=[1, 2]),
    "random numbers cut short": lambda s: s.update(random=s["random"][:10]),
    "data of a number": lambda s: s.update(data=7),
    "data without its place": lambda s: s.update(data={}),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
@pytest.mark.suite_cases(11)
def test_a_training_state_is_checked(tmp_path, name):
    run = long_run(tmp_path / "first", 2)
    run.run(plan=False)
    state = find_checkpoint(tmp_path / "first").state()
    STATES[name](state)
    save_checkpoint(tmp_path / "second" / "checkpoints", 2, run.model, state, {})
    with pytest.raises(StorageError, match="step-00000002"):
        long_run(tmp_path / "second", 3).run(resume=True, plan=False)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_ends_the_program_saves_first(tmp_path, name, code):
    def send(model):
        os.kill(os.getpid(), getattr(signal, name))
        return ""

    run = long_run(tmp_path, 50, sample=send, sample_every=3)
    with pytest.raises(SystemExit) as raised:
        run.run(plan=False)
    assert raised.value.code == code and find_checkpoint(tmp_path).step == 3


needs_hangup = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")


@needs_hangup
@pytest.mark.parametrize("times", [1, 2, 5])
def test_hangups_of_the_kernel_and_of_the_shell_are_one(tmp_path, times):
    def send(model):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGHUP)
        return ""

    with pytest.raises(SystemExit) as raised:
        long_run(tmp_path, 50, sample=send, sample_every=3).run(plan=False)
    assert raised.value.code == 129 and find_checkpoint(tmp_path).step == 3


@needs_hangup
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_while_a_checkpoint_is_written(tmp_path, monkeypatch, name):
    """At each of the steps that write it: it is written to its end, and the run ends after it."""
    real = os.replace
    calls = []

    def replace(source, target):
        calls.append(target)
        if len(calls) == at:
            os.kill(os.getpid(), getattr(signal, name))
        return real(source, target)

    for at in (1, 3):
        calls.clear()
        folder = tmp_path / str(at)
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(SystemExit) as raised:
            long_run(folder, 50).run(plan=False)
        monkeypatch.undo()
        assert raised.value.code == {"SIGTERM": 143, "SIGHUP": 129}[name]
        saved = find_checkpoint(folder)
        assert not list(folder.rglob("*.part"))
        whole = long_run(tmp_path / f"whole {at}", saved.step + 2)
        whole.run(plan=False)
        again = long_run(folder, saved.step + 2)
        again.run(resume=True, plan=False)
        assert all(torch.equal(a, b) for a, b in zip(
            whole.model.parameters(), again.model.parameters(), strict=True))  # fmt: skip


@needs_hangup
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_signal_that_is_ignored_stays_ignored(tmp_path, name):
    """nohup ignores SIGHUP for what it starts; a script's background jobs ignore SIGINT."""
    number = getattr(signal, name)

    def send(model):
        os.kill(os.getpid(), number)
        return ""

    before = signal.signal(number, signal.SIG_IGN)
    try:
        long_run(tmp_path, 6, sample=send, sample_every=2).run(plan=False)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert find_checkpoint(tmp_path).step == 6


@needs_hangup
def test_a_signal_while_a_line_is_printed(tmp_path):
    """Python refuses to print in the middle of printing: the signal is stored all the same."""
    from tinygrad_llm.training.guard import Interruptions

    def note(text):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    with Interruptions(note) as interruptions:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruptions.signal == signal.SIGTERM


CLOSED = """
import os, pathlib, sys, time
import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.training import Trainer
folder = pathlib.Path(sys.argv[1])
model = nn.Linear(2, 1)
batches = [torch.full((3, 2), float(i)) for i in range(4)]
def slowly(model):
    (folder / "going").touch()
    time.sleep(0.02)
    return "sample"
from tinygrad_llm.training.progress import PlainProgress, RichProgress
Trainer(model, torch.optim.AdamW(model.parameters(), lr=0.1), batches, steps=100_000,
        folder=folder / "run", progress=PlainProgress(0.0) if sys.argv[2] == "lines" else None,
        checkpoint_every=10**6, sample=slowly, sample_every=1,
        loss=lambda m, x: m(x).pow(2).mean(), count=len).run(plan=False)
"""


@needs_hangup
@pytest.mark.parametrize("kind", ["lines", "a bar"])
def test_a_terminal_that_is_closed(tmp_path, kind):
    """What is printed afterwards fails, and the run is saved all the same."""
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", CLOSED, str(tmp_path), kind])
    end = time.monotonic() + 60
    while not (tmp_path / "going").exists() and time.monotonic() < end:
        os.read(terminal, 1000)
    os.close(terminal)  # the kernel sends SIGHUP
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError("the run continued")
    assert os.WIFEXITED(status) and find_checkpoint(tmp_path / "run").step >= 1


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("eps is missing", lambda s: group(s).pop("eps")),
        ("exp_avg_sq of parameter 0 is None", lambda s: first(s).pop("exp_avg_sq")),
        ("exp_avg of parameter 1 is 5", lambda s: s["optimizer"]["state"][1].update(exp_avg=5)),
        ("of shape", lambda s: first(s).update(step=torch.ones(2))),
        ("'step' of parameter 0 is", lambda s: first(s).update(step=torch.tensor(True))),
        ("is True", lambda s: group(s).update(amsgrad=True)),
        ("amsgrad.* is 'x'", lambda s: group(s).update(amsgrad="x")),
    ],
)
def test_a_part_of_what_a_step_keeps_is_not_enough(tmp_path, name, edit):
    """A fuzzer's finds: each failed in the next step with an error from deep inside."""
    run = long_run(tmp_path / "first", 2)
    run.run(plan=False)
    state = find_checkpoint(tmp_path / "first").state()
    edit(state)
    save_checkpoint(tmp_path / "second" / "checkpoints", 2, run.model, state, {})
    message = "max_exp_avg_sq" if name == "is True" else name
    with pytest.raises(StorageError, match=message):
        long_run(tmp_path / "second", 3).run(resume=True, plan=False)
