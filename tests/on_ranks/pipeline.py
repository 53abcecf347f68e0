"""Stages over ranks: the same losses, gradients and weights as in one process."""

from __future__ import annotations

import gc
import weakref

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, near
from on_ranks.sharded import Block, gradient
from tinygrad_llm import nn, optim
from tinygrad_llm.distributed import pipelining as pp
from tinygrad_llm.models.gpt import GPT, GPTConfig
from tinygrad_llm.models.llama import Llama, LlamaConfig
from tinygrad_llm.models.stages import cut_into_stages

mse = nn.functional.mse_loss


def layers(dtype, seed=0):
    """As many pairs of layers as there are ranks, of different widths."""
    torch.manual_seed(seed)
    made = []
    for i in range(dist.get_world_size()):
        made += [nn.Linear(5 + i, 6 + i, dtype=dtype), nn.Tanh()]
    return nn.Sequential(*made)


def stage_of(module, group=None):
    n = dist.get_world_size(group)
    spec = {str(2 * i): pp.SplitPoint.BEGINNING for i in range(1, n)}
    pipe = pp.pipeline(module, mb_args=(torch.zeros(2, 5),), split_spec=spec)
    assert pipe.num_stages == n
    return pipe.build_stage(dist.get_rank(group), "cpu", group)


def batch(rows, dtype, seed=1):
    n, generator = dist.get_world_size(), torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=generator).to(dtype)
    return x, torch.randn(rows, 5 + n, generator=generator).to(dtype)


def given(stage, x, y):
    """What step gets on this rank."""
    args = (x,) if stage.is_first else ()
    return args, {"target": y} if stage.is_last else {}


def check_losses_and_gradients_are_those_of_one_process():
    n = dist.get_world_size()
    for kind in (pp.ScheduleGPipe, pp.Schedule1F1B):
        for dtype, rows, m in ((torch.float32, 3 * n, n), (torch.float64, 4 * n + 3, n + 2)):
            module, one = layers(dtype), layers(dtype)
            stage = stage_of(module)
            schedule = kind(stage, m, mse)
            losses, expected = [], []
            for step in range(2):  # the second without shapes; gradients of both are added up
                x, y = batch(rows, dtype, step)
                args, target = given(stage, x, y)
                out = schedule.step(*args, **target, losses=losses)
                for a, b in zip(x.tensor_split(m), y.tensor_split(m), strict=True):
                    expected.append(mse(one(a), b))
                    expected[-1].backward()
                for p in one.parameters():
                    p.grad /= m  # as PyTorch's, what was there before too
                assert (out is not None) == stage.is_last
                if stage.is_last:
                    near(out, one(x), TOLERANCE[dtype])
                    near(torch.stack(losses), torch.stack(expected[-m:]), TOLERANCE[dtype])
            for name, p in stage.submod.named_parameters():
                near(p.grad, one.get_parameter(name).grad, TOLERANCE[dtype])
            ahead = m if kind is pp.ScheduleGPipe else n - stage.stage_index
            assert stage.most_alive == min(m, ahead) and not stage.alive


def check_sends_that_wait_for_the_next_receive():
    """As over NCCL, whose messages run in order: here every send and receive counts as such."""
    n = dist.get_world_size()
    for kind in (pp.ScheduleGPipe, pp.Schedule1F1B):
        module, one = layers(torch.float64), layers(torch.float64)
        stage = stage_of(module)
        stage._runs_in_order = lambda x: x.is_floating_point()
        x, y = batch(4 * n, torch.float64)
        args, target = given(stage, x, y)
        kind(stage, n + 1, mse).eval(*args)
        kind(stage, 2 * n, mse).step(*args, **target)
        mse(one(x), y).backward()
        for name, p in stage.submod.named_parameters():
            near(p.grad, one.get_parameter(name).grad, 1e-12)
        assert not stage._later and not stage._works


def check_a_mean_loss_of_equal_micro_batches_is_that_of_the_batch():
    n = dist.get_world_size()
    module, one = layers(torch.float64), layers(torch.float64)
    stage = stage_of(module)
    x, y = batch(6 * n, torch.float64)
    args, target = given(stage, x, y)
    pp.Schedule1F1B(stage, 2 * n, mse).step(*args, **target)
    mse(one(x), y).backward()
    for name, p in stage.submod.named_parameters():
        near(p.grad, one.get_parameter(name).grad, 1e-12)


# ------------------------------------------------------------------------- language models
def gpt(dtype, tie=True):
    torch.manual_seed(2)
    n = dist.get_world_size()
    config = GPTConfig(11, 6, 8, 2, n + 1, drop_rate=0.0, tie_weights=tie)
    return GPT(config).to(dtype)


