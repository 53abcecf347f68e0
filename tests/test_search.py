"""The search for good options: spaces, strategies, trials that resume, what may be wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.files.packages import MissingPackage
from tinygrad_llm.finetune.commands import COMMANDS
from tinygrad_llm.training.autopsy import NonFiniteError
from tinygrad_llm.training.ledger import Ledger
from tinygrad_llm.training.loop import Result
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.presets import PretrainOptions
from tinygrad_llm.training.search.options import SearchOptions
from tinygrad_llm.training.search.plot import plot_trials
from tinygrad_llm.training.search.run import Runs, Search
from tinygrad_llm.training.search.space import Choice, Range, Space
from tinygrad_llm.training.search.strategies import propose, rounds_of, tpe
from tinygrad_llm.training.settings import resolved


def space(**texts):
    return Space.parse(PretrainOptions, texts)


# ---------------------------------------------------------------------------------------- spaces
def test_a_space():
    made = space(lr="1e-4..1e-2:log", n_layers="2,4,6", seed="3", attention="mha|gqa",
                 tie_weights="true,false", prompt="a, b", emb_dim="16..64")  # fmt: skip
    assert made.fixed == {"seed": 3, "prompt": "a, b"}
    assert made.searched == {
        "lr": Range(1e-4, 1e-2, True, False), "n_layers": Choice((2, 4, 6)),
        "attention": Choice(("mha", "gqa")), "tie_weights": Choice((True, False)),
        "emb_dim": Range(16, 64, False, True),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text, message",
    [
        ({"lr": "1e-2..1e-4"}, "lr: a range goes from low to high, got"),
        ({"lr": "1e-4..1e-2:cubic"}, "lr: a range ends with :log or :linear"),
        ({"lr": "fast,slow"}, "lr should be a number, a range LOW..HIGH"),
        ({"lr": "nan..1"}, "lr should be a number"),
        ({"lr": "-1..1"}, "lr must be more than 0, got -1"),
        ({"warmup": "0..10:log"}, "warmup: a range with :log begins above 0"),
        ({"n_layers": "2,4.5"}, "n_layers should be a whole number, got 4.5"),
        ({"n_layers": "2,2"}, "n_layers: one of 2, 2 stands there twice"),
        ({"n_layers": "2,1000"}, "n_layers must be between 1 and 256, got 1000"),
        ({"tie_weights": "true,maybe"}, "tie_weights should be true or false, got 'maybe'"),
        ({"tie_weights": "false..true"}, "tie_weights has no range"),
        ({"lr": "1e-3"}, "nothing to search"),
        ({"lr": "1e-3,"}, "lr should be a number"),
    ],
)
def test_what_a_space_refuses(text, message):
    with pytest.raises(OptionError) as caught:
        space(**text)
    assert message in str(caught.value)


def test_draws_are_inside_and_even():
    rng = np.random.default_rng(1)
    log = Range(1e-4, 1e-2, True, False)
    drawn = np.array([log.draw(rng) for _ in range(2000)])
    assert drawn.min() >= 1e-4 and drawn.max() <= 1e-2
    assert abs((drawn < 1e-3).mean() - 0.5) < 4 * 0.5 / 2000**0.5
    for whole in (Range(1, 4, False, True), Range(1, 4, True, True)):
        counts = np.bincount([whole.draw(rng) for _ in range(2000)], minlength=5)
        assert counts[0] == 0 and len(counts) == 5 and counts[1:].min() > 100
    assert abs(counts[1] / 2000 - np.log(3) / np.log(9)) < 0.05  # from 1/2 to 3/2 of 1/2 to 9/2


def test_points_and_places():
    assert Range(1, 4, False, True).points(9) == [1, 2, 3, 4]
    assert Range(1e-4, 1e-2, True, False).points(3) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert Range(2, 8, True, True).points(1) == [4]
    assert Range(1e-4, 1e-2, True, False).place(1e-3) == pytest.approx(0.5)
    assert Choice(("a", "b", "c")).place("c") == 1.0
    grid = space(lr="1e-4..1e-2:log", n_layers="2,4").grid(3)
    assert len(grid) == 6 and grid[0] == {"lr": pytest.approx(1e-4), "n_layers": 2}
    assert grid[1]["n_layers"] == 4 and grid[5] == {"lr": pytest.approx(1e-2), "n_layers": 4}
    with pytest.raises(OptionError, match="combinations are too many"):
        space(lr="1e-4..1e-2", emb_dim="1..200").grid(101)


@pytest.mark.parametrize(
    "trials, steps, eta, first, expected",
    [
        (27, 900, 3, None, [(27, 33), (9, 100), (3, 300), (1, 900)]),
        (9, 90, 3, None, [(9, 10), (3, 30), (1, 90)]),
        (10, 90, 3, 30, [(10, 30), (4, 90)]),
        (1, 90, 3, None, [(1, 90)]),
        (16, 2, 2, None, [(4, 1), (1, 2)]),
    ],
)
def test_rounds_of_halving(trials, steps, eta, first, expected):
    rounds = rounds_of(trials, steps, eta, first)
    assert rounds[-1][1] == steps and rounds[-1][0] == expected[-1][0]
    if steps > 2:
        assert rounds == expected


def test_no_more_first_steps_than_steps():
    with pytest.raises(OptionError, match="first_steps 100 is more than steps 90"):
        rounds_of(9, 90, 3, 100)


# ---------------------------------------------------------------------------------------- trials
class Valley:
    """A run whose loss is known: least at lr = 0.001, lower with more steps."""

    made: list = []
    stop_at = None

    def __init__(self, values):
        self.values = values
        Valley.made.append(values)

    def prepare(self):
        if self.values.get("n_layers") == 3:
            raise OptionError("`n_layers` 3 is odd")

    def complete(self, until=None, report=True):
        if len(Valley.made) == Valley.stop_at:
            raise KeyboardInterrupt
        if self.values["lr"] > 5e-3:
            raise NonFiniteError("the loss is nan", None, "it", 1, None)
        steps = until or 90
        loss = abs(np.log10(self.values["lr"]) + 3.0) + 1.0 / steps
        folder = self.values["folder"]
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "metrics.jsonl"), "w") as file:
            file.write(json.dumps({"step": steps, "val_loss": loss, "gain": -loss}) + "\n")
        return Result(steps, loss, loss, 0, 0.0)


@pytest.fixture
def valley():
    Valley.made, Valley.stop_at = [], None
    return Runs("pretrain", PretrainOptions, Valley, Valley)


def search(valley, folder, texts=None, **own):
    texts = {"lr": "1e-4..1e-2:log", "steps": "90"} | (texts or {})
    return Search(valley, space(**texts), resolved(SearchOptions, {"folder": str(folder), **own}))


@pytest.mark.parametrize("strategy", ["random", "grid", "halving", "tpe"])
def test_every_strategy_comes_near_the_best(valley, tmp_path, strategy):
    if strategy == "tpe":
        pytest.importorskip("optuna")
    made = search(valley, tmp_path, strategy=strategy, trials=27, points=9, search_seed=2)
    trials = made.run(lambda line: None)
    best = made.best()
    assert best is trials[0] and best.steps == 90
    assert abs(np.log10(best.values["lr"]) + 3.0) < 0.15
    scored = [t.score for t in trials if t.score is not None and t.steps == 90]
    assert scored == sorted(scored)
    assert json.loads((tmp_path / "best.json").read_text()) == {"lr": best.values["lr"],
                                                                "steps": 90}  # fmt: skip
    assert all("nan" in t.problem for t in trials if t.values["lr"] > 5e-3)


def test_more_of_a_metric_may_be_better(valley, tmp_path):
    one = search(valley, tmp_path / "a").run(lambda line: None)
    other = search(valley, tmp_path / "b", metric="gain", maximise=True).run(lambda line: None)
    assert [t.number for t in one] == [t.number for t in other]
    assert other[0].score == -one[0].score


def test_proposals_depend_on_number_and_seed_alone():
    made = space(lr="1e-4..1e-2:log", n_layers="2,4,6")
    options = [resolved(SearchOptions, {"search_seed": seed}) for seed in (1, 2)]
    rows = [[propose(made, o, i) for i in range(5)] for o in (*options, options[0])]
    assert rows[0] == rows[2] != rows[1]
    assert len({row["lr"] for row in rows[0]}) == 5


def test_optuna_proposes_the_same_again():
    pytest.importorskip("optuna")
    made = space(lr="1e-4..1e-2:log", n_layers="2..8", attention="mha|gqa")
    options = resolved(SearchOptions, {"strategy": "tpe"})
    known = [(propose(made, options, i), float(i)) for i in range(12)]
    values = tpe(made, options, 12, known)
    assert values == tpe(made, options, 12, known) != tpe(made, options, 13, known)
    assert 1e-4 <= values["lr"] <= 1e-2 and values["n_layers"] in range(2, 9)


def test_without_optuna_the_line_says_what_to_install(valley, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackage, match=r'pip install "tinygrad_llm\[search\]"'):
        search(valley, tmp_path, strategy="tpe").run(lambda line: None)


@pytest.mark.parametrize("strategy", ["random", "halving"])
def test_an_interruption_keeps_what_is_known_and_goes_on(valley, tmp_path, strategy):
    whole = search(valley, tmp_path / "whole", strategy=strategy, trials=9)
    expected = whole.run(lambda line: None)
    n = len(Valley.made)
    Valley.made, Valley.stop_at = [], 7
    stopped = search(valley, tmp_path / "stopped", strategy=strategy, trials=9)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(lambda line: None)
    assert len(stopped.trials) == 6 and stopped.best() is not None
    assert "| trial | lr | val_loss |" in stopped.table()
    Valley.made, Valley.stop_at = [], None
    again = search(valley, tmp_path / "stopped", strategy=strategy, trials=9)
    rows = again.run(lambda line: None)
    assert len(Valley.made) == n - 6, "what was done is not done again"
    assert [t._replace(seconds=0) for t in rows] == [t._replace(seconds=0) for t in expected]


def test_a_line_that_a_kill_cut_short_is_made_again(valley, tmp_path):
    expected = search(valley, tmp_path, trials=4).run(lambda line: None)
    path = tmp_path / "results.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: data.rstrip(b"\n").rfind(b"\n") + 20])
    Valley.made = []
    rows = search(valley, tmp_path, trials=4).run(lambda line: None)
    assert len(Valley.made) == 1 and path.read_bytes().count(b"\n") == 8
    assert [t.values for t in rows] == [t.values for t in expected]


def test_more_trials_may_follow_but_no_others(valley, tmp_path):
    search(valley, tmp_path, trials=3).run(lambda line: None)
    Valley.made = []
    assert len(search(valley, tmp_path, trials=5).run(lambda line: None)) == 5
    assert len(Valley.made) == 2
    with pytest.raises(OptionError, match="was begun with search_seed 1, not 2"):
        search(valley, tmp_path, trials=5, search_seed=2).run(lambda line: None)
    with pytest.raises(OptionError, match="was begun with searched"):
        search(valley, tmp_path, {"lr": "1e-4..1e-3"}, trials=5).run(lambda line: None)


def test_refused_trials_are_named_and_all_refused_is_an_error(valley, tmp_path):
    made = search(valley, tmp_path / "a", {"n_layers": "2,3", "lr": "1e-3"}, strategy="grid")
    trials = made.run(lambda line: None)
    assert [t.problem for t in trials] == ["", "n_layers 3 is odd"]
    with pytest.raises(OptionError, match="n_layers 3 is odd"):
        search(valley, tmp_path / "b", {"n_layers": "3"}).run(lambda line: None)
    assert len(Valley.made) == 2 + 3, "three refusals of one kind are enough"
    with pytest.raises(OptionError, match="a run has no val_accuracy; it has gain, val_loss"):
        search(valley, tmp_path / "c", {"lr": "1e-4..1e-3"}, metric="val_accuracy").run(print)


def test_halving_needs_steps(valley, tmp_path):
    texts = {"lr": "1e-4,1e-3"}
    with pytest.raises(OptionError, match="halving needs steps"):
        Search(valley, space(**texts), resolved(SearchOptions, {"strategy": "halving"}))


def test_the_ledger_refuses_what_it_does_not_know(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="not empty, and holds no search"):
        Ledger(tmp_path / "a", "search", {}).__enter__()
    with pytest.raises(OptionError, match="is a file"):
        Ledger(tmp_path / "a" / "notes.txt", "search", {}).__enter__()
    with Ledger(tmp_path / "b", "search", {"x": 1}) as ledger:
        assert ledger.add(score=float("nan"), n=2) == {"score": None, "n": 2}
    with pytest.raises(OptionError, match="holds 'search', and no sweep"):
        Ledger(tmp_path / "b", "sweep", {"x": 1}).__enter__()
    (tmp_path / "b" / "results.jsonl").write_text('{"n": 2}\nnonsense\n')
    with pytest.raises(OptionError, match="line 2"):
        Ledger(tmp_path / "b", "search", {"x": 1}).__enter__()


def test_a_picture_of_any_trials(valley, tmp_path):
    made = search(valley, tmp_path, {"n_layers": "2,4", "attention": "mha|gqa"}, trials=6)
    made.run(lambda line: None)
    for trials in (made.ranked(), made.ranked()[:1], []):
        path = plot_trials(trials, made.space, tmp_path / "p.png")
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_searchs_flags_are_no_commands_own():
    own = {o.flag for o in SearchOptions.shown()} - {"--out"}
    for kind in (PretrainOptions, *COMMANDS.values()):
        assert not own & {o.flag for o in kind.shown()}
        assert not [o for o in kind.shown() if o.field.startswith("search_")]


# ----------------------------------------------------------------------------------- the command
TINY = ["--tokenizer", "char", "--context-length", "8", "--emb-dim", "8", "--n-heads", "1",
        "--n-layers", "1", "--batch-size", "2", "--drop-rate", "0"]  # fmt: skip


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return str(path)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


def test_halving_of_real_runs_ends_with_the_run_of_the_plain_command(text, tmp_path, capsys):
    out = tmp_path / "s"
    assert run("search", "pretrain", text, *TINY, "--lr", "1e-3,3e-2", "--steps", 9,
               "--strategy", "halving", "--trials", 3, "--out", out) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "| trial | lr | val_loss | steps | s |" in shown and "at 3 steps" in shown
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [row.get("steps") for row in rows if "level" in row] == [3, 3, 3, 9]
    best = rows[-1]
    left = [p for p in (out / "trials").iterdir() if (p / "checkpoints").exists()]
    assert [p.name for p in left] == [f"{best['trial']:04}"]
    assert (out / "search.png").exists()
    plain = tmp_path / "plain"
    assert run("pretrain", "--config", out / "best.json", "--sample-tokens", 0, "--eval-every", 9,
               "--out", plain, "--plain") == 0  # fmt: skip
    lines = [json.loads(line) for line in (plain / "metrics.jsonl").read_text().splitlines()]
    assert [x["val_loss"] for x in lines if "val_loss" in x][-1] == best["score"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--lr", "1e-3"], "there is nothing to search"),
        (["--lr", "1e-3,1e-2", "--strategy", "best"], "--strategy must be random, grid"),
        (["--lr", "1e-3,1e-2", "--trials", "0"], "--trials must be between 1 and 10,000"),
        (["--lr", "a..b"], "--lr should be a number"),
        (["--lr", "1e-3,1e-2", "--strategy", "halving"], "--strategy halving needs --steps"),
        (["--lr", "1e-3,1e-2", "--config", "no.json"], "--config: there is no file"),
    ],
)
def test_what_the_command_refuses(text, tmp_path, capsys, arguments, message):
    assert run("search", "pretrain", text, "--out", tmp_path / "s", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_corpus_that_is_not_there_ends_the_search_early(tmp_path, capsys):
    arguments = ["--lr", "1e-4..1e-2", "--steps", "5", "--out", tmp_path / "s"]
    assert run("search", "pretrain", tmp_path / "nothing.txt", *arguments) == 2
    assert "nothing.txt" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ci
def test_killed_searches_end_with_the_same_table(text, tmp_path):
    words = [sys.executable, "-m", "tinygrad_llm", "search", "pretrain", text, *TINY, "--lr",
             "1e-4..1e-1:log", "--steps", "8", "--strategy", "halving", "--trials", "4",
             "--eta", "2", "--checkpoint-every", "2", "--out"]  # fmt: skip
    subprocess.run([*words, str(tmp_path / "whole")], check=True, capture_output=True)
    draw = np.random.default_rng(1)
    path = tmp_path / "killed" / "results.jsonl"
    for _ in range(3):
        before = path.stat().st_size if path.exists() else 0
        wait = before + int(draw.integers(1, 400))
        process = subprocess.Popen([*words, str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        while process.poll() is None and (not path.exists() or path.stat().st_size < wait):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*words, str(tmp_path / "killed")], check=True, capture_output=True)
    tables = []
    for name in ("whole", "killed"):
        lines = (tmp_path / name / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        tables.append(sorted((r["trial"], r["level"], r["score"]) for r in rows if "level" in r))
    assert tables[0] == tables[1]
