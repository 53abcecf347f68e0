"""Models divided among ranks over NCCL: on real GPUs, or on stand-ins without one."""

from __future__ import annotations

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks import experts, sequence
from on_ranks.gpus import adamw, on_gpu, sgd
from on_ranks.models import TOLERANCE, near
from on_ranks.sharded import gradient, whole
from tinygrad_llm import nn
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
