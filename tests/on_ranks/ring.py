"""Ring attention over ranks: values and gradients of full attention, and a GPT's whole training."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, near
from on_ranks.ops import against_differences
from tinygrad_llm import nn, optim
from tinygrad_llm.distributed.nn.ring_attention import chunks_of_rank, own_positions
from tinygrad_llm.models.gemma3 import Gemma3, Gemma3Config
from tinygrad_llm.models.gpt import GPT, GPTConfig
from tinygrad_llm.models.llama import Llama, LlamaConfig

sdpa = nn.functional.scaled_dot_product_attention
CASES = {
    "whole": {},
    "causal": {"is_causal": True},
    "grouped heads": {"is_causal": True, "enable_gqa": True, "scale": 0.3},
    "window": {"is_causal": True, "window": 5},
    "one key": {"is_causal": True, "window": 1},
    "a part for each rank": {"is_causal": True, "balanced": False},
    "softcap": {"is_causal": True, "softcap": 2.0},
}


def arrays(dtype, T, heads, generator):
    shapes = (2, heads, T, 5), (2, 2, T, 5), (2, 2, T, 3), (2, heads, T, 3)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def check_ring_attention_is_full_attention():
    size, rank = dist.get_world_size(), dist.get_rank()
    generator = torch.Generator().manual_seed(0)
    for options in CASES.values():
        for dtype in (torch.float32, torch.float64):
            T = 4 * size + 3 if dtype is torch.float64 else 6 * size
            heads = 6 if "enable_gqa" in options else 2
            *inputs, g = arrays(dtype, T, heads, generator)
            whole = [x.clone().requires_grad_() for x in inputs]
            y = sdpa(*whole, **{k: v for k, v in options.items() if k != "balanced"})
            y.backward(g)
            at = torch.tensor(own_positions(T, size, rank, options.get("balanced", True)))
            mine = [x[:, :, at].clone().requires_grad_() for x in inputs]
            ours = dist.nn.ring_attention(*mine, **options)
            ours.backward(g[:, :, at])
            near(ours, y[:, :, at], TOLERANCE[dtype])
            for x, expected in zip(mine, whole, strict=True):
                near(x.grad, expected.grad[:, :, at], TOLERANCE[dtype])


def check_a_run_repeated_has_the_same_bits():
    T = 8 * dist.get_world_size()
    *inputs, g = arrays(torch.float32, T, 2, torch.Generator().manual_seed(1))
    at = torch.tensor(own_positions(T, dist.get_world_size(), dist.get_rank()))
    results = []
    for _ in range(2):
        mine = [x[:, :, at].clone().requires_grad_() for x in inputs]
        y = dist.nn.ring_attention(*mine, is_causal=True)
        y.backward(g[:, :, at])
        results.append([y.detach().array.tobytes(), *(x.grad.array.tobytes() for x in mine)])
    assert results[0] == results[1]


def check_backward_against_differences_across_ranks():
    def attend(x):  # (3, B, H, L, D): queries, keys and values
        return dist.nn.ring_attention(*x.unbind(), is_causal=True, window=3, softcap=1.5)

    against_differences(attend, (3, 1, 1, 2, 2), (1, 1, 2, 2))


def check_other_lengths_of_keys_than_of_queries():
    size, rank = dist.get_world_size(), dist.get_rank()
    generator = torch.Generator().manual_seed(2)
    q = torch.randn(1, 2, 3 * size, 4, dtype=torch.float64, generator=generator)
    k = torch.randn(1, 2, size * (size + 1) // 2, 4, dtype=torch.float64, generator=generator)
    ends = np.cumsum([0, *range(1, size + 1)])
    mine = k[:, :, ends[rank] : ends[rank + 1]]  # rank r has r + 1 keys
    ours = dist.nn.ring_attention(q[:, :, 3 * rank : 3 * rank + 3], mine, mine)
    near(ours, sdpa(q, k, k)[:, :, 3 * rank : 3 * rank + 3], 1e-12)


def check_every_rank_sees_equally_many_keys():
    size = dist.get_world_size()
    seen = []
    for rank in range(size):
        chunks = chunks_of_rank(8 * size, size, rank)
        seen.append(sum(i + 1 for chunk in chunks for i in chunk))
    assert len(set(seen)) == 1
    everything = np.concatenate([own_positions(7 * size + 5, size, r) for r in range(size)])
    assert sorted(everything.tolist()) == list(range(7 * size + 5))


# --------------------------------------------------------------------------- whole models
def models(dtype):
    """Learned positions, rotary ones with grouped heads, and windows in some blocks."""
    torch.manual_seed(2)
    yield GPT(GPTConfig(11, 64, 8, 2, 2, drop_rate=0.0)).to(dtype)
    yield Llama(LlamaConfig(11, 64, 8, 12, 2, 4, 2)).to(dtype)
    config = Gemma3Config(11, 64, 8, 12, 2, 2, 1, 4, window=3, layer_types=None)
    yield Gemma3(config).to(dtype)


def check_language_models_with_a_divided_text():
    size, rank = dist.get_world_size(), dist.get_rank()
    mesh = dist.device_mesh.init_device_mesh("cpu", (size,))
    context_parallel = dist.tensor.experimental.context_parallel
    for dtype in (torch.float32, torch.float64):
        for ours, one in zip(list(models(dtype)), list(models(dtype)), strict=True):
            optimizers = [optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in (ours, one)]
            generator = torch.Generator().manual_seed(3)
            for step in range(10):
                ids = torch.randint(0, 11, (2, 5 * size + step), generator=generator)
                inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
                targets[0, : 2 + step] = -100  # the ranks have different numbers of targets
                tokens = int((targets != -100).sum())
                for optimizer in optimizers:
                    optimizer.zero_grad()
                one.loss(inputs, targets).backward()
                kept, dims = [inputs, targets], [1, 1]
                with context_parallel(mesh, buffers=kept, buffer_seq_dims=dims):
                    logits = ours(inputs)
                    assert logits.shape[1] == len(own_positions(ids.shape[1] - 1, size, rank))
                    dist.pipelining.token_loss(logits, targets, tokens).backward()
                assert inputs.shape == (2, ids.shape[1] - 1)  # whole again
                whole = dist.tensor.experimental.context_parallel_unshard(mesh, [logits], [1])[0]
                tolerance = TOLERANCE[dtype] * (5 if step else 1)  # later the weights differ too
                near(whole, one(inputs), tolerance, 1)
                for p, q in zip(ours.parameters(), one.parameters(), strict=True):
                    dist.all_reduce(p.grad)
                    near(p.grad, q.grad, tolerance, 1)
                for optimizer in optimizers:
                    optimizer.step()
            for p, q in zip(ours.parameters(), one.parameters(), strict=True):
                near(p, q, TOLERANCE[dtype], 1)


def check_what_a_divided_text_refuses():
    size = dist.get_world_size()
    mesh = dist.device_mesh.init_device_mesh("cpu", (size,))
    context_parallel = dist.tensor.experimental.context_parallel
    x = torch.zeros(1, 2, 4 * size, 4)
    with pytest.raises(ValueError, match="same number of elements"):
        context_parallel(mesh, buffers=[x], buffer_seq_dims=[]).__enter__()
    with pytest.raises(ValueError, match="must have the ids"):
        context_parallel(mesh).__enter__()
    with context_parallel(mesh, buffers=[x], buffer_seq_dims=[2], no_restore_buffers={x}):
        with pytest.raises(RuntimeError, match="attn_mask is not offered"):
            sdpa(x, x, x, attn_mask=torch.ones(4, 4, dtype=torch.bool))
        with pytest.raises(RuntimeError, match="dropout_p is not offered"):
            sdpa(x, x, x, dropout_p=0.5)
        ids = torch.zeros(1, 4, dtype=torch.int64)
        torch.manual_seed(0)
        for attention, text in (("linear", "LinearAttention cannot"), ("mha", "takes no mask")):
            model = GPT(GPTConfig(11, 64, 8, 2, 1, 0.0, attention=attention))
            with pytest.raises(RuntimeError, match=text):
                model.hidden_states(ids, mask=torch.ones(4, 4, dtype=torch.bool)
                                    if attention == "mha" else None)  # fmt: skip
        with pytest.raises(RuntimeError, match="this rank has 4 of them"):
            GPT(GPTConfig(11, 64, 8, 2, 1, 0.0))(ids[:, :3])
        with pytest.raises(ValueError, match="inside of another"):
            context_parallel(mesh, buffers=[x], buffer_seq_dims=[2]).__enter__()
    assert x.shape == (1, 2, 4, 4)
    with pytest.raises(ValueError, match="must have"):
        n = 4 + (dist.get_rank() == 0) * 3
        dist.nn.ring_attention(x[:, :, :1].expand(1, 2, n, 4), *[torch.zeros(1, 2, n, 4)] * 2, True)
    with pytest.raises(RuntimeError, match="one dtype"):
        dist.nn.ring_attention(x, x, x.double())
