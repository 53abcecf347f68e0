"""State, parameters and layers divided among ranks: the same numbers as in one process."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, Net, all_near, batches, equal_on_all_ranks, mine
from tinygrad_llm import nn, optim
from tinygrad_llm.autograd.hooks import after_walk, late_gradients
from tinygrad_llm.distributed.sharded import joined_parts
from tinygrad_llm.distributed.traffic import watching
from tinygrad_llm.distributed.unit import Averages
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP

mse = nn.functional.mse_loss


# ---------------------------------------------------------------------------------- stage 1
def zero(params, **options):
    return dist.optim.ZeroRedundancyOptimizer(params, **options)


def decayed(model):
    """Two groups with different learning rates."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    return [{"params": matrices}, {"params": others, "lr": 0.02}]


def check_zero_redundancy_optimizer():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype, options in (
        (torch.float32, {"optimizer_class": optim.SGD, "lr": 0.1, "momentum": 0.9}),
        (torch.float64, {"optimizer_class": optim.AdamW, "lr": 0.01, "weight_decay": 0.1}),
    ):
        ours, one = DDP(Net(dtype)), Net(dtype)
        optimizer = zero(decayed(ours), **options)
        kind = options.pop("optimizer_class")
        plain = kind(decayed(one), **options)
        schedule = optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        other = optim.lr_scheduler.StepLR(plain, 3, 0.5)
        for x, y in batches(10, dtype):
            optimizer.zero_grad()
            plain.zero_grad()
            mse(ours(mine(x)), mine(y)).backward()
            mse(one(x), y).backward()
            optimizer.step()
            plain.step()
            schedule.step()
            other.step()
        all_near(ours.module, one, TOLERANCE[dtype])
        equal_on_all_ranks(ours.parameters())
        assert len(optimizer.state) < 6 and optimizer.param_groups[1]["lr"] < 0.02
        counts = [None] * size
        dist.all_gather_object(counts, len(optimizer.state))
        assert sum(counts) == 6
        with pytest.raises(RuntimeError, match="has not been consolidated"):
            optimizer.state_dict()
        optimizer.consolidate_state_dict(to=size - 1)
        states = [optimizer.state_dict() if rank == size - 1 else None]
        if rank == size - 1:
            assert states[0]["state"].keys() == plain.state_dict()["state"].keys()
            plain.load_state_dict(states[0])  # one process can continue with it
        dist.broadcast_object_list(states, src=size - 1)
        again = zero(decayed(ours), optimizer_class=kind, **options)
        again.load_state_dict(states[0])
        assert again.state.keys() == optimizer.state.keys()
    with pytest.raises(RuntimeError, match="overlap_with_ddp"):
        zero(ours.parameters(), optimizer_class=optim.SGD, overlap_with_ddp=True)


# ------------------------------------------------------------------------------------ meshes
def check_device_meshes():
    rank, size = dist.get_rank(), dist.get_world_size()
    mesh = dist.device_mesh.init_device_mesh("cpu", (size,))
    assert mesh.size() == size == mesh.size(0) and mesh.get_local_rank() == rank
    assert mesh.get_group() is dist.group.WORLD and mesh.ndim == 1
    grid = dist.device_mesh.init_device_mesh("cpu", (1, size), mesh_dim_names=("dp", "tp"))
    assert grid["tp"].get_group() is dist.group.WORLD and grid["dp"].size() == 1
    assert grid.get_coordinate() == (0, rank) and grid.get_local_rank("tp") == rank
    assert repr(grid) == f"DeviceMesh((dp=1, tp={size}), device: 'cpu')"
    assert grid["dp", "tp"].shape == (1, size) and grid["tp", "dp"].shape == (size, 1)
    x = torch.ones(1)
    dist.all_reduce(x, group=grid.get_group("dp"))
    assert x.item() == 1.0
    with pytest.raises(RuntimeError, match="bigger than default world size"):
        dist.device_mesh.init_device_mesh("cpu", (size + 1,))
    with pytest.raises(KeyError, match="Invalid mesh_dim_name"):
        grid["pp"]
    with pytest.raises(RuntimeError, match="mesh_dim"):
        grid.get_group()


