"""The speed ladder: what each optimisation brings, against plain code that computes the same.

    python -m benchmarks ladder                 every rung
    python -m benchmarks ladder --only scatter  those whose name contains a word

Both run in this process, alternately, on the same arrays, forward and backward where there is a
backward; medians. `differ` is the largest difference between the two results, relative to the
largest number in them. SPEED.md explains the ideas.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import common, machine

B, T, C, H = 8, 256, 384, 6  # the `char` model of the train-step benchmark
Way = Callable[[], Any]  # runs once and returns arrays to compare
RUNGS: dict[str, Callable[[], tuple[Way, Way]]] = {}  # name: makes (the plain code, ours)


def rung(name: str) -> Callable[[Any], Any]:
    def register(make: Any) -> Any:
        RUNGS[name] = make
        return make

    return register


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def gradients(function: Callable[..., Any], *arrays: Any) -> Way:
    """The function's output and gradients with random upstream gradient, as arrays."""
    import tinygrad_llm as torch

    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    upstream = torch.from_numpy(np.asarray(normal(*function(*tensors).shape), np.float32))

    def run() -> list[Any]:
        for t in tensors:
            t.grad = None
        y = function(*tensors)
        y.backward(upstream)
        return [y.array, *[t.grad.array for t in tensors]]

    return run


@rung("linear, rows flattened and shared")
def _linear() -> tuple[Way, Way]:
    import tinygrad_llm as torch
    from tinygrad_llm.nn import functional as F

    x, w, g = normal(B, T, C), normal(4 * C, C), normal(B, T, 4 * C)

    def plain() -> list[Any]:  # a product for each row of the batch, and a sum over them
        gw = (g.swapaxes(-1, -2) @ x).sum(0)
        return [x @ w.T, g @ w, gw]

    tx, tw = (torch.from_numpy(a).requires_grad_() for a in (x, w))
    up = torch.from_numpy(g)

    def run() -> list[Any]:
        tx.grad = tw.grad = None
        y = F.linear(tx, tw)
        y.backward(up)
        return [y.array, tx.grad.array, tw.grad.array]

    return plain, run


@rung("attention in causal blocks")
def _attention() -> tuple[Way, Way]:
    from tinygrad_llm.nn import functional as F
    from tinygrad_llm.study.check import reference

    arrays = [normal(B, H, T, C // H) for _ in range(3)]
    return (
        gradients(lambda q, k, v: reference.scaled_dot_product_attention(q, k, v, is_causal=True),
                  *arrays),
        gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), *arrays),
    )  # fmt: skip


@rung("head and loss in chunks, V 50,257")
def _head() -> tuple[Way, Way]:
    import tinygrad_llm as torch
    from tinygrad_llm.nn import functional as F

    x, w = normal(1024, 256), normal(50257, 256) * np.float32(0.02)
    t = torch.from_numpy(np.random.default_rng(1).integers(0, 50257, 1024))
    return (
        gradients(lambda x, w: F.cross_entropy(F.linear(x, w), t), x, w),
        gradients(lambda x, w: F.linear_cross_entropy(x, w, t), x, w),
    )


@rung("layer_norm as one op")
def _layer_norm() -> tuple[Way, Way]:
    from tinygrad_llm.nn import functional as F
    from tinygrad_llm.study.check import reference

    arrays = normal(B, T, C), normal(C), normal(C)
    return (
        gradients(lambda x, w, b: reference.layer_norm(x, w, b), *arrays),
        gradients(lambda x, w, b: F.layer_norm(x, (C,), w, b), *arrays),
    )


@rung("gelu as one op")
def _gelu() -> tuple[Way, Way]:
    from tinygrad_llm.nn import functional as F
    from tinygrad_llm.study.check import reference

    x = normal(B, T, 4 * C)
    return (
        gradients(lambda x: reference.gelu(x, "tanh"), x),
        gradients(lambda x: F.gelu(x, approximate="tanh"), x),
    )


@rung("rows in cache-sized blocks, every core")
def _blocks() -> tuple[Way, Way]:
    from tinygrad_llm.arrays import parallel
    from tinygrad_llm.nn import functional as F

    run = gradients(lambda x: F.gelu(F.layer_norm(x, (4 * C,)), approximate="tanh"),
                    normal(B, T, 4 * C))  # fmt: skip

    def plain() -> Any:  # the same code: one block of all rows, on one core
        block, parallel.BLOCK_BYTES = parallel.BLOCK_BYTES, 1 << 60
        try:
            return run()
        finally:
            parallel.BLOCK_BYTES = block

    return plain, run


