"""How long `import tinygrad_llm` takes, against `import numpy`, each in fresh processes.

    python -m benchmarks import

The two alternate, so that other work on the machine disturbs both. A time is that of the import
statement alone, without the start of Python; `import tinygrad_llm` contains `import numpy`.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from typing import Any

from . import common, machine

MODULES = ("numpy", "tinygrad_llm")


def once(module: str) -> float:
    """Seconds of one import in a new process."""
    code = f"from time import perf_counter as t; a = t(); import {module}; print(t() - a)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=machine.clean_environment(), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def own_modules(module: str) -> list[tuple[float, str]]:
    """(seconds in the module itself, its name) of what an import loads, by -X importtime."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import numpy; import {module}"],
        env=machine.clean_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)", done.stderr)
    after = next(i for i, (_, name) in enumerate(rows) if name == "numpy") + 1
    return sorted(((int(us) / 1e6, name) for us, name in rows[after:]), reverse=True)


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("import", __doc__)
    parser.add_argument("--rounds", type=int, default=21, help="fresh processes of each")
    parser.add_argument("--top", type=int, default=5, help="slowest modules to list")
    options = parser.parse_args(argv)
    print(machine.describe(), "\n")
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    for module in MODULES:
        once(module)  # compiles to .pyc and reads the files into memory
    for _ in range(max(1, options.rounds)):
        for module in MODULES:
            times[module].append(once(module))
    seconds = {f"import {m}": statistics.median(t) for m, t in times.items()}
    ratio = seconds["import tinygrad_llm"] / seconds["import numpy"]
    print(f"{'':22}{'median':>10}{'fastest':>10}")
    for module in MODULES:
        print(f"{'import ' + module:22}{seconds['import ' + module] * 1e3:7.1f} ms"
              f"{min(times[module]) * 1e3:7.1f} ms")  # fmt: skip
    print(f"\nratio: {ratio:.2f} times import numpy ({options.rounds} processes each)")
    slowest = own_modules("tinygrad_llm")
    if options.top:
        print("\nthe slowest modules after NumPy (with -X importtime, which adds some time):")
        for spent, name in slowest[: options.top]:
            print(f"  {name:32}{spent * 1e3:7.2f} ms")
    return {"seconds": seconds, "ratio": ratio, "rounds": times,
            "modules": {name: spent for spent, name in slowest}}  # fmt: skip
