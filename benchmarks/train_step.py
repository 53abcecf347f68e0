"""A training step of a GPT, ours and PyTorch eager's alternately, each in fresh processes.

    python -m benchmarks train-step --config char --against torch
    python -m benchmarks train-step --config char --threads 1 --without-loops
    python -m benchmarks train-step --device cuda --precision tf32 --against torch-compile

Both do the same: forward, cross-entropy over the vocabulary, backward, AdamW (fused in PyTorch), on
random tokens, weights tied, no dropout. PyTorch runs its own scaled_dot_product_attention.

On a CPU every step is timed by itself, and the peak is the most that the process has held. With
--without-loops a third side is ours in NumPy alone, without the compiled loops of ops/loops.
--against torch-compile compiles PyTorch's loss (on a GPU with mode "reduce-overhead").

On a GPU ten steps are timed together, with one synchronisation. Precision: float32; tf32 (float32
with products in TF32); bfloat16 (autocast with float32 weights). Memory is the most that arrays
held at the same time, measured in further steps. With --graph our step is captured once as a CUDA
graph (`cuda.graphed`) and replayed; the graph's memory counts as held.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from . import common, machine
from .configs import CONFIGS, GPU_CONFIGS, flops_per_step
from .step import WARM_UP, stepping, training_of

SIDES = ("ours", "numpy", "torch", "torch-compile")
NAMES = {"torch": "PyTorch eager", "torch-compile": "compiled PyTorch"}
PRECISIONS = ("float32", "tf32", "bfloat16")
STEPS = {"char": 20, "mini": 12, "gpt2": 4}  # timed in each process on a CPU; 30 on a GPU
TOGETHER = {"cpu": 1, "cuda": 10}  # steps timed at a time


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds per step, losses and peak memory of one side, in this process."""
    device, together = options.device, TOGETHER[options.device]
    torch, *rest = training_of(options.side, options.config, device)
    step = stepping(torch, *rest, precision=options.precision)
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
        if options.graph and options.side in ("ours", "numpy"):
            step = torch.cuda.graphed(step)
    losses = [step().item() for _ in range(WARM_UP[device])]
    times = []
    for _ in range(max(1, options.steps // together)):
        start = time.perf_counter()
        for _ in range(together):
            loss = step()
        losses.append(loss.item())  # waits for the GPU
        times.append((time.perf_counter() - start) / together)
    if device == "cuda":
        memory = gpu_memory(torch, step, losses)
    else:
        memory = {"peak": machine.peak_memory()}
        if options.side.startswith("torch"):
            memory["sgemm"] = torch_sgemm(torch)
    return {"times": times, "losses": losses, **memory}


def torch_sgemm(torch: Any, n: int = 2048) -> float:
    """GFLOP/s of PyTorch's n x n float32 product."""
    a = torch.ones(n, n)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(times[2:]) / 1e9


def gpu_memory(torch: Any, step: Callable[[], Any], losses: list[float]) -> dict[str, Any]:
    """Bytes that further steps hold, and seconds per step until everything is launched."""
    start = time.perf_counter()
    for _ in range(TOGETHER["cuda"]):
        step()
    launched = (time.perf_counter() - start) / TOGETHER["cuda"]
    torch.cuda.synchronize()
    reserved = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        loss = step()
    losses.append(loss.item())
    return {
        "launched": launched, "reserved": reserved, "peak": torch.cuda.max_memory_allocated(),
        "grown": torch.cuda.memory_reserved() - reserved, "gpu": torch.cuda.get_device_name(),
    }  # fmt: skip


def on_cpu(options: argparse.Namespace, rounds: Callable[[], dict[str, list]]) -> dict[str, Any]:
    """The table of a CPU: both sides against the machine's rate of matrix products."""
    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"])
    print(f"sgemm 2048: {here['sgemm']:.0f} GFLOP/s")
    results = rounds()
    again = machine.run_child("benchmarks.machine", threads=options.threads)["sgemm"]
    here["sgemm"] = max(here["sgemm"], again)  # both threads may have begun on one core
    print(f"sgemm 2048, after the steps: {again:.0f} GFLOP/s; the larger one counts")
    config = CONFIGS[options.config]
    flops = flops_per_step(config)
    summary: dict[str, Any] = {"config": options.config, "machine": here, "flops": flops}
    print(f"\n{options.config}: {config.n_tokens} tokens and {flops / 1e9:.0f} GFLOP per step\n")
    print(f"{'':14}{'ms/step':>10}{'tokens/s':>11}{'GFLOP/s':>9}{'of sgemm':>10}{'peak MB':>9}")
    for side, runs in results.items():
        row = summary[side] = row_of(runs, config.n_tokens)
        row["gflops"] = flops / row["seconds"] / 1e9
        print(
            f"{side:14}{row['seconds'] * 1e3:10.1f}{row['tokens_per_second']:11.0f}"
            f"{row['gflops']:9.0f}{row['gflops'] / here['sgemm']:10.0%}{row['peak'] / 1e6:9.0f}"
        )
    if options.against in results:
        theirs = summary[options.against]["seconds"]
        summary["ratio"] = theirs / summary["ours"]["seconds"]
        print(f"\nratio: {summary['ratio']:.2f} times the speed of {NAMES[options.against]}")
        if "numpy" in results:
            summary["ratio_numpy"] = theirs / summary["numpy"]["seconds"]
            print(f"without loops: {summary['ratio_numpy']:.2f}")
        print(f"products at the libraries' own rates: sgemm 2048 {here['sgemm']:.0f} GFLOP/s here, "
              f"{results[options.against][0]['sgemm']:.0f} in PyTorch")  # fmt: skip
    return summary


def on_gpu(options: argparse.Namespace, rounds: Callable[[], dict[str, list]]) -> dict[str, Any]:
    """The table of a GPU: both sides with the memory that they hold there."""
    results = rounds()
    tokens = GPU_CONFIGS[options.config].n_tokens
    summary: dict[str, Any] = {"config": options.config, "precision": options.precision,
                               "graph": options.graph}  # fmt: skip
    graph = ", ours as a CUDA graph" if options.graph else ""
    print(f"{results['ours'][0]['gpu']}, {options.config}, {options.precision}: "
          f"{tokens} tokens per step{graph}")  # fmt: skip
    print(f"{'':14}{'ms/step':>9}{'tokens/s':>11}{'launched in':>13}{'peak MB':>9}{'pool MB':>9}"
          f"{'grown':>7}{'first loss':>12}{'last':>9}")  # fmt: skip
    for side, runs in results.items():
        row = summary[side] = row_of(runs, tokens)
        reserved, grown = (max(r[k] for r in runs) for k in ("reserved", "grown"))
        row["pool"] = reserved
        print(f"{side:14}{row['seconds'] * 1e3:9.2f}{row['tokens_per_second']:11.0f}"
              f"{runs[0]['launched'] * 1e3:10.2f} ms{row['peak'] / 1e6:9.0f}{reserved / 1e6:9.0f}"
              f"{grown / 1e6:7.0f}{runs[0]['losses'][0]:12.4f}{runs[0]['losses'][-1]:9.4f}"
              )  # fmt: skip
    if options.against in results:
        theirs = summary[options.against]
        summary["ratio"] = theirs["seconds"] / summary["ours"]["seconds"]
        # PyTorch's peak leaves out what its graphs hold, so there the pools are compared
        held = "pool" if options.against == "torch-compile" else "peak"
        memory = summary["ours"][held] / theirs[held]
        print(f"ratio: {summary['ratio']:.2f} times the speed of {NAMES[options.against]}, "
              f"{memory:.2f} times its memory ({held} MB)")  # fmt: skip
    return summary


def row_of(runs: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
    """What the processes of one side measured, together."""
    seconds = statistics.median(t for run in runs for t in run["times"])
    peak = max(run["peak"] for run in runs)
    return {"seconds": seconds, "tokens_per_second": tokens / seconds, "peak": peak, "rounds": runs}


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, with the defaults of the device."""
    parser = common.parser("train-step", __doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--config", choices=CONFIGS, help="char on a CPU, gpt2 on a GPU")
    parser.add_argument("--steps", type=int, default=0, help="timed steps per process")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="on a GPU")
    parser.add_argument("--graph", action="store_true", help="replay our step as a CUDA graph")
    parser.add_argument("--profile", action="store_true", help="GPU time of each op, ours alone")
    parser.add_argument("--without-loops", action="store_true", help="ours in NumPy alone too")
    common.two_sides(parser, rounds=None, sides=SIDES)
    options = parser.parse_args(argv)
    on_cuda = options.device == "cuda"
    options.config = options.config or ("gpt2" if on_cuda else "char")
    options.rounds = options.rounds or (1 if on_cuda else 3)
    options.steps = options.steps or (30 if on_cuda else STEPS[options.config])
    if on_cuda and options.config not in GPU_CONFIGS:
        parser.error(f"--device cuda has the configurations {' and '.join(GPU_CONFIGS)}")
    if not on_cuda and (options.graph or options.profile or options.precision != "float32"):
        parser.error("--precision, --graph and --profile go with --device cuda; for the time of "
                     "each op on a CPU see python -m benchmarks profile")  # fmt: skip
    return options


def main(argv: list[str]) -> dict[str, Any] | None:
    options = parse(argv)
    if options.profile:
        from .gpu_profile import profile

        profile(options.config, options.precision)
        return None
    if options.side:
        print(json.dumps(measure(options)))
        return None
    more = ["--graph"] if options.graph else []
    sides = [side for side in common.sides_of(options, SIDES)
             if side != "numpy" or options.without_loops]  # fmt: skip

    def rounds() -> dict[str, list]:
        return common.run_sides(
            "train-step", sides, options.rounds, "--device", options.device,
            "--config", options.config, "--precision", options.precision, "--steps", options.steps,
            *more, threads=options.threads,
        )  # fmt: skip

    return (on_gpu if options.device == "cuda" else on_cpu)(options, rounds)
