"""Each op that is not one product, forward and backward at a GPT's shapes, against PyTorch eager.

    python -m benchmarks ops --against torch
    python -m benchmarks ops --without-loops     # and beside it the ops without compiled loops
    python -m benchmarks ops --only silu rotary  # rows whose names contain one of these

    python -m benchmarks ops --one-process       # run by run in one process, on a busy machine

The processes of the sides alternate; a time is the median of all runs. A row is repeated for
--seconds, and five times at least, of which the first two do not count. An optimizer's step,
clipping and random numbers have no backward: theirs stands under forward.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import common, machine

B, T, C, H, V = 8, 256, 384, 6, 65  # the `char` model of the train-step benchmark
BIG_V, BIG_C = 50257, 256
SIDES = ("ours", "numpy", "torch")
LEAST, WARM_UP = 5, 2  # runs of a row in a process, of which so many do not count
PARAMETERS = [(BIG_V, BIG_C), (3 * C, C), (4 * C, C), (C, 4 * C), (C,)]  # for an optimizer


def cases(torch: Any) -> dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]]:
    """For each name a function of tensors and their shapes; both libraries have these functions."""
    F = torch.nn.functional
    ids = torch.arange(B * T).reshape(B, T) * 7919 % BIG_V
    small = torch.arange(B * T) * 31 % V
    return {
        "linear": (lambda x, w, b: F.linear(x, w, b), [(B, T, C), (4 * C, C), (4 * C,)]),
        "layer_norm": (lambda x, w, b: F.layer_norm(x, (C,), w, b), [(B, T, C), (C,), (C,)]),
        "rms_norm": (lambda x, w: F.rms_norm(x, (C,), w), [(B, T, C), (C,)]),
        "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [(B, T, 4 * C)]),
        "gelu erf": (F.gelu, [(B, T, 4 * C)]),
        "silu": (F.silu, [(B, T, 4 * C)]),
        "relu": (F.relu, [(B, T, 4 * C)]),
        "sigmoid": (torch.sigmoid, [(B, T, 4 * C)]),
        "tanh": (torch.tanh, [(B, T, 4 * C)]),
        "silu(x) * y": (lambda x, y: F.silu(x) * y, [(B, T, 4 * C)] * 2),
        "swiglu of halves": (_swiglu(torch), [(B, T, 8 * C)]),
        "gated_activation": (_gate(torch, "silu"), [(B, T, 8 * C)]),
        "gated gelu tanh": (_gate(torch, "gelu_tanh"), [(B, T, 8 * C)]),
        "x + y": (lambda x, y: x + y, [(B, T, C)] * 2),
        "rotary": (_rotary(torch), [(B, H, T, C // H)]),
        "softmax": (lambda x: torch.softmax(x, -1), [(B, H, T, T)]),
        "log_softmax": (lambda x: torch.log_softmax(x, -1), [(B, H, T, T)]),
        "attention causal": (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            [(B, H, T, C // H)] * 3,
        ),
        "embedding": (lambda w: F.embedding(ids, w), [(BIG_V, BIG_C)]),
        "dropout": (lambda x: F.dropout(x, 0.1), [(B, T, C)]),
        "cross_entropy": (lambda x: F.cross_entropy(x, small), [(B * T, V)]),
        "head + cross_entropy": (
            _head(torch, ids.reshape(-1)), [(B * T, BIG_C), (BIG_V, BIG_C)],
        ),
        "cross_entropy 50257": (
            lambda x: F.cross_entropy(x, ids.reshape(-1)[:512]), [(512, BIG_V)],
        ),
        "composed attention": (_attention(torch), [(B, H, T, C // H)] * 3),
        "composed layer_norm": (_layer_norm, [(B, T, C), (C,), (C,)]),
    }  # fmt: skip


def without_backward(torch: Any, rng: Any) -> dict[str, Callable[[], Any]]:
    """For each name a function of nothing: what changes parameters, and random numbers."""

    def parameters() -> list[Any]:
        every = []
        for shape in PARAMETERS:
            p = torch.nn.Parameter(torch.from_numpy(rng.standard_normal(shape, dtype="float32")))
            p.grad = torch.from_numpy(rng.standard_normal(shape, dtype="float32"))
            every.append(p)
        return every

    few = parameters()
    clip = torch.nn.utils.clip_grad_norm_
    return {
        "AdamW": torch.optim.AdamW(parameters(), lr=1e-4).step,
        "SGD": torch.optim.SGD(parameters(), lr=1e-4, momentum=0.9).step,
        "clip_grad_norm_": lambda: clip(few, 1e9),  # the norm alone: nothing is too large
        "randn": lambda: torch.randn(B, T, 4 * C),
        "rand": lambda: torch.rand(B, T, 4 * C),
    }


def _gate(torch: Any, activation: str) -> Callable[..., Any]:
    """A gate as layers.GatedFeedForward has it, one op; PyTorch composes it."""
    F = torch.nn.functional
    if torch.__name__ != "torch":
        return lambda x: F.gated_activation(x, activation)
    if activation == "silu":
        return _swiglu(torch)

    def gate(x: Any) -> Any:
        a, b = x.chunk(2, dim=-1)  # (B, T, 8C) -> (B, T, 4C) twice
        return F.gelu(a, approximate="tanh") * b

    return gate


def _swiglu(torch: Any) -> Callable[..., Any]:
    """The gate as a program writes it: both factors are halves of one product."""

    def swiglu(x: Any) -> Any:
        gate, up = x.chunk(2, dim=-1)  # (B, T, 8C) -> (B, T, 4C) twice
        return torch.nn.functional.silu(gate) * up

    return swiglu


def _rotary(torch: Any) -> Callable[..., Any]:
    """Rotary embedding: one op here, and in PyTorch as Hugging Face's models compose it."""
    half = C // H // 2
    angles = torch.arange(T).float()[:, None] * 0.9 ** torch.arange(half).float()  # (T, half)
    if torch.__name__ != "torch":
        cos, sin = angles.cos(), angles.sin()
        return lambda x: torch.ops.Rope.apply(x, cos, sin)
    angles = torch.cat([angles, angles], dim=-1)  # (T, half) -> (T, D)
    cos, sin = angles.cos(), angles.sin()

    def rotary(x: Any) -> Any:
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin

    return rotary


