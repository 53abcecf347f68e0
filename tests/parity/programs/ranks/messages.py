"""In the style of PyTorch's tutorial on distributed programs: messages, collectives, spawn."""

import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def ring(rank, size):
    """Each rank adds its number to what comes around."""
    tensor = torch.zeros(1)
    if rank == 0:
        tensor += 1
        dist.send(tensor=tensor, dst=1)
        dist.recv(tensor=tensor, src=size - 1)
    else:
        dist.recv(tensor=tensor, src=rank - 1)
        tensor += rank
        dist.send(tensor=tensor, dst=(rank + 1) % size)
    return tensor[0].item()


def exchange(rank, size):
    tensor = torch.zeros(2)
    if rank == 0:
        request = dist.isend(torch.tensor([1.0, 2.0]), dst=1)
        request.wait()
    elif rank == 1:
        request = dist.irecv(tensor, src=0)
        request.wait()
    return tensor.tolist()


def collectives(rank, size):
    x = torch.arange(4.0) + rank
    dist.all_reduce(x, op=dist.ReduceOp.SUM)
    y = torch.full((2,), float(rank))
    everyone = [torch.empty(2) for _ in range(size)]
    dist.all_gather(everyone, y)
    part = torch.empty(1)
    pieces = [torch.tensor([10.0 * i]) for i in range(size)] if rank == 1 else None
    dist.scatter(part, pieces, src=1)
    work = dist.broadcast(y, src=size - 1, async_op=True)
    work.wait()
    largest = torch.tensor([rank, -rank])
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    objects = [{"from": 0, "list": [1, 2]}] if rank == 0 else [None]
    dist.broadcast_object_list(objects, src=0)
    group = dist.new_group([0, 1])
    z = torch.ones(1)
    if rank < 2:
        dist.all_reduce(z, group=group)
        dist.broadcast(largest, group=group, group_src=1)
    dist.barrier(timeout=timedelta(seconds=60))
    return x, everyone, part, y, largest, objects, z


def run(rank, size, folder):
    lines = [f"rank {dist.get_rank()} of {dist.get_world_size()}"]
    lines.append(f"ring {ring(rank, size)} exchange {exchange(rank, size)}")
    lines += [str(result) for result in collectives(rank, size)]
    with open(os.path.join(folder, f"{rank}.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")


def init_process(rank, size, fn, port, folder, backend="gloo"):
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = port
    assert backend == dist.get_default_backend_for_device("cpu")
    dist.init_process_group(backend, rank=rank, world_size=size)
    fn(rank, size, folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    world_size = 3
    folder, port = sys.argv[1:3]
    mp.spawn(init_process, args=(world_size, run, port, folder), nprocs=world_size, join=True)
