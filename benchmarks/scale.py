"""A GPT's training step on several ranks, against one process with as many threads.

    python -m benchmarks scale                                  1 and 2 ranks on two cores, char
    python -m benchmarks scale --config gpt2 --ranks 1 2 4 8 --batch 8
    python -m benchmarks scale --table benchmarks/scale.txt     writes the table too
    python -m benchmarks scale --device cuda --help             on GPUs

The batch of a step is the same: R ranks have a part of it each, with cores/R threads; the process
has all of it, with all threads. Sides: "threads", one process; "ddp", DistributedDataParallel and
AdamW on every rank; "zero1", AdamW's state and work divided among the ranks. Each side runs in
fresh processes, which alternate; the figure is the median of all steps of all rounds.

Efficiency is tokens/s over that of the process. "waiting" is the share of a step in which rank 0
did nothing but wait for others, copy and add what they sent.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from . import common, machine
from .configs import CONFIGS, Config

SIDES = ("threads", "ddp", "zero1")
WARM_UP, LIMIT = 2, 300.0  # steps; seconds for one side
STEPS = {"char": 10, "mini": 8, "gpt2": 4}


# ------------------------------------------------------------------------------- in the processes
def measure(options: argparse.Namespace) -> dict[str, Any] | None:
    """Seconds of each step, and the share of waiting; None on ranks other than the first."""
    from .our_gpt import training

    config = config_of(options)
    torch, model, optimizer, idx, targets = training(config)
    if options.side == "threads":
        return {"times": _timed(_step_of(model.loss, optimizer, idx, targets), options.steps)}
    import tinygrad_llm.distributed as dist
    from tinygrad_llm import nn
    from tinygrad_llm.distributed.traffic import Exchange, watching

    class Loss(nn.Module):
        """The model's loss as a module's forward, for DistributedDataParallel."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return self.model.loss(*given)

    warnings.simplefilter("ignore")
    dist.init_process_group("mpi", timeout=LIMIT)
    rank, size = dist.get_rank(), dist.get_world_size()
    if config.batch_size % size:
        raise SystemExit(f"{config.batch_size} texts cannot be divided among {size} ranks")
    wrapped = nn.parallel.DistributedDataParallel(Loss())
    if options.side == "zero1":
        adamw = torch.optim.AdamW
        optimizer = dist.optim.ZeroRedundancyOptimizer(model.parameters(), adamw, lr=3e-4)
    mine = idx.chunk(size)[rank], targets.chunk(size)[rank]
    step = _step_of(wrapped, optimizer, *mine)
    times = _timed(step, options.steps, dist.barrier)
    exchanges: list[Exchange] = []
    with watching(exchanges.append):
        start = time.perf_counter()
        for _ in range(2):
            step()
        seconds = time.perf_counter() - start
    waiting = sum(e.blocked for e in exchanges) / seconds
    dist.destroy_process_group()
    return {"times": times, "waiting": waiting} if rank == 0 else None


def config_of(options: argparse.Namespace) -> Config:
    """The model, with the texts of a step that were asked for."""
    config = CONFIGS[options.config]
    return config._replace(batch_size=options.batch or config.batch_size)


def _step_of(loss_of: Any, optimizer: Any, *given: Any) -> Any:
    def step() -> None:
        loss_of(*given).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _timed(step: Any, steps: int, together: Any = None) -> list[float]:
    """Seconds of each step; ranks begin it together."""
    times = []
    for i in range(WARM_UP + steps):
        if together is not None:
            together()
        start = time.perf_counter()
        step()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
    return times


# ------------------------------------------------------------------------------------- the table
def run_side(side: str, ranks: int, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """What one side measured in fresh processes.

    Raises: SystemExit if it failed.
    """
    from tinygrad_llm.distributed.launch import command_of

    command = [sys.executable, "-m", "benchmarks", "scale", "--side", side,
               "--config", options.config, "--steps", str(options.steps),
               "--batch", str(options.batch)]  # fmt: skip
    if side != "threads":
        try:
            command = command_of(command, ranks)
        except RuntimeError as error:
            raise SystemExit(f"scale: {error}") from None
    env = machine.clean_environment(threads)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


def on_cpu(options: argparse.Namespace) -> dict[str, Any]:
    """The table of a CPU."""
    cores = options.cores or len(os.sched_getaffinity(0))
    config = config_of(options)
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for side in ("threads", *options.sides):
            for ranks in [1] if side == "threads" else options.ranks:
                threads = max(1, cores // ranks)
                result = run_side(side, ranks, threads, options)
                runs.setdefault((side, ranks), []).append(result)
                ms = statistics.median(result["times"]) * 1e3
                sys.stderr.write(f"{side} on {ranks} x {threads} threads: {ms:.1f} ms per step\n")
    lines = [
        f"{options.config}: {config.n_tokens} tokens per step, {cores} cores; {machine.describe()}",
        "",
        f"{'':10}{'ranks':>6}{'threads':>9}{'ms/step':>10}{'tokens/s':>10}{'efficiency':>12}"
        f"{'waiting':>9}",
    ]
    summary: dict[str, Any] = {"config": options.config, "cores": cores, "seconds": {}}
    base = statistics.median(t for run in runs["threads", 1] for t in run["times"])
    for (side, ranks), measured in runs.items():
        seconds = statistics.median(t for run in measured for t in run["times"])
        waiting = statistics.median(run.get("waiting", 0.0) for run in measured)
        summary["seconds"][f"{side} {ranks}"] = seconds
        lines.append(
            f"{side:10}{ranks:>6}{max(1, cores // ranks):>9}{seconds * 1e3:>10.1f}"
            f"{config.n_tokens / seconds:>10.0f}{base / seconds:>12.3f}{waiting:>9.1%}"
        )
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    if options.table:
        Path(options.table).write_text(f"{table}\n", encoding="utf-8")
    return summary


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("scale", __doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    if "cuda" in argv or "--device=cuda" in argv:
        from . import scale_gpu  # type: ignore[attr-defined]

        scale_gpu.add_options(parser)
        return scale_gpu.main(parser.parse_args(argv))
    parser.add_argument("--config", choices=CONFIGS, default="char")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sides", nargs="+", choices=SIDES[1:], default=SIDES[1:])
    parser.add_argument("--batch", type=common.whole_number(0), default=0, help="texts of a step")
    parser.add_argument("--cores", type=int, help="in all; those of this process if not given")
    parser.add_argument("--steps", type=int, default=0, help="timed in each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", metavar="FILE", help="write the table into this file too")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.steps = options.steps or STEPS[options.config]
    if options.side:
        result = measure(options)
        if result is not None:
            sys.stdout.write(json.dumps(result) + "\n")
        return None
    return on_cpu(options)
