"""Gradients of DistributedDataParallel that are still exchanged between GPUs when they are used."""

from __future__ import annotations

import copy
import threading

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.gpus import on_gpu, sgd
from on_ranks.models import Net, all_near, batches, mine
from tinygrad_llm import nn, optim, study
from tinygrad_llm.arrays import devices
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP

mse = nn.functional.mse_loss
SMALL = 1e-5  # MB: one bucket for each parameter


def late(module):
    """Whether each parameter's gradient is still exchanged."""
    return [type(p._grad) is not torch.Tensor for p in module.parameters()]


def check_the_last_gradients_arrive_while_the_process_goes_on():
    rank, size = dist.get_rank(), dist.get_world_size()
    model = DDP(on_gpu(nn.Linear(3, 2)), bucket_cap_mb=SMALL)
    x = on_gpu(torch.arange(12.0).reshape(4, 3) + rank)
    expected = torch.arange(12.0).reshape(4, 3).sum(0) + 4 * (size - 1) / 2
    for read in (True, False, True):
        model.zero_grad()
        model(x).sum().backward()
        assert any(late(model)) == (size > 1) and not all(late(model)), late(model)
        if read:
            assert copy.deepcopy(model.module).weight.grad.cpu()[1].tolist() == expected.tolist()
            assert model.module.bias.grad.cpu().tolist() == [4.0, 4.0]
            assert not any(late(model))


def check_every_use_of_a_late_gradient_sees_the_mean():
    rank, size = dist.get_rank(), dist.get_world_size()
    model = DDP(on_gpu(nn.Linear(3, 2, bias=False)))
    weight = model.module.weight
    x = on_gpu(torch.full((4, 3), rank + 1.0))
    mean = 4 * (size + 1) / 2  # of every entry of the weight's gradient

    def multiplied():
        weight.grad *= 2
        return weight.grad / 2

    def in_a_thread():
        read = []
        thread = threading.Thread(target=lambda: read.append(weight.grad.cpu()))
        thread.start()
        thread.join()
        return read[0]

    def on_another_stream():
        with devices.cupy().cuda.Stream(non_blocking=True):
            return weight.grad.cpu()

    def clipped():
        norm = nn.utils.clip_grad_norm_([weight], 1e9)
        assert abs(float(norm.cpu()) - mean * 6**0.5) < 1e-3
        return weight.grad

    def unscaled():
        optimizer = optim.SGD([weight], lr=0.0)
        scaler = torch.amp.GradScaler("cuda", init_scale=1.0)
        scaler.unscale_(optimizer)
        return weight.grad

    def zeroed():
        kept = weight.grad
        model.zero_grad(set_to_none=False)
        assert weight.grad is kept
        return kept + mean

    def shown():
        assert weight.grad.shape == (2, 3) and weight.grad.is_cuda and "cuda" in repr(weight.grad)
        assert isinstance(weight.grad, torch.Tensor) and type(weight.grad) is torch.Tensor
        return weight.grad

    uses = {
        "numbers": lambda: weight.grad, "cpu": lambda: weight.grad.cpu(), "*=": multiplied,
        "data": lambda: weight.grad.data, "detach": lambda: weight.grad.detach(),
        "clone": lambda: weight.grad.clone(), "copy": lambda: copy.copy(weight.grad),
        "deepcopy": lambda: copy.deepcopy(weight.grad), "row": lambda: weight.grad[:],
        "assigned": lambda: torch.stack([weight.grad])[0], "thread": in_a_thread,
        "stream": on_another_stream, "clip": clipped, "scaler": unscaled, "zero_grad": zeroed,
        "shown": shown, "double": lambda: (weight.grad + weight.grad) / 2,
    }  # fmt: skip
    for name, use in uses.items():
        model.zero_grad()
        model(x).sum().backward()
        assert late(model) == [size > 1], name
        assert (use().detach().cpu() == mean).all(), name


