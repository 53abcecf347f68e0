"""Scaling laws: closed forms, fits against known laws and scipy, sweeps that resume, the report."""

import json
import os
import signal

import numpy as np
import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.models.costs import gpt_flops
from tinygrad_llm.models.gpt import GPTConfig
from tinygrad_llm.training.checkpoint import StorageError
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.scaling.fit import _Problem, fit_law, fit_power, huber
from tinygrad_llm.training.scaling.isoflop import equal_compute, isoflop
from tinygrad_llm.training.scaling.laws import (
    CHINCHILLA,
    CHINCHILLA_TABLE,
    Law,
    regression,
    tokens_by_regression,
    training_flops,
)
from tinygrad_llm.training.scaling.minimise import minimise
from tinygrad_llm.training.scaling.processes import share
from tinygrad_llm.training.scaling.report import Report, short
from tinygrad_llm.training.scaling.sweep import Sweep, SweepOptions, numbers_of, sizes_of
from tinygrad_llm.training.settings import resolved

SMALL = Law(1.2, 60.0, 200.0, 0.30, 0.33)
N = np.repeat([1.2e4, 3e4, 6e4, 2e5, 5e5, 1e6], 4)
D = np.tile([4e5, 8e5, 1.6e6, 3.2e6], 6)


def losses(law, noise=0.0, seed=0):
    exact = np.array([law.loss(n, d) for n, d in zip(N, D, strict=True)])
    return exact * np.exp(np.random.default_rng(seed).normal(0.0, noise, len(exact)))


# ----------------------------------------------------------------------------------- closed forms
def test_published_numbers():
    assert CHINCHILLA == (1.69, 406.4, 410.7, 0.34, 0.28)
    assert CHINCHILLA.loss(70e9, 1.4e12) == pytest.approx(1.9366, abs=1e-4)
    assert CHINCHILLA.tokens_for(400e6) == pytest.approx(14.47e9, rel=3e-4)
    assert tokens_by_regression(400e6) == pytest.approx(7.77e9, rel=1e-3)
    power, intercept = regression(CHINCHILLA_TABLE)
    assert (round(power, 3), round(intercept, 4)) == (1.041, 0.9354)
    assert training_flops(70e9, 1.4e12) == 5.88e23


@pytest.mark.parametrize("law", [CHINCHILLA, SMALL])
@pytest.mark.parametrize("flops", [1e12, 1e18, 1e24])
def test_the_best_size_is_the_bottom_of_equal_compute(law, flops):
    best = law.best_parameters(flops)
    assert training_flops(best, law.best_tokens(flops)) == pytest.approx(flops)
    assert law.tokens_for(best) == pytest.approx(law.best_tokens(flops), rel=1e-9)
    assert law.flops_for(best) == pytest.approx(flops, rel=1e-9)
    around = [law.loss(best * f, flops / 6 / best / f) for f in (0.9, 1.0, 1.1)]
    assert around[1] < min(around[0], around[2])


def test_6nd_and_counted_operations():
    """6·N·D leaves out attention's scores and counts tables of positions: both small at GPT-2."""
    config = GPTConfig()
    counted = gpt_flops(config, 1, 1024, causal=True)
    plain = training_flops(124_439_808, 1024)
    scores = 3 * counted["attention_scores"]
    tables = training_flops(1024 * 768, 1024) + training_flops(12 * 13 * 768 + 2 * 768, 1024)
    assert counted["total"] == pytest.approx(plain + scores - tables, rel=1e-9)
    assert 1.0 < counted["total"] / plain < 1.07


# ------------------------------------------------------------------------------------------ fits
def test_the_gradient_of_the_objective():
    rng = np.random.default_rng(1)
    problem = _Problem(np.stack([N, D]), losses(SMALL, 0.01), rng.uniform(0, 2, (3, len(N))))
    theta = rng.normal(size=(3, 5)) * 0.3 + np.array([4.0, -1.0, 5.0, -1.0, 0.3])
    rows = np.arange(3)
    _, gradient = problem(theta, rows)
    for i in range(5):
        step = np.eye(5)[i] * 1e-6
        change = (problem(theta + step, rows)[0] - problem(theta - step, rows)[0]) / 2e-6
        assert np.allclose(change, gradient[:, i], rtol=1e-5, atol=1e-9)


def test_hubers_loss_is_smooth_where_it_changes():
    r = np.array([-2e-3, -1e-3, 0.0, 5e-4, 1e-3, 3e-3])
    value, derivative = huber(r)
    assert np.allclose(value, [1.5e-6, 5e-7, 0, 1.25e-7, 5e-7, 2.5e-6], rtol=1e-12)
    assert np.array_equal(derivative, [-1e-3, -1e-3, 0, 5e-4, 1e-3, 1e-3])


