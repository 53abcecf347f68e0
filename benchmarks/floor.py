"""The least time that a training step can take: its matrix products, and the bytes it must move.

Each product is timed alone at its own shape, on every core; attention's products are those of
blocks of 64 rows, a head per core, without the masked half. The bytes are those of AdamW (weight,
gradient and two moments are read, all but the gradient written) and of the embedding's gradient,
over the bandwidth that copying large arrays reaches here.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SECONDS = 0.3  # to time one product
CHUNK = 512  # rows of the head's logits at a time
BLOCK = 64  # rows of a block of attention


def best(work: Callable[[], Any], seconds: float = SECONDS) -> float:
    """The lower quartile of the seconds that work() takes."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 4]


def product(rows: int, inner: int, columns: int, needs_input: bool = True) -> float:
    """Seconds of x·Wᵀ, gᵀ·x and, if it is needed, g·W: (rows, inner), (columns, inner)."""
    rng = np.random.default_rng(0)
    x, g, w = (rng.standard_normal(shape, np.float32)
               for shape in ((rows, inner), (rows, columns), (columns, inner)))  # fmt: skip
    factors = [(x, w.T), (g.T, x)] + ([(g, w)] if needs_input else [])
    return sum(shared_or_not(a, b) for a, b in factors)


def shared_or_not(a: Any, b: Any) -> float:
    """Seconds of a @ b: with the library's threads, or a part of the rows on each core."""
    from tinygrad_llm.arrays.parallel import each, thread_count

    out = np.empty((len(a), b.shape[1]), np.float32)
    cuts = [len(a) * i // thread_count() for i in range(thread_count() + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(cuts)]

    def part(rows: slice) -> None:
        np.matmul(a[rows], b, out=out[rows])

    return min(best(lambda: np.matmul(a, b, out=out)), best(lambda: each(part, parts)))


def attention(heads: int, length: int, channels: int) -> float:
    """Seconds of the two products of forward and the five of backward, causal, of all heads."""
    from tinygrad_llm.arrays.parallel import each, thread_count

    n = thread_count()
    q, k, v, g = (
        np.random.default_rng(i).standard_normal((n, length, channels), np.float32)
        for i in range(4)
    )
    work = [np.empty((n, length * BLOCK), np.float32) for _ in range(2)]
    outs = [np.empty_like(q) for _ in range(3)]

    def one_head(i: int) -> None:
        for first in range(0, length, BLOCK):
            stop = min(first + BLOCK, length)
            rows, keys, later = slice(first, stop), slice(0, stop), slice(first, length)
            p = work[0][i, : (stop - first) * stop].reshape(stop - first, stop)
            np.matmul(q[i, rows], k[i, keys].T, out=p)
            np.matmul(p, v[i, keys], out=outs[0][i, rows])
            m = length - first
            s, back = (a[i, : m * (stop - first)].reshape(m, stop - first) for a in work)
            np.matmul(q[i, later], k[i, rows].T, out=s)
            np.matmul(g[i, later], v[i, rows].T, out=back)
            np.matmul(s.T, g[i, later], out=outs[0][i, rows])
            np.matmul(back.T, q[i, later], out=outs[1][i, rows])
            np.matmul(back, k[i, rows], out=outs[2][i, later])

    return best(lambda: each(one_head, range(n))) * heads / n


def bandwidth() -> float:
    """Bytes per second that copying large arrays reads and writes, on every core."""
    from tinygrad_llm.arrays.parallel import each, thread_count

    n = thread_count()
    a, b = (np.ones((n, 1 << 24), np.float32) for _ in range(2))  # 64 MiB a core
    seconds = best(lambda: each(lambda i: np.copyto(b[i], a[i]), range(n)), 1.0)
    return 2 * a.nbytes / seconds


def least_time(ops: list[dict[str, Any]], n_parameters: int) -> dict[str, float]:
    """Seconds of products, of attention's products, and of the bytes of AdamW and embeddings.

    ops: a row for each call of an op, with its name, its inputs' shapes and which need gradients.
    """
    linear = attend = 0.0
    moved = 7.0 * 4 * n_parameters
    known: dict[tuple[Any, ...], float] = {}

    def once(function: Callable[..., float], *args: Any) -> float:
        key = function, *args
        if key not in known:
            known[key] = function(*args)
        return known[key]

    for op in ops:
        shapes, needs = op["shapes"], op["needs"]
        if op["op"] == "linear":
            (*rows, inner), (columns, _) = shapes[0], shapes[1]
            linear += once(product, int(np.prod(rows)), inner, columns, bool(needs[0]))
        elif op["op"] == "linear_cross_entropy":
            (*rows, inner), (columns, _) = shapes[0], shapes[1]
            n = int(np.prod(rows))
            chunk = min(CHUNK, n)
            linear += once(product, chunk, inner, columns) * n / chunk
        elif op["op"] == "scaled_dot_product_attention":
            *heads, length, channels = shapes[0]
            attend += once(attention, int(np.prod(heads)), length, channels)
        elif op["op"] == "embedding":
            moved += 3.0 * 4 * float(np.prod(op["result"]))  # y; g read, and added to the table
    rate = bandwidth()
    return {"linear": linear, "attention": attend, "bytes": moved, "bandwidth": rate,
            "moving": moved / rate, "floor": linear + attend + moved / rate}  # fmt: skip


def calls_of(config: str) -> tuple[list[dict[str, Any]], int]:
    """The calls of ops in one step's forward, and the number of parameters."""
    from tinygrad_llm.study.common.watch import Watch

    from .step import training_of

    _, model, _, idx, targets = training_of("ours", config)
    calls: list[dict[str, Any]] = []

    class Watched(Watch):
        def op_done(self, op: Any, place: Any, inputs: tuple, results: list) -> None:
            shapes = [tuple(x.shape) for x in inputs if hasattr(x, "shape")]
            result = tuple(results[0].shape)
            calls.append({"op": op.name, "shapes": shapes, "needs": list(op.needs),
                          "result": result})  # fmt: skip

    with Watched(model):
        model.loss(idx, targets)
    parameters = {id(p): p.numel() for p in model.parameters()}
    return calls, sum(parameters.values())


def show(floor: dict[str, float], total: float) -> None:
    """Print the floor and how many times as long the step takes."""
    parts = itertools.chain(((k, floor[k]) for k in ("linear", "attention")),
                            [("bytes of AdamW and embeddings", floor["moving"])])  # fmt: skip
    text = ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in parts)
    print(
        f"the floor: {floor['floor'] * 1e3:.1f} ms ({text}; "
        f"{floor['bandwidth'] / 1e9:.0f} GB/s); the step takes {total / floor['floor']:.2f} times "
        "the floor"
    )
