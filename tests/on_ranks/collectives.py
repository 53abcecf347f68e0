"""The collectives against NumPy: every rank knows what every rank holds."""

from __future__ import annotations

import gc
import math
import os
import re
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm.distributed.steps import divided

SHAPES = [(), (0,), (7,), (3, 5), (4099,), (2, 3001)]  # the last two go through two exchanges

OF_NUMBERS = [getattr(dist.ReduceOp, name) for name in ("SUM", "AVG", "PRODUCT", "MIN", "MAX")]


def everyones(shape, dtype=torch.float32, seed=0):
    """The tensors of all ranks."""
    made = []
    for rank in range(dist.get_world_size()):
        generator = torch.Generator().manual_seed(100 * seed + rank)
        if dtype.is_floating_point:
            made.append(torch.randn(shape, generator=generator).to(dtype))
        else:
            made.append(torch.randint(-50, 50, shape, generator=generator).to(dtype))
    return made


def same(a, b):
    """To the last bit."""
    assert a.dtype is b.dtype and tuple(a.shape) == tuple(b.shape)
    assert a.array.tobytes() == b.array.tobytes()


def in_rank_order(tensors, op):
    """The reduction as a loop over the ranks; half precisions in float32."""
    dtype = tensors[0].dtype
    wide = [t.to(torch.float32) if dtype.itemsize == 2 else t for t in tensors]
    total = wide[0].clone()
    for t in wide[1:]:
        total = {
            "SUM": torch.add, "AVG": torch.add, "PRODUCT": torch.mul, "MIN": torch.minimum,
            "MAX": torch.maximum,
        }[op.name](total, t)  # fmt: skip
    return (total / len(tensors) if op.name == "AVG" else total).to(dtype)


def check_all_reduce():
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64):
        for shape in SHAPES:
            for op in OF_NUMBERS:
                if op is dist.ReduceOp.AVG and not dtype.is_floating_point:
                    continue
                tensors = everyones(shape, dtype)
                mine = tensors[dist.get_rank()].clone()
                assert dist.all_reduce(mine, op=op) is None
                same(mine, in_rank_order(tensors, op))


def check_every_rank_has_the_same_bits_in_every_run():
    x = everyones((100_003,))[dist.get_rank()]
    runs = []
    for _ in range(3):
        y = x.clone()
        dist.all_reduce(y)
        runs.append(y)
        same(y, runs[0])
    others = [torch.empty(100_003) for _ in range(dist.get_world_size())]
    dist.all_gather(others, runs[0])
    for other in others:
        same(other, runs[0])


def check_views_and_other_layouts_are_written_in_place():
    tensors = everyones((4, 6))
    mine = tensors[dist.get_rank()].clone()
    dist.all_reduce(mine.t())
    same(mine, in_rank_order(tensors, dist.ReduceOp.SUM))
    mine = tensors[dist.get_rank()].clone()
    dist.all_reduce(mine[:, 1:3])
    total = in_rank_order(tensors, dist.ReduceOp.SUM)
    same(mine[:, 1:3].clone(), total[:, 1:3].clone())
    same(mine[:, :1].clone(), tensors[dist.get_rank()][:, :1].clone())


def check_a_written_tensor_that_was_saved_is_refused_by_backward():
    x = torch.ones(3, requires_grad=True)
    w = torch.ones(3)
    y = (x * w).sum()
    dist.all_reduce(w)
    with pytest.raises(RuntimeError, match="all_reduce"):
        y.backward()


