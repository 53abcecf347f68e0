"""Collectives and training over NCCL: on real GPUs, or on stand-ins without one.

What a rank's GPU holds is compared with what NumPy computes from the tensors of all ranks.
"""

from __future__ import annotations

import sys

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.collectives import everyones, in_rank_order
from on_ranks.models import TOLERANCE, Net, all_near, batches, equal_on_all_ranks, mine, near
from on_ranks.sharded import gathered_ahead
from tinygrad_llm import nn, optim, study
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP

mse = nn.functional.mse_loss
SHAPES = [(), (0,), (7,), (3, 5), (4099,), (2, 3001)]
OF_NUMBERS = [getattr(dist.ReduceOp, name) for name in ("SUM", "AVG", "PRODUCT", "MIN", "MAX")]
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool)


def on_gpu(tensor):
    return tensor.to("cuda")


def compare(ours, expected):
    """Exact for integers; NCCL adds in another order than the ranks'."""
    assert ours.device.type == "cuda" and ours.dtype is expected.dtype
    assert tuple(ours.shape) == tuple(expected.shape)
    a, b = ours.cpu(), expected
    if not a.dtype.is_floating_point:
        assert (a.array == b.array).all()
        return
    wide = a.to(torch.float64), b.to(torch.float64)
    largest = float(wide[1].abs().max().item()) if wide[1].numel() else 0.0
    tolerance = {8: 1e-12, 4: 1e-5}.get(a.dtype.itemsize, 1e-2)
    assert wide[0].numel() == 0 or float((wide[0] - wide[1]).abs().max().item()) <= (
        tolerance * largest
    )


def check_all_reduce_of_every_dtype():
    rank = dist.get_rank()
    for dtype in FLOATS + INTEGERS:
        for shape in SHAPES:
            for op in OF_NUMBERS:
                if op is dist.ReduceOp.AVG and not dtype.is_floating_point:
                    continue
                tensors = everyones(shape, dtype)
                x = on_gpu(tensors[rank].clone())
                assert dist.all_reduce(x, op=op) is None
                if dtype is torch.bool:
                    expected = in_rank_order([t.to(torch.int64) for t in tensors], op) != 0
                else:
                    expected = in_rank_order(tensors, op)
                compare(x, expected)


def check_deterministic_sums_are_in_rank_order():
    """To the last bit those of a loop over the ranks, which NCCL's own need not be."""
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.use_deterministic_algorithms(True)
    try:
        for dtype in FLOATS:
            for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG):
                tensors = everyones((size * 3001,), dtype)
                expected = in_rank_order(tensors, op).array
                x = on_gpu(tensors[rank].clone())
                dist.all_reduce(x, op=op, async_op=True).wait()
                assert (x.cpu().array == expected).all(), (dtype, op)
                part = on_gpu(torch.zeros(3001, dtype=dtype))
                dist.reduce_scatter_tensor(part, on_gpu(tensors[rank].clone()), op=op)
                own = expected[3001 * rank : 3001 * (rank + 1)]
                assert (part.cpu().array == own).all(), (dtype, op)
        log = getattr(sys.modules.get("nccl_stand_in"), "log", [])
        log.clear()
        dist.all_reduce(on_gpu(torch.ones(9)))
        assert not [entry for entry in log if entry[0].startswith("all_reduce")]
    finally:
        torch.use_deterministic_algorithms(False)


def check_views_are_written_in_place():
    tensors = everyones((4, 6))
    total = in_rank_order(tensors, dist.ReduceOp.SUM)
    x = on_gpu(tensors[dist.get_rank()].clone())
    dist.all_reduce(x[:, 1:3])
    compare(x[:, 1:3].clone(), total[:, 1:3].clone())
    compare(x[:, :1].clone(), tensors[dist.get_rank()][:, :1].clone())


def check_async_in_any_order():
    tensors = [everyones((n,), seed=n) for n in (5, 5000, 40_000, 3)]
    own = [on_gpu(t[dist.get_rank()].clone()) for t in tensors]
    works = [dist.all_reduce(x, async_op=True) for x in own]
    for i in (2, 0, 3, 1):
        assert works[i].wait() is True
        compare(own[i], in_rank_order(tensors[i], dist.ReduceOp.SUM))
        assert works[i].wait(60) and works[i].is_completed() and works[i].is_success()
    half = everyones((501,), torch.bfloat16)
    x = on_gpu(half[dist.get_rank()].clone())
    dist.all_reduce(x, dist.ReduceOp.AVG, async_op=True).wait()
    compare(x, in_rank_order(half, dist.ReduceOp.AVG))


