"""Where a training step goes: each op forward and backward, what is between them, the optimizer.

    python -m benchmarks profile --config gpt2

GFLOP/s is shown for ops that are made of matrix products and counts useful ones only, without the
scores that attention computes a second time in backward and without the masked half.
linear_cross_entropy computes its gradients in forward, while it has the logits. `between ops` is
the remaining wall time: the engine's loop, sums of gradients, calls of modules.

The floor is what the step's products take, each timed alone at its own shape (attention's too), and
the bytes that AdamW and the embeddings must move, over the machine's measured bandwidth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections import defaultdict
from typing import Any

from . import common, floor, machine
from .configs import CONFIGS, flops_per_step
from .step import training_of

PHASES = ("forward", "backward", "optimizer", "zero_grad")


def flops_of(name: str, shapes: list[tuple[int, ...]], needs: list[bool]) -> tuple[float, float]:
    """Useful operations (FLOP) of one call of an op, forward and backward; 0 without products.

    A product of (N, I) and (I, O) takes 2·N·I·O; each of the two gradients the same again.
    """
    if name == "linear":
        (*rows, i), (o, _) = shapes[0], shapes[1]
        product = 2.0 * math.prod(rows) * i * o
        return product, product * (needs[0] + needs[1])
    if name == "linear_cross_entropy":  # all three products in forward
        (*rows, i), (o, _) = shapes[0], shapes[1]
        return 2.0 * math.prod(rows) * i * o * (1 + needs[0] + needs[1]), 0.0
    if name == "matmul" and len(shapes[0]) > 1 < len(shapes[1]):
        batch = max(shapes[0][:-2], shapes[1][:-2], key=math.prod)
        product = 2.0 * math.prod(batch) * math.prod(shapes[0][-2:]) * shapes[1][-1]
        return product, product * (needs[0] + needs[1])
    if name == "scaled_dot_product_attention":  # causal: (T + 1)/2 keys per query
        (*heads, t, d) = shapes[0]
        product = 2.0 * math.prod(heads) * t * (t + 1) / 2 * d
        return 2 * product, 4 * product
    return 0.0, 0.0


def measure(config: str, steps: int) -> dict[str, Any]:
    """Seconds of each op and phase, a list over the steps, in this process."""
    from tinygrad_llm.study.common.watch import Watch

    _, model, optimizer, idx, targets = training_of("ours", config)

    class Stopwatch(Watch):
        def __init__(self) -> None:
            super().__init__(model)
            self.rows: Any = defaultdict(lambda: [0, 0.0, 0.0, 0.0, 0.0])

        def op_done(self, op: Any, place: Any, inputs: tuple, results: list) -> None:
            shapes = [tuple(x.shape) for x in inputs if hasattr(x, "shape")]
            forward, backward = flops_of(op.name, shapes, [*op.needs, False])
            row = self.rows[op.name]
            row[0] += 1
            row[1] += place.seconds
            row[3] += forward
            row[4] += backward

        def backward_done(self, op: Any, place: Any, g: Any, grads: Any, s: float) -> None:
            self.rows[op.name][2] += s

    rounds = []
    for _ in range(steps + 2):  # two of them warm up
        watch = Stopwatch()
        with watch:
            clock = [time.perf_counter()]
            loss = model.loss(idx, targets)
            clock.append(time.perf_counter())
            loss.backward()
            clock.append(time.perf_counter())
        optimizer.step()
        clock.append(time.perf_counter())
        optimizer.zero_grad()
        clock.append(time.perf_counter())
        spent = [b - a for a, b in itertools.pairwise(clock)]
        phases = dict(zip(PHASES, spent, strict=True))
        rounds.append({"phases": phases, "ops": dict(watch.rows)})
    return {"rounds": rounds[2:], "peak": machine.peak_memory()}


def summary_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds: phases, and rows of op, calls, seconds and rates."""
    phases = {p: statistics.median(r["phases"][p] for r in rounds) for p in rounds[0]["phases"]}
    rows = []
    for name, (calls, _, _, flops, flops_back) in rounds[0]["ops"].items():
        forward, backward = (statistics.median(r["ops"][name][k] for r in rounds) for k in (1, 2))
        rows.append({"op": name, "calls": calls, "forward": forward, "backward": backward,
                     "gflop_forward": flops / 1e9, "gflop_backward": flops_back / 1e9})  # fmt: skip
    rows.sort(key=lambda row: -row["forward"] - row["backward"])
    between = {way: max(0.0, phases[way] - sum(row[way] for row in rows))
               for way in ("forward", "backward")}  # fmt: skip
    return {"phases": phases, "ops": rows, "between": between, "total": sum(phases.values())}