def check_async():
    tensors = [everyones((n,), seed=n) for n in (5, 5000, 40_000, 3)]
    mine = [t[dist.get_rank()].clone() for t in tensors]
    works = [dist.all_reduce(m, async_op=True) for m in mine]
    for i in (2, 0, 3, 1):  # waited for in another order
        assert works[i].wait() is True and works[i].is_completed() and works[i].is_success()
        same(mine[i], in_rank_order(tensors[i], dist.ReduceOp.SUM))
    # ranks that test at different times: the works still meet in order
    mine = [t[dist.get_rank()].clone() for t in tensors]
    works = []
    for m in mine:
        works.append(dist.all_reduce(m, async_op=True))
        if dist.get_rank() % 2:
            works[-1].is_completed()
            time.sleep(0.003)
    for work, m, t in zip(works, mine, tensors, strict=True):
        work.wait()
        same(m, in_rank_order(t, dist.ReduceOp.SUM))


def check_from_one_rank_and_to_one():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        for root in range(size):
            tensors = everyones((3, 4), dtype if dtype is not torch.bool else torch.int64, root)
            tensors = [t.to(dtype) for t in tensors]
            x = tensors[rank].clone()
            dist.broadcast(x, src=root)
            same(x, tensors[root])
            into = [torch.zeros_like(x) for _ in range(size)] if rank == root else None
            dist.gather(tensors[rank], into, dst=root)
            for a, b in zip(into or [], tensors, strict=False):
                same(a, b)
            x = torch.zeros_like(x)
            dist.scatter(x, [t + t for t in tensors] if rank == root else None, src=root)
            same(x, tensors[rank] + tensors[rank])
            if dtype is not torch.bool:
                x = tensors[rank].clone()
                dist.reduce(x, dst=root, op=dist.ReduceOp.MAX)
                total = in_rank_order(tensors, dist.ReduceOp.MAX)
                same(x, total if rank == root else tensors[rank])


def check_gathering_and_scattering_sums():
    rank, size = dist.get_rank(), dist.get_world_size()
    for shape in ((5,), (3, 700)):
        tensors = everyones(shape)
        into = [torch.zeros(shape) for _ in range(size)]
        dist.all_gather(into, tensors[rank])
        for a, b in zip(into, tensors, strict=True):
            same(a, b)
        joined = torch.zeros(size * shape[0], *shape[1:])
        dist.all_gather_into_tensor(joined, tensors[rank])
        same(joined, torch.cat(tensors))
        wide = everyones((size * shape[0], *shape[1:]), seed=1)
        for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG, dist.ReduceOp.MIN):
            part = torch.zeros(shape)
            dist.reduce_scatter_tensor(part, wide[rank], op=op)
            total = in_rank_order(wide, op)
            same(part, total[rank * shape[0] : (rank + 1) * shape[0]].clone())
            part = torch.zeros(shape)
            dist.reduce_scatter(part, list(wide[rank].chunk(size)), op=op)
            same(part, total[rank * shape[0] : (rank + 1) * shape[0]].clone())
    with pytest.raises(ValueError, match="times the number of ranks"):
        dist.all_gather_into_tensor(torch.zeros(size + 1), torch.zeros(1))
    with pytest.raises(ValueError, match="one tensor per rank"):
        dist.all_gather([torch.zeros(1)], torch.zeros(1))


def check_all_to_all():
    rank, size = dist.get_rank(), dist.get_world_size()
    tensors = everyones((2 * size, 3))
    out = torch.zeros(2 * size, 3)
    dist.all_to_all_single(out, tensors[rank])
    same(out, torch.cat([t[2 * rank : 2 * rank + 2] for t in tensors]))
    # rank r sends r + q rows to rank q
    sends = [[r + q for q in range(size)] for r in range(size)]
    tensors = everyones_of([sum(s) for s in sends])
    into = [sends[r][rank] for r in range(size)]
    out = torch.zeros(sum(into), 2)
    dist.all_to_all_single(out, tensors[rank], into, sends[rank])
    starts = [sum(sends[r][:rank]) for r in range(size)]
    expected = [t[a : a + n] for t, a, n in zip(tensors, starts, into, strict=True)]
    same(out, torch.cat(expected))
    outs = [torch.zeros(n) for n in into]
    dist.all_to_all(outs, [torch.full((n,), float(rank)) for n in sends[rank]])
    assert [o.tolist() for o in outs] == [[float(r)] * n for r, n in enumerate(into)]
    with pytest.raises(ValueError, match="sizes do not fit on rank"):
        rows = [n + 1 if rank == 0 else n for n in into]
        dist.all_to_all_single(torch.zeros(sum(rows), 2), tensors[rank], rows, sends[rank])
    for _ in range(3):  # in place: what arrives does not change what is still to be sent
        x = torch.arange(size * 50_000) + 10**9 * rank
        dist.all_to_all_single(x, x)
        part = torch.arange(rank * 50_000, (rank + 1) * 50_000)
        same(x, torch.cat([part + 10**9 * r for r in range(size)]))