def check_from_one_rank_and_to_one():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype in FLOATS + INTEGERS:
        for root in range(size):
            base = everyones((3, 4), torch.int64 if dtype is torch.bool else dtype, root)
            tensors = [t.to(dtype) for t in base]
            x = on_gpu(tensors[rank].clone())
            dist.broadcast(x, src=root)
            compare(x, tensors[root])
            into = [on_gpu(torch.zeros_like(t)) for t in tensors] if rank == root else None
            dist.gather(on_gpu(tensors[rank]), into, dst=root)
            for a, b in zip(into or [], tensors, strict=False):
                compare(a, b)
            x = on_gpu(torch.zeros_like(tensors[0]))
            dist.scatter(x, [on_gpu(t) for t in tensors] if rank == root else None, src=root)
            compare(x, tensors[rank])
            x = on_gpu(base[rank].clone())
            dist.reduce(x, dst=root, op=dist.ReduceOp.MAX)
            compare(x, in_rank_order(base, dist.ReduceOp.MAX) if rank == root else base[rank])


def check_gathering_and_scattering_sums():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype in (*FLOATS, torch.int64, torch.int16):
        for shape in ((5,), (3, 700)):
            tensors = everyones(shape, dtype)
            x = on_gpu(tensors[rank])
            into = [on_gpu(torch.zeros_like(t)) for t in tensors]
            dist.all_gather(into, x)
            for a, b in zip(into, tensors, strict=True):
                compare(a, b)
            joined = on_gpu(torch.zeros(size * shape[0], *shape[1:], dtype=dtype))
            dist.all_gather_into_tensor(joined, x)
            compare(joined, torch.cat(tensors))
            wide = everyones((size * shape[0], *shape[1:]), dtype, seed=1)
            for op in (dist.ReduceOp.SUM, dist.ReduceOp.MIN):
                total = in_rank_order(wide, op)[rank * shape[0] : (rank + 1) * shape[0]].clone()
                part = on_gpu(torch.zeros(shape, dtype=dtype))
                dist.reduce_scatter_tensor(part, on_gpu(wide[rank]), op=op)
                compare(part, total)
                part = on_gpu(torch.zeros(shape, dtype=dtype))
                dist.reduce_scatter(part, list(on_gpu(wide[rank]).chunk(size)), op=op)
                compare(part, total)


def check_all_to_all():
    rank, size = dist.get_rank(), dist.get_world_size()
    sends = [[r + q for q in range(size)] for r in range(size)]
    tensors = [
        torch.randn(sum(s), 2, generator=torch.Generator().manual_seed(r))
        for r, s in enumerate(sends)
    ]
    into = [sends[r][rank] for r in range(size)]
    out = on_gpu(torch.zeros(sum(into), 2))
    dist.all_to_all_single(out, on_gpu(tensors[rank]), into, sends[rank])
    starts = [sum(sends[r][:rank]) for r in range(size)]
    expected = [t[a : a + n] for t, a, n in zip(tensors, starts, into, strict=True)]
    compare(out, torch.cat(expected))
    outs = [on_gpu(torch.zeros(n)) for n in into]
    dist.all_to_all(outs, [on_gpu(torch.full((n,), float(rank))) for n in sends[rank]])
    assert [o.tolist() for o in outs] == [[float(r)] * n for r, n in enumerate(into)]


