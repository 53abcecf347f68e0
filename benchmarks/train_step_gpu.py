"""A GPT's training step on a GPU, ours and PyTorch eager's in turn, each in fresh processes.

    python -m benchmarks train-step --device cuda --precision tf32 --against torch

Both do the same: forward, cross-entropy over the vocabulary, backward, AdamW (fused in PyTorch), on
random tokens, weights tied, no dropout; PyTorch's attention is its scaled_dot_product_attention.
precision: float32; tf32 (float32 with products in TF32); bfloat16 (autocast with float32 weights).
Steps are timed ten at a time, with one synchronisation. Memory is the most that arrays held at
once, measured in further steps. With --graph our step is captured once as a CUDA graph
(`cuda.graphed`) and replayed; the graph's memory counts as held.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from . import machine

CONFIGS = {  # vocabulary, context, channels, heads, layers, batch
    "gpt2": (50304, 1024, 768, 12, 12, 8),
    "char": (65, 256, 384, 6, 6, 64),
}
PRECISIONS = ("float32", "tf32", "bfloat16")
TOGETHER = 10  # steps timed at a time


def ours(config: str, precision: str, graph: bool = False) -> tuple[Any, Any, Any]:
    """(tinygrad_llm, a step, its AdamW) on the GPU."""
    import numpy as np

    import tinygrad_llm as torch
    from tinygrad_llm.models.gpt import GPT, GPTConfig

    vocab, context, c, heads, layers, batch = CONFIGS[config]
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(
            vocab_size=vocab, context_length=context, emb_dim=c, n_heads=heads, n_layers=layers,
            drop_rate=0.0, qkv_bias=True, tie_weights=True,
        )
    ).to("cuda")  # fmt: skip
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    tokens = np.random.default_rng(0).integers(0, vocab, (batch, context + 1))
    idx, targets = (torch.from_numpy(a.copy()).to("cuda") for a in (tokens[:, :-1], tokens[:, 1:]))
    step = stepper(torch, model, optimizer, idx, targets, precision)
    return torch, torch.cuda.graphed(step) if graph else step, optimizer


def rival(config: str, precision: str) -> tuple[Any, Any, Any]:
    """(torch, a step, its AdamW) of PyTorch eager on the GPU."""
    import numpy as np
    import torch

    from .torch_gpt import GPT

    vocab, context, c, heads, layers, batch = CONFIGS[config]
    torch.manual_seed(0)
    model = GPT(vocab, context, c, heads, layers).to("cuda")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, vocab, (batch, context + 1)))
    idx, targets = tokens[:, :-1].contiguous().to("cuda"), tokens[:, 1:].contiguous().to("cuda")
    return torch, stepper(torch, model, optimizer, idx, targets, precision), optimizer


def stepper(
    torch: Any, model: Any, optimizer: Any, idx: Any, targets: Any, precision: str
) -> Any:  # fmt: skip
    """One training step; both sides run this very function."""

    def step() -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model.loss(idx, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def measure(
    side: str, config: str, precision: str, rounds: int, graph: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Seconds a step, losses, and peak memory of one side, in this process."""
    if side == "ours":
        torch, step, _ = ours(config, precision, graph)
    else:
        torch, step, _ = rival(config, precision)
    losses = [step().item() for _ in range(5)]  # warm up: kernels are compiled, a graph captured
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(TOGETHER):
            loss = step()
        losses.append(loss.item())
        times.append((time.perf_counter() - start) / TOGETHER)
    start = time.perf_counter()
    for _ in range(TOGETHER):
        loss = step()
    asked = (time.perf_counter() - start) / TOGETHER  # until the last step was asked for
    torch.cuda.synchronize()
    reserved = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        loss = step()
    losses.append(loss.item())
    return {
        "times": times, "losses": losses, "asked": asked, "reserved": reserved,
        "peak": torch.cuda.max_memory_allocated(), "grown": torch.cuda.memory_reserved() - reserved,
        "gpu": torch.cuda.get_device_name(),
    }  # fmt: skip


