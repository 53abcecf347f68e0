"""DistributedDataParallel: ranks == one process with the whole batch."""

from __future__ import annotations

import copy
import warnings

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, Net, all_near, batches, equal_on_all_ranks, mine, near
from tinygrad_llm import nn, optim
from tinygrad_llm.autograd.engine import backward_observers
from tinygrad_llm.autograd.hooks import after_walk
from tinygrad_llm.distributed.traffic import watching
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP
from tinygrad_llm.utils.checkpoint import checkpoint
from tinygrad_llm.utils.data import DistributedSampler

mse = nn.functional.mse_loss


def trained(dtype, make_optimizer, wrap, steps=10):
    """(the distributed model, one process's) after training on the same batches."""
    ours, one = Net(dtype, seed=dist.get_rank()), Net(dtype)
    ours = wrap(ours)
    optimizers = make_optimizer(ours.parameters()), make_optimizer(one.parameters())
    for x, y in batches(steps, dtype):
        for optimizer in optimizers:
            optimizer.zero_grad()
        mse(ours(mine(x)), mine(y)).backward()
        mse(one(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
    return ours, one


def check_ten_steps_as_in_one_process():
    sgd = lambda p: optim.SGD(p, lr=0.1, momentum=0.9)  # noqa: E731
    adamw = lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)  # noqa: E731
    for dtype, make, size in (
        (torch.float32, sgd, 25), (torch.float64, sgd, 1e-4), (torch.float64, adamw, 1e-4),
    ):  # fmt: skip
        ours, one = trained(dtype, make, lambda m: DDP(m, bucket_cap_mb=size))  # noqa: B023
        all_near(ours.module, one, TOLERANCE[dtype])
        equal_on_all_ranks(ours.parameters())
        assert list(ours.state_dict()) == [f"module.{name}" for name in one.state_dict()]
    assert not backward_observers and not after_walk


def check_buckets_follow_the_order_of_arrival_and_start_before_the_end():
    model = DDP(Net(), bucket_cap_mb=1e-4)
    reducer, started = model.reducer, []
    x, y = batches(1, torch.float32)[0]
    assert len(reducer.buckets) > 3
    mse(model(mine(x)), mine(y)).backward()
    order = [i for bucket in reducer.buckets for i in bucket]
    names = [reducer.names[i] for i in order]
    assert names[:2] == ["last.weight", "last.bias"] and names[-1].startswith("first"), names
    last = model.module.first.bias
    model.zero_grad()
    with watching(lambda e: e.name == "all_reduce" and started.append(last.grad is None)):
        mse(model(mine(x)), mine(y)).backward()
    assert len(started) == len(reducer.buckets) and started[0] and not started[-1]


def check_models_that_differ_are_refused_by_name():
    rank = dist.get_rank()
    makers = {
        "0.weight, .4, 3. torch.float32 on rank 0 and 0.weight, .5, 3.": lambda: nn.Linear(
            3, 4 + rank
        ),
        "1.bias, .2. torch.float32 on rank 0 and nothing": lambda: nn.Linear(4, 2, bias=rank == 0),
        "float32 on rank 0 and 1.weight, .2, 4. torch.float64": lambda: nn.Linear(
            4, 2, dtype=torch.float32 if rank == 0 else torch.float64
        ),
    }
    for message, make in makers.items():
        made = make()
        parts = [nn.Linear(3, 4), made] if made.in_features == 4 else [made, nn.Linear(4, 2)]
        with pytest.raises(dist.DistError, match=message):
            DDP(nn.Sequential(*parts))
    with pytest.raises(dist.DistError, match="fully_shard expects.*Linear.weight, .4, 3.*and"):
        dist.fsdp.fully_shard(nn.Linear(3, 4 + rank))


def check_options_of_distributed_data_parallel():
    rank, size = dist.get_rank(), dist.get_world_size()
    for error, text, options in (
        (TypeError, "unexpected keyword argument 'nonsense'", {"nonsense": 1}),
        (ValueError, "mixed_precision is not offered", {"mixed_precision": torch.float16}),
        (RuntimeError, "Cannot specify both", {"process_group": dist.group.WORLD}),
    ):
        mesh = dist.device_mesh.init_device_mesh("cpu", (size,))
        with pytest.raises(error, match=text):
            DDP(nn.Linear(2, 1), **{"device_mesh": mesh, **options})
    mesh = dist.device_mesh.init_device_mesh("cpu", (1, size), mesh_dim_names=("rows", "columns"))
    with pytest.raises(RuntimeError, match="Only 1D device mesh"):
        DDP(nn.Linear(2, 1), device_mesh=mesh)
    gradients = {}
    for name in ("rows", "columns"):  # rows: each rank alone; columns: all together
        model = DDP(nn.Linear(1, 1), device_mesh=mesh[name], batched_grad_copy=False)
        model(torch.full((1, 1), float(rank))).sum().backward()
        gradients[name] = model.module.weight.grad.item()
    assert gradients == {"rows": rank, "columns": (size - 1) / 2}
    for options, follows in (({}, True), ({"forward_sync_buffers": False}, False)):
        module = nn.Linear(1, 1)
        module.register_buffer("place", torch.zeros(1))
        model = DDP(module, **options)
        module.place.fill_(rank)
        model(torch.ones(1, 1))
        assert module.place.item() == (0 if follows else rank)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.tokens, self.middle = nn.Embedding(11, 6), nn.Linear(6, 6)

    def forward(self, ids):
        hidden = self.middle(self.tokens(ids)).tanh()
        return nn.functional.linear(hidden, self.tokens.weight)  # (N, 6) -> (N, 11)


def check_a_weight_that_is_used_twice_does_not_delay_the_other_buckets():
    ours, one = DDP(Tied(), bucket_cap_mb=1e-5), Tied()
    loss = nn.functional.cross_entropy
    ids = torch.arange(24).reshape(12, 2) % 11
    for turn in range(3):
        ours.zero_grad()
        one.zero_grad()
        if turn == 2:  # the embedding adds to a gradient that is there
            with ours.no_sync():
                loss(ours(mine(ids[:, 0])), mine(ids[:, 1])).backward()
            loss(one(ids[:, 0]), ids[:, 1]).backward()
        loss(ours(mine(ids[:, 0])), mine(ids[:, 1])).backward()
        loss(one(ids[:, 0]), ids[:, 1]).backward()
        names = [ours.reducer.names[i] for bucket in ours.reducer.buckets for i in bucket]
        assert names == ["middle.weight", "middle.bias", "tokens.weight"], names
        for a, b in zip(ours.parameters(), one.parameters(), strict=True):
            near(a.grad, b.grad, 1e-6)


def check_gradients_are_added_up_without_exchange_in_no_sync():
    for dtype in (torch.float32, torch.float64):
        ours, one = DDP(Net(dtype)), Net(dtype)
        data = batches(3, dtype)
        with ours.no_sync():
            for x, y in data[:2]:
                mse(ours(mine(x)), mine(y)).backward()
        local = ours.module.first.weight.grad.clone()
        x, y = data[2]
        mse(ours(mine(x)), mine(y)).backward()
        for x, y in data:
            mse(one(x), y).backward()
        all_near(ours.module, one, TOLERANCE[dtype])
        assert not (local == ours.module.first.weight.grad).all()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.never = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x, which):
        return {"a": self.a(x)} if which == 0 else [self.b(x)]


