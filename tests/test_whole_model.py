"""Whole models: all ops together, against finite differences, their twins and each other.

tests/test_gpt.py checks every single weight of a GPT; here are what it does not hold: a block of
the newer kind, the model with every fused op replaced by its slow twin, and both precisions.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn, ops
from tinygrad_llm.autograd.engine import OPS, backward_steps
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.functions.attention import rope
from tinygrad_llm.layers.rotary import rope_angles
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.nn import functional as F
from tinygrad_llm.study.check.reference import TWINS

TINY = dict(vocab_size=13, context_length=6, emb_dim=8, n_heads=2, n_layers=2, drop_rate=0.0)


class Modern(nn.Module):
    """RMS norm, rotary positions, grouped queries, a gated feed forward, a tied head."""

    def __init__(self, vocab=7, channels=8, heads=2, groups=1, layers=2):
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, channels // heads
        self.embed = nn.Embedding(vocab, channels)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.RMSNorm(channels, eps=1e-6),
                    "q": nn.Linear(channels, channels, bias=False),
                    "kv": nn.Linear(channels, 2 * groups * self.size, bias=False),
                    "out": nn.Linear(channels, channels, bias=False),
                    "norm2": nn.RMSNorm(channels, eps=1e-6),
                    "gate": nn.Linear(channels, 12, bias=False),
                    "up": nn.Linear(channels, 12, bias=False),
                    "down": nn.Linear(12, channels, bias=False),
                }
            )
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(channels, eps=1e-6)

    def forward(self, ids):
        B, T = ids.shape
        x = self.embed(ids)  # (B, T, C)
        cos, sin = rope_angles(tg.arange(T), self.size, dtype=x.dtype)
        for block in self.blocks:
            h = block["norm1"](x)
            q = block["q"](h).view(B, T, self.heads, self.size).transpose(1, 2)
            kv = block["kv"](h).view(B, T, 2 * self.groups, self.size).transpose(1, 2)
            k, v = kv.chunk(2, dim=1)  # (B, groups, T, D)
            h = F.scaled_dot_product_attention(
                rope(q, cos, sin), rope(k, cos, sin), v, is_causal=True, enable_gqa=True
            )
            x = x + block["out"](h.transpose(1, 2).reshape(B, T, -1))
            h = block["norm2"](x)
            x = x + block["down"](F.silu(block["gate"](h)) * block["up"](h))
        return F.linear(self.norm(x), self.embed.weight)  # (B, T, V)


def ids(*shape, seed=0, vocabulary=7):
    return tg.from_numpy(np.random.default_rng(seed).integers(0, vocabulary, shape))


def gpt(seed=0, **changes):
    tg.manual_seed(seed)
    model = GPT(GPTConfig(**{**TINY, **changes}))
    with tg.no_grad():
        for p in model.parameters():  # larger than at the start, so that nothing is nearly linear
            p += 0.3 * tg.randn(p.shape)
    return model


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.ci
def test_every_weight_of_a_modern_model():
    tg.manual_seed(0)
    model = Modern().double()
    x, y = ids(2, 5), ids(2, 5, seed=1)
    assert gradcheck(
        lambda: F.cross_entropy(model(x).flatten(0, 1), y.flatten()),
        parameters=dict(model.named_parameters()),
    )
    assert gradcheck(lambda: model(x), parameters=dict(model.named_parameters()), directions=2)


def test_the_modern_model_learns_one_batch():
    tg.manual_seed(0)
    model = Modern(channels=16)
    x, y = ids(4, 6), ids(4, 6, seed=1)
    x[:, 0] = tg.arange(4)  # no two rows start with the same token and continue differently
    optimizer = tg.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.0)
    before = {name: p.numpy(force=True).copy() for name, p in model.named_parameters()}
    for _ in range(150):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
    for name, p in model.named_parameters():
        assert (p.numpy(force=True) != before[name]).mean() > 0.99, name


@pytest.mark.parametrize("tie", [True, False])
def test_with_every_fused_op_replaced_by_its_twin(monkeypatch, tie):
    """The chain rule alone, over primitives, gives the fused ops' loss and gradients."""
    model = gpt(tie_weights=tie).double()
    x, y = ids(3, 6, vocabulary=13), ids(3, 6, seed=1, vocabulary=13)
    loss = model.loss(x, y)
    fused = gradients(model, loss)
    replaced = set()
    for name, twin in TWINS.items():
        if name in ("mse_loss", "relu"):
            continue  # of primitives already

        def apply(*inputs, _name=name, _twin=twin, **options):
            replaced.add(_name)
            return _twin(*inputs, **options)

        monkeypatch.setattr(OPS[name], "apply", apply)
    slow = model.loss(x, y)
    assert slow.item() == pytest.approx(loss.item(), rel=1e-12)
    for name, g in gradients(model, slow).items():
        np.testing.assert_allclose(g, fused[name], atol=1e-10, err_msg=name)
    assert {"layer_norm", "embedding", "scaled_dot_product_attention", "gelu"} <= replaced