def show(config: str, profile: dict[str, Any], sgemm: float) -> None:
    """Print the table."""
    total, phases = profile["total"], profile["phases"]
    sizes = CONFIGS[config]
    flops = flops_per_step(sizes)
    print(
        f"\n{config}, {sizes.batch_size} x {sizes.context_length} tokens: "
        f"{total * 1e3:.1f} ms per step, {flops / 1e9:.0f} GFLOP of products, "
        f"{flops / total / 1e9:.0f} GFLOP/s "
        f"({flops / total / 1e9 / sgemm:.0%} of sgemm)\n"
    )
    head = ("op", "calls", "forward ms", "backward ms", "share", "GFLOP/s", "back")
    print("{:32}{:>6}{:>12}{:>13}{:>8}{:>10}{:>8}".format(*head))
    for row in profile["ops"]:
        print(_row(row["op"], row["calls"], row["forward"], row["backward"], total)
              + _rate(row["gflop_forward"], row["forward"], 10)
              + _rate(row["gflop_backward"], row["backward"], 8))  # fmt: skip
    between = profile["between"]
    print(_row("between ops", "", between["forward"], between["backward"], total))
    print(_row("all ops and between", "", phases["forward"], phases["backward"], total))
    print(_row("optimizer (AdamW)", "", phases["optimizer"], None, total))
    print(_row("zero_grad", "", phases["zero_grad"], None, total))
    print()
    floor.show(profile["floor"], total)


def _row(name: str, calls: Any, forward: float, backward: float | None, total: float) -> str:
    back = f"{backward * 1e3:13.2f}" if backward is not None else f"{'':13}"
    share = (forward + (backward or 0.0)) / total
    return f"{name:32}{calls:>6}{forward * 1e3:12.2f}{back}{share:8.1%}"


def _rate(gflop: float, seconds: float, width: int) -> str:
    return f"{gflop / seconds:{width}.0f}" if gflop and seconds else " " * width


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("profile", __doc__)
    parser.add_argument("--config", choices=CONFIGS, default="char")
    parser.add_argument("--steps", type=int, default=0, help="steps that count")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--side", choices=["ours", "floor"], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    steps = options.steps or {"char": 15, "mini": 10, "gpt2": 4}[options.config]
    if options.side == "floor":
        print(json.dumps(floor.least_time(*floor.calls_of(options.config))))
        return None
    if options.side:
        print(json.dumps(measure(options.config, steps)))
        return None
    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"])
    print(f"sgemm 2048: {here['sgemm']:.0f} GFLOP/s")
    measured = machine.run_child(
        "benchmarks", "profile", "--config", options.config, "--steps", steps, "--side", "ours",
        threads=options.threads,
    )  # fmt: skip
    result = summary_of(measured["rounds"])
    result["floor"] = machine.run_child(
        "benchmarks", "profile", "--config", options.config, "--side", "floor",
        threads=options.threads,
    )  # fmt: skip
    show(options.config, result, here["sgemm"])
    seconds = {p: result["phases"][p] for p in ("forward", "backward", "optimizer")}
    return {"config": options.config, "machine": here, "seconds": seconds, "peak": measured["peak"],
            "flops": flops_per_step(CONFIGS[options.config]), **result}  # fmt: skip
