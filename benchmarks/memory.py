"""Memory and time of a training step: ours, ours with gradient checkpointing, PyTorch eager.

    python -m benchmarks memory --config gpt2

The processes of the sides alternate. `peak` is the most that the process has held (resident),
`of it the step` what came on top of the imported package; page faults are the pieces of memory
(4 kB, or 2 MB with huge pages) that a step after the first ones still takes from the system. Below
the table is the bill in closed form (study/memory/bill.py), which counts what backward needs and no
working memory.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from . import common, machine
from .configs import CONFIGS, gpt_config
from .step import stepping, training_of

SIDES = ("ours", "checkpointed", "torch")


def steps_of(side: str, config: str) -> Any:
    """A function that trains one step and returns its loss."""
    torch, model, *rest = training_of("torch" if side == "torch" else "ours", config)
    if side == "checkpointed":
        model.gradient_checkpointing_enable()
    return stepping(torch, model, *rest)


def measure(side: str, config: str, steps: int) -> dict[str, Any]:
    """Times, losses, peak and fresh memory of one process."""
    if side == "torch":
        import torch  # noqa: F401
    else:
        import tinygrad_llm.optim  # noqa: F401
    before = machine.peak_memory()
    step = steps_of(side, config)
    losses, times, fresh = [step().item(), step().item()], [], []
    for _ in range(steps):
        faults, start = page_faults(), time.perf_counter()
        losses.append(step().item())
        times.append(time.perf_counter() - start)
        fresh.append(page_faults() - faults)
    return {"times": times, "losses": losses, "peak": machine.peak_memory(), "before": before,
            "faults": fresh}  # fmt: skip


def page_faults() -> int:
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("memory", __doc__)
    parser.add_argument("--config", choices=CONFIGS, default="char")
    parser.add_argument("--steps", type=int, default=4, help="timed steps per process")
    common.two_sides(parser, rounds=2, sides=SIDES)
    options = parser.parse_args(argv)
    if options.side:
        print(json.dumps(measure(options.side, options.config, options.steps)))
        return None
    print(machine.run_child("benchmarks.machine", threads=options.threads)["text"], "\n")
    sides = common.sides_of(options, SIDES)
    rounds = common.run_sides(
        "memory", sides, options.rounds, "--config", options.config, "--steps", options.steps,
        threads=options.threads,
    )  # fmt: skip
    print(f"{'':14}{'ms/step':>10}{'peak':>10}{'of it the step':>17}{'page faults/step':>21}")
    seconds, peaks = {}, {}
    for side in sides:
        seconds[side] = statistics.median(t for r in rounds[side] for t in r["times"])
        peak, before = (max(r[k] for r in rounds[side]) for k in ("peak", "before"))
        faults = statistics.median(f for r in rounds[side] for f in r["faults"])
        of_step = peak - before
        peaks[side] = {"peak": peak, "step": of_step, "faults": faults}
        print(
            f"{side:14}{seconds[side] * 1e3:10.1f}{peak / 1e6:7.0f} MB{of_step / 1e6:14.0f} MB"
            f"{faults:21,.0f}"
        )
    same = rounds["ours"][0]["losses"] == rounds["checkpointed"][0]["losses"]
    print(
        f"\ncheckpointing: {seconds['checkpointed'] / seconds['ours']:.2f} times the time, "
        f"{peaks['checkpointed']['step'] / peaks['ours']['step']:.2f} of the memory; the losses "
        f"are {'equal to the last bit' if same else 'NOT EQUAL'}"
    )
    bills = {name: _bill(options.config, name == "checkpointed") for name in sides[:2]}
    for name, bill in bills.items():
        print(f"\n{name}, in closed form\n{bill}")
    return {"config": options.config, "seconds": seconds, "memory": peaks, "rounds": rounds,
            "bill": {name: bill.total for name, bill in bills.items()}}  # fmt: skip


def _bill(config: str, checkpointing: bool) -> Any:
    from tinygrad_llm.study.memory.bill import memory_bill

    sizes = CONFIGS[config]
    return memory_bill(gpt_config(sizes), sizes.batch_size, sizes.context_length, checkpointing)
