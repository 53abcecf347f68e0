"""tinygrad-llm sweep: models of many sizes on many numbers of tokens, and the law behind them."""

from __future__ import annotations

from typing import Any

import typer

from ..files.plain_text import say
from ..files.program import command_line
from ..training.scaling.sweep import SweepOptions
from ..training.settings import resolved
from .options import Way, command

__all__ = ["register"]

_HELP = """Measure how the loss falls with the size of a model and with its tokens, and fit a law.

Each of --sizes (layers x channels) is trained on each of --tokens, from random weights, with the
same batches and a cosine as long as the run. The fits L(N), L(D) and
L(N, D) = E + A/N^alpha + B/D^beta have 95 % intervals (of resampled runs). Curves of equal compute
and the compute-optimal line stand beside Chinchilla's (Hoffmann et al., 2022).

No run may read its text more than once, unless --repeats allows it. After Ctrl-C, a crash or
kill -9 the same command goes on; with more sizes or tokens it adds runs. It writes report.txt,
fit.json, sweep.png, and a line for each run in results.jsonl.

\b
Examples:
  tinygrad-llm sweep --data shards --plan
  tinygrad-llm sweep --data shards --out runs/sweep
  tinygrad-llm sweep tinyshakespeare --sizes 1x16,1x32,2x32 --tokens 50k,100k,200k
  tinygrad-llm sweep --data shards --sizes 4x128,6x256,8x384,12x768 --tokens 10M,30M,90M
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    without = ("resume", "find_lr", "plain")
    app.command(name="sweep", help=_HELP)(command(SweepOptions, sweep, without))


def sweep(given: dict[str, Any], settings: dict[str, Any], way: Way) -> None:
    """Fills a sweep and shows its report, or only the plan.

    Raises: OptionError for options that are not allowed; KeyboardInterrupt if it was stopped.
    """
    from ..training.scaling.report import Report
    from ..training.scaling.sweep import Sweep

    options = resolved(SweepOptions, settings, given)
    sweep = Sweep(options)
    if way.plan:
        sweep.plan(say)
        return
    try:
        rows = sweep.run(say)
    except KeyboardInterrupt:
        say(f"the runs so far are in {sweep.folder}; the same command goes on")
        raise
    report = Report(rows, options.resamples, options.seed)
    report.write(sweep.folder)
    say(f"\n{report.text()}\n\nplot         {sweep.folder / 'sweep.png'}")
    largest = max(rows, key=lambda row: float(row["parameters"]))
    text = [options.corpus] if options.data is None else ["--data", options.data]
    next = command_line("pretrain", *text)
    say(f"next         {next} --n-layers {largest['layers']} --emb-dim {largest['channels']}")
