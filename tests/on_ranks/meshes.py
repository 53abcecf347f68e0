"""Ranks as a grid: data, pipeline and tensor parallel together, the same as one process."""

from __future__ import annotations

import math

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE
from on_ranks.sharded import ADAMW, SGD, gradient, whole
from tinygrad_llm import nn
from tinygrad_llm.distributed.tensor import Replicate, Shard
from tinygrad_llm.distributed.tensor import parallel as tp
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP

F = nn.functional
SHAPES = {2: (1, 2, 1), 3: (1, 1, 3), 4: (2, 1, 2), 8: (2, 2, 2)}
WORDS = 17


def grid():
    shape = SHAPES[dist.get_world_size()]
    return dist.device_mesh.init_device_mesh("cpu", shape, mesh_dim_names=("dp", "pp", "tp"))


class Block(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.norm = nn.LayerNorm(12, dtype=dtype)
        self.up, self.down = nn.Linear(12, 19, dtype=dtype), nn.Linear(19, 12, dtype=dtype)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Stage(nn.Module):
    """Half of the model, or all of it."""

    def __init__(self, dtype, first=True, last=True):
        super().__init__()
        torch.manual_seed(4)
        words = nn.Embedding(WORDS, 12, dtype=dtype)
        blocks = [Block(dtype) for _ in range(4)]
        head = nn.Linear(12, WORDS, dtype=dtype)
        self.words = words if first else None
        self.blocks = nn.ModuleList(blocks[0 if first else 2 : 4 if last else 2])
        self.head = head if last else None

    def forward(self, x):
        x = x if self.words is None else self.words(x)
        for block in self.blocks:
            x = block(x)
        return x if self.head is None else self.head(x)


def tensor_parallel(stage, mesh):
    """Matrices, vocabulary and sequence divided within each stage."""
    part = Shard(1)
    plan = {
        "blocks.*.norm": tp.SequenceParallel(),
        "blocks.*.up": tp.ColwiseParallel(input_layouts=part),
        "blocks.*.down": tp.RowwiseParallel(output_layouts=part),
    }
    if stage.words is not None:
        plan["words"] = tp.RowwiseParallel(output_layouts=part)
    if stage.head is not None:
        plan["head"] = tp.ColwiseParallel(input_layouts=part, output_layouts=Shard(-1))
    return tp.parallelize_module(stage, mesh, plan)


def data_parallel(stage, mesh, how):
    if how == "replicas":
        return DDP(stage, process_group=mesh.get_group())
    for block in stage.blocks:
        dist.fsdp.fully_shard(block, mesh=mesh, reshard_after_forward=how == "stage 3")
    return dist.fsdp.fully_shard(stage, mesh=mesh, reshard_after_forward=how == "stage 3")


def forward_and_backward(stage, mesh, ids, targets, dtype):
    """One batch through the stages; the loss on the last ones, None on the first."""
    pp = mesh["pp"]
    stages = dist.get_process_group_ranks(pp.get_group())
    first, last = pp.get_local_rank() == 0, pp.get_local_rank() == pp.size() - 1
    x = ids
    if not first:
        T = 5 * (mesh.get_local_rank("tp") + 1) // mesh["tp"].size()
        T -= 5 * mesh.get_local_rank("tp") // mesh["tp"].size()
        x = torch.empty(len(ids), T, 12, dtype=dtype)
        dist.recv(x, stages[pp.get_local_rank() - 1])
        x.requires_grad_()
    out = stage(x)
    if last:
        with tp.loss_parallel():
            loss = F.cross_entropy(out.flatten(0, 1), targets.flatten())
        loss.backward()
    else:
        dist.send(out.detach(), stages[pp.get_local_rank() + 1])
        g = torch.empty_like(out)
        dist.recv(g, stages[pp.get_local_rank() + 1])
        out.backward(g)
    if not first:
        dist.send(x.grad, stages[pp.get_local_rank() - 1])
    return loss.detach().clone() if last else None


def clipped(stage, pp, limit):
    """Scale the gradients of all stages together; returns the norm over all shards."""
    norm = nn.utils.clip_grad_norm_(stage.parameters(), math.inf)
    squares = norm**2
    dist.all_reduce(squares, group=pp.get_group())
    nn.utils.clip_grads_with_norm_(stage.parameters(), limit, squares.sqrt())
    return squares.sqrt()


def trained(how, dtype, make):
    """Ten steps on the grid, beside ten steps in this process alone."""
    mesh = grid()
    dp, pp = mesh["dp"], mesh["pp"]
    n, tolerance = pp.size(), TOLERANCE[dtype]
    one = Stage(dtype)
    own = Stage(dtype, pp.get_local_rank() == 0, pp.get_local_rank() == n - 1)
    stage = data_parallel(tensor_parallel(own, mesh["tp"]), dp, how)
    module = stage.module if isinstance(stage, DDP) else stage
    optimizers = make(stage.parameters()), make(one.parameters())
    numbers = range(2, 4) if pp.get_local_rank() and n > 1 else range(4)  # of this stage's blocks
    names = {f"blocks.{i}.": f"blocks.{number}." for i, number in enumerate(numbers)}
    theirs = dict(one.named_parameters())
    generator = torch.Generator().manual_seed(1)
    for step in range(10):
        ids = torch.randint(0, WORDS, (4 * dp.size(), 5), generator=generator)
        targets = torch.randint(0, WORDS, (4 * dp.size(), 5), generator=generator)
        for optimizer in optimizers:
            optimizer.zero_grad()
        mine = slice(4 * dp.get_local_rank(), 4 * dp.get_local_rank() + 4)
        loss = forward_and_backward(stage, mesh, ids[mine], targets[mine], dtype)
        expected = F.cross_entropy(one(ids).flatten(0, 1), targets.flatten())
        expected.backward()
        if loss is not None:
            dist.all_reduce(loss, dist.ReduceOp.AVG, dp.get_group())
            assert torch.allclose(loss, expected, rtol=2 * tolerance), (loss, expected)
        if step == 0:
            for name, p in module.named_parameters():
                q = theirs[names.get(name[:9], name[:9]) + name[9:]].grad
                worst = (gradient(p) - q).abs().max().item()
                assert worst <= tolerance * (q.abs().max().item() + 0.1), (name, worst)
        norm = clipped(stage, pp, 0.5)
        expected = nn.utils.clip_grad_norm_(one.parameters(), 0.5)
        assert torch.allclose(norm, expected, rtol=3 * tolerance), (norm, expected)
        for optimizer in optimizers:
            optimizer.step()
    for name, p in module.named_parameters():
        q = theirs[names.get(name[:9], name[:9]) + name[9:]].detach()
        worst = (whole(p).detach() - q).abs().max().item()
        assert worst <= tolerance, (name, worst)


def check_ten_steps_on_a_grid():
    trained("replicas", torch.float32, SGD)
    trained("stage 3", torch.float64, ADAMW)
    trained("stage 2", torch.float64, SGD)


def check_dropout_is_equal_on_tensor_parallel_ranks_alone():
    mesh = grid()
    torch.manual_seed(mesh.get_local_rank("dp"))
    mask = F.dropout(torch.ones(50), 0.5).tolist()
    with tp.own_random_stream(mesh["tp"]):
        within = torch.rand(3).tolist()
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, (mesh.get_coordinate(), mask, within))
    for (d, _, t), theirs, numbers in everyone:
        assert (theirs == mask) == (d == mesh.get_local_rank("dp"))
        same = (d, t) == (mesh.get_local_rank("dp"), mesh.get_local_rank("tp"))
        assert (numbers == within) == same


