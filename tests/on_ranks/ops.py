"""Collectives as ops: their backward against finite differences across ranks, in float64."""

from __future__ import annotations

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm.distributed import nn as ranks

EPS = 1e-6


def everyones(shape, seed):
    """The float64 tensors of all ranks."""
    return [
        torch.randn(shape, generator=torch.Generator().manual_seed(10 * seed + r)).double()
        for r in range(dist.get_world_size())
    ]


def against_differences(op, shape, upstream_shape):
    """∂L/∂x of every rank's x, L = Σ_r Σ u_r·op(x)_r."""
    rank, size = dist.get_rank(), dist.get_world_size()
    xs = everyones(shape, 1)
    us = everyones(upstream_shape, 2)
    u = us[rank]
    x = xs[rank].clone().requires_grad_()
    (op(x) * u).sum().backward()

    def loss(which, i, step):
        mine = xs[rank].clone()
        if rank == which:
            mine.view(-1)[i] += step
        total = (op(mine) * u).sum().detach().clone()
        dist.all_reduce(total)
        return total.item()

    for which in range(size):
        for i in range(xs[0].numel()):
            numeric = (loss(which, i, EPS) - loss(which, i, -EPS)) / (2 * EPS)
            if rank == which:
                assert abs(numeric - x.grad.view(-1)[i].item()) < 1e-7, (which, i)


def check_backward_where_the_loss_is_the_sum_of_the_ranks():
    size = dist.get_world_size()
    against_differences(lambda x: ranks.all_reduce(torch.tanh(x)), (2, 3), (2, 3))
    against_differences(lambda x: ranks.all_reduce(x, dist.ReduceOp.AVG), (3,), (3,))
    against_differences(lambda x: torch.stack(ranks.all_gather(torch.tanh(x))), (2,), (size, 2))
    against_differences(lambda x: ranks.reduce_scatter(None, x.sin().unbind()), (size, 2), (2,))
    against_differences(lambda x: ranks.broadcast(x * x, size - 1), (3,), (3,))
    against_differences(lambda x: ranks.all_to_all_single(x, x.exp()), (2 * size,), (2 * size,))


def check_a_broadcast_sends_no_gradient_to_those_that_were_not_asked():
    x = torch.ones(2, requires_grad=True)
    y = ranks.broadcast(x, 0)
    y.backward(torch.tensor([torch.inf, torch.nan]))
    if dist.get_rank():
        assert (x.grad == 0).all()  # whether or not it is finite there
    else:
        assert not torch.isfinite(x.grad).any()


def check_all_to_all_of_unequal_parts():
    rank, size = dist.get_rank(), dist.get_world_size()
    out = [2 * rank + q for q in range(size)]
    into = [2 * r + rank for r in range(size)]
    x = torch.randn(sum(out), 2, dtype=torch.float64, requires_grad=True)
    y = ranks.all_to_all_single(torch.empty(sum(into), 2), x, into, out)
    weight = torch.arange(2.0 * sum(into), dtype=torch.float64).view(-1, 2) + 100 * rank
    (y * weight).sum().backward()
    back = torch.empty_like(x)
    dist.all_to_all_single(back, weight, out, into)
    assert (x.grad == back).all()


def check_the_conjugate_pair_and_the_parts():
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(3)
    whole = torch.randn(4, 2 * size + 1, dtype=torch.float64)  # no size that the ranks divide
    upstream = torch.randn(4, 2 * size + 1, dtype=torch.float64)
    x = whole.clone().requires_grad_()
    part = ranks.own_part_of(ranks.copy_to_ranks(x), 1)
    assert part.shape[1] in (2, 3)
    y = ranks.gather_along(torch.tanh(part), 1)
    (y * upstream).sum().backward()
    one = whole.clone().requires_grad_()
    (torch.tanh(one) * upstream).sum().backward()
    assert torch.allclose(y, torch.tanh(whole), rtol=0, atol=0)
    # own_part_of joins the gradient, and copy_to_ranks adds it up over the ranks
    assert torch.allclose(x.grad, one.grad * size, rtol=1e-14)
    x = whole.clone().requires_grad_()
    z = ranks.sum_over_ranks(ranks.copy_to_ranks(x) * (rank + 1))
    (z * upstream).sum().backward()
    factor = sum(range(1, size + 1))
    assert torch.allclose(z, whole * factor) and torch.allclose(x.grad, upstream * factor)
    uneven = torch.ones(1, 1 + (rank == 0) * 3)
    with pytest.raises(ValueError, match="not an even division"):
        ranks.gather_along(uneven, 1)
    with pytest.raises(ValueError, match="SUM or AVG"):
        ranks.all_reduce(x, dist.ReduceOp.MAX)
