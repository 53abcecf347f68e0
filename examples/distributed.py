"""Data parallel on two processes of this machine (pip install '.[mpi]').

Each process has half of the batch; DistributedDataParallel averages their gradients.
"""

import os

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
import tinygrad_llm.multiprocessing as mp
from tinygrad_llm import nn
from tinygrad_llm.nn.parallel import DistributedDataParallel


def train(rank: int, ranks: int) -> None:
    """One process: the same weights as the others, other examples."""
    dist.init_process_group("mpi", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    mine = slice(rank * 8 // ranks, (rank + 1) * 8 // ranks)
    model = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        loss = ((model(x[mine]) - y[mine]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        dist.all_reduce(loss.detach(), op=dist.ReduceOp.AVG)
        if rank == 0:
            print(f"step {step}, loss {loss.item():.4f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29555")
    mp.spawn(train, args=(2,), nprocs=2)