def test_many_minima_together():
    """Rosenbrock's valley from many starts; each row ends at (1, 1) by itself."""

    def valley(x, rows):
        a, b = x.T
        value = (1 - a) ** 2 + 100 * (b - a * a) ** 2
        return value, np.stack([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)], 1)

    starts = np.random.default_rng(0).normal(size=(20, 2))
    ends, values = minimise(valley, starts)
    assert np.abs(ends - 1).max() < 1e-4 and values.max() < 1e-8


@pytest.mark.parametrize("law", [SMALL, CHINCHILLA])
def test_exact_losses_return_their_law(law):
    n, d = (N, D) if law is SMALL else (N * 1e4, D * 1e4)
    exact = [law.loss(*pair) for pair in zip(n, d, strict=True)]
    fit = fit_law(n, d, exact, resamples=20)
    assert fit.law == pytest.approx(law, rel=1e-6) and fit.error < 1e-9
    assert fit.power == pytest.approx(law.beta / (law.alpha + law.beta))
    assert all(low <= high for low, high in fit.intervals.values())
    assert set(fit.intervals) == {*Law._fields, "power"} and len(fit.laws) == 20


def test_no_start_of_scipy_is_better():
    optimize = pytest.importorskip("scipy.optimize")
    measured = losses(SMALL, 0.005)
    fit = fit_law(N, D, measured, resamples=0)
    problem = _Problem(np.stack([N, D]), measured, None)

    def objective(theta):
        value, gradient = problem(theta[None], np.zeros(1, int))
        return value[0], gradient[0]

    law = fit.law
    own = np.log([law.A, law.alpha, law.B, law.beta, law.E])
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(12, 5)) * 0.5 + np.array([4.0, -1.0, 5.0, -1.0, 0.3])
    ends = [optimize.minimize(objective, start, jac=True, method="BFGS") for start in starts]
    assert objective(own)[0] <= min(end.fun for end in ends) * (1 + 1e-6)


def test_intervals_hold_the_truth_mostly():
    """Of 8 sweeps with noise the 95 % interval of a misses it in 3 at most."""
    truth = SMALL.beta / (SMALL.alpha + SMALL.beta)
    inside = 0
    for seed in range(8):
        low, high = fit_law(N, D, losses(SMALL, 0.003, seed), 30, seed).intervals["power"]
        inside += low <= truth <= high
    assert inside >= 5


def test_more_seeds_do_not_hide_what_the_law_misses():
    """Four equal runs of each point have the interval of one run, whose error the seeds share."""
    missed = losses(SMALL, 0.01)
    one = fit_law(N, D, missed, 60, 1)
    four = fit_law(np.repeat(N, 4), np.repeat(D, 4), np.repeat(missed, 4), 60, 1)
    assert four.law == pytest.approx(one.law, rel=1e-3)
    for name in ("power", "beta"):
        widths = [high - low for low, high in (one.intervals[name], four.intervals[name])]
        assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_five_points_are_too_few_for_intervals_however_many_seeds():
    x = np.repeat([1e4, 3e4, 1e5, 3e5, 1e6], 3)
    assert fit_power(x, 2.0 + 50.0 / x**0.4).intervals == {}


def test_a_power_law_of_one_variable():
    x = np.array([1e4, 3e4, 1e5, 3e5, 1e6, 3e6])
    fit = fit_power(x, 2.0 + 50.0 / x**0.4, resamples=30)
    assert (fit.E, fit.A, fit.alpha) == pytest.approx((2.0, 50.0, 0.4), rel=1e-5)
    assert fit.loss(1e5) == pytest.approx(2.5) and set(fit.intervals) == {"A", "alpha", "E"}
    assert fit_power(x[:4], 2.0 + 50.0 / x[:4] ** 0.4).intervals == {}


def test_curves_of_equal_compute_have_the_laws_bottom():
    points, best = isoflop(N, D, losses(SMALL), 5e11)
    assert [size for size, _ in points] == [3e4, 6e4, 2e5]
    assert best == pytest.approx(SMALL.best_parameters(5e11), rel=0.25)
    assert isoflop(N, D, losses(SMALL), 1e20) == ([], None)
    rising = [5.0 + 1e-6 * n for n in N]
    assert isoflop(N, D, rising, 5e11)[1] is None, "no bottom inside"