@rung("x·x·x in place of x**3")
def _cube() -> tuple[Way, Way]:
    x = normal(B, T, 4 * C)
    return (lambda: [x**3]), (lambda: [x * x * x])


@rung("sum of squares by einsum")
def _squares() -> tuple[Way, Way]:
    x = normal(B * T, C)
    return (lambda: [(x * x).sum(-1)]), (lambda: [np.einsum("nc,nc->n", x, x)])


@rung("AdamW in one pass, 10.8M weights")
def _adamw() -> tuple[Way, Way]:
    import tinygrad_llm as torch

    n, lr, b1, b2, eps, decay = 10_800_000, 3e-4, 0.9, 0.999, 1e-8, 0.01
    start, g = normal(n), normal(n) * np.float32(0.01)
    p, m, v = start.copy(), np.zeros_like(g), np.zeros_like(g)
    t = 0

    def plain() -> list[Any]:  # the formulas as written, a new array for each result
        nonlocal p, m, v, t
        t += 1
        p = p * (1 - lr * decay)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        return [p]

    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    weight.grad = torch.from_numpy(g)
    optimizer = torch.optim.AdamW([weight], lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay)

    def ours() -> list[Any]:
        optimizer.step()
        return [weight.array]

    return plain, ours


@rung("scatter-add of rows, V 50,257")
def _scatter() -> tuple[Way, Way]:
    from tinygrad_llm.arrays.indexing import scatter_add_rows

    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.2, 4096), 50257) - 1  # words are distributed as unevenly
    rows, out = normal(4096, 768), np.zeros((50257, 768), np.float32)

    def plain() -> list[Any]:
        out[ids] = 0.0
        np.add.at(out, ids, rows)
        return [out[ids]]

    def ours() -> list[Any]:
        out[ids] = 0.0
        scatter_add_rows(out, ids, rows)
        return [out[ids]]

    return plain, ours


@rung("KV cache, 64 tokens after 64")
def _cache() -> tuple[Way, Way]:
    from tinygrad_llm.generation import generate

    from .configs import CONFIGS
    from .our_gpt import model_of

    model = model_of(CONFIGS["char"])
    prompt = np.random.default_rng(0).integers(0, 65, (1, 64)).tolist()
    return (
        lambda: [generate(model, prompt, 64, use_cache=False).array],
        lambda: [generate(model, prompt, 64).array],
    )


def compare(make: Callable[[], tuple[Way, Way]], seconds: float) -> dict[str, float]:
    """Median seconds of both ways, run alternately, and how far apart their results are."""
    plain, ours = make()
    differ = max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
        for a, b in zip(plain(), ours(), strict=True)
    )
    times: tuple[list[float], list[float]] = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for way, spent in zip((plain, ours), times, strict=True):
            start = time.perf_counter()
            way()
            spent.append(time.perf_counter() - start)
    before, after = map(statistics.median, times)
    return {"plain": before, "ours": after, "times": before / after, "differ": differ}


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("ladder", __doc__)
    parser.add_argument("--only", default="", help="rungs whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each rung")
    options = parser.parse_args(argv)
    chosen = [name for name in RUNGS if options.only.lower() in name.lower()]
    if not chosen:
        parser.error(f"no rung has {options.only!r} in its name; the rungs: {', '.join(RUNGS)}")
    slowing = [name for name in machine.SLOWING if name in machine.os.environ]
    print(machine.describe())
    if slowing:
        print(f"{' and '.join(slowing)} slow matrix products: unset them (tinygrad-llm doctor)")
    print(f"\n{'':42}{'plain':>11}{'ours':>11}{'times':>8}{'differ':>10}")
    rungs = {}
    for name in chosen:
        row = rungs[name] = compare(RUNGS[name], options.seconds)
        print(f"{name:42}{row['plain'] * 1e3:8.2f} ms{row['ours'] * 1e3:8.2f} ms"
              f"{row['times']:8.2f}{row['differ']:10.0e}", flush=True)  # fmt: skip
    seconds = {f"{way}: {name}": rungs[name][way] for name in rungs for way in ("plain", "ours")}
    return {"machine": {"text": machine.describe()}, "rungs": rungs, "seconds": seconds}
