"""The benchmarks of recipes: losses as nanoGPT measures them, and the ladder's seeds."""

from __future__ import annotations

import json
import runpy
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_llm as tg
from benchmarks import nanogpt_cpu, training_ladder
from benchmarks.training_ladder import PLAIN, RUNGS, Ladder, Text, recipes, steps_for, trainer_of
from tinygrad_llm.training.presets import PRESETS

TEXT = "It is a truth universally acknowledged, that a small text is enough for a test.\n" * 30


class Places:
    """A model whose loss is the mean of the inputs, and which keeps what it has seen."""

    config = SimpleNamespace(context_length=4)

    def __init__(self):
        self.seen = []

    def eval(self):
        return self

    def loss(self, x, y):
        assert np.array_equal(x.numpy()[:, 1:], y.numpy()[:, :-1])
        self.seen.append(x.numpy()[:, 0])
        return x.to(tg.float32).mean()


# ------------------------------------------------------------------------------------ nanogpt-cpu
def test_an_estimate_is_the_mean_of_20_batches_at_random_places():
    model, ids = Places(), np.arange(50)
    made = nanogpt_cpu.estimates(model, ids, batch=12, draws=300, seed=1)
    assert made.shape == (300,) and len(model.seen) == 300 * 20
    starts = np.concatenate(model.seen)
    assert set(starts) == set(range(50 - 4))  # every window with a target after it, the last too
    each = starts.reshape(300, -1) + 1.5  # the mean of 4 numbers in a row
    np.testing.assert_allclose(made, each.mean(1), rtol=1e-5)
    assert abs(made.std() / (starts.std() / np.sqrt(20 * 12)) - 1) < 0.2
    again = nanogpt_cpu.estimates(Places(), ids, batch=12, draws=300, seed=2)
    assert not np.array_equal(made, again)