def everyones_of(rows):
    return [
        torch.randn(n, 2, generator=torch.Generator().manual_seed(r)) for r, n in enumerate(rows)
    ]


def check_messages():
    from mpi4py import MPI

    rank, size = dist.get_rank(), dist.get_world_size()
    after, before = (rank + 1) % size, (rank - 1) % size
    for n in (1, 70_000):
        x, y = torch.full((n,), float(rank)), torch.zeros(n)
        works = [dist.isend(x, after), dist.irecv(y, before)]
        x.fill_(-1.0)  # isend has its own copy
        assert [work.wait() for work in works] == [True, True]
        assert (y == before).all()
    if rank == 0:
        senders = []
        for _ in range(1, size):
            y = torch.zeros(2, dtype=torch.int64)
            senders.append(dist.recv(y, tag=3))  # from any rank
            assert y.tolist() == [senders[-1]] * 2
        assert sorted(senders) == list(range(1, size))
        for source in range(1, size):
            late = torch.zeros(1)
            dist.recv(late, source, tag=7)
            assert late.item() == source + 0.5
    else:
        dist.send(torch.tensor([rank, rank]), 0, tag=3)
        dist.send(torch.tensor([rank + 0.5]), 0, tag=7)
    # a message of 70,000 numbers is sent when it is asked for: if that is too short, Open MPI's
    # sender waits for ever
    too_long = (2,) if "Open MPI" in MPI.Get_library_version() else (2, 70_000)
    if rank == 0:
        with pytest.raises(dist.DistError, match="rank 1 sent 8 bytes, and float32 \\(3,\\)"):
            dist.recv(torch.zeros(3), 1, tag=8)
        for n in too_long:
            for source in (1, None):
                with pytest.raises(
                    dist.DistError, match=f"rank 1 sent (more than 4|{4 * n}) bytes"
                ):
                    dist.recv(torch.zeros(1), source, tag=9)
        with pytest.raises(ValueError, match="should not be the same as the rank"):
            dist.send(torch.zeros(1), 0)
    elif rank == 1:
        dist.send(torch.zeros(2), 0, tag=8)
        for n in too_long:
            for _ in range(2):
                dist.send(torch.zeros(n), 0, tag=9)
    swap = [
        dist.P2POp(dist.isend, torch.tensor([rank]), after),
        dist.P2POp(dist.irecv, number := torch.tensor([-1]), before),
    ]
    for work in dist.batch_isend_irecv(swap):
        work.wait()
    assert number.item() == before


