"""A training step of a GPT, ours and PyTorch eager's in turn, each in fresh processes.

    python -m benchmarks train-step --config char --against torch

Both do the same: forward, cross-entropy over the vocabulary, backward, AdamW (fused in PyTorch), on
random tokens, weights tied, no dropout. PyTorch runs its own scaled_dot_product_attention.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from . import common, machine

CONFIGS = {  # vocabulary, channels, heads, layers, batch; 256 tokens of context each
    "char": (65, 384, 6, 6, 8),
    "mini": (50257, 256, 4, 8, 8),
    "gpt2": (50257, 768, 12, 12, 4),
}
CONTEXT = 256


def useful_flops(config: str) -> float:
    """Floating-point operations of the matrix products of one step, the masked half left out.

    Forward 2 a weight and token; backward twice that. Attention: q·kᵀ and p·v over the visible
    half, (T + 1)/2 keys a query on average.
    """
    vocab, c, _, layers, batch = CONFIGS[config]
    tokens = batch * CONTEXT
    weights = layers * 12 * c * c + vocab * c
    attention = layers * 2 * c * (CONTEXT + 1) / 2
    return 3 * 2 * tokens * (weights + attention)


def ours(config: str, steps: int) -> dict[str, Any]:
    """Step times of tinygrad_llm, in this process."""
    from .our_gpt import training

    return timed(stepping(*training(config)), steps)


def rival(config: str, steps: int) -> dict[str, Any]:
    """Step times of PyTorch eager, in this process."""
    return timed(stepping(*rival_training(config)), steps)


def rival_training(config: str) -> tuple[Any, Any, Any, Any]:
    """(model, AdamW, idx, targets) of PyTorch, as our_gpt.training has them of ours."""
    import numpy as np
    import torch

    from .torch_gpt import GPT

    vocab, c, heads, layers, batch = CONFIGS[config]
    torch.manual_seed(0)
    model = GPT(vocab, CONTEXT, c, heads, layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, vocab, (batch, CONTEXT + 1)))
    return model, optimizer, tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def stepping(model: Any, optimizer: Any, idx: Any, targets: Any) -> Any:
    """A function that trains one step and returns its loss."""

    def step() -> float:
        loss = model.loss(idx, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def timed(step: Any, steps: int) -> dict[str, Any]:
    losses = [step(), step()]  # warm up
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        losses.append(step())
        times.append(time.perf_counter() - start)
    return {"times": times, "losses": losses, "peak": machine.peak_memory()}


def main(argv: list[str]) -> dict[str, Any] | None:
    if "cuda" in argv or "--device=cuda" in argv:
        from . import train_step_gpu

        return train_step_gpu.main(argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks train-step", description=__doc__,
                                     parents=[common.options()])  # fmt: skip
    parser.add_argument("--config", choices=CONFIGS, default="char")
    parser.add_argument("--against", choices=["torch", "none"], default="torch")
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each side")
    parser.add_argument("--steps", type=int, default=0, help="timed steps a round")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--side", choices=["ours", "torch"], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    steps = options.steps or {"char": 20, "mini": 12, "gpt2": 4}[options.config]
    if options.side:
        side = ours if options.side == "ours" else rival
        print(json.dumps(side(options.config, steps)))
        return None

    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"])
    print(f"sgemm 2048: {here['sgemm']:.0f} GFLOP/s")
    sides = ["ours"] + (["torch"] if options.against == "torch" else [])
    results: dict[str, list] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            results[side].append(
                machine.run_child(
                    "benchmarks",
                    "train-step",
                    "--config",
                    options.config,
                    "--steps",
                    steps,
                    "--side",
                    side,
                    threads=options.threads,
                )  # fmt: skip
            )
    again = machine.run_child("benchmarks.machine", threads=options.threads)["sgemm"]
    here["sgemm"] = max(here["sgemm"], again)  # both threads may have begun on one core
    print(f"sgemm 2048, after the steps: {again:.0f} GFLOP/s; the larger one counts")
    flops = useful_flops(options.config)
    tokens = CONFIGS[options.config][-1] * CONTEXT
    summary: dict[str, Any] = {"config": options.config, "machine": here, "flops": flops}
    print(f"\n{options.config}: {tokens} tokens and {flops / 1e9:.0f} GFLOP a step\n")
    print(f"{'':6}{'ms/step':>10}{'tokens/s':>11}{'GFLOP/s':>9}{'of sgemm':>10}{'peak MB':>9}")
    for side in sides:
        seconds = statistics.median(t for r in results[side] for t in r["times"])
        peak = max(r["peak"] for r in results[side])
        rate = flops / seconds / 1e9
        summary[side] = {"seconds": seconds, "tokens_per_second": tokens / seconds,
                         "gflops": rate, "peak": peak, "rounds": results[side]}  # fmt: skip
        print(
            f"{side:6}{seconds * 1e3:10.1f}{tokens / seconds:11.0f}{rate:9.0f}"
            f"{rate / here['sgemm']:10.0%}{peak / 1e6:9.0f}"
        )
    if len(sides) == 2:
        ratio = summary["torch"]["seconds"] / summary["ours"]["seconds"]
        summary["ratio"] = ratio
        print(f"\nratio: {ratio:.2f} times PyTorch eager's speed")
    return summary