def test_bottoms_of_equal_compute_with_intervals():
    sizes = np.repeat([1.2e4, 3e4, 6e4, 2e5, 5e5, 1e6], 7)
    tokens = np.tile(2e5 * 2.0 ** np.arange(7), 6)
    exact = np.array([SMALL.loss(*pair) for pair in zip(sizes, tokens, strict=True)])
    budgets = [3e11, 6e11, 1.2e12]
    alone = equal_compute(sizes, tokens, exact, budgets)
    assert alone.power == pytest.approx(SMALL.beta / (SMALL.alpha + SMALL.beta), abs=0.05)
    assert [curve.interval for curve in alone.curves] == [None] * 3
    for curve in alone.curves:
        assert len(curve.points) >= 4
        assert curve.best == pytest.approx(SMALL.best_parameters(curve.flops), rel=0.15)
    widths = []
    for noise in (0.0005, 0.002):
        noisy = exact * np.exp(np.random.default_rng(1).normal(0.0, noise, (3, len(exact))))
        made = equal_compute(np.tile(sizes, 3), np.tile(tokens, 3), noisy.ravel(), budgets, 50)
        low, high = made.power_interval
        assert low < made.power < high
        assert all(c.interval[0] <= c.best <= c.interval[1] for c in made.curves)
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]
    few = equal_compute(sizes[:14], tokens[:14], exact[:14], budgets)
    assert few.power is None and [curve.best for curve in few.curves] == [None] * 3


@pytest.mark.parametrize(
    "numbers, message",
    [
        (([1, 2], [1, 2], [1.0, 2.0]), "five constants need 5 runs"),
        (([1.0] * 6, [1, 2, 3, 4, 5, 6], [3.0] * 6), "3 sizes"),
        (([1, 2, 3], [1, 2, 3], [1.0, float("nan"), 2.0]), "finite and above 0"),
        (([1, 2, 3], [1, 2], [1.0, 2.0, 3.0]), "as many of each"),
    ],
)
def test_what_a_fit_refuses(numbers, message):
    with pytest.raises(ValueError, match=message):
        fit_law(*numbers)


# ---------------------------------------------------------------------------------------- sweeps
def test_sizes_and_numbers():
    assert sizes_of("1x16, 2x24") == [(1, 16), (2, 24)]
    assert numbers_of("500k, 1.5M") == [500_000, 1_500_000]
    assert [short(x) for x in (12_480, 1.063e6, 999, 2.3e15)] == [
        "12.5k",
        "1.06M",
        "999",
        "2.30e+15",
    ]
    for text in ("16", "1x", "0x16", "1x16,1x16", "1x20", ""):
        with pytest.raises(OptionError, match="sizes"):
            sizes_of(text)
    for text in ("many", "0", "1M,1000k", "-5", ""):
        with pytest.raises(OptionError, match="tokens"):
            numbers_of(text)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "".join(f"{i} bottles hang on the wall number {i * i % 97}.\n" for i in range(400))
    )
    return str(path)


def sweep_options(text, folder, **more):
    values = {"corpus": text, "folder": str(folder), "sizes": "1x8,1x16", "tokens": "256,512",
              "context_length": 16, "batch_size": 8, "resamples": 8}  # fmt: skip
    return resolved(SweepOptions, values, more)


def test_a_sweep_resumes_and_grows(text, tmp_path):
    assert set(Sweep(sweep_options(text, tmp_path / "a")).points) == {
        (1, 8, 2, 1), (1, 8, 4, 1), (1, 16, 2, 1), (1, 16, 4, 1)
    }  # fmt: skip
    lines = []
    few = {"tokens": "256"}
    whole = Sweep(sweep_options(text, tmp_path / "a", **few)).run(lines.append)
    assert len(whole) == len(lines) == 2
    assert {(row["layers"], row["channels"], row["tokens"]) for row in whole} == {
        (1, 8, 256), (1, 16, 256)
    }  # fmt: skip
    path = tmp_path / "a" / "results.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-5])  # a kill: half a row is lost
    lines.clear()
    rows = Sweep(sweep_options(text, tmp_path / "a", **few)).run(lines.append)
    assert len(lines) == 1
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole], "to the last bit"
    more = Sweep(sweep_options(text, tmp_path / "a", sizes="1x8")).run(lines.append)
    assert len(lines) == 2 and more[:2] == rows and more[2]["tokens"] == 512, "it grew by one"
    with pytest.raises(OptionError, match="was begun with seed 1, not 2"):
        Sweep(sweep_options(text, tmp_path / "a", seed=2)).run(lines.append)


