"""Nine ways to write multi-head attention, from equal weights, forward and backward.

    python -m benchmarks attention          # 4 x 256 tokens, 256 channels, 8 heads
    python -m benchmarks attention --batch 8 --context 1024 --channels 768 --heads 12

The processes of the sides alternate; a time is the median of all runs. kept is what the backward
pass keeps, by study.trace. PyTorch's flex_attention has no backward pass on a CPU: there only its
forward is measured, and it is not compiled.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from . import attention_ways, common, machine


def measure(side: str, options: Any) -> dict[str, dict[str, Any]]:
    """Seconds of every way in this process, forward and backward, and the bytes that it keeps."""
    import numpy as np

    if side == "torch":
        import torch
    else:
        import tinygrad_llm as torch  # type: ignore[no-redef]
    B, T, C = options.batch, options.context, options.channels
    rng = np.random.default_rng(0)
    x, g = (torch.from_numpy(rng.standard_normal((B, T, C), dtype=np.float32)) for _ in range(2))
    x.requires_grad_()
    w_qkv, w_out = (
        torch.nn.Parameter(torch.from_numpy(rng.standard_normal((n, C), dtype=np.float32) * 0.02))
        for n in (3 * C, C)
    )
    results: dict[str, dict[str, Any]] = {}
    for name in attention_ways.WAYS:
        run = attention_ways.build(name, torch, w_qkv, w_out, options.heads, T)
        backward = side != "torch" or name != "block mask"
        results[name] = {"seconds": _times(torch, run, x, g, (w_qkv, w_out), backward, options),
                         "kept": _kept(run, x) if side == "ours" else 0}  # fmt: skip
    return results


def _times(
    torch: Any, run: Any, x: Any, g: Any, weights: Any, backward: bool, options: Any
) -> list[float]:
    taken: list[float] = []
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(taken) < 3:
        for t in (x, *weights):
            t.grad = None
        start = time.perf_counter()
        if backward:
            run(x).backward(g)
        else:
            with torch.no_grad():
                run(x)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def _kept(run: Any, x: Any) -> int:
    """Bytes that the ops of one call keep for the backward pass."""
    from tinygrad_llm import study

    with study.trace() as t:
        run(x)
    return sum(op.new for op in t.ops)


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("attention", __doc__)
    for name, number in (("batch", 4), ("context", 256), ("channels", 256), ("heads", 8)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each way in each round")
    common.two_sides(parser)
    options = parser.parse_args(argv)
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return None
    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"], f"\nsgemm 2048: {here['sgemm']:.0f} GFLOP/s\n")
    sizes = [part for name in ("batch", "context", "channels", "heads", "seconds")
             for part in (f"--{name}", getattr(options, name))]  # fmt: skip
    sides = common.sides_of(options)
    rounds = common.run_sides("attention", sides, options.rounds, *sizes, threads=options.threads)
    return {"machine": here, **table(rounds, sides)}


def table(rounds: dict[str, list], sides: list[str]) -> dict[str, dict[str, float]]:
    """Print a line for each way and return its numbers: milliseconds, MB, PyTorch's over ours."""
    print(f"{'ms, forward + backward':24}" + "".join(f"{side:>10}" for side in sides)
          + (f"{'ratio':>8}" if "torch" in sides else "") + f"{'kept, MB':>10}")  # fmt: skip
    summary: dict[str, dict[str, float]] = {}
    for name in attention_ways.WAYS:
        row = {
            side: statistics.median(t for r in rounds[side] for t in r[name]["seconds"]) * 1e3
            for side in sides
        }
        line = f"{name:24}" + "".join(f"{ms:10.2f}" for ms in row.values())
        if "torch" in sides:
            row["ratio"] = row["torch"] / row["ours"]
            line += f"{row['ratio']:8.2f}" if name != "block mask" else f"{'forward':>8}"
        row["kept_mb"] = rounds["ours"][0][name]["kept"] / 1e6
        print(line + f"{row['kept_mb']:10.1f}")
        summary[name] = row
    return summary