def check_parameters_that_are_not_used():
    rank, size = dist.get_rank(), dist.get_world_size()
    x = torch.ones(3, 4) * (rank + 1)
    model = DDP(Branches(), find_unused_parameters=True)
    for _ in range(2):
        model.zero_grad()
        out = model(x, rank)
        next(iter(out.values() if isinstance(out, dict) else out)).sum().backward()
        # one rank used a, the others b
        assert (model.module.a.weight.grad == 3.0 / size).all()
        near(
            model.module.b.weight.grad,
            torch.full((2, 4), 3.0 * sum(range(2, size + 1)) / size), 1e-6,
        )  # fmt: skip
        assert model.module.never.weight.grad is None
    strict = DDP(Branches())
    message = "for rank 0: b.weight, b.bias, never.weight, never.bias"
    with pytest.raises(RuntimeError, match=f"find_unused_parameters=True(.|\n)*{message}"):
        out = strict(x, 0)["a"].sum()
        try:
            out.backward()
        except RuntimeError as error:
            raise RuntimeError(str(error).replace(f"rank {rank}", "rank 0")) from None


def check_buffers_and_parameters_follow_the_first_rank():
    rank = dist.get_rank()
    net = Net(seed=rank)
    net.mean += rank
    net.calls += 10 * rank
    model = DDP(net)
    equal_on_all_ranks([*model.parameters(), *model.buffers()])
    x, _ = batches(1, torch.float32)[0]
    model(mine(x))
    model(mine(x))
    with torch.no_grad():
        model(mine(x))  # the buffers become the first rank's, and then this rank's own again
    assert model.module.calls.item() == 3
    if rank == 0:
        model(mine(x))  # after a forward pass without gradients none is exchanged
    loose = DDP(Net(), broadcast_buffers=False)
    loose.module.mean += rank
    loose(mine(x))
    assert rank == 0 or loose.module.mean.max() > 0.5 * rank