def check_messages():
    rank, size = dist.get_rank(), dist.get_world_size()
    to, source = (rank + 1) % size, (rank - 1) % size
    x, y = on_gpu(torch.full((1000,), float(rank))), on_gpu(torch.zeros(1000))
    ops = [dist.P2POp(dist.isend, x, to), dist.P2POp(dist.irecv, y, source)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    compare(y, torch.full((1000,), float(source)))
    if rank == 0:
        dist.send(x + 5, 1)
        assert dist.recv(y, 1) == 1
        compare(y, torch.full((1000,), 7.0))
    elif rank == 1:
        z = on_gpu(torch.zeros(1000))
        assert dist.recv(z, 0) == 0
        compare(z, torch.full((1000,), 5.0))
        dist.send(z + 2, 0)
    with pytest.raises(ValueError, match="name the rank that sends"):
        dist.recv(y)


def check_messages_on_all_ranks_together():
    """isend and irecv are launched together, at the first wait or before a collective."""
    rank, size = dist.get_rank(), dist.get_world_size()
    to, source = (rank + 1) % size, (rank - 1) % size
    log = getattr(sys.modules.get("nccl_stand_in"), "log", [])
    x, y = on_gpu(torch.full((300_000,), float(rank))), on_gpu(torch.zeros(300_000))
    for end in ("wait", "other order", "collective", "asked"):
        y.zero_()
        log.clear()
        works = [dist.isend(x, to), dist.irecv(y, source)]
        assert not [entry for entry in log if entry[0] in ("group", "send", "recv")]
        if end == "collective":
            total = on_gpu(torch.ones(3))
            dist.all_reduce(total)
            compare(total, torch.full((3,), float(size)))
        elif end == "asked":
            works[1].is_completed()
        for work in works[:: -1 if end == "other order" else 1]:
            assert work.wait()
        compare(y, torch.full((300_000,), float(source)))
        assert works[1].result() == source and works[0].is_success()
        if log:
            assert [e[0] for e in log if len(e) == 1 or e[0] in ("send", "recv")] == [
                "group", "send", "recv", "end",
            ]  # fmt: skip
    assert dist.isend(x, to) is not None
    assert dist.recv(y, source) == source  # takes the message that is held back with it
    torch.cuda.synchronize()
    dist.barrier()


def check_groups_objects_and_tensors_on_the_cpu():
    rank = dist.get_rank()
    group = dist.new_group([0, 1])
    if rank < 2:
        x = on_gpu(torch.ones(3) * (rank + 1))
        dist.all_reduce(x, group=group)
        compare(x, torch.full((3,), 3.0))
        dist.destroy_process_group(group)
    x = torch.ones(3)
    dist.all_reduce(x)
    assert x.device.type == "cpu" and x.tolist() == [float(dist.get_world_size())] * 3
    sent = [{"x": on_gpu(torch.ones(2)), "n": 3}] if rank == 0 else [None]
    dist.broadcast_object_list(sent)
    assert sent[0]["n"] == 3 and sent[0]["x"].tolist() == [1.0, 1.0]
    dist.barrier()


def trained(dtype, make, wrap=lambda m: m, steps=6):
    """(the distributed model, one process's) after training on the same batches on the GPU."""
    ours, one = on_gpu(Net(dtype, seed=dist.get_rank())), on_gpu(Net(dtype))
    ours = wrap(ours)
    optimizers = make(ours.parameters()), make(one.parameters())
    for x, y in batches(steps, dtype):
        for optimizer in optimizers:
            optimizer.zero_grad()
        mse(ours(on_gpu(mine(x))), on_gpu(mine(y))).backward()
        mse(one(on_gpu(x)), on_gpu(y)).backward()
        for optimizer in optimizers:
            optimizer.step()
    return ours, one


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.9)


def adamw(parameters):
    return optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


def check_data_parallel_as_one_process():
    for dtype, make, size in (
        (torch.float32, sgd, 25), (torch.float64, sgd, 1e-4), (torch.float64, adamw, 1e-4),
    ):  # fmt: skip
        ours, one = trained(dtype, make, lambda m: DDP(m, bucket_cap_mb=size))  # noqa: B023
        all_near(ours.module, one, 3 * TOLERANCE[dtype])
        equal_on_all_ranks([p.detach().cpu() for p in ours.parameters()])


def check_no_sync():
    ours, one = DDP(on_gpu(Net())), on_gpu(Net())
    data = [(on_gpu(x), on_gpu(y)) for x, y in batches(3, torch.float32)]
    with ours.no_sync():
        for x, y in data[:2]:
            mse(ours(mine(x)), mine(y)).backward()
    x, y = data[2]
    mse(ours(mine(x)), mine(y)).backward()
    for x, y in data:
        mse(one(x), y).backward()
    all_near(ours.module, one, 3e-6)


