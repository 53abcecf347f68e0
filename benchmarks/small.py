"""Small tensors: what a beginner's loop waits for, call by call, and three notebooks' loops.

    python -m benchmarks small
    python -m benchmarks small --only MLP softmax    # rows whose names contain one of these
    python -m benchmarks small --more                # 75 further calls instead

Microseconds per call on tensors of a few numbers, where the arithmetic is nothing and the call is
everything. The processes of the two sides alternate; a time is the least of all rounds, because a
busy machine only ever adds to it. A ratio is our time over PyTorch's, so below 1 is faster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from . import common, machine, small_more

NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "charlotte", "mia", "amelia", "harper"]


def calls(torch: Any) -> dict[str, Callable[[], Any]]:
    """Forty calls of a few numbers each; both libraries have these functions."""
    F = torch.nn.functional
    torch.manual_seed(0)
    x, v, m = torch.randn(27, 27), torch.randn(27), torch.randn(4, 5)
    w = torch.randn(27, 10, requires_grad=True)
    N, flat = torch.zeros(27, 27, dtype=torch.int32), torch.zeros(27)
    ids, pair = torch.tensor([3, 1, 2]), torch.tensor([0, 2])
    mask, target = v > 0, torch.tensor([1, 0, 3, 2])
    logits = torch.randn(4, 5, requires_grad=True)
    rows = [torch.randn(5) for _ in range(4)]
    zero = torch.tensor(2)
    context = torch.zeros(1, 8, dtype=torch.long)

    def set_one() -> None:
        x[3, 5] = 1.0

    def set_row() -> None:
        x[3] = v

    def set_mask() -> None:
        v[mask] = 0.5

    def set_ids() -> None:
        flat[ids] = 2.0

    def count() -> None:
        N[3, 5] += 1

    def add_to() -> None:
        flat[4] += 1.0

    return {
        "x[i]": lambda: x[3],
        "x[i, j]": lambda: x[3, 5],
        "x[i, j].item()": lambda: x[3, 5].item(),
        "v[i].item()": lambda: v[3].item(),
        "x[a:b]": lambda: x[2:5],
        "x[:, j]": lambda: x[:, 5],
        "x[..., -1]": lambda: x[..., -1],
        "x[:, None]": lambda: x[:, None],
        "x[0-d tensor]": lambda: x[zero],
        "x[ids]": lambda: x[ids],
        "x[ids, ids]": lambda: x[ids, ids],
        "v[mask]": lambda: v[mask],
        "w[ids] with grad": lambda: w[ids],
        "w[i] with grad": lambda: w[3],
        "x[i, j] = number": set_one,
        "x[i] = row": set_row,
        "v[mask] = number": set_mask,
        "v[ids] = number": set_ids,
        "N[i, j] += 1": count,
        "v[i] += 1.0": add_to,
        "for row in m": lambda: [row for row in m],  # noqa: C416
        "for number in v": lambda: [number for number in v],  # noqa: C416
        "v.tolist()": v.tolist,
        "len(x), x.shape": lambda: (len(x), x.shape),
        "stack of 4": lambda: torch.stack(rows),
        "cat of 4": lambda: torch.cat(rows),
        "tensor([1, 2, 3])": lambda: torch.tensor([1, 2, 3]),
        "zeros(4, 5)": lambda: torch.zeros(4, 5),
        "randint": lambda: torch.randint(0, 20, (4,)),
        "multinomial": lambda: torch.multinomial(torch.softmax(v, 0), 1),
        "topk": lambda: torch.topk(v, 5),
        "sort": lambda: torch.sort(v),
        "argmax": lambda: torch.argmax(v),
        "softmax": lambda: F.softmax(m, dim=-1),
        "cross_entropy": lambda: F.cross_entropy(m, target),
        "cross_entropy and backward": lambda: F.cross_entropy(logits, target).backward(),
        "one_hot": lambda: F.one_hot(ids, 5),
        "m.view(-1)": lambda: m.view(-1),
        "gather": lambda: m.gather(1, target[:, None]),
        "index_select": lambda: x.index_select(0, pair),
        "context[:, -4:]": lambda: context[:, -4:],
        "cat of a token": lambda: torch.cat((context, zero.view(1, 1)), dim=1),
    }


def bigram_counts(torch: Any) -> float:
    """makemore, part 1: how often each letter follows each, counted in a tensor."""
    N = torch.zeros((27, 27), dtype=torch.int32)
    for name in NAMES * 4:
        letters = [0] + [ord(c) - 96 for c in name] + [0]
        for a, b in zip(letters, letters[1:], strict=False):
            N[a, b] += 1
    P = (N + 1).float()
    P /= P.sum(1, keepdim=True)
    total = torch.zeros(())
    for name in NAMES * 4:
        letters = [0] + [ord(c) - 96 for c in name] + [0]
        for a, b in zip(letters, letters[1:], strict=False):
            total -= torch.log(P[a, b])
    return total.item()


def sampled_names(torch: Any) -> float:
    """makemore, part 1: names drawn letter by letter from the counts."""
    g = torch.Generator().manual_seed(2147483647)
    P = torch.rand((27, 27), generator=g)
    P /= P.sum(1, keepdim=True)
    n = 0
    for _ in range(10):
        at = 0
        for _ in range(12):
            at = torch.multinomial(P[at], num_samples=1, replacement=True, generator=g).item()
            n += at
    return float(n)


def trained_mlp(torch: Any) -> float:
    """makemore, part 2: an MLP on minibatches, its parameters updated by hand."""
    F = torch.nn.functional
    g = torch.Generator().manual_seed(2147483647)
    X, Y = torch.randint(0, 27, (200, 3), generator=g), torch.randint(0, 27, (200,), generator=g)
    C = torch.randn((27, 2), generator=g)
    W1, b1 = torch.randn((6, 30), generator=g), torch.randn(30, generator=g)
    W2, b2 = torch.randn((30, 27), generator=g), torch.randn(27, generator=g)
    parameters = [C, W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad = True
    for _ in range(60):
        ix = torch.randint(0, X.shape[0], (32,), generator=g)
        h = torch.tanh(C[X[ix]].view(-1, 6) @ W1 + b1)  # (32, 3, 2) -> (32, 6) -> (32, 30)
        loss = F.cross_entropy(h @ W2 + b2, Y[ix])
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data += -0.1 * p.grad
    return loss.item()


LOOPS = {"bigram counts": bigram_counts, "sampled names": sampled_names, "an MLP": trained_mlp}


def measure(side: str, seconds: float, only: list[str], more: bool) -> dict[str, float]:
    """Seconds per call, and per run of a loop, in this process: the least of several.

    more: of the further calls, and of no loop.
    """

    def chosen(rows: dict[str, Any]) -> dict[str, Any]:
        return {n: row for n, row in rows.items() if not only or any(t in n for t in only)}

    if side == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tinygrad_llm as torch  # type: ignore[no-redef]
    rows = chosen(small_more.calls(torch) if more else calls(torch))
    times = {name: _least(call, seconds, 40) for name, call in rows.items()}
    return times | {
        name: _least(lambda loop=loop: loop(torch), 10 * seconds, 1)  # type: ignore[misc]
        for name, loop in chosen({} if more else LOOPS).items()
    }


def _least(call: Callable[[], Any], seconds: float, n: int) -> float:
    """Seconds per call: the least over groups of n calls."""
    for _ in range(min(n, 20)):
        call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(n):
            call()
        best = min(best, (time.perf_counter() - start) / n)
    return best


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("small", __doc__)
    parser.add_argument("--seconds", type=float, default=0.05, help="for each call in each round")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT",
                        help="only the rows whose names contain one of these texts")  # fmt: skip
    parser.add_argument("--more", action="store_true", help="75 further calls, and no loops")
    common.two_sides(parser)
    options = parser.parse_args(argv)
    if options.side:
        print(json.dumps(measure(options.side, options.seconds, options.only, options.more)))
        return None
    here = machine.run_child("benchmarks.machine", threads=1)
    print(here["text"], "\n")
    sides = common.sides_of(options)
    args = ["--seconds", options.seconds, *(["--more"] if options.more else [])]
    args += ["--only", *options.only] if options.only else []
    rounds = common.run_sides("small", sides, options.rounds, *args, threads=1)
    if not rounds["ours"][0]:
        raise SystemExit(f"no row has a name that contains {' or '.join(options.only)}")
    table = {
        name: {side: min(r[name] for r in rounds[side]) for side in sides}
        for name in rounds["ours"][0]
    }
    print(f"{'microseconds':30}" + "".join(f"{side:>10}" for side in sides) + f"{'ratio':>8}")
    for name, row in table.items():
        line = f"{name:30}" + "".join(f"{row[side] * 1e6:10.2f}" for side in sides)
        print(line + (f"{row['ours'] / row['torch']:8.2f}" if len(sides) == 2 else ""))
    seconds = {f"{side}: {name}": t for name, row in table.items() for side, t in row.items()}
    return {"machine": here, "microseconds": table, "seconds": seconds}
