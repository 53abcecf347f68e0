"""What every benchmark can do: write JSON, draw a picture, run again on a busy machine."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import machine

SPIN = "while True: pass"
SIDES = ("ours", "torch")


def options() -> argparse.ArgumentParser:
    """The options that every benchmark shares, as a parent of its parser."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("options of every benchmark")
    group.add_argument("--json", metavar="FILE", help="write everything measured to this file")
    group.add_argument("--picture", metavar="FILE", help="draw the result into this PNG")
    group.add_argument(
        "--beside-load", dest="busy_processes", metavar="N", type=whole_number(0), default=0,
        help="measure again while N processes keep a core busy each",
    )  # fmt: skip
    group.add_argument(
        "--isa", choices=["avx2"],
        help="hold every library of both sides to this instruction set, on a processor with more",
    )  # fmt: skip
    return parser


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number from least to most."""

    def number(text: str) -> int:
        n = int(text)
        if n < least or (most is not None and n > most):
            expected = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(expected)
        return n

    return number


def parser(command: str, text: str | None) -> argparse.ArgumentParser:
    """The parser of one benchmark, with the options that every one shares."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks {command}", description=text, parents=[options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def two_sides(
    parser: argparse.ArgumentParser, rounds: int | None = 3, sides: Sequence[str] = SIDES
) -> None:
    """Add the options of a benchmark that runs ours and PyTorch in processes of each side."""
    against = ["torch", *(["torch-compile"] if "torch-compile" in sides else []), "none"]
    parser.add_argument("--against", choices=against, default="torch")
    parser.add_argument("--rounds", type=int, default=rounds, help="fresh processes of each side")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--side", help=argparse.SUPPRESS)


def sides_of(options: argparse.Namespace, sides: Sequence[str] = SIDES) -> list[str]:
    """The sides that take part: of PyTorch's the one that --against names, or none."""
    return [side for side in sides if not side.startswith("torch") or side == options.against]


def run_sides(
    command: str, sides: Sequence[str], rounds: int, *args: Any, threads: int | None = None
) -> dict[str, list]:
    """What `command --side SIDE *args` measured for each side; their processes alternate."""
    results: dict[str, list] = {side: [] for side in sides}
    for _ in range(max(1, rounds)):
        for side in sides:
            done = machine.run_child("benchmarks", command, "--side", side, *args, threads=threads)
            results[side].append(done)
    return results


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Run n processes of the same priority as this one, each of which keeps a core busy."""
    spinning = [subprocess.Popen([sys.executable, "-S", "-c", SPIN]) for _ in range(n)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def run(command: str, main: Callable[[list[str]], Any], argv: list[str]) -> None:
    """Measure one benchmark alone and, if asked for, under load; then write and draw the result."""
    chosen, _ = options().parse_known_args(argv)
    for file in (chosen.json, chosen.picture):
        folder = os.path.dirname(os.path.abspath(file)) if file else "."
        if not os.path.isdir(folder):
            raise SystemExit(f"{file}: the folder {folder} does not exist; create it first")
    summary = main(argv)
    if summary is None:  # a child of a benchmark, or --help
        return
    summary = {"command": command, "options": argv, **summary}
    if chosen.busy_processes:
        n = chosen.busy_processes
        print(f"\n--- again beside {n} busy process{'es' if n > 1 else ''}\n", flush=True)
        with busy(n):
            loaded = main(argv)
        summary["under_load"] = compare(times_of(summary), times_of(loaded), n)
    if chosen.json:
        with open(chosen.json, "w", encoding="utf-8") as out:
            json.dump(summary, out, indent=1)
        print(f"wrote {chosen.json}")
    if chosen.picture:
        from .picture import draw

        draw(command, summary, chosen.picture)
        print(f"wrote {chosen.picture}")


def times_of(summary: dict[str, Any]) -> dict[str, float]:
    """The seconds that a benchmark measured, by label."""
    if "seconds" in summary:
        return summary["seconds"]
    times: dict[str, float] = {}
    for name, row in summary.items():
        if isinstance(row, dict) and "seconds" in row:  # train-step: a row per side
            times[name] = row["seconds"]
        elif isinstance(row, dict) and "ours forward" in row:  # ops: a row per op, milliseconds
            for side in ("ours", "torch"):
                if f"{side} forward" in row:
                    times[f"{side}: {name}"] = (
                        row[f"{side} forward"] + row[f"{side} backward"]
                    ) / 1e3
    return times


def compare(alone: dict[str, float], loaded: dict[str, float], n: int) -> dict[str, Any]:
    """Print how many times as long each part took beside n busy processes, and a fair share."""
    from tinygrad_llm.arrays.parallel import core_count

    cores = core_count()
    fair = max(1.0, (cores + n) / cores)
    width = max(map(len, alone), default=10) + 2
    print(f"\n{'':{width}}{'alone':>12}{'beside ' + str(n):>12}{'times':>8}")
    ratios = {}
    for label in alone:
        if label in loaded:
            ratios[label] = loaded[label] / alone[label]
            print(f"{label:{width}}{_time(alone[label]):>12}{_time(loaded[label]):>12}"
                  f"{ratios[label]:8.2f}")  # fmt: skip
    print(
        f"\nfair share: {cores} threads and {n} busy process{'es' if n > 1 else ''} on {cores} "
        f"cores: {fair:.2f} times as long if work moves freely between the cores, and "
        f"{_halved(cores, n):.2f} if each product waits for the thread that shares its core"
    )
    return {"processes": n, "cores": cores, "fair": fair, "ratios": ratios, "seconds": loaded}


def _halved(cores: int, n: int) -> float:
    """How much longer a step takes that waits for its slowest thread."""
    return 1.0 + -(-n // cores)


def _time(seconds: float) -> str:
    if seconds >= 1.0:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
