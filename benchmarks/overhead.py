"""What an op costs in addition to its arithmetic: microseconds for tensors of four numbers.

    python -m benchmarks overhead

Compared with torch, mygrad, autograd and micrograd where they are installed. Forward records the
op; backward runs through a chain of 200 of them. micrograd has single numbers only: its chain
multiplies one number where the others multiply four, with the same number of ops.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from . import common, machine

CHAIN = 200
OTHERS = ("torch", "mygrad", "autograd", "micrograd")


def chain(make: Callable[[Any], Any], backward: Callable[[Any, Any], Any]) -> dict[str, float]:
    """Microseconds per op, forward and backward: y = y·z two hundred times; medians."""
    import numpy as np

    forward_times, backward_times = [], []
    for _ in range(60):
        x, z = make(np.ones((2, 2), np.float32)), make(np.ones((2, 2), np.float32))
        y = x
        start = time.perf_counter()
        for _ in range(CHAIN):
            y = y * z
        middle = time.perf_counter()
        backward(y, x)
        backward_times.append((time.perf_counter() - middle) / CHAIN)
        forward_times.append((middle - start) / CHAIN)
    return {
        "forward": statistics.median(forward_times) * 1e6,
        "backward": statistics.median(backward_times) * 1e6,
    }


def ours() -> dict[str, float]:
    import tinygrad_llm as tl

    ones = tl.ones(2, 2)
    return chain(lambda a: tl.tensor(a, requires_grad=True), lambda y, x: y.backward(ones))


def torch() -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    ones = torch.ones(2, 2)
    return chain(lambda a: torch.tensor(a, requires_grad=True), lambda y, x: y.backward(ones))


def mygrad() -> dict[str, float]:
    import mygrad

    return chain(lambda a: mygrad.tensor(a), lambda y, x: y.sum().backward())


def autograd() -> dict[str, float]:
    """HIPS autograd keeps no graph: forward and backward are timed as one call and halved."""
    import autograd.numpy as anp
    import numpy as np
    from autograd import grad

    z = np.ones((2, 2), np.float32)

    def function(x: Any) -> Any:
        for _ in range(CHAIN):
            x = x * z
        return anp.sum(x)

    gradient, times = grad(function), []
    for _ in range(60):
        start = time.perf_counter()
        gradient(np.ones((2, 2), np.float32))
        times.append((time.perf_counter() - start) / CHAIN)
    both = statistics.median(times) * 1e6
    return {"forward": both / 2, "backward": both / 2}


def micrograd() -> dict[str, float]:
    """One number at a time: micrograd has no arrays."""
    from micrograd.engine import Value

    return chain(lambda a: Value(float(a[0, 0])), lambda y, x: y.backward())


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("overhead", __doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ours", *OTHERS], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.side:
        print(json.dumps(globals()[options.side]()))
        return None
    here = machine.run_child("benchmarks.machine", threads=1)
    print(here["text"], "\n")
    sides = ["ours"] + [s for s in OTHERS if importlib.util.find_spec(s)]
    missing = [s for s in OTHERS if s not in sides]
    rounds = common.run_sides("overhead", sides, options.rounds, threads=1)
    print(f"{'microseconds per op':22}{'forward':>9}{'backward':>9}{'both':>9}{'times ours':>12}")
    table: dict[str, dict[str, float]] = {}
    for side in sides:
        f, b = (statistics.median(r[w] for r in rounds[side]) for w in ("forward", "backward"))
        table[side] = {"forward": f, "backward": b, "both": f + b}
        note = "  (one number, no arrays)" if side == "micrograd" else ""
        print(f"{side:22}{f:9.2f}{b:9.2f}{f + b:9.2f}{(f + b) / table['ours']['both']:12.2f}{note}")
    if missing:
        print(f"\nnot installed: {', '.join(missing)} (pip install {' '.join(missing)})")
    return {"machine": here, "microseconds": table,
            "seconds": {side: row["both"] / 1e6 for side, row in table.items()}}  # fmt: skip