# ---------------------------------------------------------------------------- tensor parallel
class Transformer(nn.Module):
    """Words, one block of attention and MLP, and a head that shares the words' weight."""

    def __init__(self, dtype, ranks=1, words=17):
        super().__init__()
        torch.manual_seed(4)
        self.words = nn.Embedding(words, 12, dtype=dtype, padding_idx=1)
        self.places = nn.Embedding(5, 12, dtype=dtype)
        self.norm = nn.LayerNorm(12, dtype=dtype)
        self.q, self.k, self.v = (nn.Linear(12, 12, dtype=dtype) for _ in range(3))
        self.out = nn.Linear(12, 12, dtype=dtype)
        self.up, self.down = nn.Linear(12, 19, dtype=dtype), nn.Linear(19, 12, dtype=dtype)
        self.head = nn.Linear(12, words, bias=False, dtype=dtype)
        self.head.weight = self.words.weight

    def forward(self, ids):
        B, T = ids.shape
        x = self.words(ids) + self.places(torch.arange(T))
        h = self.norm(x)
        q, k, v = (m(h).view(B, T, -1, 1).transpose(1, 2) for m in (self.q, self.k, self.v))
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(h.transpose(1, 2).reshape(B, T, -1))
        x = x + self.down(nn.functional.gelu(self.up(x)))
        return self.head(x)


def tensor_parallel(model):
    style = dist.tensor.parallel
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    return style.parallelize_module(
        model,
        mesh,
        {
            "words": style.RowwiseParallel(input_layouts=dist.tensor.Replicate()),
            "places": style.ColwiseParallel(output_layouts=dist.tensor.Replicate()),
            "[qkv]": style.ColwiseParallel(),
            "out": style.RowwiseParallel(),
            "up": style.ColwiseParallel(),
            "down": style.RowwiseParallel(),
            "head": style.ColwiseParallel(output_layouts=dist.tensor.Replicate()),
        },
    )


def whole(p):
    """A parameter as one process has it."""
    return p.full_tensor() if hasattr(p, "full_tensor") else p


def steps_of(
    model, make_optimizer, dtype, steps=10, clip=1.0, part=lambda t: t, loss_within=nullcontext
):  # fmt: skip
    """(losses, norms, gradients of the first step) of a training."""
    optimizer = make_optimizer(model.parameters())
    generator = torch.Generator().manual_seed(1)
    losses, norms, first = [], [], {}
    for step in range(steps):
        ids = torch.randint(0, 17, (12, 5), generator=generator)
        targets = torch.randint(0, 17, (12, 5), generator=generator)
        optimizer.zero_grad()
        torch.manual_seed(step)  # the same dropout everywhere
        logits = model(part(ids))
        with loss_within():
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), part(targets).flatten())
        loss.backward()
        if step == 0:
            first = {n: gradient(p) for n, p in model.named_parameters()}
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, first


def gradient(p):
    """The whole gradient of a parameter."""
    if not hasattr(p, "division"):
        return p.grad.clone()
    return torch.tensor(joined_parts(p, p.grad.array))


def as_in_one_process(ours, one, dtype, make_optimizer, losses_too=True, **options):
    """Gradients, norms, losses and weights after ten steps."""
    expected_losses, expected_norms, expected = steps_of(one, make_optimizer, dtype)
    losses, norms, first = steps_of(ours, make_optimizer, dtype, **options)
    tolerance = TOLERANCE[dtype]
    for name, g in expected.items():
        worst = (g - first[name]).abs().max().item()
        assert worst <= tolerance * (g.abs().max().item() + 0.1), (name, worst)
    assert torch.allclose(torch.tensor(norms), torch.tensor(expected_norms), rtol=3 * tolerance)
    if losses_too:
        close = torch.allclose(torch.tensor(losses), torch.tensor(expected_losses), rtol=tolerance)
        assert close, (losses, expected_losses)
    for (name, p), (_, q) in zip(ours.named_parameters(), one.named_parameters(), strict=True):
        worst = (whole(p).detach() - q.detach()).abs().max().item()
        # a key's bias has no gradient: AdamW makes steps of its rounding errors
        limit = 1e-9 if make_optimizer is ADAMW and name.endswith("k.bias") else tolerance
        assert worst <= limit, (name, worst)


SGD = lambda p: optim.SGD(p, lr=0.1, momentum=0.9)  # noqa: E731
ADAMW = lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)  # noqa: E731


