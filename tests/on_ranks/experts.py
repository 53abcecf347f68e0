"""Experts divided among ranks: the same numbers as in one process with all tokens."""

from __future__ import annotations

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, equal_on_all_ranks
from on_ranks.sharded import ADAMW, SGD, gradient, whole
from tinygrad_llm import nn, optim
from tinygrad_llm.distributed.tensor import parallel as tp
from tinygrad_llm.layers.moe import (
    MixtureOfExperts,
    balanced_over,
    collected_router_logits,
    load_balancing_loss,
    router_z_loss,
)
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP

F = nn.functional


class Model(nn.Module):
    """Two mixtures of five experts, which no number of ranks divides, and a shared expert."""

    def __init__(self, dtype, n_experts=5, sigmoid=False):
        super().__init__()
        torch.manual_seed(6)
        self.words = nn.Embedding(13, 6, dtype=dtype)
        shared = nn.Linear(6, 6, bias=False)
        self.first = MixtureOfExperts(6, 7, n_experts, 2, shared=shared).to(dtype)
        self.second = MixtureOfExperts(6, 4, n_experts, 1, sigmoid=sigmoid).to(dtype)
        self.head = nn.Linear(6, 13, dtype=dtype)

    def forward(self, ids):
        x = self.words(ids)
        x = x + self.first(x)
        return self.head(x + self.second(x))


def expert_parallel(model):
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    plan = {"first": tp.ExpertParallel(), "second.experts": tp.ExpertParallel()}
    return tp.parallelize_module(model, mesh, plan)


def step_of(model, ids, targets, group):
    """The loss with both losses of the router, after backward."""
    with collected_router_logits() as logits, balanced_over(group):
        value = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        value = value + 0.1 * load_balancing_loss(logits, 2) + 0.01 * router_z_loss(logits)
    value.backward()
    return value


def compared(ours, model, one, dtype, make):
    """Losses, gradients, norms and weights of ten steps; `model` is in `ours`, wrapped."""
    rank, size = dist.get_rank(), dist.get_world_size()
    optimizers = make(model.parameters()), make(one.parameters())
    generator = torch.Generator().manual_seed(1)
    tolerance, world = TOLERANCE[dtype], dist.group.WORLD
    for step in range(10):
        ids = torch.randint(0, 13, (3 * size, 5), generator=generator)
        targets = torch.randint(0, 13, (3 * size, 5), generator=generator)
        part = slice(3 * rank, 3 * rank + 3)
        for optimizer in optimizers:
            optimizer.zero_grad()
        losses = step_of(ours, ids[part], targets[part], world).detach().clone()
        dist.all_reduce(losses, dist.ReduceOp.AVG)
        expected = step_of(one, ids, targets, None)
        assert torch.allclose(losses, expected, rtol=tolerance), (losses, expected)
        if step == 0:
            for (name, p), q in zip(model.named_parameters(), one.parameters(), strict=True):
                worst = (gradient(p) - q.grad).abs().max().item()
                assert worst <= tolerance * (q.grad.abs().max().item() + 0.1), (name, worst)
        norms = [nn.utils.clip_grad_norm_(m.parameters(), 0.5) for m in (model, one)]
        assert torch.allclose(*norms, rtol=tolerance), norms
        for optimizer in optimizers:
            optimizer.step()
    for (name, p), q in zip(model.named_parameters(), one.parameters(), strict=True):
        worst = (whole(p).detach() - q.detach()).abs().max().item()
        assert worst <= tolerance, (name, worst)


def check_ten_steps_with_divided_experts():
    size = dist.get_world_size()
    for dtype, make in ((torch.float32, SGD), (torch.float64, ADAMW)):
        one, model = Model(dtype), expert_parallel(Model(dtype))
        assert model.first.experts.gate_up.shape[0] in (5 // size, 5 // size + 1)
        assert "n_experts=5" in repr(model.first.experts)
        compared(DDP(model), model, one, dtype, make)
        equal_on_all_ranks([model.head.weight, model.first.router.weight])


def check_experts_and_fully_shard():
    model = dist.fsdp.fully_shard(expert_parallel(Model(torch.float64)))
    experts = model.first.experts
    assert experts.down.division.length == 5 and experts.down.earlier == ()
    assert model.head.weight.division.length == 13
    compared(model, model, Model(torch.float64), torch.float64, SGD)


def check_experts_and_divided_optimizer_state():
    rank, size = dist.get_rank(), dist.get_world_size()
    model, one = expert_parallel(Model(torch.float64)), Model(torch.float64)
    made = []

    def make(parameters):
        made.append(zero(parameters) if len(made) == 0 else ADAMW(parameters))
        return made[-1]

    def zero(parameters):
        return dist.optim.ZeroRedundancyOptimizer(
            parameters, optimizer_class=optim.AdamW, lr=0.01, weight_decay=0.1
        )

    compared(DDP(model), model, one, torch.float64, make)
    counts = [None] * size
    dist.all_gather_object(counts, len(made[0].state))
    assert sum(counts) == 6 + 4 * size, (rank, counts)
    with pytest.raises(RuntimeError, match="its own part of a parameter"):
        made[0].consolidate_state_dict()


def check_fewer_experts_than_ranks_and_ranks_without_tokens():
    rank, size = dist.get_rank(), dist.get_world_size()
    one = Model(torch.float64, n_experts=2)
    model = expert_parallel(Model(torch.float64, n_experts=2))
    ids = torch.arange(6).view(2, 3) % 13
    expected = one(ids)
    mine = ids if rank == size - 1 else ids[:0]
    y = model(mine)
    y.sum().backward()
    expected.sum().backward()
    if rank == size - 1:
        assert torch.allclose(y, expected, rtol=1e-12)
    for layer, other in ((model.first, one.first), (model.second, one.second)):
        p, q = layer.experts.down, other.experts.down
        if p.grad is not None and p.shape[0]:
            first = p.division.length * rank // size
            expected_part = q.grad[first : first + len(p)] / size
            assert torch.allclose(p.grad, expected_part, rtol=1e-12, atol=1e-15)


def check_balance_counts_the_tokens_of_all_ranks():
    rank, size = dist.get_rank(), dist.get_world_size()
    ids = torch.arange(12 * size).view(size, 12) % 13
    one, ours = Model(torch.float64, sigmoid=True), Model(torch.float64, sigmoid=True)
    one(ids)
    ours(ids[rank : rank + 1])
    one.second.balance(0.1)
    with balanced_over(dist.group.WORLD):
        ours.second.balance(0.1)
    assert (one.second.correction == ours.second.correction).all()


def check_what_expert_parallelism_refuses():
    with pytest.raises(NotImplementedError, match="n_experts as dimension 0"):
        tp.parallelize_module(nn.Linear(2, 2), None, tp.ExpertParallel())
