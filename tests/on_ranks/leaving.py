"""Ranks that leave groups, late and early; and tensors and names that collectives refuse."""

from __future__ import annotations

import time

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm.distributed.groups import run
from tinygrad_llm.training.ranks import reduce_over_ranks


def nothing():
    yield from ()


def check_a_rank_that_caught_the_error_of_another_that_left_does_not_wait():
    group = dist.new_group()
    start = time.perf_counter()
    if dist.get_rank() == 0:
        dist.destroy_process_group(group)
    else:
        with pytest.raises(dist.DistBackendError, match="rank 0 has left the group"):
            dist.barrier(group)
        with pytest.raises(dist.DistBackendError, match="cannot be used any more: rank 0 has left"):
            dist.barrier(group)
        dist.destroy_process_group(group)
    assert time.perf_counter() - start < 60


def check_a_rank_that_was_stopped_in_a_collective_does_not_begin_another():
    """It would meet the others in the middle of the first one."""
    group = dist.new_group(timeout=0.5)
    rank, counts = dist.get_rank(), [1] * dist.get_world_size()
    everyones = np.zeros(len(counts), np.uint8)

    def steps():
        if rank == 0:
            raise KeyboardInterrupt
        yield group.transport.all_gather(np.zeros(1, np.uint8), everyones, counts)

    if rank == 0:
        with pytest.raises(KeyboardInterrupt):
            run(group, "sum", steps())
        message = "rank 0 left sum in the middle: KeyboardInterrupt"
    else:
        with pytest.raises(dist.DistBackendError, match="time limit"):
            run(group, "sum", steps())
        message = f"rank {rank} waited in sum"
    with pytest.raises(dist.DistBackendError, match=message):
        dist.barrier(group)
    dist.destroy_process_group(group)


def check_leaving_waits_longer_than_the_limit_of_the_group():
    group = dist.new_group(timeout=0.2)
    dist.barrier()
    if dist.get_rank() == 0:
        time.sleep(0.5)
    dist.destroy_process_group(group)


def check_groups_give_back_what_connects_them():
    from mpi4py import MPI

    for _ in range(20):  # the next group has the number of the last, and none of its goodbyes
        group = dist.new_group()
        x = torch.ones(1)
        if dist.get_rank() == 0:
            dist.send(x, 1, group)
        elif dist.get_rank() == 1:
            assert group.transport.gone([0]) == []
            dist.recv(x, 0, group)
        dist.barrier(group)  # rank 0 does not leave before rank 1 has looked
        connection = group.transport.transport._comm
        dist.destroy_process_group(group)
        assert connection == MPI.COMM_NULL


def check_long_lines_differ_where_only_their_ends_do():
    with pytest.raises(dist.DistError, match="different collectives"):
        run(dist.group.WORLD, "x" * 500 + str(dist.get_rank()), nothing())
    run(dist.group.WORLD, "x" * 500, nothing())


def check_results_are_not_written_where_elements_share_memory():
    shared, whole = torch.ones(1).expand(4), torch.ones(4)
    size = dist.get_world_size()
    for call in (
        lambda: dist.all_reduce(shared),
        lambda: dist.scatter(shared, [whole] * size),
        lambda: dist.all_gather([shared] * size, whole),
        lambda: dist.recv(shared, (dist.get_rank() + 1) % size),
        lambda: dist.reduce_scatter(shared, [whole] * size),
    ):
        with pytest.raises(ValueError, match=r"share memory .* pass its clone\(\)"):
            call()
    outputs = [torch.zeros(4) for _ in range(size)]
    dist.all_gather(outputs, shared)  # it may be read
    assert all(out.tolist() == [1.0] * 4 for out in outputs)


def check_bits():
    rank, size = dist.get_rank(), dist.get_world_size()
    for name, join in (("BAND", np.bitwise_and), ("BOR", np.bitwise_or), ("BXOR", np.bitwise_xor)):
        x = torch.tensor([3 + rank, 5 * rank, 6])
        expected = join.reduce([np.array([3 + r, 5 * r, 6]) for r in range(size)])
        dist.all_reduce(x, op=getattr(dist.ReduceOp, name))
        assert x.tolist() == expected.tolist()
        with pytest.raises(ValueError, match="bits of integers, and float32"):
            dist.all_reduce(torch.ones(2), op=getattr(dist.ReduceOp, name))


def check_a_rank_without_targets_may_have_gradients_that_are_not_numbers():
    rank, size = dist.get_rank(), dist.get_world_size()
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), float("nan") if rank == 0 else float(rank))
    assert reduce_over_ranks()([p], 0 if rank == 0 else 2) == 2 * (size - 1)
    assert np.allclose(p.grad.array, sum(range(size)) / (size - 1))