def check_tensor_parallel():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype, make in ((torch.float32, SGD), (torch.float64, ADAMW)):
        ours = tensor_parallel(Transformer(dtype))
        assert ours.words.weight is ours.head.weight
        assert ours.words.weight.shape[0] == 17 * (rank + 1) // size - 17 * rank // size
        as_in_one_process(ours, Transformer(dtype), dtype, make)
    equal_on_all_ranks([ours.norm.weight, ours.out.bias])
    style = dist.tensor.parallel
    x = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = Transformer(torch.float64)
    layouts = dist.tensor.Replicate(), dist.tensor.Shard(-1)
    for kind in (style.ColwiseParallel, style.RowwiseParallel):
        for a in layouts:
            for b in layouts:
                layer = Transformer(torch.float64).up
                style.parallelize_module(layer, None, kind(input_layouts=a, output_layouts=b))
                x_ours = dist.nn.own_part_of(x, -1) if a == layouts[1] else x
                y = layer(x_ours)
                y = y if b == layouts[0] else dist.nn.gather_along(y, -1)
                assert torch.allclose(y, one.up(x), rtol=1e-12)


def check_what_tensor_parallel_refuses():
    style = dist.tensor.parallel
    with pytest.raises(NotImplementedError, match="only support nn.Linear and nn.Embedding"):
        style.parallelize_module(nn.LayerNorm(3), None, style.ColwiseParallel())
    with pytest.raises(ValueError, match="max_norm"):
        words = nn.Embedding(5, 2, max_norm=1.0)
        style.parallelize_module(words, None, style.RowwiseParallel())
    with pytest.raises(ValueError, match="layout is Replicate"):
        style.ColwiseParallel(output_layouts="columns")
    with pytest.warns(UserWarning, match="could not be resolved"):
        style.parallelize_module(nn.Linear(2, 2), None, {"nothing": style.ColwiseParallel()})
    with pytest.raises(TypeError, match="ParallelStyle"):
        style.parallelize_module(nn.Linear(2, 2), None, "columns")


