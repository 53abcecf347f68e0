"""Steps with collectives in CUDA graphs: what a replay computes is what the step itself does."""

from __future__ import annotations

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.gpus import on_gpu
from on_ranks.models import all_near, equal_on_all_ranks, mine, near
from on_ranks.training import batches_of_all, model_of
from tinygrad_llm import cuda, nn, optim
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP
from tinygrad_llm.training import Trainer
from tinygrad_llm.training.ranks import reduce_over_ranks

mse = nn.functional.mse_loss


def check_all_reduce_in_a_graph():
    rank, size = dist.get_rank(), dist.get_world_size()

    def step(x):
        y = x * 2
        dist.all_reduce(y)
        z = x + 1
        work = dist.all_reduce(z, dist.ReduceOp.AVG, async_op=True)
        y = y + 1
        work.wait()
        half = x.to(torch.bfloat16)
        dist.all_reduce(half, dist.ReduceOp.MAX)
        return y, z, half

    graphed = cuda.graphed(step)
    for i in range(8):
        x = torch.full((1000,), float(rank + i))
        y, z, half = graphed(x)
        total = sum(r + i for r in range(size))
        assert y.tolist() == [2.0 * total + 1] * 1000, i
        assert z.tolist() == [total / size + 1] * 1000, i
        assert half.float().tolist() == [float(size - 1 + i)] * 1000


class Perceptron(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(5, 33), nn.GELU(), nn.Linear(33, 3)).to(dtype)

    def forward(self, x):
        return self.layers(x)


def train(ours, one):
    """Eight steps: ours on each rank's part of the batch, in a graph; one on the whole batch."""
    optimizers = [optim.AdamW(m.parameters(), lr=0.01) for m in (ours, one)]

    def step(x, y):
        optimizers[0].zero_grad()
        loss = mse(ours(x), y)
        loss.backward()
        optimizers[0].step()
        return loss

    graphed = cuda.graphed(step)
    data = [(torch.randn(12, 5), torch.randn(12, 3)) for _ in range(8)]
    for x, y in data:
        graphed(mine(x), mine(y))
        optimizers[1].zero_grad()
        mse(one(on_gpu(x)), on_gpu(y)).backward()
        optimizers[1].step()


def check_data_parallel_in_a_graph():
    ours, one = DDP(on_gpu(Perceptron()), bucket_cap_mb=1e-4), on_gpu(Perceptron())
    train(ours, one)
    all_near(ours.module, one, 2e-5)
    equal_on_all_ranks([p.detach().cpu() for p in ours.parameters()])


def check_gradients_that_nobody_reads_in_a_graph():
    rank, size = dist.get_rank(), dist.get_world_size()
    model = DDP(on_gpu(nn.Linear(3, 2)), bucket_cap_mb=1e-5)

    def step(x):
        model.zero_grad()
        loss = model(x).sum()
        loss.backward()
        return loss

    graphed = cuda.graphed(step)
    for i in range(8):
        graphed(on_gpu(torch.full((4, 3), float(rank + i))))
    assert model.module.weight.grad.cpu().tolist() == [[4 * (7 + (size - 1) / 2)] * 3] * 2
    assert model.module.bias.grad.cpu().tolist() == [4.0, 4.0]


def check_fully_shard_in_a_graph():
    ours, one = on_gpu(Perceptron()), on_gpu(Perceptron())
    for layer in (ours.layers[0], ours.layers[2], ours):
        dist.fsdp.fully_shard(layer)
    train(ours, one)
    for a, b in zip(ours.parameters(), one.parameters(), strict=True):
        near(a.full_tensor().cpu(), b.detach().cpu(), 2e-5)


def check_a_trainers_graph_over_ranks():
    rank, size = dist.get_rank(), dist.get_world_size()
    full = [b for b in batches_of_all(40) if int((b[1].array != -100).sum()) > 0 and len(b[0]) == 2]
    full = full[: len(full) // size * size]

    def trained(data, accumulation, reduce, graph):
        model = on_gpu(model_of(torch.float32))
        trainer = Trainer(
            model, optim.AdamW(model.parameters(), lr=0.01), data, steps=len(full) // size,
            accumulation=accumulation, clip=0.5, folder=None, progress=False, graph=graph,
        )  # fmt: skip
        if reduce is not None:
            trainer.setup.reduce = reduce
        trainer.run(plan=False)
        return model

    ours = trained(full[rank::size], 1, reduce_over_ranks(), True)
    eager = trained(full[rank::size], 1, reduce_over_ranks(), False)
    equal_on_all_ranks([p.detach().cpu() for p in ours.parameters()])
    all_near(ours, eager, 1e-3)
