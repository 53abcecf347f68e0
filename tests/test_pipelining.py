"""Pipelines and divided texts in one process, and a rank that is killed in the middle of a step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from ranks import environment, needs_mpi

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn
from tinygrad_llm.distributed import pipelining as pp
from tinygrad_llm.distributed.nn.ring_attention import chunks_of_rank, own_positions
from tinygrad_llm.models.gpt import GPT, GPTConfig
from tinygrad_llm.models.registry import trainable
from tinygrad_llm.models.stages import balanced_blocks, cut_into_stages

BEGINNING, END = pp.SplitPoint.BEGINNING, pp.SplitPoint.END


@pytest.fixture
def alone():
    """The group of one process."""
    dist.init_process_group("mpi", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


# ------------------------------------------------------------------------------- stages of models
@pytest.mark.parametrize("name", [n for n in trainable() if n != "qwen3moe"])
def test_every_family_is_cut_by_its_blocks(name):
    family = trainable()[name]
    torch.manual_seed(1)
    model = family.model(family.presets["tiny"]).double().eval()
    ids = torch.randint(0, model.config.vocab_size, (2, 20))
    expected = model(ids)
    for n in range(1, min(len(model.trf_blocks), 4) + 1):
        stages = cut_into_stages(model, n)
        x = ids
        for stage in stages:
            x = stage(x)
        assert torch.equal(x, expected)
        names = [key for stage in stages for key in stage.model.state_dict()]
        assert set(names) <= set(model.state_dict())
        assert {*names, "out_head.weight"} >= set(model.state_dict())
        tied = [stage.tied_weight for stage in stages]
        shared = model.out_head.weight is model.tok_emb.weight and n > 1
        assert [t is not None for t in tied] == [shared and i in (0, n - 1) for i in range(n)]


def test_gradients_reach_every_stage():
    torch.manual_seed(1)
    one, cut = (GPT(GPTConfig(13, 9, 8, 2, 3, 0.0)).double() for _ in range(2))
    cut.load_state_dict(one.state_dict())
    ids, targets = torch.randint(0, 13, (2, 9)), torch.randint(0, 13, (2, 9))
    x = ids
    for stage in cut_into_stages(cut, 3):
        x = stage(x)
    pp.token_loss(x, targets, targets.numel()).backward()
    one.loss(ids, targets).backward()
    for p, q in zip(cut.parameters(), one.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("n_layers,n", [(5, 2), (7, 3), (4, 4), (1, 1), (8, 4)])
def test_the_largest_stage_is_as_small_as_possible(n_layers, n):
    model = GPT(GPTConfig(300, 8, 8, 2, n_layers))
    sizes = [sum(p.numel() for p in s.parameters()) for s in cut_into_stages(model, n)]
    cuts = [[]] if n == 1 else _all_cuts(n_layers, n)
    least = min(
        max(
            sum(p.numel() for p in stage.parameters())
            for stage in cut_into_stages(model, n, [range(a, b) for a, b in _ranges(cut, n_layers)])
        )
        for cut in cuts
    )
    assert max(sizes) == least
    assert all(balanced_blocks(model, n))


def _all_cuts(n_layers, n, start=1):
    if n == 1:
        return [[]]
    firsts = range(start, n_layers)
    return [[i, *rest] for i in firsts for rest in _all_cuts(n_layers, n - 1, i + 1)]


def _ranges(cut, n_layers):
    ends = [0, *cut, n_layers]
    return zip(ends, ends[1:], strict=False)


def test_models_that_are_not_cut():
    model = GPT(GPTConfig(13, 9, 8, 2, 3))
    for n in (0, 4):
        with pytest.raises(ValueError, match="3 blocks cannot be cut"):
            cut_into_stages(model, n)
    with pytest.raises(ValueError, match="together 0 to 2"):
        cut_into_stages(model, 2, [range(2), range(1, 3)])
    with pytest.raises(TypeError, match="Linear is not a language model"):
        cut_into_stages(nn.Linear(2, 2), 1)
    family = trainable()["qwen3moe"]
    with pytest.raises(TypeError, match="MixtureOfExperts adds to the loss"):
        cut_into_stages(family.model(family.presets["tiny"]), 2)


# --------------------------------------------------------------------------- pipeline(), chunks
def nested():
    return nn.Sequential(
        nn.Linear(2, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 1)
    )


@pytest.mark.parametrize(
    "spec,expected",
    [
        ({}, [["0", "1", "2"]]),
        ({"1": BEGINNING}, [["0"], ["1", "2"]]),
        ({"0": END, "2": BEGINNING}, [["0"], ["1"], ["2"]]),
        ({"1.1": BEGINNING}, [["0", "1.0"], ["1.1", "1.2", "2"]]),
        ({"1.0": END, "1": END}, [["0", "1.0"], ["1.1", "1.2"], ["2"]]),
    ],
)
def test_sequential_modules_are_cut_at_names(spec, expected):
    module = nested()
    pipe = pp.pipeline(module, (torch.zeros(1, 2),), split_spec=spec)
    x = out = torch.randn(3, 2)
    there = []
    for i in range(pipe.num_stages):
        stage = pipe.get_stage_module(i)
        out = stage(out)
        names = [n for n, m in stage.named_modules() if n and type(m) is not nn.Sequential]
        there.append(names)
    whole = [n for n, m in module.named_modules() if n and type(m) is not nn.Sequential]
    prefixes = [[n for n in whole if any(f"{n}.".startswith(f"{p}.") for p in part)]
                for part in expected]  # fmt: skip
    assert there == prefixes and torch.equal(out, module(x))
    with pytest.raises(ValueError, match="Invalid stage index"):
        pipe.get_stage_module(pipe.num_stages)


@pytest.mark.parametrize(
    "change,error,text",
    [
        ({"split_spec": {"7": BEGINNING}}, AttributeError, "nonexistent module 7"),
        ({"split_spec": {"0.weight": BEGINNING}}, TypeError, "inside of 0, a Linear"),
        ({"split_spec": {"0": BEGINNING}}, ValueError, "a stage without layers"),
        ({"split_spec": {"2": END}}, ValueError, "a stage without layers"),
        ({"split_spec": {"1": "BEGINNING"}}, ValueError, "Unknown split point"),
        ({"split_policy": print}, ValueError, "split_policy is not offered"),
        ({"module": nn.Linear(2, 2)}, TypeError, "cut a language model with models.stages"),
    ],
)
def test_what_pipeline_refuses(change, error, text):
    with pytest.raises(error, match=text):
        pp.pipeline(**{"module": nested(), "mb_args": (), **change})


def test_arguments_are_cut_and_outputs_joined():
    x, y = torch.arange(14).view(7, 2), torch.arange(6).view(2, 3)
    args, kwargs = pp.split_args_kwargs_into_chunks(
        (x, y, 5), {"flag": True, "z": x}, 3, (*pp.TensorChunkSpec.from_tuple((0, 1)), None)
    )
    assert [a[0].shape[0] for a in args] == [3, 2, 2] and [a[1].shape[1] for a in args] == [1] * 3
    assert all(a[2] == 5 for a in args) and all(k["flag"] is True for k in kwargs)
    assert torch.equal(pp.merge_chunks([a[0] for a in args]), x)
    assert torch.equal(pp.merge_chunks([a[1] for a in args], pp.TensorChunkSpec(1)), y)
    both = pp.merge_chunks([a[:2] for a in args], pp.TensorChunkSpec.from_tuple((0, 1)))
    assert torch.equal(both[0], x) and torch.equal(both[1], y)
    assert pp.merge_chunks([1, 2]) == [1, 2]
    with pytest.raises(ValueError, match="7 rows along dim 0 and cannot be cut into 8"):
        pp.split_args_kwargs_into_chunks((x,), None, 8)
    with pytest.raises(ValueError, match="1 entries for 2 arguments"):
        pp.split_args_kwargs_into_chunks((x, y), None, 2, pp.TensorChunkSpec.from_tuple((0,)))


def test_the_bubble_of_equally_fast_stages():
    """A step of 3 stages and 4 micro-batches, drawn with one second for each pass."""
    p, m = 3, 4
    for kind in (pp.ScheduleGPipe, pp.Schedule1F1B):
        ends, events = {}, [[] for _ in range(p)]
        orders = []
        for s in range(p):
            schedule = kind.__new__(kind)
            schedule.n_microbatches = m
            schedule.stage = type("Stage", (), {"num_stages": p, "stage_index": s})
            orders.append(schedule.order())
        while any(orders):
            for s in range(p):
                if not orders[s]:
                    continue
                action, i = orders[s][0]
                needed = (action, s - 1 if action == "F" else s + 1, i)
                if needed in ends or needed[1] in (-1, p):
                    start = max(ends.get(needed, 0.0), events[s][-1].end if events[s] else 0.0)
                    events[s].append(pp.Event(action, i, start, start + 1.0))
                    ends[action, s, i] = start + 1.0
                    orders[s].pop(0)
        assert pp.bubble_measured(events) == pytest.approx(pp.bubble_expected(p, m), abs=1e-12)


# --------------------------------------------------------------------------------- one process
def test_a_pipeline_of_one_stage(alone):
    torch.manual_seed(1)
    module = cut_into_stages(GPT(GPTConfig(13, 9, 8, 2, 2, 0.0)), 1)[0]
    stage = pp.PipelineStage(module, 0, 1, "cpu")
    schedule = pp.Schedule1F1B(stage, 2, pp.token_loss, scale_grads=False)
    ids, targets = torch.randint(0, 13, (4, 9)), torch.randint(0, 13, (4, 9))
    losses = []
    out = schedule.step(ids, target=targets, losses=losses, loss_kwargs={"tokens": 36})
    assert out.shape == (4, 9, 13) and module.tied_weight is None
    expected = nn.functional.cross_entropy(out.flatten(0, 1), targets.flatten())
    assert sum(loss.item() for loss in losses) == pytest.approx(expected.item(), rel=1e-6)
    norm = pp.clip_grad_norm_over_stages(stage, 1e-3)
    after = nn.utils.get_total_norm([p.grad for p in module.parameters()])
    assert norm > 1e-3 and after.item() == pytest.approx(1e-3, rel=1e-2)
    for p in module.parameters():
        p.grad *= float("inf")
    with pytest.raises(RuntimeError, match="non-finite"):
        pp.clip_grad_norm_over_stages(stage, 1.0, error_if_nonfinite=True)
    with pytest.warns(UserWarning, match="the examples input_args were"):
        stage = pp.PipelineStage(module, 0, 1, "cpu", input_args=ids.double())
        pp.ScheduleGPipe(stage, 2).step(ids)


def test_a_ring_of_one_rank_is_attention(alone):
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, 2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    fn = lambda *a: dist.nn.ring_attention(*a, is_causal=True, window=3)  # noqa: E731
    assert torch.autograd.gradcheck(fn, (q, k, v))
    expected = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, window=3)
    assert torch.allclose(fn(q, k, v), expected, rtol=1e-13)
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    x = torch.arange(7)
    with dist.tensor.experimental.context_parallel(mesh, buffers=[x], buffer_seq_dims=[0]):
        assert sorted(x.tolist()) == list(range(7))
    half = torch.randn(1, 2, 6, 4).to(torch.bfloat16).requires_grad_()
    y = dist.nn.ring_attention(half, half, half, is_causal=True)
    expected = nn.functional.scaled_dot_product_attention(half, half, half, is_causal=True)
    y.float().sum().backward()
    assert y.dtype is half.grad.dtype is torch.bfloat16
    assert torch.allclose(y, expected, atol=0.02)


# ------------------------------------------------------------------------------- a rank that ends
KILLED = """
import os, sys, time
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm.distributed import pipelining as pp

