"""Models divided among ranks over NCCL: on real GPUs, or on stand-ins without one."""

from __future__ import annotations

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks import experts, pipeline, ring, sequence
from on_ranks.gpus import adamw, on_gpu, sgd, trained_when_sharded
from on_ranks.models import TOLERANCE, near
from on_ranks.sharded import gradient, whole
from tinygrad_llm import nn
from tinygrad_llm.distributed import pipelining as pp
from tinygrad_llm.distributed.nn.ring_attention import own_positions
from tinygrad_llm.distributed.tensor import Replicate, Shard
from tinygrad_llm.distributed.tensor import parallel as tp
from tinygrad_llm.nn.parallel import DistributedDataParallel as DDP

F = nn.functional


def mesh():
    return dist.device_mesh.init_device_mesh("cuda", (dist.get_world_size(),))


def compared(ours, one, optimizers, dtype):
    """Gradients and norms, and the weights after a step."""
    pairs = [(p, q) for p, q in zip(ours.parameters(), one.parameters(), strict=True)]
    for p, q in pairs:
        near(gradient(p).cpu(), q.grad.cpu(), 3 * TOLERANCE[dtype])
    norms = [nn.utils.clip_grad_norm_(m.parameters(), 0.5).cpu() for m in (ours, one)]
    near(*norms, 3 * TOLERANCE[dtype])
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    for p, q in pairs:
        near(whole(p).detach().cpu(), q.detach().cpu(), 10 * TOLERANCE[dtype])


def check_a_divided_sequence_and_vocabulary():
    for dtype, make, logits in (
        (torch.float32, sgd, Shard(-1)), (torch.float64, adamw, Replicate()),
    ):  # fmt: skip
        one = on_gpu(sequence.Model(dtype))
        ours = tp.parallelize_module(on_gpu(sequence.Model(dtype)), mesh(), sequence.plan(logits))
        optimizers = make(ours.parameters()), make(one.parameters())
        for step in range(2):
            ids = on_gpu(torch.arange(10).view(2, 5) + step)
            for model in (ours, one):
                torch.manual_seed(step)
                with tp.loss_parallel():
                    F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
            # a key's bias has no gradient: AdamW makes steps of its rounding errors
            for model in (ours, one):
                model.attention.k.bias.grad.zero_()
            compared(ours, one, optimizers, dtype)


def check_divided_experts():
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype, make in ((torch.float32, sgd), (torch.float64, adamw)):
        one = on_gpu(experts.Model(dtype))
        plan = {"first": tp.ExpertParallel(), "second": tp.ExpertParallel()}
        model = tp.parallelize_module(on_gpu(experts.Model(dtype)), mesh(), plan)
        ours = DDP(model)
        optimizers = make(model.parameters()), make(one.parameters())
        for step in range(2):
            ids = on_gpu((torch.arange(10 * size).view(2 * size, 5) * 7 + step) % 13)
            own = ids[2 * rank : 2 * rank + 2]
            experts.step_of(ours, own, own, dist.group.WORLD)
            experts.step_of(one, ids, ids, None)
            compared(model, one, optimizers, dtype)


def check_divided_gradients():
    """Stage 2: the parameters stay whole between forward and backward."""
    trained_when_sharded(reshard_after_forward=False)


def check_a_pipeline():
    rank, n = dist.get_rank(), dist.get_world_size()
    own = slice(2 * rank, 2 * rank + 2)
    for kind, dtype, make in (
        (pp.ScheduleGPipe, torch.float32, sgd), (pp.Schedule1F1B, torch.float64, adamw),
    ):  # fmt: skip
        one, part = on_gpu(pipeline.layers(dtype)), on_gpu(pipeline.layers(dtype)[own])
        stage = pp.PipelineStage(part, rank, n, "cuda")
        schedule = kind(stage, 2 * n, pipeline.mse)
        optimizers = make(part.parameters()), make(one.parameters())
        for step in range(3):
            x, y = (on_gpu(t) for t in pipeline.batch(4 * n, dtype, step))
            for optimizer in optimizers:
                optimizer.zero_grad()
            args, target = pipeline.given(stage, x, y)
            out = schedule.step(*args, **target)
            pipeline.mse(one(x), y).backward()
            if stage.is_last:
                near(out.cpu(), one(x).cpu(), 10 * TOLERANCE[dtype])
            for p, q in zip(part.parameters(), one[own].parameters(), strict=True):
                near(p.grad.cpu(), q.grad.cpu(), 10 * TOLERANCE[dtype])
            norms = (
                pp.clip_grad_norm_over_stages(stage, 0.1),
                nn.utils.clip_grad_norm_(one.parameters(), 0.1),
            )
            near(*[norm.cpu() for norm in norms], 10 * TOLERANCE[dtype])
            for optimizer in optimizers:
                optimizer.step()
        for p, q in zip(part.parameters(), one[own].parameters(), strict=True):
            near(p.detach().cpu(), q.detach().cpu(), 10 * TOLERANCE[dtype])


def check_ring_attention():
    size, rank = dist.get_world_size(), dist.get_rank()
    for dtype, length in ((torch.float32, 6 * size), (torch.float64, 4 * size + 3)):
        options = {"is_causal": True, "enable_gqa": True, "window": 5}
        generator = torch.Generator().manual_seed(0)
        *inputs, g = (on_gpu(x) for x in ring.arrays(dtype, length, 4, generator))
        full = [x.clone().requires_grad_() for x in inputs]
        y = F.scaled_dot_product_attention(*full, **options)
        y.backward(g)
        at = on_gpu(torch.tensor(own_positions(length, size, rank)))
        own = [x[:, :, at].clone().requires_grad_() for x in inputs]
        ours = dist.nn.ring_attention(*own, **options)
        ours.backward(g[:, :, at])
        near(ours.cpu(), y[:, :, at].cpu(), 10 * TOLERANCE[dtype])
        for x, expected in zip(own, full, strict=True):
            near(x.grad.cpu(), expected.grad[:, :, at].cpu(), 10 * TOLERANCE[dtype])