def check_half_precision_is_summed_in_float32():
    model = DDP(on_gpu(nn.Linear(3, 2, bias=False).to(torch.bfloat16)))
    rank, size = dist.get_rank(), dist.get_world_size()
    numbers = [1.0, 0.0039, 0.0039]
    x = on_gpu(torch.full((1, 3), numbers[min(rank, 2)], dtype=torch.bfloat16))
    model(x).sum().backward()
    total = sum(torch.tensor([numbers[min(r, 2)]]).to(torch.bfloat16).item() for r in range(size))
    expected = torch.tensor(total / size).to(torch.bfloat16)
    assert (model.module.weight.grad.cpu() == expected).all()


def check_zero_redundancy_optimizer():
    def zero(parameters):
        parameters = list(parameters)
        if len(made) % 2 == 0:
            made.append(dist.optim.ZeroRedundancyOptimizer(
                parameters, optimizer_class=optim.AdamW, lr=0.01, weight_decay=0.1
            ))  # fmt: skip
            return made[-1]
        return adamw(parameters)

    made: list = []
    ours, one = trained(torch.float64, zero, DDP)
    all_near(ours.module, one, 3 * TOLERANCE[torch.float64])
    assert len(made[0].state) < 6


def check_fully_shard():
    trained_when_sharded()


def trained_when_sharded(**options):
    """With fully_shard's options, against one process."""

    def shard(model):
        dist.fsdp.fully_shard(model.first, **options)
        return dist.fsdp.fully_shard(model, **options)

    for dtype, make in ((torch.float32, sgd), (torch.float64, adamw)):
        ours, one = trained(dtype, make, shard)
        for a, b in zip(ours.parameters(), one.parameters(), strict=True):
            near(a.full_tensor().cpu(), b.detach().cpu(), 10 * TOLERANCE[dtype])


def check_the_next_unit_is_gathered_ahead():
    gathered_ahead(on_gpu)


class Pair(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        torch.manual_seed(4)
        self.up, self.down = nn.Linear(6, 10, dtype=dtype), nn.Linear(10, 3, dtype=dtype)

    def forward(self, x):
        return self.down(nn.functional.gelu(self.up(x)))


def check_tensor_parallel():
    parallel = dist.tensor.parallel
    mesh = dist.device_mesh.init_device_mesh("cuda", (dist.get_world_size(),))
    for dtype in (torch.float32, torch.float64):
        plan = {"up": parallel.ColwiseParallel(), "down": parallel.RowwiseParallel()}
        ours = parallel.parallelize_module(on_gpu(Pair(dtype)), mesh, plan)
        one = on_gpu(Pair(dtype))
        x = on_gpu(torch.randn(5, 6, dtype=dtype, generator=torch.Generator().manual_seed(1)))
        for model in (ours, one):
            model(x).pow(2).mean().backward()
            sgd(model.parameters()).step()
        for a, b in zip(ours.parameters(), one.parameters(), strict=True):
            whole = a.full_tensor() if hasattr(a, "full_tensor") else a.detach()
            near(whole.cpu(), b.detach().cpu(), 3 * TOLERANCE[dtype])


def check_what_is_sent_between_gpus_is_counted():
    rank, size = dist.get_rank(), dist.get_world_size()
    x, y = on_gpu(torch.ones(6 * size)), on_gpu(torch.ones(6))
    dist.all_reduce(y)  # the first one connects the GPUs
    with study.trace() as t:
        dist.all_reduce(x)
        dist.all_gather_into_tensor(x, y)
        dist.reduce_scatter_tensor(y, x)
        dist.broadcast(x, size - 1)
        dist.all_to_all_single(torch.empty_like(x), x)
    others = [r for r in range(size) if r != rank]
    numbers = [12, 6, 6, 6 * size if rank == size - 1 else 0, 6]
    expected = [{r: 4 * n for r in others if n} for n in numbers]
    sent = [e.sent() for e in t.exchanges if e.messages]
    assert sent[:4] == expected[:4], (sent, expected)
    assert all(sent[-1][r] >= 4 * 6 for r in others)