@pytest.mark.slow
@pytest.mark.ci
def test_seeds_in_two_processes_are_those_of_one(text, tmp_path):
    """The same losses to the last bit; one process begins and two continue."""
    several = {"sizes": "1x8", "tokens": "256,512", "seeds": 2}
    whole = Sweep(sweep_options(text, tmp_path / "a", **several)).run(lambda line: None)
    lines = []
    some = {**several, "seeds": 1, "tokens": "256"}
    Sweep(sweep_options(text, tmp_path / "b", **some)).run(lines.append)
    shared = Sweep(sweep_options(text, tmp_path / "b", **several, jobs=2)).run(lines.append)
    assert len(lines) == 4 and lines[-1].startswith("  4 of 4")

    def known(rows):
        return sorted((row["tokens"], row["seed"], row["loss"]) for row in rows)

    assert known(shared) == known(whole)
    assert len({row["loss"] for row in whole}) == 4, "each seed has other weights and batches"
    assert not list((tmp_path / "b" / "runs").iterdir())


def test_a_refusal_and_a_death_in_another_process(text, tmp_path):
    many = sweep_options(text, tmp_path / "a", tokens="100k,200k", sizes="1x8", jobs=2)
    with pytest.raises(OptionError, match="read the text .* times, and a repeated text"):
        Sweep(many).run(lambda line: None)
    with pytest.raises(StorageError, match="ended before its work was done: .* signal SIGKILL"):
        share(_die, [1, 2], 2, print)


def _die(piece):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_that_diverges_is_a_row_without_a_loss(text, tmp_path):
    lines = []
    options = sweep_options(text, tmp_path / "a", sizes="1x8", tokens="256", lr=1e30)
    (row,) = Sweep(options).run(lines.append)
    assert row["loss"] is None and "diverged" in lines[0]
    assert Sweep(options).run(lines.append) == [row] and len(lines) == 1


def test_a_text_that_is_too_short_for_new_tokens(text, tmp_path):
    options = sweep_options(text, tmp_path / "a", tokens="100k", sizes="1x8")
    with pytest.raises(OptionError, match="read the text .* times, and a repeated text"):
        Sweep(options).run(lambda line: None)
    with pytest.raises(OptionError, match="read the text .* times, and a repeated text"):
        Sweep(options).plan(lambda line: None)
    options = sweep_options(text, tmp_path / "a", tokens="100k", sizes="1x8", repeats=True)
    assert Sweep(options).plan(lambda line: None) > 0


def test_the_command(text, tmp_path, capsys):
    out = tmp_path / "s"
    words = ["sweep", text, "--sizes", "1x8", "--tokens", "256", "--batch-size", "8",
             "--context-length", "16", "--out", str(out)]  # fmt: skip
    for _ in range(2):  # the second time nothing is trained
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.count("1 of 1") == 1 and "none, the longest run reads" in shown
    assert json.loads((out / "fit.json").read_text()) == {"fit": None, "runs": 1}
    with pytest.raises(SystemExit) as ended:
        main([*words[:3], "1x7x2"])
    assert ended.value.code == 2 and "--sizes are layers x channels" in capsys.readouterr().err


def rows_of(law):
    row = {"layers": 1, "channels": 8, "steps": 2, "seed": 1, "matrices": 60, "passes": 0.1,
           "flops": 3e5, "bytes_per_token": 2.0, "seconds": 1.0}  # fmt: skip
    return [
        {**row, "parameters": int(n), "tokens": int(d), "loss": float(loss)}
        for n, d, loss in zip(N, D, losses(law, 0.002), strict=True)
    ]


def test_a_report_of_many_runs(tmp_path):
    rows = [*rows_of(SMALL), {**rows_of(SMALL)[0], "loss": None}]
    report = Report(rows, resamples=20)
    text = report.text()
    assert report.law.law.E == pytest.approx(1.2, rel=0.3) and "diverged" in text
    for part in ("L(N, D) = E + A/N^alpha + B/D^beta: E = ", "L(N) at D = 3.2M", "L(D) at N = 1M",
                 "parabola's bottom is at N", "too few points for intervals"):  # fmt: skip
        assert part in text
    report.write(tmp_path)
    assert json.loads((tmp_path / "fit.json").read_text())["runs"] == 24
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_of_few_or_diverged_runs(tmp_path):
    row = rows_of(SMALL)[0]
    for rows in ([], [{**row, "loss": None}], [{**row, "loss": None}, row]):
        report = Report(rows)
        assert report.law is None and ("diverged" in report.text()) == bool(rows)
    Report([]).write(tmp_path)
