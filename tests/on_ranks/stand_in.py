"""Pipelines and ring attention with arrays of a GPU: the strict stand-in for CuPy."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import strict_array

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import near
from on_ranks.pipeline import batch, given, layers, mse
from on_ranks.ring import arrays, sdpa
from tinygrad_llm.distributed import pipelining as pp
from tinygrad_llm.distributed.nn.ring_attention import own_positions


@contextmanager
def gpu():
    """Within it there is a device "cuda"."""
    before = {name: sys.modules.get(name) for name in strict_array.stand_in()}
    sys.modules.update(strict_array.stand_in())
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def check_stages_on_a_gpu():
    rank, n = dist.get_rank(), dist.get_world_size()
    with gpu():
        one, module = layers(torch.float32), layers(torch.float32)
        part = module[2 * rank : 2 * rank + 2].to("cuda")
        stage = pp.PipelineStage(part, rank, n, "cuda")
        x, y = batch(2 * n, torch.float32)
        args, target = given(stage, x.to("cuda"), y.to("cuda"))
        out = pp.Schedule1F1B(stage, n, mse).step(*args, **target)
        mse(one(x), y).backward()
        for p, q in zip(part.parameters(), one[2 * rank : 2 * rank + 2].parameters(), strict=True):
            near(p.grad.cpu(), q.grad, 1e-6)
        if stage.is_last:
            assert out.device.type == "cuda"
            near(out.cpu(), one(x), 1e-6)
        norm = pp.clip_grad_norm_over_stages(stage, 0.1)
        near(norm.cpu(), torch.nn.utils.clip_grad_norm_(one.parameters(), 0.1), 1e-6)
        shared = torch.zeros(3, 2).to("cuda").requires_grad_()
        shared.grad = torch.ones(3, 2).to("cuda") * (rank + 1)
        pp.sum_tied_gradients(stage, shared if stage.is_first or stage.is_last else None)
        expected = 1.0 + n if stage.is_first or stage.is_last else rank + 1.0
        assert shared.grad.tolist() == [[expected] * 2] * 3


def check_a_ring_of_gpus():
    size, rank = dist.get_world_size(), dist.get_rank()
    with gpu():
        T = 6 * size
        *inputs, g = arrays(torch.float32, T, 4, torch.Generator().manual_seed(0))
        options = {"is_causal": True, "enable_gqa": True, "window": 5}
        whole = [x.clone().requires_grad_() for x in inputs]
        sdpa(*whole, **options).backward(g)
        at = torch.tensor(own_positions(T, size, rank))
        mine = [x[:, :, at].to("cuda").requires_grad_() for x in inputs]
        y = dist.nn.ring_attention(*mine, **options)
        y.backward(g[:, :, at].to("cuda"))
        near(y.cpu(), sdpa(*inputs, **options)[:, :, at], 1e-6)
        for x, expected in zip(mine, whole, strict=True):
            near(x.grad.cpu(), expected.grad[:, :, at], 1e-6)
        mesh = dist.device_mesh.init_device_mesh("cuda", (size,))
        ids = torch.arange(T).to("cuda")
        experimental = dist.tensor.experimental
        with experimental.context_parallel(mesh, buffers=[ids], buffer_seq_dims=[0]):
            assert ids.tolist() == at.tolist()
            joined = experimental.context_parallel_unshard(mesh, [ids], [0])[0]
        assert joined.device.type == "cuda" and joined.tolist() == ids.tolist() == list(range(T))
