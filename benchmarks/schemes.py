"""The ways to divide the training of one model among ranks: a small run of each, traced and drawn.

    mpiexec -n 4 python -m benchmarks.schemes            bytes that rank 0 sends in a step
    mpiexec -n 4 python -m benchmarks.schemes FOLDER     a picture of each: who sends what

The model is a stack of feed-forward blocks, so that every scheme is a few lines: SCHEMES has for
each a function that returns what runs one step on this rank.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn, optim, study
from tinygrad_llm.distributed import pipelining
from tinygrad_llm.distributed.tensor import Replicate, Shard, parallel
from tinygrad_llm.layers.moe import MixtureOfExperts
from tinygrad_llm.nn.parallel import DistributedDataParallel

__all__ = ["SCHEMES", "Stack", "exchanges_of"]

V, C, F, BLOCKS, ROWS = 32, 16, 64, 2, 8  # words, channels, hidden channels, blocks, tokens
Step = Callable[[], Any]


class Block(nn.Module):
    """x + down(gelu(up(x))): (N, C) -> (N, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(C, F), nn.Linear(F, C)

    def forward(self, x: Any) -> Any:
        return x + self.down(nn.functional.gelu(self.up(x)))  # (N, C) -> (N, F) -> (N, C)


class Stack(nn.Module):
    """Word ids (N) -> logits (N, V), through an embedding, blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(123)
        self.emb = nn.Embedding(V, C)
        self.blocks = nn.Sequential(*[Block() for _ in range(BLOCKS)])
        self.head = nn.Linear(C, V, bias=False)

    def forward(self, ids: Any) -> Any:
        return self.head(self.blocks(self.emb(ids)))  # (N) -> (N, C) -> (N, V)


def batch(rank: int) -> tuple[Any, Any]:
    """A rank's word ids and targets, (N) each."""
    generator = torch.Generator().manual_seed(rank)
    ids = torch.randint(0, V, (ROWS + 1,), generator=generator)
    return ids[:-1], ids[1:]


def stepping(model: nn.Module, optimizer: Any, data: tuple[Any, Any]) -> Step:
    """Forward, backward and the optimizer's step."""

    def step() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data[0]), data[1])
        loss.backward()
        optimizer.step()
        return loss

    return step


def dp() -> Step:
    """The batch divided: gradients averaged, bucket by bucket."""
    model = DistributedDataParallel(Stack(), bucket_cap_mb=0.01)
    return stepping(model, optim.AdamW(model.parameters()), batch(dist.get_rank()))


def zero1() -> Step:
    """Optimizer state divided too: each rank's parameters are sent to all."""
    model = DistributedDataParallel(Stack(), bucket_cap_mb=0.01)
    optimizer = dist.optim.ZeroRedundancyOptimizer(model.parameters(), optim.AdamW)
    return stepping(model, optimizer, batch(dist.get_rank()))


def zero2() -> Step:
    """Gradients divided too: each block's are summed where the optimizer's part of them is."""
    return sharded(reshard=False)


def zero3() -> Step:
    """Parameters divided: gathered before each block, forward and backward; gradients divided."""
    return sharded(reshard=True)


def sharded(reshard: bool) -> Step:
    """A step of a stack whose blocks are sharded one by one."""
    model = Stack()
    for block in model.blocks:
        dist.fsdp.fully_shard(block, reshard_after_forward=reshard)
    dist.fsdp.fully_shard(model, reshard_after_forward=reshard)
    return stepping(model, optim.AdamW(model.parameters()), batch(dist.get_rank()))


def tp() -> Step:
    """Matrices divided: the partial products are added up, once forward and once backward."""
    return divided({"blocks.*.up": parallel.ColwiseParallel(),
                    "blocks.*.down": parallel.RowwiseParallel()})  # fmt: skip


def sequence() -> Step:
    """Tokens divided between the matrices: an all-gather before, a reduce-scatter after them."""
    part = Shard(0)
    return divided({
        "emb": parallel.PrepareModuleOutput(
            output_layouts=Replicate(), desired_output_layouts=part
        ),
        "blocks.*.up": parallel.ColwiseParallel(input_layouts=part),
        "blocks.*.down": parallel.RowwiseParallel(output_layouts=part),
        "head": parallel.PrepareModuleInput(
            input_layouts=part, desired_input_layouts=Replicate()
        ),
    })  # fmt: skip


def divided(plan: dict[str, Any]) -> Step:
    """A step of a stack whose modules are divided by a plan; every rank has the same batch."""
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    model = parallel.parallelize_module(Stack(), mesh, plan)
    return stepping(model, optim.AdamW(model.parameters()), batch(0))


def experts() -> Step:
    """Experts divided: tokens travel to the rank of their expert and back, by an all-to-all."""
    size, rank = dist.get_world_size(), dist.get_rank()
    mesh = dist.device_mesh.init_device_mesh("cpu", (size,))
    torch.manual_seed(123)
    mixture = MixtureOfExperts(C, F, 2 * size, 2)
    parallel.parallelize_module(mixture, mesh, parallel.ExpertParallel())
    x = torch.randn(ROWS, C, generator=torch.Generator().manual_seed(rank), requires_grad=True)

    def step() -> Any:
        y = mixture(x)
        y.sum().backward()
        return y

    return step


def ring() -> Step:
    """The context divided: keys and values travel round the ring, backward their gradients too."""
    heads, channels = 2, C // 2
    x = torch.randn(3, 1, heads, ROWS, channels, requires_grad=True)  # queries, keys, values

    def step() -> Any:
        y = dist.nn.ring_attention(*x.unbind(), is_causal=True)
        y.sum().backward()
        return y

    return step


def pipeline() -> Step:
    """The layers divided: activations go to the next stage, their gradients come back."""
    size, rank = dist.get_world_size(), dist.get_rank()
    torch.manual_seed(rank)
    layer = Block()
    stage = pipelining.PipelineStage(layer, rank, size, torch.device("cpu"))
    schedule = pipelining.Schedule1F1B(stage, 4, loss_fn=nn.functional.mse_loss)
    x, y = torch.randn(ROWS, C), torch.zeros(ROWS, C)

    def step() -> Any:
        if rank == 0:
            return schedule.step(x)
        return schedule.step(target=y) if rank == size - 1 else schedule.step()

    return step


SCHEMES: dict[str, Callable[[], Step]] = {
    "dp": dp, "zero1": zero1, "zero2": zero2, "zero3": zero3, "tp": tp, "sequence": sequence,
    "pipeline": pipeline, "ring": ring, "experts": experts,
}  # fmt: skip


def exchanges_of(name: str) -> Any:
    """What this rank sent in the second step of a scheme."""
    step = SCHEMES[name]()
    step()  # the first one may arrange buckets and shapes
    with study.trace() as traced:
        step()
    return traced.exchanges


def main(argv: list[str]) -> None:
    warnings.simplefilter("ignore")
    dist.init_process_group("mpi", timeout=60)
    for name, scheme in SCHEMES.items():
        every = study.all_exchanges(exchanges_of(name))
        if dist.get_rank() == 0:
            sent = sum(e.bytes for e in every[0])
            sys.stdout.write(f"{name:10}{sent:>10,} bytes   {scheme.__doc__}\n")
            if argv:
                title = f"{name}, {dist.get_world_size()} ranks, one step: {scheme.__doc__}"
                study.draw_ranks(every, str(Path(argv[0]) / f"ranks_{name}.png"), title, 20)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
