"""What each of many ranks costs: formulas against other formulas, a trace, and known figures."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn
from tinygrad_llm.cli import main
from tinygrad_llm.models import GPTConfig
from tinygrad_llm.models.costs import gpt_memory, gpt_parameters, kept_by_block
from tinygrad_llm.models.estimate import estimate, find_config
from tinygrad_llm.models.estimate_ranks import (
    SCHEMES,
    Mesh,
    activation_numbers,
    all_reduce_bytes,
    estimate_ranks,
)

SMALL = GPTConfig(vocab_size=11, context_length=8, emb_dim=12, n_heads=3, n_layers=4, drop_rate=0.0)


def costs(mesh, config=SMALL, **more):
    made = estimate_ranks(config, mesh, **{"batch": 8, "dtype": "float32", **more})
    return {cost.scheme: cost for cost in made}


def test_one_rank_is_one_process():
    one = costs(Mesh(1))
    P = gpt_parameters(SMALL)["total"]
    bill = gpt_memory(SMALL, 8)
    for cost in one.values():
        assert cost.optimizer == bill["optimizer"] == 8 * P
        assert cost.gradients == bill["gradients"] == 4 * P
        assert cost.sent_dp == cost.sent_tp == cost.sent_pp == cost.communication == 0
        block = sum(item.total for item in kept_by_block(SMALL, 8, 8))
        assert cost.activations == SMALL.n_layers * block
    assert one["DP"].weights == bill["weights"] and one["DP"].share == 0
    assert one["DP"].compute == estimate(SMALL, batch=8).training_flops / 400e12


def test_zero_3_of_one_copy_needs_more_than_the_others(capsys):
    """Its formula is what fully_shard does: it copies a layer's weights also on one rank."""
    one = costs(Mesh(1))
    copies = 2 * one["DP"].weights / SMALL.n_layers
    assert one["ZeRO-3"].weights == one["DP"].weights + copies
    seen = []

    class Layer(nn.Linear):
        def forward(self, x):
            seen.append(self.weight.array)
            return super().forward(x)

    layer = Layer(3, 2)
    dist.init_process_group("gloo", rank=0, world_size=1)
    try:
        dist.fsdp.fully_shard(layer)
        part = layer.weight.array
        layer(torch.ones(1, 3))
    finally:
        dist.destroy_process_group()
    assert layer.weight.array is part
    assert seen[0].shape == part.shape and not np.shares_memory(seen[0], part)
    assert "fully_shard\ncopies the weights" in run(capsys, "llama2-7b", "--ranks", 1)[1]
    assert "fully_shard" not in run(capsys, "llama2-7b", "--ranks", 2, "--batch", 2)[1]


def test_stages_divide_what_their_names_say():
    P = gpt_parameters(SMALL)["total"]
    made = costs(Mesh(8))
    assert [c.scheme for c in made.values()] == list(SCHEMES)
    assert made["DP"].optimizer == 8 * P and made["ZeRO-1"].optimizer == P
    assert made["ZeRO-1"].gradients == 4 * P and made["ZeRO-2"].gradients == P / 2
    assert made["ZeRO-2"].weights == 4 * P
    assert made["ZeRO-3"].weights == P / 2 + 2 * P  # a layer of 4 whole, and its gradient
    assert made["DP"].sent_dp == all_reduce_bytes(4 * P, 8) == made["ZeRO-2"].sent_dp
    assert made["ZeRO-3"].sent_dp == 1.5 * made["DP"].sent_dp
    parts = costs(Mesh(8, micro_batches=2), batch=16)
    assert parts["ZeRO-1"].sent_dp == made["DP"].sent_dp
    assert parts["ZeRO-2"].sent_dp == 1.5 * made["DP"].sent_dp
    assert parts["ZeRO-3"].sent_dp == 3 * made["DP"].sent_dp
    assert parts["DP"].activations == made["DP"].activations  # one of the two at a time


def test_matrices_and_stages():
    C, H = SMALL.emb_dim, SMALL.n_heads
    assert activation_numbers(C, H, 1, False) == 16 * C + H + 2
    assert activation_numbers(C, H, 2, True) == (16 * C + H + 2) / 2
    one, tp = costs(Mesh(1))["DP"], costs(Mesh(2, tp=2))["DP"]
    assert tp.weights == one.weights / 2 and tp.compute == one.compute / 2
    # per layer two sums forward and two backward of 8 x 8 tokens of C numbers
    assert tp.sent_tp == 4 * 4 * (8 * 8 * C * 4)
    pp = costs(Mesh(2, pp=2, micro_batches=4))["DP"]
    assert pp.sent_pp == 8 * 8 * C * 4 and pp.bubble == pp.compute / 4
    assert pp.activations == one.activations / 4  # half of the layers, two of four micro-batches
    assert costs(Mesh(8, tp=2, pp=2))["DP"].sent_dp == all_reduce_bytes(one.weights / 4, 2)


def test_seventy_billion_parameters_on_1024():
    config = dataclasses.replace(find_config("llama3-8b"), emb_dim=8192, n_layers=80, n_heads=64,
                                 n_kv_heads=8, hidden_dim=28672)  # fmt: skip
    mesh = Mesh(1024, tp=8, pp=8, micro_batches=32, sequence=True)
    made = costs(mesh, config, batch=1024, context_length=8192, dtype="bfloat16")
    assert mesh.dp == 16 and made["DP"].optimizer == 70_553_706_496 / 64 * 12
    assert made["ZeRO-1"].memory < 80e9 < made["DP"].memory * 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(ranks=6, tp=4), "6 ranks are not a multiple of tp x pp = 4 x 1"),
        (dict(ranks=2, sequence=True), "it needs a tp above 1"),
        (dict(ranks=0), "ranks must be above 0, got 0"),
        (dict(ranks=2, link=float("nan")), "link must be above 0"),
        (dict(ranks=3), "8 texts cannot be divided among 3 copies .*: take a multiple of 3"),
        (dict(ranks=2, micro_batches=3), "8 texts cannot be divided among 2 copies .* 3 micro"),
        (dict(ranks=8, pp=8), "4 layers cannot be divided into 8 stages"),
    ],
)
def test_what_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        costs(Mesh(**fields))


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *map(str, arguments)])
    printed = capsys.readouterr()
    return stop.value.code or 0, printed.out, printed.err


def test_command(capsys):
    code, out, _ = run(capsys, "llama2-7b", "--ranks", 64, "--tp", 8, "--batch", 64)
    assert code == 0 and "64 ranks: 8 copies, tp 8, pp 1" in out
    assert [line.split()[0] for line in out.splitlines()[-4:]] == list(SCHEMES)
    tiny = ("gpt2", "--ranks", 8, "--pp", 2, "--micro-batches", 3)
    assert run(capsys, *tiny) == run(capsys, *tiny, "--batch", 12)  # one for each of 4 copies' 3
    code, out, _ = run(capsys, "llama2-7b", "--ranks", 2, "--batch", 2, "--json")
    assert len(json.loads(out)["llama2-7b"]["ranks"]) == 4
    for options, words in (
        (["--tp", 2], "--tp needs --ranks"),
        (["--micro-batches", 2], "--micro-batches needs --ranks"),
        (["--ranks", 3, "--batch", 2], "cannot be divided"),
        (["--ranks", 2, "--sequence"], "it needs a tp above 1"),
        (["--ranks", -1], "ranks must be above 0, got -1"),
    ):
        code, _, error = run(capsys, *options)
        assert code == 2 and words in error, error