# ------------------------------------------------------------------------------------ stage 3
class Block(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.norm = nn.LayerNorm(12, dtype=dtype)
        self.up, self.down = nn.Linear(12, 19, dtype=dtype), nn.Linear(19, 12, dtype=dtype)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Blocks(nn.Module):
    """Sizes that no number of ranks divides; the head shares the words' weight."""

    def __init__(self, dtype, seed=4):
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(17, 12, dtype=dtype)
        self.blocks = nn.ModuleList(Block(dtype) for _ in range(2))
        self.norm = nn.LayerNorm(12, dtype=dtype)
        self.head = nn.Linear(12, 17, bias=False, dtype=dtype)
        self.head.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def loss(self, ids, targets):
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        logits = nn.functional.linear(self.norm(x), self.head.weight)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def sharded(model, **options):
    for block in model.blocks:
        dist.fsdp.fully_shard(block, **options)
    return dist.fsdp.fully_shard(model, **options)


def check_fully_shard():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype, make, options in (
        (torch.float32, SGD, {}),
        (torch.float64, ADAMW, {"reshard_after_forward": False}),
        (torch.float64, ADAMW, {}),
    ):
        ours = sharded(Blocks(dtype, seed=4 + rank), **options)
        assert ours.head.weight is ours.words.weight and isinstance(ours, dist.fsdp.FSDPModule)
        own = sum(p.numel() for p in ours.parameters())
        one = Blocks(dtype)
        assert own < sum(p.numel() for p in one.parameters()) / size * 1.25
        as_in_one_process(ours, one, dtype, make, losses_too=False, part=mine)
        assert list(ours.state_dict()) == list(one.state_dict())
    model, one = sharded(Blocks(torch.float64)), Blocks(torch.float64)
    ids = torch.arange(12 * 5).view(12, 5) % 17
    model.loss(mine(ids), mine(ids)).backward()
    one.loss(ids, ids).backward()
    for (name, p), (_, q) in zip(model.named_parameters(), one.named_parameters(), strict=True):
        assert torch.allclose(gradient(p), q.grad, rtol=1e-12, atol=1e-13), name
    with torch.no_grad():
        assert torch.allclose(model(ids), one(ids), rtol=1e-12)
        model.encode = lambda x: model.words(x)
        dist.fsdp.register_fsdp_forward_method(model, "encode")
        assert torch.allclose(model.encode(ids), one.words(ids))


def check_whole_parameters_are_dropped_after_forward():
    ids = torch.arange(6).view(1, 6)
    alive = {}
    for reshard in (True, False):
        model = sharded(Blocks(torch.float32), reshard_after_forward=reshard)
        unit = model.blocks[0].__dict__["_unit"]
        made, gather = [], unit.gather
        unit.gather = lambda parts: made.append(gather(parts)) or made[-1]  # noqa: B023
        loss = model(ids).sum()
        references = [weakref.ref(a) for a in made[0]]
        made.clear()
        gc.collect()
        alive[reshard] = sum(r() is not None for r in references)
        assert unit.again is None
        loss.backward()
        assert len(made) == reshard and unit.again is None
    assert alive[True] == 0 < alive[False], alive


class Logged(Block):
    """A block that logs when its forward pass begins, and when its backward pass does."""

    def __init__(self, dtype, write, number):
        super().__init__(dtype)
        self.__dict__["write"] = write
        self.number = number

    def forward(self, x):
        self.write(f"forward {self.number}")
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(lambda g: self.write(f"backward {self.number}"))
        return y


class Path(Blocks):
    """Blocks of which a call may leave some out."""

    def __init__(self, dtype, write=lambda line: None, numbers=range(3)):
        super().__init__(dtype)
        self.blocks = nn.ModuleList(Logged(dtype, write, i) for i in numbers)

    def forward(self, ids, numbers=(0, 1, 2)):
        x = self.words(ids)
        for i in numbers:
            x = self.blocks[i](x)
        return self.head(self.norm(x))


def logged_step(model, ids, log, numbers=(0, 1, 2)):
    """A step without an optimizer: what was exchanged, and what the blocks logged, in order."""
    log.clear()
    with watching(lambda exchange: log.append(exchange.what.partition(" of ")[0])):
        logits = model(ids, numbers)
        (logits * logits).mean().backward()
    return list(log)


def gathered_ahead(move=lambda model: model):
    """Each unit's parameters are on their way before the unit before it computes.

    So are its gradients afterwards: their mean is waited for when the next ones are there.
    """
    log: list[str] = []
    finish = Averages.finish

    def logged_finish(self):
        log.extend(["mean"] * bool(self.works))
        finish(self)

    model = sharded(move(Path(torch.float32, log.append)))
    ids = move(torch.arange(6).view(1, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Averages, "finish", logged_finish)
        first, second, third = (logged_step(model, ids, log) for _ in range(3))
    ends = [
        "average", "backward 1", "unshard", "mean", "average", "backward 0", "mean", "average",
        "mean", "average", "mean",
    ]  # fmt: skip
    assert first == [
        "unshard", "unshard", "forward 0", "unshard", "forward 1", "unshard", "forward 2",
        "unshard", "backward 2", "unshard", "average", "backward 1", "unshard", "mean", "average",
        "backward 0", "unshard", "mean", "average", "mean", "average", "mean",
    ]  # fmt: skip
    assert second == third == [
        "unshard", "unshard", "unshard", "forward 0", "unshard", "forward 1", "forward 2",
        "unshard", "unshard", "backward 2", "unshard", *ends,
    ]  # fmt: skip


def check_the_next_unit_is_gathered_ahead():
    gathered_ahead()


def check_gradients_that_come_late_pass_hooks_and_autograd_grad():
    """A hook sees the mean over the ranks; autograd.grad returns it, and .grad stays."""
    ours, one = sharded(Blocks(torch.float64)), Blocks(torch.float64)
    ids = torch.arange(12 * 5).view(12, 5) % 17
    one.loss(ids, ids).backward()
    part, expected = ours.blocks[0].up.weight, one.blocks[0].up.weight.grad
    seen = []
    with part.register_hook(lambda g: seen.append(g.clone()) or 2 * g):
        with part.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone())):
            ours.loss(mine(ids), mine(ids)).backward()
    before, after = (torch.tensor(joined_parts(part, g.array)) for g in seen)
    assert torch.allclose(before, expected, rtol=1e-12, atol=1e-13)
    assert torch.allclose(after, 2 * expected, rtol=1e-12, atol=1e-13)
    (g,) = torch.autograd.grad(ours.loss(mine(ids), mine(ids)), [part])
    whole_g = torch.tensor(joined_parts(part, g.array))
    assert torch.allclose(whole_g, expected, rtol=1e-12, atol=1e-13)
    assert torch.equal(gradient(part), after)
    ours.loss(mine(ids), mine(ids)).backward()  # added to what is there
    assert torch.allclose(gradient(part), 3 * expected, rtol=1e-12, atol=1e-13)