dist.init_process_group("mpi")
rank = dist.get_rank()
how = sys.argv[1]
if how == "ring":
    def forward(step):
        if rank == 1 and step == 3: os._exit(1)
        x = torch.ones(1, 2, 8, 4, requires_grad=True)
        dist.nn.ring_attention(x, x, x, True).sum().backward()
else:
    class Layer(torch.nn.Linear):
        def forward(self, x):
            if rank == 1 and self.training and getattr(self, "calls", 0) == 5: os._exit(1)
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x)
    stage = pp.PipelineStage(Layer(4, 4), rank, 2, "cpu")
    schedule = pp.Schedule1F1B(stage, 4, torch.nn.functional.mse_loss)
    x = torch.ones(8, 4)
    def forward(step):
        schedule.step(*((x,) if rank == 0 else ()), target=x)
for step in range(100):
    forward(step)
"""


@needs_mpi
@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(os.name != "posix", reason="elsewhere mpiexec starts the processes")
@pytest.mark.parametrize("how", ["ring", "pipeline"])
def test_a_rank_that_ends_in_the_middle_of_a_step(tmp_path, how):
    path = tmp_path / "killed.py"
    path.write_text(KILLED, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    start = time.perf_counter()
    started = [
        subprocess.Popen(
            [sys.executable, str(path), how], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment(RANK=str(rank), **where),
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=60)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert time.perf_counter() - start < 60
    assert "rank 1 has ended" in outputs[0] and started[0].returncode == 1, outputs[0]


def test_arrays_of_numpy_say_who_has_what():
    assert chunks_of_rank(8, 2, 0) == [range(2), range(6, 8)]
    assert chunks_of_rank(8, 2, 1) == [range(2, 4), range(4, 6)]
    assert own_positions(5, 2, 1, balanced=False).tolist() == [2, 3, 4]
    assert np.array_equal(own_positions(5, 2, 0), [0, 3, 4])