def check_parts_of_a_grid():
    mesh, rank = grid(), dist.get_rank()
    dp, pp, t = SHAPES[dist.get_world_size()]
    place = (rank // (pp * t), rank // t % pp, rank % t)
    assert mesh.get_coordinate() == place and mesh.shape == (dp, pp, t) and mesh.ndim == 3
    for i, name in enumerate(("dp", "pp", "tp")):
        part = mesh[name]
        assert part.get_local_rank() == place[i] == mesh.get_local_rank(i)
        assert part.size() == mesh.size(i) and part.mesh_dim_names == (name,)
        ranks = dist.get_process_group_ranks(part.get_group())
        assert ranks == dist.get_process_group_ranks(mesh.get_group(name)) == part.mesh.tolist()
        assert ranks[place[i]] == rank
    assert mesh["dp", "tp"].shape == (dp, t) and mesh["dp", "tp"]["tp"].size() == t
    flat = mesh["dp", "tp"]._flatten("shards")
    everyone = flat.get_group().ranks
    assert flat["shards"].size() == dp * t and sorted(everyone) == sorted(flat.mesh.tolist())
    assert flat.get_local_rank() == place[0] * t + place[2] and everyone.count(rank) == 1
    with pytest.raises(ValueError, match="mesh of one dimension"):
        tp.parallelize_module(nn.Linear(2, 2), mesh, tp.ColwiseParallel())
    if 1 < t < mesh.size():
        layer = tp.parallelize_module(nn.Linear(8, 8), mesh["tp"], tp.ColwiseParallel())
        with pytest.raises(ValueError, match="along one dimension of the mesh"):
            DDP(layer)  # over all ranks, which have different parts
        with pytest.raises(ValueError, match="divided already"):
            dist.fsdp.fully_shard(layer, mesh=mesh["tp"])


def check_two_runs_have_the_same_bits():
    runs = []
    for _ in range(2):
        mesh = grid()
        pp = mesh["pp"]
        last = pp.get_local_rank() == pp.size() - 1
        own = Stage(torch.float32, pp.get_local_rank() == 0, last)
        stage = data_parallel(tensor_parallel(own, mesh["tp"]), mesh["dp"], "stage 3")
        ids = torch.arange(20).view(4, 5) % WORDS
        forward_and_backward(stage, mesh, ids, ids, torch.float32)
        clipped(stage, pp, 0.1)
        runs.append([p.grad.array.tobytes() for p in stage.parameters()])
    assert runs[0] == runs[1]


def check_layouts_of_whole_outputs():
    """A head that every rank has whole, after a sequence that is divided."""
    mesh = grid()
    stage = Stage(torch.float64)
    tp.parallelize_module(
        stage, mesh["tp"], {"words": tp.RowwiseParallel(), "head": tp.ColwiseParallel(
            output_layouts=Replicate())},
    )  # fmt: skip
    ids = torch.arange(10).view(2, 5)
    assert torch.allclose(stage(ids), Stage(torch.float64)(ids), rtol=1e-12)
