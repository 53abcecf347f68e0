"""Run the checks of on_ranks on GPUs over NCCL: one process per GPU, without mpiexec.

    python tests/on_gpus.py N [real | strict] [names of checks]

strict: the stand-ins of strict_array.py and nccl_stand_in.py in place of CuPy and NCCL. With one
rank the checks of OF_TWO are left out, and named.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))

import tinygrad_llm.multiprocessing as mp

# Checks that send something to another rank, or divide state among several.
OF_TWO = (
    "check_messages",
    "check_messages_on_all_ranks_together",
    "check_groups_objects_and_tensors_on_the_cpu",
    "check_zero_redundancy_optimizer",
    "check_what_is_sent_between_gpus_is_counted",
)


def work(rank: int, size: int, kind: str, port: int, names: list[str]) -> None:
    faulthandler.dump_traceback_later(100, exit=True)  # where it hangs, if it does
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    if kind == "strict":
        import nccl_stand_in

        nccl_stand_in.install()
    from on_ranks.__main__ import run, settled

    import tinygrad_llm as torch
    import tinygrad_llm.distributed as dist

    if kind == "real":
        torch.cuda.set_device(rank)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist.init_process_group("nccl", rank=rank, world_size=size, timeout=30)
    passed = failed = left_out = 0
    for name in ("gpus", "late_gradients", "gpu_parts", *(["graphs"] if kind == "real" else [])):
        module = importlib.import_module(f"on_ranks.{name}")
        for check in [f for n, f in vars(module).items() if n.startswith("check_")]:
            if names and check.__name__ not in names:
                continue
            if size == 1 and check.__name__ in OF_TWO:
                left_out += 1
                print(f"left out, needs two ranks: {check.__name__}", flush=True)
                continue
            start = time.perf_counter()
            errors = settled(run(check))
            passed, failed = passed + (not any(errors)), failed + any(errors)
            if rank == 0:
                print(f"{time.perf_counter() - start:6.2f} s {check.__name__}", flush=True)
                for r, error in enumerate(errors):
                    if error:
                        print(f"{check.__name__} failed on rank {r}:\n{error}", flush=True)
    if rank == 0:
        more = f", {left_out} left out" if left_out else ""
        print(f"{passed} passed, {failed} failed{more}", flush=True)
    dist.destroy_process_group()


def main() -> None:
    size, kind = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "real"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(work, (size, kind, port, sys.argv[3:]), size)


if __name__ == "__main__":
    main()
