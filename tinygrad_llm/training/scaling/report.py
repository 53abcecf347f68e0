"""What a sweep says: table, fits with intervals, curves of equal compute, a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...files.json_files import finite, write_json
from ..plots import new_figure, save_figure
from .fit import Fit, PowerFit, fit_law, fit_power
from .isoflop import EqualCompute, cells_of, equal_compute
from .laws import CHINCHILLA, Law, training_flops

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Report", "short"]

_BUDGETS = 5  # curves of equal compute


def short(value: float) -> str:
    """A large number in few letters: 12.5k, 1.06M, 2.3e15."""
    for unit, size in (("", 1.0), ("k", 1e3), ("M", 1e6), ("B", 1e9)):
        if value < 1000.0 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.2e}"


class Report:
    """The rows of a sweep, and all that follows from them; see Sweep.run for the rows.

    law is None where the runs are too few for it, by_size and by_tokens likewise.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], resamples: int = 200, seed: int = 1):
        # A loss of None is that of a run which diverged: shown, and not fitted
        self.rows = list(rows)
        good = [row for row in rows if row["loss"] is not None]
        self.N, self.D, self.L = (
            np.array([row[name] for row in good], np.float64)
            for name in ("parameters", "tokens", "loss")
        )
        self.law = self._law(resamples, seed)
        self.by_size = self._power(self.N, self.D, resamples, seed)
        self.by_tokens = self._power(self.D, self.N, resamples, seed)
        self.equal = self._equal_compute(resamples, seed)

    def _law(self, resamples: int, seed: int) -> Fit | None:
        if len(self.L) < 5 or len(set(self.N)) < 3 or len(set(self.D)) < 3:
            return None
        return fit_law(self.N, self.D, self.L, resamples, seed)  # type: ignore[arg-type]

    def _power(self, x: np.ndarray, other: np.ndarray, resamples: int, seed: int) -> (
        tuple[float, PowerFit] | None
    ):  # fmt: skip
        """(what is held, L(x) there): the largest of the other one."""
        if not len(other):
            return None
        held = other == other.max()
        if len(set(x[held])) < 3:
            return None
        return float(other.max()), fit_power(x[held], self.L[held], resamples, seed)

    def _equal_compute(self, resamples: int, seed: int) -> EqualCompute:
        """Curves for some C, those that most sizes reach, and at least three."""
        if len(set(self.N)) < 3:
            return EqualCompute([], None, None)
        cost = 6.0 * self.N * self.D
        budgets = np.geomspace(cost.min() * 2.0, cost.max() / 2.0, 4 * _BUDGETS)
        runs = self.N, self.D, self.L
        every = equal_compute(*runs, budgets, 0)  # type: ignore[arg-type]
        reached = [len(curve.points) for curve in every.curves]
        most = max(reached)
        if most < 3:
            return EqualCompute([], None, None)
        good = [c for c, n in zip(budgets, reached, strict=True) if n >= max(3, most - 1)]
        chosen = good[:: max(1, -(-len(good) // _BUDGETS))]
        return equal_compute(*runs, chosen, resamples, seed)  # type: ignore[arg-type]

    def scatter(self) -> tuple[int, float, float] | None:
        """(the most runs of a point, how much log L scatters between the seeds of a point, how much
        the law misses the points' means), both root mean squares; None without several runs.
        """
        cells = cells_of(self.N, self.D, self.L)
        own = [np.log(losses) for losses in cells.values()]
        free = sum(len(logs) - 1 for logs in own)
        if not free or self.law is None:
            return None
        within = math.sqrt(sum(float(((logs - logs.mean()) ** 2).sum()) for logs in own) / free)
        law = self.law.law
        missed = [logs.mean() - math.log(law.loss(*cell))
                  for logs, cell in zip(own, cells, strict=True)]  # fmt: skip
        return max(map(len, own)), within, float(np.sqrt(np.mean(np.square(missed))))

    # ------------------------------------------------------------------------------ as text
    def text(self) -> str:
        """The table and the fits, as Markdown."""
        lines = [
            "| layers x channels | parameters | in matrices | tokens | passes | FLOP | of 6·N·D | "
            "runs | loss, nats per token | between seeds | bits per byte | s |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        points: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for row in sorted(self.rows, key=lambda r: (r["parameters"], r["tokens"])):
            place = (row["layers"], row["channels"], row["tokens"])
            points.setdefault(place, []).append(row)
        lines += [_line(rows) for rows in points.values()]
        return "\n".join([*lines, "", *self._fits()])

    def _fits(self) -> list[str]:
        most = max((row["passes"] for row in self.rows), default=0.0)
        lines = [
            f"repeated text: {'none, the longest run reads' if most <= 1 else 'up to'} "
            f"{most:.2f} passes"
        ]
        if self.law is not None:
            law, between = self.law.law, self.law.intervals
            named = [
                f"{name} = {value:.4g}{_shown(between.get(name))}"
                for name, value in law._asdict().items()
            ]
            lines += [
                f"L(N, D) = E + A/N^alpha + B/D^beta: {', '.join(named)}; error of log L "
                f"{self.law.error:.2%}",
                f"compute-optimal N ~ C^a: a = {self.law.power:.3f}{_shown(between.get('power'))}; "
                f"Chinchilla's fit {CHINCHILLA.beta / (CHINCHILLA.alpha + CHINCHILLA.beta):.3f}",
            ]
        for letter, other, power in (("N", "D", self.by_size), ("D", "N", self.by_tokens)):
            if power is not None:
                held, fit = power
                lines.append(
                    f"L({letter}) at {other} = {short(held)}: {fit.E:.3f}"
                    f"{_shown(fit.intervals.get('E'))} + {fit.A:.4g}/{letter}^{fit.alpha:.3f}"
                    f"{_shown(fit.intervals.get('alpha'))}; error of log L {fit.error:.2%}"
                    + ("" if fit.intervals else " (too few points for intervals)")
                )
        scatter = self.scatter()
        if scatter is not None:
            n, within, missed = scatter
            lines.append(
                f"up to {n} seeds: between them log L scatters by {within:.2%}; the law misses the "
                f"means of a point by {missed:.2%}"
            )
        for flops, points, best, interval in self.equal.curves:
            if best is not None:
                by_law = "" if self.law is None else (
                    f", by the law {short(self.law.law.best_parameters(flops))}"
                )  # fmt: skip
                ends = "" if interval is None else f" [{short(interval[0])}, {short(interval[1])}]"
                lines.append(
                    f"C = {flops:.2e}: of {len(points)} sizes the parabola's bottom is at N = "
                    f"{short(best)}{ends}, D = {short(flops / 6.0 / best)}{by_law}, by "
                    f"Chinchilla's {short(CHINCHILLA.best_parameters(flops))}"
                )
        if self.equal.power is not None:
            lines.append(
                f"a line through the bottoms: N ~ C^{self.equal.power:.3f}"
                f"{_shown(self.equal.power_interval)}"
            )
        return lines

    def write(self, folder: Path) -> None:
        """Writes report.txt, fit.json and sweep.png into a folder."""
        (folder / "report.txt").write_text(self.text() + "\n", encoding="utf-8")
        fit = None if self.law is None else {
            "law": self.law.law._asdict(), "intervals": self.law.intervals,
            "error": self.law.error, "power": self.law.power,
            "power_of_bottoms": self.equal.power,
        }  # fmt: skip
        write_json(folder / "fit.json", finite({"fit": fit, "runs": len(self.L)}))
        self.plot(folder / "sweep.png")

    # --------------------------------------------------------------------------- as a picture
    def plot(self, path: Path, title: str = "") -> Path:
        """Four panels: loss by tokens, by size, at equal compute, and the best size by compute."""
        figure = new_figure(11.0, 8.0)
        panels = figure.subplots(2, 2)
        law = None if self.law is None else self.law.law
        _draw(panels[0, 0], self.D, self.N, self.L, None if law is None else law.loss, True)
        panels[0, 0].set_xlabel("tokens D")
        swapped: Callable[[float, float], float] | None = None
        if law is not None:
            swapped = lambda n, d: law.loss(n, d)  # noqa: E731
        _draw(panels[0, 1], self.N, self.D, self.L, swapped, False)
        panels[0, 1].set_xlabel("parameters N")
        self._draw_budgets(panels[1, 0], law)
        self._draw_line(panels[1, 1], law)
        if title:
            figure.suptitle(title)
        return save_figure(figure, path)

    def _draw_budgets(self, axes: Axes, law: Law | None) -> None:
        for flops, points, best, _ in self.equal.curves:
            sizes, losses = zip(*points, strict=True)
            (line,) = axes.plot(sizes, losses, "o", markersize=4, label=f"C = {flops:.1e}")
            if law is not None:
                wide = np.geomspace(min(sizes) / 1.5, max(sizes) * 1.5, 60)
                curve = [law.loss(n, flops / 6.0 / n) for n in wide]
                axes.plot(wide, curve, color=line.get_color(), linewidth=0.9)
            if best is not None:
                axes.axvline(best, color=line.get_color(), linewidth=0.6, linestyle=":")
        axes.set_xscale("log")
        axes.set_xlabel("parameters N, at D = C/(6·N)")
        axes.set_ylabel("loss (nats per token)")
        axes.set_title("equal compute; dotted: bottoms of parabolas", fontsize=9)
        if self.equal.curves:
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)

    def _draw_line(self, axes: Axes, law: Law | None) -> None:
        cost = 6.0 * self.N * self.D
        if len(cost):
            wide = np.geomspace(cost.min(), cost.max() * 100.0, 80)
            axes.scatter(cost, self.N, s=10, color="lightgray", label="runs")
            if self.law is not None and law is not None:
                line = [law.best_parameters(c) for c in wide]
                axes.plot(
                    wide, line, color="tab:blue", label=f"this law, N ~ C^{self.law.power:.2f}"
                )
                if self.law.laws:
                    every = np.log([[w.best_parameters(c) for c in wide] for w in self.law.laws])
                    low, high = np.exp(np.percentile(every, [2.5, 97.5], axis=0))
                    axes.fill_between(wide, low, high, color="tab:blue", alpha=0.15)
            theirs = [CHINCHILLA.best_parameters(c) for c in wide]
            axes.plot(wide, theirs, "--", color="tab:orange", label="Chinchilla's law, extended")
        for curve in self.equal.curves:
            if curve.best is not None and curve.interval is not None:
                axes.plot([curve.flops] * 2, curve.interval, color="tab:red", linewidth=1.2)
        bottoms = [(c.flops, c.best) for c in self.equal.curves if c.best is not None]
        if bottoms:
            axes.plot(*zip(*bottoms, strict=True), "s", color="tab:red", markersize=4,
                      label="bottoms of parabolas")  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("compute C = 6·N·D (FLOP)")
        axes.set_ylabel("compute-optimal N")
        axes.set_title("the best size for each compute; band: 95 %", fontsize=9)
        if len(cost):
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)


def _line(rows: Sequence[Mapping[str, Any]]) -> str:
    """The line of the table for the runs of one point, means of those that did not diverge."""
    row = rows[0]
    N, D = row["parameters"], row["tokens"]
    losses = [r["loss"] for r in rows if r["loss"] is not None]
    loss = float(np.mean(losses)) if losses else None
    bits = "" if loss is None or not row["bytes_per_token"] else (
        f"{loss / math.log(2.0) / row['bytes_per_token']:.3f}"
    )  # fmt: skip
    lost = len(rows) - len(losses)
    runs = f"{len(losses)}, {lost} diverged" if lost else f"{len(losses)}"
    spread = f"{np.std(losses, ddof=1):.4f}" if len(losses) > 1 else ""
    seconds = float(np.mean([r["seconds"] for r in rows]))
    return (
        f"| {row['layers']}x{row['channels']} | {N:,} | {row['matrices']:,} | {D:,} | "
        f"{row['passes']:.2f} | {row['flops']:.2e} | {row['flops'] / training_flops(N, D):.2f} | "
        f"{runs} | {'' if loss is None else f'{loss:.4f}'} | {spread} | {bits} | "
        f"{seconds:.0f} |"
    )


def _shown(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]"


def _draw(
    axes: Axes, x: np.ndarray, other: np.ndarray, losses: np.ndarray,
    law: Callable[[float, float], float] | None, x_is_tokens: bool,
) -> None:  # fmt: skip
    """Measured losses by x, a colour for each value of the other, and the law's curves."""
    for value in sorted(set(other)):
        own = other == value
        order = np.argsort(x[own])
        name = f"{'N' if x_is_tokens else 'D'} = {short(value)}"
        (line,) = axes.plot(x[own][order], losses[own][order], "o", markersize=4, label=name)
        if law is not None:
            wide = np.geomspace(x[own].min(), x[own].max(), 50)
            curve = [law(value, w) if x_is_tokens else law(w, value) for w in wide]
            axes.plot(wide, curve, color=line.get_color(), linewidth=0.9)
    axes.set_xscale("log")
    axes.set_ylabel("loss (nats per token)")
    axes.set_title("dots: runs; lines: the fitted law", fontsize=9)
    if len(losses):
        axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
