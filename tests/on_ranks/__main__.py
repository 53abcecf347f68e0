"""Run every check_ function of the named modules on all ranks; rank 0 prints those that failed.

A check that fails on one rank leaves the others in a collective, where they get an error too: after
each check the ranks exchange what happened until all agree.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback

import tinygrad_llm.distributed as dist


def run(check) -> str:
    """ "" if the check passed on this rank, else the traceback."""
    try:
        check()
    except Exception:
        return traceback.format_exc()
    return ""


def settled(error: str) -> list[str]:
    """Every rank's error."""
    errors = [None] * dist.get_world_size()
    for _ in range(100):
        try:
            dist.all_gather_object(errors, error)
        except dist.DistError as fault:
            last = fault  # the others were still in the check
            continue
        return errors
    raise RuntimeError(f"the ranks do not come together: {last}; {error}")


def main(names: list[str]) -> None:
    dist.init_process_group("mpi", timeout=60)
    failed = passed = 0
    for name in names:
        module = importlib.import_module(f"on_ranks.{name}")
        for check in [f for n, f in vars(module).items() if n.startswith("check_")]:
            start = time.perf_counter()
            errors = settled(run(check))
            passed, failed = passed + (not any(errors)), failed + any(errors)
            if dist.get_rank() == 0:
                if "SECONDS" in os.environ:
                    print(f"{time.perf_counter() - start:6.2f} s {name}.{check.__name__}")
                for rank, error in enumerate(errors):
                    if error:
                        print(f"{name}.{check.__name__} failed on rank {rank}:\n{error}")
    if dist.get_rank() == 0:
        print(f"{passed} passed, {failed} failed")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