def check_ranks_that_are_named_by_their_number_in_a_group():
    rank, size = dist.get_rank(), dist.get_world_size()
    if size < 3:
        group, first = dist.new_group(), 0
    else:
        group, first = dist.new_group(range(1, size)), 1  # rank r of all is r - 1 in it
    if rank < first:
        for ask in (
            dist.get_process_group_ranks, dist.get_backend, lambda g: dist.get_group_rank(g, 1),
            lambda g: dist.get_global_rank(g, 0),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="rank 0 is not in this group"):
                ask(group)
        dist.destroy_process_group(group)
        return
    n, here, last = size - first, rank - first, size - first - 1
    x = torch.tensor([float(rank)])
    dist.broadcast(x, group=group, group_src=1)
    assert x.item() == first + 1
    dist.reduce(x, group=group, group_dst=last)
    assert x.item() == (first + 1) * (n if here == last else 1)
    everyone = [torch.zeros(1) for _ in range(n)] if here == last else None
    dist.gather(torch.tensor([float(here)]), everyone, group=group, group_dst=last)
    assert everyone is None or [each.item() for each in everyone] == list(range(n))
    pieces = [torch.tensor([float(i)]) for i in range(n)] if here == 1 else None
    dist.scatter(x, pieces, group=group, group_src=1)
    assert x.item() == here
    objects = [here]
    dist.broadcast_object_list(objects, group=group, group_src=last)
    assert objects == [last]
    places = [None] * n if here == 1 else None
    dist.gather_object(here, places, group=group, group_dst=1)
    assert places == (list(range(n)) if here == 1 else None)
    dist.scatter_object_list(objects, list("abcdefgh"[:n]) if here == 1 else None,
                             group=group, group_src=1)  # fmt: skip
    assert objects == ["abcdefgh"[here]]
    if here == 0:
        dist.send(x, group=group, group_dst=last)
        dist.isend(x, group=group, group_dst=last).wait()
    elif here == last:
        assert dist.recv(x, group=group, group_src=0) == first and x.item() == 0.0
        dist.irecv(x, group=group, group_src=0).wait()
    after, before = (here + 1) % n, (here - 1) % n
    swap = [
        dist.P2POp(dist.isend, torch.tensor([here]), group=group, group_peer=after),
        dist.P2POp(dist.irecv, number := torch.tensor([-1]), group=group, group_peer=before),
    ]
    assert swap[0].peer == first + after
    for work in dist.batch_isend_irecv(swap):
        work.wait()
    assert number.item() == before
    for call in (dist.broadcast, dist.reduce, dist.send):
        with pytest.raises(ValueError, match="Must specify global_rank or group_rank"):
            call(x, group=group)
    with pytest.raises(ValueError, match="Can't specify both"):
        dist.broadcast(x, 1, group, group_src=1)
    with pytest.raises(ValueError, match=f"Group rank {n} is not part of group"):
        dist.broadcast(x, group=group, group_src=n)
    dist.destroy_process_group(group)


def check_a_barrier_has_its_own_time_limit():
    group = dist.new_group()
    dist.barrier(group, timeout=60)
    dist.barrier()
    if dist.get_rank() == 0:
        with pytest.raises(dist.DistBackendError, match="time limit of 0.2 seconds"):
            dist.barrier(group, timeout=0.2)
        with pytest.raises(TypeError, match="timeout: expected a timedelta or seconds"):
            dist.barrier(timeout="soon")
    dist.barrier()


def check_what_was_given_up_writes_into_no_other_array():
    """MPI continues with a request that nobody waits for: its arrays stay until it has ended."""
    rank, size = dist.get_rank(), dist.get_world_size()
    group, fresh = dist.new_group(), []
    if rank == 0:
        message = dist.irecv(torch.full((32,), 5.0), 1, group, tag=11)
        with pytest.raises(dist.DistBackendError, match="time limit"):
            dist.barrier(group, timeout=0.1)
        with pytest.raises(dist.DistBackendError, match="time limit"):
            message.wait(0.1)
        del message
        group.queue.move_on()  # lets go of both
        gc.collect()
        fresh = [np.zeros(128 * n, np.uint8) for n in (1, size) for _ in range(500)]
    dist.barrier()
    if rank > 0:
        dist.barrier(group, async_op=True)
    if rank == 1:
        dist.isend(torch.full((32,), 7.0), 0, group, tag=11)
    for _ in range(20):
        dist.barrier()
    assert not any(array.any() for array in fresh)
    group.broken = group.broken or "rank 0 does not come"