def _attention(torch: Any) -> Callable[..., Any]:
    """Attention as the books write it: a function for every step, the same on both sides."""
    future = torch.triu(torch.ones(T, T), diagonal=1).bool()

    def attention(q: Any, k: Any, v: Any) -> Any:
        scores = q @ k.transpose(2, 3)  # (B, H, T, T)
        scores = scores.masked_fill(future, -float("inf"))
        return torch.softmax(scores / k.shape[-1] ** 0.5, dim=-1) @ v  # (B, H, T, D)

    return attention


def _layer_norm(x: Any, scale: Any, shift: Any) -> Any:
    """Layer norm as the books write it."""
    mean = x.mean(dim=-1, keepdim=True)
    var = x.var(dim=-1, keepdim=True, unbiased=False)
    return scale * ((x - mean) / (var + 1e-5) ** 0.5) + shift


def _head(torch: Any, targets: Any) -> Callable[..., Any]:
    """The output layer and the loss over a large vocabulary, as each side does it best."""
    F = torch.nn.functional
    if torch.__name__ == "torch":
        return lambda x, w: F.cross_entropy(F.linear(x, w), targets)
    return lambda x, w: F.linear_cross_entropy(x, w, targets)


def chosen(names: Iterable[str], only: list[str]) -> list[str]:
    """The names that contain one of the texts in `only`; all of them if it is empty."""
    return [name for name in names if not only or any(text in name for text in only)]


def library(side: str) -> Any:
    """PyTorch, or this package under its name, with compiled loops or without."""
    if side == "torch":
        import torch
    else:
        import tinygrad_llm as torch  # type: ignore[no-redef]

        torch.backends.loops.enabled = side == "ours"  # type: ignore[attr-defined]
    return torch


def runs_of(side: str, only: list[str]) -> dict[str, Callable[[], tuple[float, ...]]]:
    """For each chosen row a function that runs it once: seconds forward and, if it has it, back."""
    import numpy as np

    torch, rng = library(side), np.random.default_rng(0)
    runs: dict[str, Callable[[], tuple[float, ...]]] = {}
    every = cases(torch)
    for name in chosen(every, only):
        function, shapes = every[name]
        arrays = [rng.standard_normal(s, dtype=np.float32) for s in shapes]
        tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
        runs[name] = functools.partial(both_ways, torch, function, tensors, [])
    calls = without_backward(torch, rng)
    for name in chosen(calls, only):
        runs[name] = functools.partial(one_way, calls[name])
    return runs