def profile(config: str, precision: str, steps: int = 3) -> None:
    """Where our step's time goes: milliseconds of GPU time of each op, forward and backward."""
    import collections

    import cupy

    from tinygrad_llm.arrays.twins import twins
    from tinygrad_llm.autograd import engine

    _, step, optimizer = ours(config, precision)
    for _ in range(3):
        step()
    spans: list[tuple[str, Any, Any]] = []

    def timed(cls: Any, which: str) -> None:
        original = getattr(cls, which)

        def call(self: Any, *args: Any, **options: Any) -> Any:
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            result = original(self, *args, **options)
            end.record()
            spans.append((f"{cls.name} {which}", begin, end))
            return result

        setattr(cls, which, call)

    fast = {} if twins.gpu is None else twins.gpu.ops
    for cls in {*engine.OPS.values(), *fast.values()} - set(fast):
        for which in ("forward", "backward"):
            timed(cls, which)
    whole = cupy.cuda.Event(), cupy.cuda.Event()
    whole[0].record()
    for _ in range(steps):
        step()
    whole[1].record()
    whole[1].synchronize()
    total: dict[str, float] = collections.Counter()
    count: dict[str, int] = collections.Counter()
    for name, begin, end in spans:
        total[name] += cupy.cuda.get_elapsed_time(begin, end) / steps
        count[name] += 1
    every = cupy.cuda.get_elapsed_time(*whole) / steps
    for name in sorted(total, key=lambda n: -total[n]):
        print(f"{name:44}{count[name] // steps:5}{total[name]:9.2f} ms")
    print(
        f"{'outside ops (AdamW, sums of gradients)':44}{'':5}{every - sum(total.values()):9.2f} ms"
    )
    print(f"{'a step':44}{'':5}{every:9.2f} ms")


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks train-step --device cuda", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--device", choices=["cuda"], default="cuda")
    parser.add_argument("--config", choices=CONFIGS, default="gpt2")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--against", choices=["torch", "none"], default="torch")
    parser.add_argument("--rounds", type=int, default=1, help="fresh processes of each side")
    parser.add_argument("--steps", type=int, default=30, help="timed steps a round")
    parser.add_argument("--graph", action="store_true", help="replay our step as a CUDA graph")
    parser.add_argument("--profile", action="store_true", help="time of each op, ours alone")
    parser.add_argument("--json", metavar="FILE", default=None)
    parser.add_argument("--side", choices=["ours", "torch"], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.profile:
        profile(options.config, options.precision)
        return None
    if options.side:
        got = measure(options.side, options.config, options.precision,
                      max(1, options.steps // TOGETHER), options.graph)  # fmt: skip
        print(json.dumps(got))
        return None
    sides = ["ours"] + (["torch"] if options.against == "torch" else [])
    results: dict[str, list] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            results[side].append(
                machine.run_child(
                    "benchmarks.train_step_gpu", "--config", options.config, "--precision",
                    options.precision, "--steps", options.steps, "--side", side,
                    *(["--graph"] if options.graph and side == "ours" else []),
                )
            )  # fmt: skip
    _, context, *_, batch = CONFIGS[options.config]
    tokens = batch * context
    summary: dict[str, Any] = {"config": options.config, "precision": options.precision,
                               "graph": options.graph}  # fmt: skip
    print(f"{results['ours'][0]['gpu']}, {options.config}, {options.precision}: {tokens} tokens a "
          f"step{', ours as a CUDA graph' if options.graph else ''}")  # fmt: skip
    print(f"{'':6}{'ms/step':>9}{'tokens/s':>11}{'launched in':>13}{'peak MB':>9}{'pool MB':>9}"
          f"{'grown':>7}{'first loss':>12}{'last':>9}")  # fmt: skip
    for side in sides:
        rounds = results[side]
        seconds = statistics.median(t for r in rounds for t in r["times"])
        peak, reserved = (max(r[k] for r in rounds) for k in ("peak", "reserved"))
        summary[side] = {"seconds": seconds, "tokens_per_second": tokens / seconds, "peak": peak,
                         "rounds": rounds}  # fmt: skip
        print(f"{side:6}{seconds * 1e3:9.2f}{tokens / seconds:11.0f}"
              f"{rounds[0]['asked'] * 1e3:10.2f} ms{peak / 1e6:9.0f}{reserved / 1e6:9.0f}"
              f"{max(r['grown'] for r in rounds) / 1e6:7.0f}{rounds[0]['losses'][0]:12.4f}"
              f"{rounds[0]['losses'][-1]:9.4f}")  # fmt: skip
    if len(sides) == 2:
        summary["ratio"] = summary["torch"]["seconds"] / summary["ours"]["seconds"]
        memory = summary["ours"]["peak"] / summary["torch"]["peak"]
        print(f"ratio: {summary['ratio']:.2f} times PyTorch eager's speed, {memory:.2f} times its "
              "memory")  # fmt: skip
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=1)
    return summary


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
