"""Random numbers, ours and PyTorch's alternately; both draw the same numbers.

    python -m benchmarks random

Every case is run with a small, a medium and a large tensor. The ratio is PyTorch's time over ours,
medians of runs that alternate; above 1 ours is faster. Drawing is one stream and therefore one
thread in both; here the arithmetic on normal numbers is shared among threads.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from . import common, machine

SIZES = (1_000, 100_000, 4_000_000)
CASES = {
    "rand": lambda lib, n, x: lib.rand(n),
    "randn": lambda lib, n, x: lib.randn(n),
    "dropout": lambda lib, n, x: lib.nn.functional.dropout(x, 0.1),
    "rand float64": lambda lib, n, x: lib.rand(n, dtype=lib.float64),
    "randn float64": lambda lib, n, x: lib.randn(n, dtype=lib.float64),
    "normal_(0, 0.02)": lambda lib, n, x: x.normal_(0.0, 0.02),
    "uniform_(-a, a)": lambda lib, n, x: x.uniform_(-0.03, 0.03),
    "randint": lambda lib, n, x: lib.randint(0, 50257, (n,)),
    "randperm": lambda lib, n, x: lib.randperm(n),
    "bernoulli_": lambda lib, n, x: x.bernoulli_(0.1),
    "exponential_": lambda lib, n, x: x.exponential_(),
}


def seconds(case: Any, libraries: list[Any], n: int, budget: float) -> list[float]:
    """Median seconds of the case in each library; they alternate for about `budget` seconds."""
    inputs = [lib.ones(n) for lib in libraries]
    times: list[list[float]] = [[] for _ in libraries]
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(times[0]) < 6:
        for lib, x, spent in zip(libraries, inputs, times, strict=True):
            start = time.perf_counter()
            case(lib, n, x)
            spent.append(time.perf_counter() - start)
    return [statistics.median(spent[1:]) for spent in times]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = common.parser("random", __doc__)
    parser.add_argument("--only", choices=list(CASES), help="one case instead of all")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each case and size")
    options = parser.parse_args(argv)

    import torch

    import tinygrad_llm as tg

    print(machine.describe())
    print(f"PyTorch {torch.__version__}; threads: ours {tg.get_num_threads()}\n")
    print(f"{'':18}{'numbers':>10}{'PyTorch':>12}{'ours':>12}{'ratio':>8}")
    ratios: dict[str, dict[str, float]] = {}
    times: dict[str, float] = {}
    for name, case in CASES.items():
        if options.only not in (None, name):
            continue
        for n in SIZES:
            theirs, ours = seconds(case, [torch, tg], n, options.seconds)
            times |= {f"torch: {name}, {n:,}": theirs, f"ours: {name}, {n:,}": ours}
            ratios.setdefault(name, {})[str(n)] = round(theirs / ours, 3)
            print(
                f"{name:18}{n:>10,}{theirs * 1e3:>9.3f} ms{ours * 1e3:>9.3f} ms"
                f"{theirs / ours:>8.2f}"
            )
    return {"ratios": ratios, "seconds": times}


if __name__ == "__main__":
    main()