def check_objects():
    rank, size = dist.get_rank(), dist.get_world_size()
    mine = {
        "rank": rank, 3: (1, None, "ü" * rank), "weights": torch.full((2,), rank + 0.25),
        "half": torch.ones(1, dtype=torch.bfloat16), "raw": b"\x00\xff", "bad": -math.inf,
    }  # fmt: skip
    everyone = [None] * size
    dist.all_gather_object(everyone, mine)
    for r, theirs in enumerate(everyone):
        assert theirs["rank"] == r and theirs[3] == (1, None, "ü" * r)
        assert theirs["weights"].tolist() == [r + 0.25] * 2 and theirs["bad"] == -math.inf
        assert theirs["half"].dtype is torch.bfloat16 and theirs["raw"] == b"\x00\xff"
    sets = [{rank, "a", None, (1, 2)}, frozenset({1.5, frozenset({rank})}), set()]
    dist.all_gather_object(everyone, sets)
    assert everyone == [
        [{r, "a", None, (1, 2)}, frozenset({1.5, frozenset({r})}), set()] for r in range(size)
    ]
    objects = [{"a": 1}, "text", [1.5]] if rank == size - 1 else [None] * 3
    dist.broadcast_object_list(objects, src=size - 1)
    assert objects == [{"a": 1}, "text", [1.5]]
    got = [None]
    dist.scatter_object_list(got, [f"for {r}" for r in range(size)] if rank == 0 else None)
    assert got == [f"for {rank}"]
    places = [None] * size if rank == 0 else None
    dist.gather_object(rank * 10, places)
    assert places == ([r * 10 for r in range(size)] if rank == 0 else None)
    with pytest.raises((TypeError, dist.DistError), match="cannot be"):
        dist.all_gather_object(everyone, object() if rank == 1 else 1)


def check_groups():
    rank, size = dist.get_rank(), dist.get_world_size()
    assert dist.get_backend() == "mpi" and dist.get_process_group_ranks() == list(range(size))
    part = dist.new_group([0, size - 1])
    alone = [dist.new_group([r]) for r in range(size)]
    whole = dist.new_group()
    if rank in (0, size - 1):
        assert dist.get_rank(part) == (rank > 0) and dist.get_world_size(part) == 2
        x = torch.tensor([float(rank)])
        dist.broadcast(x, src=size - 1, group=part)  # src counts among all ranks
        assert x.item() == size - 1
        y = torch.ones(1)
        works = [dist.all_reduce(y, group=part, async_op=True)]
        works.append(dist.all_reduce(x, group=whole, async_op=True))
        for work in reversed(works):
            work.wait()
        assert y.item() == 2.0
        assert (
            dist.get_group_rank(part, size - 1) == 1 and dist.get_global_rank(part, 1) == size - 1
        )
    else:
        assert dist.get_rank(part) == -1 == dist.get_world_size(part)
        with pytest.warns(UserWarning, match="does not belong to the given group"):
            assert dist.all_reduce(torch.ones(1), group=part) is None
        dist.all_reduce(torch.ones(1), group=whole)
    x = torch.ones(1)
    dist.all_reduce(x, group=alone[rank])
    assert x.item() == 1.0
    for group in (part, whole):
        if group is not dist.GroupMember.NON_GROUP_MEMBER:
            dist.destroy_process_group(group)
            with pytest.raises(dist.DistBackendError, match="destroyed"):
                dist.barrier(group)