def llama(dtype, tie=False):
    torch.manual_seed(2)
    config = LlamaConfig(11, 6, 8, 12, dist.get_world_size(), 2, 1, tie_weights=tie)
    return Llama(config).to(dtype)


def tokens_of(steps):
    """Inputs and targets of each step; the micro-batches have different numbers of targets."""
    generator = torch.Generator().manual_seed(3)
    for step in range(steps):
        ids = torch.randint(0, 11, (2 * dist.get_world_size() + 1, 7), generator=generator)
        inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
        targets[step % 2 :: 3, 2:] = -100
        yield inputs, targets


def trained(module, schedule, stage, make, steps=10):
    """The norms and losses of a training of one stage."""
    optimizer = make(stage.submod.parameters())
    norms, sums = [], []
    for inputs, targets in tokens_of(steps):
        args, target = given(stage, inputs, targets)
        losses = []
        optimizer.zero_grad()
        more = {"tokens": (targets != -100).sum().item()} if stage.is_last else None
        schedule.step(*args, **target, losses=losses, loss_kwargs=more, return_outputs=False)
        pp.sum_tied_gradients(stage, module.tied_weight)
        norm = pp.clip_grad_norm_over_stages(stage, 0.5, tied=module.tied_weight)
        norms.append(norm.item())
        sums.append(sum(loss.item() for loss in losses))
        optimizer.step()
    return norms, sums


def in_one_process(model, make, steps=10):
    optimizer = make(model.parameters())
    norms, losses = [], []
    for inputs, targets in tokens_of(steps):
        optimizer.zero_grad()
        loss = model.loss(inputs, targets)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        losses.append(loss.item())
        optimizer.step()
    return norms, losses


def check_language_models_cut_by_their_blocks():
    rank, n = dist.get_rank(), dist.get_world_size()
    sgd = lambda p: optim.SGD(p, lr=0.1, momentum=0.9)  # noqa: E731
    adamw = lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)  # noqa: E731
    for make_model, tie, dtype, make, kind in (
        (gpt, True, torch.float32, sgd, pp.Schedule1F1B),
        (gpt, True, torch.float64, adamw, pp.ScheduleGPipe),
        (llama, True, torch.float64, sgd, pp.Schedule1F1B),
        (llama, False, torch.float64, adamw, pp.Schedule1F1B),
    ):
        module = cut_into_stages(make_model(dtype, tie), n)[rank]
        stage = pp.PipelineStage(module, rank, n, "cpu")
        schedule = kind(stage, n + 1, pp.token_loss, scale_grads=False)
        norms, losses = trained(module, schedule, stage, make)
        one = make_model(dtype, tie)
        expected_norms, expected = in_one_process(one, make)
        tolerance = TOLERANCE[dtype]
        near(torch.tensor(norms), torch.tensor(expected_norms), 10 * tolerance)
        if stage.is_last:
            near(torch.tensor(losses), torch.tensor(expected), 10 * tolerance)
        names = set(dict(one.named_parameters()))
        for name, p in module.model.named_parameters():
            known = name if name in names else "tok_emb.weight"
            near(p, one.get_parameter(known), tolerance)
        _tied_copies_are_equal(stage, module)


def _tied_copies_are_equal(stage, module):
    weight = module.tied_weight
    copies = [None] * stage.num_stages
    dist.all_gather_object(copies, None if weight is None else weight.detach())
    there = [c.array.tobytes() for c in copies if c is not None]
    assert len(there) in (0, 2) and len(set(there)) <= 1


def check_evaluation_and_other_shapes():
    n = dist.get_world_size()
    module, one = layers(torch.float64), layers(torch.float64)
    stage = stage_of(module)
    schedule = pp.ScheduleGPipe(stage, 2, mse)
    for rows in (4, 4, 7, 3):
        x, y = batch(rows, torch.float64)
        args, target = given(stage, x, y)
        losses = []
        out = schedule.eval(*args, **target, losses=losses)
        assert not stage.alive and all(p.grad is None for p in stage.submod.parameters())
        assert (schedule.eval(*args) is None) == (not stage.is_last)  # no target: no losses
        if stage.is_last:
            near(out, one(x), 1e-12)
            assert not out.requires_grad and len(losses) == 2
    x, y = batch(4, torch.float64)
    args, target = given(stage, x, y)
    schedule.step(*args, **target)
    assert all(p.grad is not None for p in stage.submod.parameters())
    events = pp.all_events(schedule)
    assert [[e[:2] for e in each] for each in events] == [schedule.order()] * n
    assert 0.0 <= pp.bubble_measured(events) < 1.0