def check_other_ways_to_use_it():
    x, y = batches(1, torch.float32)[0]
    one = Net()
    mse(one(x), y).backward()

    class Checkpointed(Net):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    model = DDP(Checkpointed())
    mse(model(mine(x)), mine(y)).backward()
    all_near(model.module, one, 1e-6)
    model = DDP(Net())  # two calls, one backward pass
    half = x.shape[0] // dist.get_world_size() // 2
    a, b = mine(x)[:half], mine(x)[half:]
    loss = mse(model(a), mine(y)[:half]) + mse(model(b), mine(y)[half:])
    (loss / 2).backward()
    all_near(model.module, one, 1e-6)
    model = DDP(Net(), bucket_cap_mb=1e-4)
    seen = []  # a hook on a parameter sees this rank's gradient, one afterwards the mean
    weight = model.module.last.weight
    weight.register_hook(lambda g: seen.append(g.clone()))
    mse(model(mine(x)), mine(y)).backward()
    all_near(model.module, one, 1e-6)
    assert len(seen) == 1 and not (seen[0] == weight.grad).all()
    with pytest.raises(RuntimeError, match="autograd.grad does not fill"):
        torch.autograd.grad(mse(model(mine(x)), mine(y)), [weight])
    for call in (model.join, lambda: model.register_comm_hook(None, None)):
        with pytest.raises(RuntimeError, match="is not offered for"):
            call()


def check_half_precision_is_summed_in_float32():
    model = DDP(nn.Linear(3, 2, bias=False).to(torch.bfloat16))
    rank, size = dist.get_rank(), dist.get_world_size()
    numbers = [1.0, 0.0039, 0.0039]  # in bfloat16 1 + 0.0039 is 1 again
    x = torch.full((1, 3), numbers[min(rank, 2)], dtype=torch.bfloat16)
    model(x).sum().backward()
    everyones = torch.tensor([numbers[min(r, 2)] for r in range(size)])
    total = everyones.to(torch.bfloat16).float().sum().item()
    expected = torch.tensor(total / size).to(torch.bfloat16)
    assert (model.module.weight.grad == expected).all()


def check_a_part_of_the_ranks():
    group = dist.new_group([0, 1])
    if dist.get_rank() < 2:
        model = DDP(Net(seed=dist.get_rank()), process_group=group)
        one = Net()
        x, y = batches(1, torch.float32)[0]
        half = x.shape[0] // 2
        part = slice(0, half) if dist.get_rank() == 0 else slice(half, 2 * half)
        mse(model(x[part]), y[part]).backward()
        mse(one(x[: 2 * half]), y[: 2 * half]).backward()
        all_near(model.module, one, 1e-6)


def check_the_sampler_divides_the_examples():
    sampler = DistributedSampler(range(11), seed=5)
    parts = [None] * dist.get_world_size()
    for epoch in range(2):
        sampler.set_epoch(epoch)
        dist.all_gather_object(parts, list(sampler))
        assert sorted({i for part in parts for i in part}) == list(range(11))
        assert len({len(part) for part in parts}) == 1


def check_a_parameter_used_outside_of_forward_is_an_error():
    model = DDP(Net(), bucket_cap_mb=1e-4)
    x, y = batches(1, torch.float32)[0]
    penalty = (model.module.last.weight**2).sum()  # made before: its gradient comes last
    with pytest.raises(RuntimeError, match=r"last\.weight got another gradient"):
        (mse(model(mine(x)), mine(y)) + penalty).backward()
    model.zero_grad()
    loss = mse(model(mine(x)), mine(y)) + (model.module.last.weight**2).sum()
    one = copy.deepcopy(model.module)
    loss.backward()  # made afterwards: it comes first, as in one process
    one.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (mse(one(x), y) + (one.last.weight**2).sum()).backward()
    near(model.module.last.weight.grad, one.last.weight.grad, 1e-6)