def both_ways(torch: Any, function: Any, tensors: list[Any], kept: list[Any]) -> tuple[float, ...]:
    """Seconds of function(*tensors) and of its backward; kept: the upstream gradient, made once."""
    import numpy as np

    for t in tensors:
        t.grad = None
    start = time.perf_counter()
    y = function(*tensors)
    middle = time.perf_counter()
    if not kept:
        numbers = np.random.default_rng(1).standard_normal(tuple(y.shape))
        kept.append(torch.from_numpy(np.asarray(numbers, np.float32)))
    again = time.perf_counter()
    y.backward(kept[0])
    return middle - start, time.perf_counter() - again


def one_way(call: Callable[[], Any]) -> tuple[float, ...]:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start,)


def measure(sides: list[str], seconds: float, only: list[str]) -> dict[str, dict[str, Any]]:
    """For each side the times of each row in this process: forward and backward, in seconds.

    Sides in one process alternate from run to run.
    """
    runs = {side: runs_of(side, only) for side in sides}
    times: dict[str, dict[str, Any]] = {side: {} for side in sides}
    for name in list(runs[sides[0]]):
        results: dict[str, list[tuple[float, ...]]] = {side: [] for side in sides}
        end = time.perf_counter() + seconds * len(sides)
        while len(results[sides[0]]) < LEAST or time.perf_counter() < end:
            for side in sides:
                library(side)
                results[side].append(runs[side][name]())
        for side in sides:
            forward, *backward = zip(*results[side][WARM_UP:], strict=True)
            times[side][name] = {"forward": forward, "backward": (backward or [(0.0,)])[0]}
            runs[side].pop(name)  # its arrays
    return times


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("ops", __doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each op in each round")
    parser.add_argument("--without-loops", action="store_true",
                        help="measure ours without compiled loops too")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT",
                        help="only the rows whose names contain one of these texts")  # fmt: skip
    parser.add_argument("--one-process", action="store_true",
                        help="alternate run by run in one process, for a busy machine; a time is "
                        "then the lower quartile")  # fmt: skip
    common.two_sides(parser, sides=SIDES)
    options = parser.parse_args(argv)
    if options.side:
        print(json.dumps(measure(options.side.split("+"), options.seconds, options.only)))
        return None
    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"], f"\nsgemm 2048: {here['sgemm']:.0f} GFLOP/s\n")
    sides = [side for side in common.sides_of(options, SIDES)
             if side != "numpy" or options.without_loops]  # fmt: skip
    args = "--seconds", options.seconds, *(["--only", *options.only] if options.only else [])
    groups = ["+".join(sides)] if options.one_process else sides
    done = common.run_sides("ops", groups, options.rounds, *args, threads=options.threads)
    rounds = {side: [r[side] for group in groups if side in group.split("+") for r in done[group]]
              for side in sides}  # fmt: skip
    if not rounds["ours"][0]:
        raise SystemExit(f"no row has a name that contains {' or '.join(options.only)}")
    return {"machine": here, **table(rounds, sides, 4 if options.one_process else 2)}


def table(rounds: dict[str, list], sides: list[str], part: int) -> dict[str, dict[str, float]]:
    """Print a line for each op and return its numbers: milliseconds, and PyTorch's over ours.

    part: 2 for the median of the times, 4 for their lower quartile.
    """
    heads = {"ours": "ours", "numpy": "no loops", "torch": "torch"}
    ratios = ["ours", *(["numpy"] if "numpy" in sides else [])] if "torch" in sides else []
    print(f"{'ms, fwd and bwd':22}" + "".join(f"{heads[s]:>9}{'':9}" for s in sides)
          + "".join(f"{'ratio' if s == 'ours' else 'no loops':>9}" for s in ratios))  # fmt: skip
    summary: dict[str, dict[str, float]] = {}
    for name in rounds["ours"][0]:
        row: dict[str, float] = {}
        for side in sides:
            for which in ("forward", "backward"):
                times = [t for r in rounds[side] for t in r[name][which]]
                row[f"{side} {which}"] = sorted(times)[len(times) // part] * 1e3
        line = f"{name:22}" + "".join(f"{v:9.3f}" for v in row.values())
        for side in ratios:
            ratio = (row["torch forward"] + row["torch backward"]) / (
                row[f"{side} forward"] + row[f"{side} backward"]
            )
            row["ratio" if side == "ours" else "ratio_numpy"] = ratio
            line += f"{ratio:9.2f}"
        print(line)
        summary[name] = row
    return summary