@pytest.fixture
def small_recipe(tmp_path, monkeypatch):
    """nanoGPT's preset with a tiny model and text, all runs in this process."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    small = {"corpus": str(tmp_path / "text.txt"), "emb_dim": 8, "n_heads": 2, "n_layers": 1,
             "context_length": 16}  # fmt: skip
    monkeypatch.setitem(PRESETS, "nanogpt-char", PRESETS["nanogpt-char"] | small)

    def share(work, pieces, n, collected):
        for piece in pieces:
            collected(piece, work(piece))

    monkeypatch.setattr("tinygrad_llm.training.scaling.processes.share", share)


@pytest.mark.slow
@pytest.mark.ci
def test_both_measures_of_a_run(small_recipe, capsys):
    """The mean of many estimates comes near to the loss of the whole last tenth."""
    made = nanogpt_cpu.main(["--seeds", "2", "--steps", "30", "--draws", "60"])
    rows = made["rows"]
    assert [row["seed"] for row in rows] == [1, 2] and rows[0]["whole"] != rows[1]["whole"]
    for row in rows:
        drawn = np.array(row["estimates"])
        assert len(drawn) == 60 and drawn.std() > 0
        assert abs(drawn.mean() - row["whole"]) < 0.05 * row["whole"]
    out = capsys.readouterr().out
    assert f"| 2 | {rows[1]['whole']:.4f} | " in out
    assert "of all 120 estimates 0% are 1.88 or less" in out


# --------------------------------------------------------------------------------------- the ladder
def text_of_numbers():
    ids = np.random.default_rng(0).integers(0, 7, 700)
    held = np.arange(64)[None] + np.arange(4)[:, None]  # (N, T)
    return Text("numbers", 7, ids, ids[held], ids[held + 1])


def test_rungs_stand_on_those_before():
    made = recipes(["cosine", "swiglu", "rms"])
    assert list(made) == ["plain", "alone: cosine", "alone: swiglu", "alone: rms", "up to cosine",
                          "up to rms"]  # fmt: skip
    assert made["alone: rms"] == {**PLAIN, "norm": "rms"}
    assert made["up to rms"] == {**PLAIN, **RUNGS["cosine"].changes, "norm": "rms"}


def test_a_ramp_reads_as_many_windows():
    recipe = {**PLAIN, **RUNGS["ramp"].changes}
    steps = steps_for(recipe, 40)
    trainer = trainer_of(recipe, text_of_numbers(), steps, 1)
    trainer._set_ramp()
    batches = sum(map(trainer.setup.batches_of, range(1, steps + 1)))
    assert steps > 40 and abs(batches / 4 - 40) < 1.5


@pytest.mark.parametrize("jobs", [1, 2])
def test_differences_are_of_the_same_seed(jobs, monkeypatch, tmp_path):
    """The loss of a run is made up: its seed, and for RMSNorm 0.5 less, or 0.7 for seed 3."""
    asked = []

    def run(recipe, text, steps, seed):
        asked.append((recipe.get("norm"), steps, seed))
        better = 0.0 if "norm" not in recipe else (0.7 if seed == 3 else 0.5)
        return {"losses": [seed - better] * 2, "steps": steps, "seconds": 1.0, "parameters": 9}

    def share(work, pieces, n, collected):
        assert n == jobs > 1
        for piece in reversed(pieces):
            collected(piece, work(piece))

    monkeypatch.setattr(training_ladder, "run", run)
    monkeypatch.setattr(training_ladder, "costs", lambda made, text: dict.fromkeys(made, 0.01))
    monkeypatch.setattr("tinygrad_llm.training.scaling.processes.share", share)
    state = str(tmp_path / "state.json")
    ladder = Ladder(text_of_numbers(), 50, state, seeds=3, jobs=jobs)
    plain, better = ladder.rows({"plain": PLAIN, "alone: rms": {**PLAIN, "norm": "rms"}})
    assert plain["tokens"] == "2.000" and plain["tokens minus"] == "+0.000 [+0.000, +0.000]"
    differences = np.array([-0.5, -0.5, -0.7])
    half = 4.303 * differences.std(ddof=1) / np.sqrt(3)
    low, high = differences.mean() - half, differences.mean() + half
    assert better["tokens minus"] == f"**{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]**"
    assert better["time"] == better["tokens"] == f"{2 + differences.mean():.3f}"
    assert sorted(asked, key=str) == sorted(
        [(norm, 50, seed) for norm in (None, "rms") for seed in (1, 2, 3)], key=str
    )  # each run once, although both columns and all rows need some of them
    asked.clear()
    Ladder(text_of_numbers(), 50, state, seeds=3).rows({"plain": PLAIN})
    assert not asked and len(json.loads(open(state).read())) == 6 + 2


def test_a_stopped_ladder_says_where_its_runs_are(tmp_path, monkeypatch, capsys):
    """Ctrl-C in the third run: two are kept, one line says so, and the exit code is 130."""
    made, most = [], 2

    def run(recipe, text, steps, seed):
        if len(made) == most:
            raise KeyboardInterrupt
        made.append(recipe)
        return {"losses": [1.0, 2.0], "steps": steps, "seconds": 1.0, "parameters": 9}

    monkeypatch.setattr(training_ladder, "run", run)
    monkeypatch.setattr(training_ladder, "costs", lambda made, text: dict.fromkeys(made, 0.01))
    monkeypatch.setattr(training_ladder, "read", lambda name: text_of_numbers())
    arguments = ["python -m benchmarks", "training-ladder", "--only", "rms,rotary"]
    path = tmp_path / "s.json"
    for state, words in (
        (["--state", str(path)], f"the runs so far (2) are in {path}"),
        ([], "nothing is kept: with --state FILE"),
        (["--state", str(tmp_path / "new.json")], "no run was finished"),
    ):
        made.clear()
        most = 0 if "new.json" in str(state) else 2
        monkeypatch.setattr("sys.argv", [*arguments, *state])
        with pytest.raises((SystemExit, KeyboardInterrupt)) as ended:
            runpy.run_module("benchmarks", run_name="__main__")
        shown = capsys.readouterr()
        assert ended.type is SystemExit and ended.value.code == 130
        assert shown.err == "python -m benchmarks: stopped\n"
        assert shown.out.strip().splitlines()[-1].startswith(words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--state", "no/s.json"], "--state: the folder no does not exist"),
        (["--state", "cut.json"], "--state: cut.json is not JSON"),
        (["--state", "list.json"], "take another file, or delete it"),
        (["--text", "nosuch.txt"], "nosuch.txt"),
        (["--only", "rms,nosuch"], "there is no rung 'nosuch'"),
        (["--only", "rms,rms"], "'rms' stands there twice"),
    ],
)
def test_what_the_ladder_refuses(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.json").write_text('{"a": [1,', "utf-8")
    (tmp_path / "list.json").write_text("[]", "utf-8")
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    text = [] if "--text" in arguments else ["--text", "text.txt"]
    with pytest.raises(SystemExit) as ended:
        training_ladder.main([*arguments, *text])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_quantiles_are_those_of_students_distribution():
    stats = pytest.importorskip("scipy.stats")
    for n, value in training_ladder.STUDENT.items():
        assert abs(stats.t.ppf(0.975, n - 1) - value) < 6e-4, n