def check_gradients_of_several_backward_passes_in_one_exchange():
    dtype = torch.float64
    for reshard in (True, False):
        ours, one = sharded(Blocks(dtype), reshard_after_forward=reshard), Blocks(dtype)
        texts = [torch.arange(12 * 5).view(12, 5) * k % 17 for k in (1, 2, 3)]
        ours.head.weight.requires_grad_(False)  # also a parameter without a gradient
        for ids in texts:
            ours.set_requires_gradient_sync(ids is texts[-1])
            exchanges = []
            with watching(exchanges.append):
                ours.loss(mine(ids), mine(ids)).backward()
            averages = [e for e in exchanges if e.what.startswith("average")]
            assert bool(averages) == (ids is texts[-1])
            assert (ours.norm.weight.grad is None) == (ids is not texts[-1])
            one.loss(ids, ids).backward()
        for (name, p), (_, q) in zip(ours.named_parameters(), one.named_parameters(), strict=True):
            if p.requires_grad:
                assert torch.allclose(gradient(p), q.grad, rtol=1e-11, atol=1e-13), name
        assert ours.head.weight.grad is None


def check_units_that_are_called_in_another_order():
    dtype = torch.float64
    ours, one = sharded(Path(dtype)), Path(dtype)
    ids = torch.arange(12 * 5).view(12, 5) % 17
    paths = [(0, 1, 2), (0, 1, 2), (0, 2), (0, 2), (2, 1, 1, 0), (2, 1, 1, 0), (0, 1, 2), (1,)]
    for numbers in paths:
        logged_step(ours, mine(ids), [], numbers)
        logged_step(one, ids, [], numbers)
        for (name, p), (_, q) in zip(ours.named_parameters(), one.named_parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None), (numbers, name)
            if q.grad is not None:
                assert torch.allclose(gradient(p) * 1.0, q.grad, rtol=1e-11, atol=1e-13), (
                    numbers, name,
                )  # fmt: skip
                with torch.no_grad():
                    p -= 0.1 * p.grad
                    q -= 0.1 * q.grad
                p.grad = q.grad = None
        with torch.no_grad():
            assert torch.allclose(ours(ids, numbers), one(ids, numbers), rtol=1e-11)


def check_a_step_after_one_that_failed():
    """What the failed one had gathered is not used: the numbers have changed since."""
    dtype = torch.float64
    ours, one = sharded(Path(dtype)), Path(dtype)
    ids = torch.arange(12 * 5).view(12, 5) % 17
    for _ in range(2):
        logged_step(ours, mine(ids), [])

    def fails(line):
        if line == failing:
            raise KeyError(line)

    for failing in ("forward 1", "backward 1"):
        ours.blocks[1].__dict__["write"] = fails
        with pytest.raises(KeyError, match=failing):
            logged_step(ours, mine(ids), [])
        assert not after_walk and not late_gradients
        ours.blocks[1].__dict__["write"] = lambda line: None
        with torch.no_grad():
            for p in (*ours.parameters(), *one.parameters()):
                p *= 1.25
                p.grad = None
        logged_step(ours, mine(ids), [])
        logged_step(one, ids, [])
        for (name, p), (_, q) in zip(ours.named_parameters(), one.named_parameters(), strict=True):
            assert torch.allclose(gradient(p), q.grad, rtol=1e-11, atol=1e-13), (failing, name)


def check_what_fully_shard_refuses():
    shared = Blocks(torch.float32)
    dist.fsdp.fully_shard(shared.words)
    with pytest.raises(ValueError, match="divided already"):
        dist.fsdp.fully_shard(shared)
    with pytest.raises(ValueError, match="called before"):
        dist.fsdp.fully_shard(shared.words)
    for option in ("mp_policy", "dp_mesh_dims"):
        with pytest.raises(ValueError, match=f"{option} is not offered"):
            dist.fsdp.fully_shard(nn.Linear(2, 2), **{option: object()})
    with pytest.raises(TypeError, match="expected a module, got list; call it for each module"):
        dist.fsdp.fully_shard([nn.Linear(2, 2)])
    scalar = nn.Module()
    scalar.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="scalar"):
        dist.fsdp.fully_shard(scalar)
    model = sharded(Blocks(torch.float32))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 2), 99))
    assert model.words.weight.shape[0] < 17  # an error in forward leaves the parts in their places