def check_optimizers_with_late_gradients():
    makers = {
        "sgd": sgd,
        "adam": lambda p: optim.Adam(p, lr=0.01),
        "amsgrad": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
        "rmsprop": lambda p: optim.RMSprop(p, lr=0.01),
        "two groups": lambda p: optim.AdamW(
            [{"params": [q for q in p if q.ndim == d], "weight_decay": 0.1 * d} for d in (2, 1)],
            lr=0.01,
        ),
    }
    for name, make in makers.items():
        ours, one = DDP(on_gpu(Net(torch.float64)), bucket_cap_mb=SMALL), on_gpu(Net(torch.float64))
        optimizers = [make(list(m.parameters())) for m in (ours, one)]
        for x, y in batches(3, torch.float64):
            for optimizer in optimizers:
                optimizer.zero_grad()
            mse(ours(on_gpu(mine(x))), on_gpu(mine(y))).backward()
            mse(one(on_gpu(x)), on_gpu(y)).backward()
            assert any(late(ours)) == (dist.get_world_size() > 1), name
            for optimizer in optimizers:
                optimizer.step()
        all_near(ours.module, one, 1e-11)


def check_a_gradient_that_the_program_holds_becomes_the_mean():
    """As in PyTorch another backward pass changes the memory of .grad, which views may show."""
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype in (torch.float32, torch.bfloat16):
        model = DDP(on_gpu(nn.Linear(3, 2).to(dtype)), bucket_cap_mb=SMALL)
        parameters = list(model.parameters())
        memory = on_gpu(torch.zeros(8, dtype=dtype))  # of all gradients, one after the other
        parameters[0].grad, parameters[1].grad = memory[:6].view(2, 3), memory[6:]
        held = [p.grad for p in parameters]
        x = on_gpu(torch.full((4, 3), rank + 1.0).to(dtype))
        for accumulated in (False, True):
            memory.zero_()
            if accumulated:
                with model.no_sync():
                    model(x).sum().backward()
            model(x).sum().backward()
            times = 2 if accumulated else 1
            expected = [times * 4 * (size + 1) / 2] * 6 + [times * 4.0] * 2
            assert memory.cpu().tolist() == expected, (dtype, accumulated)
            assert torch.cat([g.cpu().flatten() for g in held]).tolist() == expected
            for p, g in zip(parameters, held, strict=True):
                assert p.grad.data_ptr() == g.data_ptr()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)

    def forward(self, x, first):
        return self.a(x) if first else self.b(x)


def check_a_parameter_that_no_rank_uses_keeps_its_gradient():
    rank, size = dist.get_rank(), dist.get_world_size()
    model = DDP(on_gpu(Two()), find_unused_parameters=True)
    x = on_gpu(torch.full((1, 2), rank + 1.0))
    with model.no_sync():
        model(x, True).sum().backward()
    model(x, False).sum().backward()
    assert model.module.a.weight.grad.cpu().tolist() == [[rank + 1.0] * 2]
    assert model.module.b.weight.grad.cpu().tolist() == [[(size + 1) / 2] * 2]


def check_late_gradients_are_there_after_their_group_was_destroyed():
    rank, size = dist.get_rank(), dist.get_world_size()
    group = dist.new_group()
    model = DDP(on_gpu(nn.Linear(3, 2)), bucket_cap_mb=SMALL, process_group=group)
    model(on_gpu(torch.full((4, 3), rank + 1.0))).sum().backward()
    assert any(late(model)) == (size > 1)
    dist.destroy_process_group(group)
    assert (model.module.weight.grad.cpu() == 4 * (size + 1) / 2).all()


def check_a_trace_shows_the_exchange_of_gradients_as_a_collective():
    size = dist.get_world_size()
    model = DDP(on_gpu(nn.Linear(3, 8)))
    with study.trace() as t:
        model(on_gpu(torch.ones(4, 3))).sum().backward()
    own = [e for e in t.exchanges if e.name == "all_reduce"]
    assert sum(e.bytes for e in own) == 2 * 32 * 4 * (size - 1) // size, [e.what for e in own]
    assert not any(late(model))