def test_float32_follows_float64():
    x, y = ids(3, 6, vocabulary=13), ids(3, 6, seed=1, vocabulary=13)
    small, exact = gpt(), gpt().double()
    got, expected = gradients(small, small.loss(x, y)), gradients(exact, exact.loss(x, y))
    for name, g in expected.items():
        assert got[name].dtype == np.float32
        off = np.abs(got[name] - g).max() / np.abs(g).max()
        assert off < 1e-4, f"{name}: {off}"


def test_no_gradient_on_the_way_is_float64():
    model = gpt(drop_rate=0.1)
    loss = model.loss(ids(3, 6, vocabulary=13), ids(3, 6, seed=1, vocabulary=13))
    for op, g, grads in backward_steps(loss):
        for a in (*(g if isinstance(g, tuple) else (g,)), *grads):
            assert a is None or a.dtype == np.float32, f"{op.name} passes on {a.dtype}"


@pytest.mark.parametrize("vocabulary", [50, 2000])
def test_initial_loss_is_that_of_guessing(vocabulary):
    tg.manual_seed(0)
    model = GPT(GPTConfig(**{**TINY, "vocab_size": vocabulary, "emb_dim": 32}))
    x, y = ids(8, 6, vocabulary=vocabulary), ids(8, 6, seed=1, vocabulary=vocabulary)
    assert model.loss(x, y).item() == pytest.approx(math.log(vocabulary), rel=0.02)


def test_two_halves_are_the_whole_batch():
    model = gpt().double()
    x, y = ids(4, 6, vocabulary=13), ids(4, 6, seed=1, vocabulary=13)
    whole = gradients(model, model.loss(x, y))
    model.zero_grad()
    for part in (slice(0, 1), slice(1, 4)):
        n = part.stop - part.start
        (model.loss(x[part], y[part]) * (n / 4)).backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), whole[name], atol=1e-12, err_msg=name)


def test_the_same_run_gives_the_same_bytes():
    def run():
        model = gpt(drop_rate=0.2)
        return gradients(
            model, model.loss(ids(3, 6, vocabulary=13), ids(3, 6, seed=1, vocabulary=13))
        )

    first, again = run(), run()
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)


def test_loss_in_chunks_is_the_loss_of_the_logits():
    model = gpt().double()
    x, y = ids(3, 6, vocabulary=13), ids(3, 6, seed=1, vocabulary=13)
    chunked = gradients(model, model.loss(x, y))
    logits = model(x)
    direct = gradients(model, F.cross_entropy(logits.flatten(0, 1), y.flatten()))
    for name, g in chunked.items():
        np.testing.assert_allclose(g, direct[name], atol=1e-12, err_msg=name)
    assert ops.LinearCrossEntropy.name in TWINS
