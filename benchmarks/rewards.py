"""finetune grpo on the 81 sums with several methods and seeds: the table of REASONING.md, curves.

    python -m benchmarks rewards --runs runs/rewards --plot sums.png
    python -m benchmarks rewards --methods ppo,grpo --seeds 123 --runs runs/rewards

Each run is a minute of processor time, in RUNS/METHOD-SEED; one that is there is read, not made
again, so that a command that was interrupted continues.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from . import common

METHODS = "grpo,rloo,ppo,reinforce"
SEEDS = "123,1,2"


def run_of(folder: Path, method: str, seed: int) -> dict[str, Any]:
    """test.json of the run, its curve [(step, right answers)], and seconds if it was made now."""
    seconds = None
    if not (folder / "test.json").exists():
        from tinygrad_llm.finetune.runs import GRPO
        from tinygrad_llm.training.settings import resolved

        begin = time.process_time()
        options = {"method": method, "seed": seed, "folder": str(folder)}
        GRPO(resolved(GRPO.options, options), False).run()
        seconds = time.process_time() - begin
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    curve = [(row["step"], row["val_accuracy"]) for row in rows if "val_accuracy" in row]
    scores: dict[str, Any] = json.loads((folder / "test.json").read_text("utf-8"))
    return {**scores, "curve": curve, "processor": seconds}


def draw(runs: dict[str, dict[str, Any]], path: str) -> None:
    """Right answers against steps: a thin line for each seed, a thick one for their mean."""
    import numpy as np

    from tinygrad_llm.training.plots import new_figure, save_figure

    figure = new_figure(8.0, 4.6)
    axes = figure.add_subplot()
    for k, (method, of_seeds) in enumerate(runs.items()):
        curves = np.array([run["curve"] for run in of_seeds.values()])  # (seeds, points, 2)
        for curve in curves:
            axes.plot(curve[:, 0], curve[:, 1], color=f"C{k}", linewidth=0.7, alpha=0.5)
        mean = curves.mean(0)  # (seeds, points, 2) -> (points, 2)
        axes.plot(mean[:, 0], mean[:, 1], color=f"C{k}", linewidth=2.2, label=method)
    axes.set_xlabel("steps")
    axes.set_ylabel("share of right answers")
    seeds = list(next(iter(runs.values())))
    lines = f"seed {seeds[0]}" if len(seeds) == 1 else "mean of the seeds, and each seed (thin)"
    axes.set_title(f"81 sums from rewards: {lines}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, path)


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks rewards", parents=[common.options()]
    )
    parser.add_argument("--runs", default="runs/rewards", help="the folder of the runs")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", default=SEEDS)
    parser.add_argument("--plot", help="a PNG of the curves")
    chosen = parser.parse_args(argv)
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    runs: dict[str, dict[str, Any]] = {}
    for method in chosen.methods.split(","):
        runs[method] = {
            str(seed): run_of(Path(chosen.runs) / f"{method}-{seed}", method, seed)
            for seed in seeds
        }
    first = next(iter(runs.values()))
    heads = [f"seed {seed}: before {run['before'][0]:.3f}" for seed, run in first.items()]
    print(f"\n| method | {' | '.join(heads)} |\n" + "|---" * (len(heads) + 1) + "|")
    for method, of_seeds in runs.items():
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*run["after"]) for run in of_seeds.values()]
        print(f"| {method} | {' | '.join(cells)} |")
    if chosen.plot:
        draw(runs, chosen.plot)
        print(f"wrote {chosen.plot}")
    return {"methods": runs}