def check_half_precision():
    for dtype in (torch.bfloat16, torch.float16):
        module, one = layers(torch.float32).to(dtype), layers(torch.float32).to(dtype)
        stage = stage_of(module)
        x, y = batch(2 * dist.get_world_size(), dtype)
        args, target = given(stage, x, y)
        pp.Schedule1F1B(stage, dist.get_world_size(), mse).step(*args, **target)
        mse(one(x), y).backward()
        for name, p in stage.submod.named_parameters():
            near(p.grad, one.get_parameter(name).grad, 0.05)


class Pairs(nn.Module):
    """Passes on a float, an integer and a bool tensor, in a tuple; one float is not used."""

    def __init__(self, first, last):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.last, self.line = first, last, nn.Linear(3, 3, dtype=torch.float64)

    def forward(self, x, count=None, unused=None, on=None):
        if self.first:
            count = torch.arange(len(x))
            unused, on = self.line(x), torch.tensor([True])
        x = torch.tanh(self.line(x)) * (count[:, None] + on.sum())
        return x if self.last else (x, count, unused, on)


def check_tuples_of_tensors_pass_between_stages():
    rank, n = dist.get_rank(), dist.get_world_size()
    module = Pairs(rank == 0, rank == n - 1)
    stage = pp.PipelineStage(module, rank, n, "cpu")
    x = torch.randn(2 * n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    args, target = given(stage, x, torch.zeros_like(x))
    pp.Schedule1F1B(stage, n, mse).step(*args, **target)
    stages = [Pairs(i == 0, i == n - 1) for i in range(n)]
    for chunk in x.chunk(n):
        out = (chunk,)
        for each in stages:
            out = each(*out)
            out = out if isinstance(out, tuple) else (out,)
        (mse(out[0], torch.zeros_like(out[0])) / n).backward()
    near(module.line.weight.grad, stages[rank].line.weight.grad, 1e-12)


def check_what_a_stage_has_saved_is_given_back_after_its_backward_pass():
    stage = stage_of(layers(torch.float32))
    schedule = pp.Schedule1F1B(stage, dist.get_world_size() + 2, mse)
    kept, forward = [], stage.forward_one
    stage.forward_one = lambda *a: kept.append(forward(*a)) or kept[-1]
    x, y = batch(12, torch.float32)
    args, target = given(stage, x, y)
    schedule.step(*args, **target, return_outputs=False)
    references = [weakref.ref(out) for out in kept]
    kept.clear()
    gc.collect()
    assert all(reference() is None for reference in references)


# --------------------------------------------------------------------------- what is refused
def check_what_schedules_refuse():
    rank, n = dist.get_rank(), dist.get_world_size()
    stage = stage_of(layers(torch.float32))
    x, y = batch(6, torch.float32)
    args, target = given(stage, x, y)
    with pytest.raises(ValueError, match="Number of microbatches"):
        pp.Schedule1F1B(stage, n - 1, mse)
    with pytest.raises(RuntimeError, match=r"call eval\(\) instead"), torch.no_grad():
        pp.ScheduleGPipe(stage, 2, mse).step(*args, **target)
    if rank:
        with pytest.raises(ValueError, match="only the first stage passes them"):
            pp.ScheduleGPipe(stage, 2, mse).step(x, target=y)
    else:
        with pytest.raises(ValueError, match="cannot be cut into 7 micro-batches"):
            pp.ScheduleGPipe(stage, 7, mse).step(*args, **target)
    if stage.is_last:
        with pytest.raises(ValueError, match="needs a target"):
            pp.ScheduleGPipe(stage, 2, mse).step(*args)
    with pytest.raises(RuntimeError, match="cannot be larger than number of stages"):
        pp.PipelineStage(nn.Linear(2, 2), 0, 1, "cpu")
    with pytest.raises(ValueError, match="out of range"):
        pp.PipelineStage(nn.Linear(2, 2), n, n, "cpu")
    with pytest.raises(RuntimeError, match="is on rank"):
        pp.PipelineStage(nn.Linear(2, 2), 0 if rank else 1, n, "cpu")


def check_stages_that_do_not_agree():
    rank = dist.get_rank()
    for other in ({"n_microbatches": 3}, {"loss_fn": None}):
        group = dist.new_group(timeout=0.5)
        stage = stage_of(layers(torch.float32), group)
        args, target = given(stage, *batch(6, torch.float32))
        options = {"n_microbatches": 2, "loss_fn": mse, **(other if rank == 1 else {})}
        schedule = pp.ScheduleGPipe(stage, **options)
        error = ValueError if rank == 1 else dist.DistBackendError
        with pytest.raises(error, match="stage 0 makes 2 micro-batches" if rank == 1 else "limit"):
            schedule.step(*args, **target)
        dist.barrier()


# ------------------------------------------------------------------- with data parallelism
def check_data_parallel_stages():
    size = dist.get_world_size()
    if size % 2 or size < 4:
        return
    mesh = dist.device_mesh.init_device_mesh("cpu", (2, size // 2), mesh_dim_names=("dp", "pp"))
    n, dp, place = size // 2, mesh.get_local_rank("dp"), mesh.get_local_rank("pp")
    spec = {str(4 * i): pp.SplitPoint.BEGINNING for i in range(1, n)}
    whole, one = layers(torch.float64), layers(torch.float64)
    for wrap in (
        lambda part: nn.parallel.DistributedDataParallel(part, process_group=mesh.get_group("dp")),
        lambda part: dist.fsdp.fully_shard(part, mesh=mesh["dp"]),
    ):
        part = pp.pipeline(whole, (None,), split_spec=spec).get_stage_module(place)
        module = wrap(part)
        stage = pp.PipelineStage(module, place, n, "cpu", group=mesh.get_group("pp"))
        schedule = pp.Schedule1F1B(stage, 4, mse)
        for seed in range(2):
            x, y = batch(16, torch.float64, seed)
            args, target = given(stage, x.chunk(2)[dp], y.chunk(2)[dp])
            module.zero_grad()
            schedule.step(*args, **target)
            one.zero_grad()
            mse(one(x), y).backward()
            for name, p in part.named_parameters():
                near(gradient(p), one.get_parameter(name).grad, 1e-12)


def blocks(dtype):
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Embedding(17, 12, dtype=dtype), Block(dtype), Block(dtype),
        nn.LayerNorm(12, dtype=dtype), nn.Linear(12, 17, dtype=dtype),
    )  # fmt: skip


def check_data_and_tensor_and_pipeline_parallelism_together():
    """On 8 ranks: 2 of each; on 4 without the data."""
    size = dist.get_world_size()
    if size not in (4, 8):
        return
    shape = (size // 4, 2, 2)
    mesh = dist.device_mesh.init_device_mesh("cpu", shape, mesh_dim_names=("dp", "pp", "tp"))
    dp, place, group = mesh.get_local_rank("dp"), mesh.get_local_rank("pp"), mesh.get_group("pp")
    style = dist.tensor.parallel
    for dtype, make in (
        (torch.float32, lambda p: optim.SGD(p, lr=0.1, momentum=0.9)),
        (torch.float64, lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)),
    ):
        one, whole = blocks(dtype), blocks(dtype)
        part = pp.pipeline(whole, (), split_spec={"2": pp.SplitPoint.BEGINNING}).stages[place]
        plan = {"*.up": style.ColwiseParallel(), "*.down": style.RowwiseParallel()}
        style.parallelize_module(part, mesh["tp"], plan)
        stage = pp.PipelineStage(part, place, 2, "cpu", group=group)
        schedule = pp.Schedule1F1B(stage, 3, pp.token_loss, scale_grads=False)
        optimizers = make(part.parameters()), make(one.parameters())
        generator = torch.Generator().manual_seed(3)
        for _ in range(10):
            ids = torch.randint(0, 17, (8, 6), generator=generator)
            targets = ids[:, 1:].clone()
            targets[:3, 1:] = -100
            tokens = int((targets != -100).sum())
            for optimizer in optimizers:
                optimizer.zero_grad()
            mine = [t.chunk(shape[0])[dp] for t in (ids[:, :-1], targets)]
            args, target = given(stage, *mine)
            schedule.step(*args, **target, loss_kwargs={"tokens": tokens})
            for p in part.parameters():
                dist.all_reduce(p.grad, group=mesh.get_group("dp"))
            norm = pp.clip_grad_norm_over_stages(stage, 0.5)
            pp.token_loss(one(ids[:, :-1]), targets, tokens).backward()
            expected = nn.utils.clip_grad_norm_(one.parameters(), 0.5)
            near(norm, expected, 10 * TOLERANCE[dtype])
            for optimizer in optimizers:
                optimizer.step()
        for name, p in part.named_parameters():
            full = p.full_tensor() if hasattr(p, "full_tensor") else p
            near(full, one.get_parameter(name), 10 * TOLERANCE[dtype])
