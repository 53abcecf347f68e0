"""Rank 1 is killed, or does not come, while rank 0 waits for it on its GPU.

python tests/on_ranks/dying.py [real | strict] [killed | late | replay]
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

TESTS = Path(__file__).parent.parent


def work(rank: int, kind: str, how: str) -> None:
    sys.path.insert(0, str(TESTS))
    faulthandler.dump_traceback_later(35, exit=True)  # where it hangs, if it does
    if kind == "strict":
        import nccl_stand_in

        nccl_stand_in.install()
    import tinygrad_llm as torch
    import tinygrad_llm.distributed as dist

    if kind == "real":
        torch.cuda.set_device(rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist.init_process_group("nccl", timeout=5 if how == "late" else 60)

    def step(x):
        y = x * 2
        dist.all_reduce(y)
        return y

    repeated = torch.cuda.graphed(step) if how == "replay" else step
    x = torch.ones(1000).to("cuda")
    for i in range(8):
        if rank == 1 and i == 6:
            if how == "late":
                time.sleep(30)
            os.kill(os.getpid(), signal.SIGKILL)
        print(rank, i, repeated(x)[0].item(), flush=True)
    print("rank", rank, "went on", flush=True)


def main(kind: str, how: str) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, __file__, kind, how]
    ranks = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": r, "LOCAL_RANK": r})
        for r in "01"
    ]
    code = ranks[0].wait(60)
    ranks[1].kill()
    ranks[1].wait()
    return code


if __name__ == "__main__":
    if "RANK" in os.environ:
        work(int(os.environ["RANK"]), *sys.argv[1:])
    else:
        sys.exit(main(*sys.argv[1:]))