def check_a_group_in_the_order_given():
    rank, size = dist.get_rank(), dist.get_world_size()
    ranks = list(range(size))[::-1]
    group = dist.new_group(ranks, sort_ranks=False)
    assert dist.get_process_group_ranks(group) == ranks
    assert dist.get_rank(group) == size - 1 - rank
    assert dist.get_group_rank(group, rank) == dist.get_rank(group)
    got = [torch.zeros(1) for _ in ranks]
    dist.all_gather(got, torch.tensor([float(rank)]), group)
    assert [x.item() for x in got] == ranks
    x = torch.tensor([float(rank)])
    dist.broadcast(x, src=0, group=group)
    assert x.item() == 0.0
    dist.destroy_process_group(group)
    assert dist.get_process_group_ranks(dist.new_group(ranks)) == ranks[::-1]


def check_the_backend_that_programs_ask_for():
    assert dist.get_default_backend_for_device("cpu") == "gloo"
    assert dist.get_default_backend_for_device(torch.device("cuda:1")) == "nccl"
    with pytest.raises(ValueError, match="not registered for device : meta"):
        dist.get_default_backend_for_device("meta")


def check_groups_that_cannot_be():
    for options, text in (
        ({"backend": "nonsense"}, "no backend 'nonsense'"),
        ({"use_local_synchronization": True}, "every process calls new_group"),
        ({"ranks": [0, 0]}, "a rank comes twice"),
        ({"ranks": [99]}, "ranks are 0 to"),
    ):
        with pytest.raises(ValueError, match=text):
            dist.new_group(**options)
    with pytest.raises(TypeError, match="nonsense"):
        dist.new_group(nonsense=3)
    group = dist.new_group(backend="GLOO", group_desc="all")
    assert dist.get_backend(group) == "gloo"
    dist.destroy_process_group(group)


def check_different_calls_are_an_error_that_says_who_did_what():
    rank = dist.get_rank()
    with pytest.raises(dist.DistError, match=r"rank 0 all_reduce\(SUM\) of float32 \(2,\); rank 1"):
        dist.all_reduce(torch.ones(2 + rank))
    with pytest.raises(dist.DistError, match="float64"):
        dist.all_reduce(torch.ones(2, dtype=torch.float64 if rank else torch.float32))
    with pytest.raises(dist.DistError, match="barrier"):
        dist.barrier() if rank else dist.broadcast(torch.ones(2), 0)
    dist.barrier()  # and they work together again


def check_what_cannot_be_reduced():
    with pytest.raises(ValueError, match="mean of int64"):
        dist.all_reduce(torch.ones(2, dtype=torch.int64), op=dist.ReduceOp.AVG)
    with pytest.raises(TypeError, match="expected a ReduceOp"):
        dist.all_reduce(torch.ones(2), op="sum")
    with pytest.raises(TypeError, match="of type torch.Tensor"):
        dist.all_reduce([1.0])
    with pytest.raises(ValueError, match="complex numbers have no order"):
        dist.all_reduce(torch.ones(2, dtype=torch.complex64), op=dist.ReduceOp.MAX)


def check_a_waiting_rank_leaves_its_core_to_others():
    dist.barrier()
    if dist.get_rank() == 0:
        time.sleep(0.6)
    start = os.times()
    dist.barrier()
    used = sum(os.times()[:2]) - sum(start[:2])
    assert used < 0.3, used


def check_shared_memory_has_no_name_that_a_kill_would_leave():
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        assert not [n for n in re.findall(r"/dev/shm/mpich_shm_\w+", maps) if os.path.exists(n)]


def check_parts_are_even():
    assert [divided(10, 3), divided(2, 3), divided(0, 2)] == [[3, 3, 4], [0, 1, 1], [0, 0]]


def check_a_group_has_its_own_time_limit():
    group = dist.new_group(timeout=timedelta(seconds=0.3))
    if dist.get_rank() == 0:
        start = time.perf_counter()
        with pytest.raises(dist.DistBackendError, match="time limit of 0.3 seconds"):
            dist.barrier(group)
        assert time.perf_counter() - start < 30
        with pytest.raises(dist.DistBackendError, match="cannot be used any more"):
            dist.barrier(group)
    dist.barrier()
    group.broken = group.broken or "rank 0 does not come"
