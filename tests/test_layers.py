"""Attention, its caches, rotary positions, blocks and output layers, without another library."""

from __future__ import annotations

import re
import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.functions.autocast import for_products, state
from tinygrad_llm.layers import head, lora
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.block import Block
from tinygrad_llm.layers.cache import AttentionCache, Cache, CrossCache
from tinygrad_llm.layers.feed_forward import FeedForward, GatedFeedForward
from tinygrad_llm.layers.head import SoftCappedHead, head_loss, is_plain_linear
from tinygrad_llm.layers.norm import OffsetRMSNorm
from tinygrad_llm.layers.quantized import QuantizedLinear, quantize
from tinygrad_llm.layers.rotary import Rotary
from tinygrad_llm.nn import functional as F


def attention(**options):
    torch.manual_seed(0)
    options = {"n_kv_heads": 2, "head_dim": 4, "rotary": Rotary(4), **options}
    return Attention(12, 4, **options).double().eval()


def inputs(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------------- caches
@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    window=st.none() | st.integers(1, 12),
    options=st.sampled_from([{}, {"softcap": 1.5}, {"qk_norm": nn.RMSNorm, "rotary": None}]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_text_in_pieces_equals_the_whole(pieces, window, options, dtype):
    layer, n = attention(window=window, **options).to(dtype), sum(pieces)
    x = inputs(2, n, 12).to(dtype)
    cache, start, outputs = layer.new_cache(n), 0, []
    with torch.no_grad():
        for piece in pieces:
            outputs.append(layer(x[:, start : start + piece], cache=cache))
            start += piece
        assert cache.length == n
        expected, got = layer(x), torch.cat(outputs, 1)
        assert got.dtype is dtype
        same(got, expected, 1e-12 if dtype is torch.float64 else 1e-5 * expected.abs().max().item())


def test_truncated_and_continued_equals_never_written():
    for window in (None, 3):
        layer, x = attention(window=window), inputs(2, 14, 12)
        cache = layer.new_cache(20)
        with torch.no_grad():
            for n in (5, 3, 4):  # after each call back to where it began and on by less
                before = cache.length
                layer(torch.ones(2, n, 12).double(), cache=cache)
                cache.truncate(before)
                got = layer(x[:, before : before + n - 1], cache=cache)
                same(got, layer(x)[:, before : before + n - 1])


def test_a_window_keeps_few_tokens_and_says_what_it_dropped():
    window, cache = 8, AttentionCache(10_000, 8)
    keys = torch.zeros(1, 1, 1, 4)
    for _ in range(300):
        seen, _, first = cache.append(keys, keys)
        assert seen.shape[2] == min(cache.length, window)
        assert first == max(0, cache.length - window)
    assert cache._keys.shape[2] <= 3 * window
    many = torch.zeros(1, 1, 900, 4)
    cache.append(many, many)
    cache.append(keys, keys)
    assert cache._keys.shape[2] <= 3 * window  # the memory of a long call is given back
    with pytest.raises(ValueError, match="can't go back to 500 tokens: its window of 8"):
        cache.truncate(500)
    assert cache.length == 1201
    cache.truncate(0)
    assert cache.append(keys, keys)[2] == 0


def test_a_model_truncates_in_all_layers_or_in_none():
    full, near = AttentionCache(100), AttentionCache(100, 2)
    cache = Cache([full, near], 100)
    for _ in range(9):
        for layer in cache.layers:
            layer.append(torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2))
    with pytest.raises(ValueError, match="can't go back to 3"):
        cache.truncate(3)
    assert len(cache) == full.length == near.length == 45
    cache.truncate(41)
    assert len(cache) == near.length == 41
    with pytest.raises(ValueError, match="holds 41 tokens, it can't keep 42"):
        cache.truncate(42)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("indices", [[2, 0, 0, 1], torch.tensor([1, 1])])
def test_reordered_rows_go_on_as_their_rows(window, indices):
    layer, x = attention(window=window), inputs(3, 9, 12)
    rows = indices if isinstance(indices, list) else indices.tolist()
    cache = Cache([layer.new_cache(20)], 20)
    with torch.no_grad():
        layer(x[:, :5], cache=cache.layers[0])
        cache.reorder(indices)
        for t in range(5, 9):
            got = layer(x[rows, t : t + 1], cache=cache.layers[0])
            same(got, layer(x[rows])[:, t : t + 1])


def test_cache_errors():
    cache, x = AttentionCache(4), torch.zeros(2, 1, 3, 4)
    cache.reorder([0])  # nothing there yet
    cache.append(x, x)
    with pytest.raises(ValueError, match="holds 4 tokens, not 6"):
        cache.append(x, x)
    with pytest.raises(ValueError, match="holds float32, not float64"):
        cache.append(x[:, :, :1].double(), x[:, :, :1].double())
    with pytest.raises(IndexError, match=r"rows of the cache, 0 … 1, got \[0, 2\]"):
        cache.reorder([0, 2])
    with pytest.raises(IndexError, match="got .-1."):
        cache.reorder(torch.tensor([-1]))
    with pytest.raises(ValueError, match="integers of the shape"):
        cache.reorder([0.5])
    with pytest.raises(RuntimeError, match=r"no_grad\(\)"):
        cache.append(x.requires_grad_(), x)
    cross = CrossCache()
    assert cross.stored() is None
    cross.append(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    with pytest.raises(RuntimeError, match="holds its memory already"):
        cross.append(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))


@pytest.mark.parametrize("qk_norm", [None, nn.RMSNorm])
def test_cross_attention_reads_its_memory_once(qk_norm):
    layer = attention(cross=True, rotary=None, qk_norm=qk_norm)
    x, memory = inputs(2, 6, 12), inputs(2, 5, 12, seed=1)
    with torch.no_grad():
        expected, cache = layer(x, memory=memory), layer.new_cache(6)
        same(layer(x[:, :4], memory=memory, cache=cache), expected[:, :4])
        cache.truncate(2)
        same(layer(x[:, 4:], cache=cache), expected[:, 4:])
        cache.reorder([1, 1])
        same(layer(x[[1, 1], 4:], cache=cache), expected[[1, 1], 4:])


def test_a_block_with_cross_attention_in_pieces():
    torch.manual_seed(0)
    block = Block(attention(window=3), GatedFeedForward(12, 16), partial(nn.RMSNorm, 12),
                  cross=attention(cross=True, rotary=None), norm_place="sandwich")  # fmt: skip
    block.double().eval()
    x, memory = inputs(2, 9, 12), inputs(2, 5, 12, seed=1)
    with torch.no_grad():
        expected, cache = block(x, memory=memory), block.new_cache(9)
        parts = [block(x[:, a:b], memory=memory, cache=cache) for a, b in ((0, 4), (4, 5), (5, 9))]
        same(torch.cat(parts, 1), expected)
        assert cache.length == 9
        cache.truncate(5)
        cache.reorder([1, 0])
        same(block(x[[1, 0], 5:], cache=cache), expected[[1, 0], 5:])


# ---------------------------------------------------------------------------------- attention
def test_a_mask_and_a_window_hold_together():
    """Left padding: each row equals itself alone, with and without a cache and a window."""
    for window in (None, 3):
        layer, padding, n = attention(window=window), [0, 4], 9
        alone = [inputs(1, n - p, 12, seed=p) for p in padding]
        zeros = [torch.zeros(1, p, 12).double() for p in padding]
        x = torch.cat([torch.cat(pair, 1) for pair in zip(zeros, alone, strict=True)])
        columns, pad = torch.arange(n), torch.tensor(padding)[:, None]
        positions = (columns - pad).clamp(min=0)  # (B, T)
        own, keys = columns[:, None], columns[None]
        seen = (keys <= own) & (keys >= pad[..., None]) | (keys == own)  # (B, T, S)
        mask = seen[:, None]  # (B, 1, T, S)
        with torch.no_grad():
            whole, cache, parts = layer(x, mask=mask, positions=positions), layer.new_cache(n), []
            for a, b in ((0, 5), (5, 6), (6, 7), (7, 9)):
                parts.append(layer(x[:, a:b], cache=cache, mask=mask[:, :, a:b, :b],
                                   positions=positions[:, a:b]))  # fmt: skip
            for got in (whole, torch.cat(parts, 1)):
                for row, p, one in zip(got, padding, alone, strict=True):
                    same(row[p:], layer(one)[0])
            added = torch.zeros(2, 1, n, n).double().masked_fill(~mask, -1e30)
            same(layer(x, mask=added, positions=positions), whole)


@pytest.mark.parametrize("options", [
    {}, {"window": 2, "softcap": 1.3}, {"qk_norm": nn.RMSNorm}, {"causal": False, "rotary": None},
    {"n_kv_heads": None, "head_dim": None, "rotary": None},
    {"cross": True, "rotary": None, "scale": 0.3},
])  # fmt: skip
def test_gradients_of_attention(options):
    layer = attention(**options)
    if layer.cross:

        def fn(x, y):
            return layer(x, memory=y)
    else:

        def fn(x):
            return layer(x)

    xs = [inputs(2, n, 12).requires_grad_() for n in ((5, 4) if layer.cross else (5,))]
    assert gradcheck(fn, *xs, directions=2, parameters=dict(layer.named_parameters()))


@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("past", [0, 1024])
def test_no_mask_is_built(window, past):
    """The peak of a causal call grows with its tokens, not with tokens × tokens."""

    def peak(n):
        layer = Attention(16, 2, window=window).eval()
        cache = layer.new_cache(past + n)
        with torch.no_grad():
            if past:
                layer(torch.zeros(1, past, 16), cache=cache)
            x = torch.randn(1, n, 16)
            tracemalloc.start()
            layer(x, cache=cache)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return most

    peak(256)
    small, large = peak(2048), peak(4096)
    assert large < 3 * small
    assert large < 4096 * (past + 4096) / 2  # a mask of bools has as many bytes as keys × queries


def test_no_mask_is_built_in_training():
    def peak(n):
        layer = Attention(16, 2, window=50, rotary=Rotary(8))
        x = torch.randn(1, n, 16, requires_grad=True)
        tracemalloc.start()
        layer(x).sum().backward()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2048)  # once, so that nothing is compiled or imported later
    assert peak(4096) < 3 * peak(2048) < 3 * 2048 * 2048


@pytest.mark.parametrize(("options", "text"), [
    ({"dim": 10, "n_heads": 4}, "dim must be a multiple of n_heads, got 10 and 4"),
    ({"n_heads": 0}, "n_heads must be an integer of at least 1, got 0"),
    ({"head_dim": 2.0}, "head_dim must be an integer of at least 1, got 2.0"),
    ({"window": 0}, "window must be an integer of at least 1, got 0"),
    ({"softcap": -1.0}, "softcap must be positive and finite, got -1.0"),
    ({"n_kv_heads": 3}, "n_heads must be a multiple of n_kv_heads, got 4 and 3"),
    ({"rotary": Rotary(8)}, "rotary is for a head_dim of 8, not 3"),
    ({"window": 3, "causal": False}, "window needs causal self-attention"),
    ({"window": 3, "cross": True}, "window needs causal self-attention"),
    ({"rotary": Rotary(2), "head_dim": 2, "cross": True}, "rotary needs self-attention"),
])  # fmt: skip
def test_attention_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        Attention(**{"dim": 12, "n_heads": 4, **options})


def test_memory_must_fit():
    x = inputs(1, 3, 12)
    with pytest.raises(ValueError, match="takes no memory, only with cross=True"):
        attention()(x, memory=x)
    layer = attention(cross=True, rotary=None)
    with pytest.raises(ValueError, match="needs memory"):
        layer(x)
    with pytest.raises(ValueError, match="the cache holds none yet"), torch.no_grad():
        layer(x, cache=layer.new_cache(4))


def test_dropout_acts_in_training_only():
    layer, x = attention(dropout=0.5), inputs(2, 6, 12)
    same(layer(x), layer(x), 0.0)
    layer.train()
    assert (layer(x) - layer(x)).abs().max().item() > 1e-3


def test_on_a_device(device):
    torch.manual_seed(0)
    block = Block(
        attention(window=3, softcap=2.0, qk_norm=OffsetRMSNorm),
        GatedFeedForward(12, 8),
        partial(OffsetRMSNorm, 12),
        cross=attention(cross=True, rotary=None),
    ).double()
    head_layer, x, memory = SoftCappedHead(12, 11, 2.0).double(), inputs(2, 7, 12), inputs(2, 4, 12)
    targets = torch.from_numpy(np.random.default_rng(0).integers(0, 11, (2, 7)))
    results = []
    for place in ("cpu", device):
        for module in (block, head_layer):
            module.to(place).zero_grad()
        x, memory, targets = (t.to(place) for t in (x, memory, targets))
        y = block(x, memory=memory)
        head_loss(head_layer, y, targets).backward()
        with torch.no_grad():
            cache = Cache([block.new_cache(9)], 9)
            block(x[:, :4], memory=memory, cache=cache.layers[0])
            cache.reorder([1, 0])
            flipped = x[torch.tensor([1, 0]).to(place)]
            rest = block(flipped[:, 4:], cache=cache.layers[0])
            mask = torch.ones(7, 7, dtype=torch.bool, device=place).tril()
            masked = block(x, memory=memory, mask=mask)
        results.append([y, rest, masked, *(p.grad.clone() for p in block.parameters())])
    for a, b in zip(*results, strict=True):
        same(a, b.cpu(), 1e-9)
    same(results[0][0], results[0][2])


# -------------------------------------------------------------------------------------- rotary
@pytest.mark.parametrize(("options", "text"), [
    ({"head_dim": 5}, "dim is 5, must be even"),
    ({"partial": 0.0}, "partial must be above 0 and at most 1, got 0.0"),
    ({"partial": 1.5}, "partial must be above 0 and at most 1, got 1.5"),
    ({"partial": 0.1}, "dim is 0, must be even"),
    ({"base": -1.0}, "base must be a positive number, from 1e-30 to 1e\\+30, got -1.0"),
    ({"scaling": {"rope_type": "ntk"}}, "rope_type must be default, linear, dynamic, llama3, "),
    ({"scaling": {"rope_type": "linear"}}, "missing: factor"),
    ({"scaling": {"rope_type": "linear", "factor": 2.0, "x": 1}}, "unknown: x"),
    ({"scaling": {"rope_type": "linear", "factor": 0}},
     "factor must be a positive number, from 1e-30 to 1e\\+30, got 0"),
    ({"scaling": {"factor": 2.0}}, "scaling 'default' takes no numbers; unknown: factor"),
])  # fmt: skip
def test_rotary_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        Rotary(**{"head_dim": 8, **options})


def test_scores_depend_on_the_distance_alone():
    for rotary in (Rotary(8), Rotary(8, partial=0.5, interleaved=True)):
        q, k = inputs(1, 1, 1, 8), inputs(1, 1, 1, 8, seed=1)

        def score(at_q, at_k, rotary=rotary, q=q, k=k):
            (a,) = rotary(q, positions=torch.tensor([at_q]))
            (b,) = rotary(k, positions=torch.tensor([at_k]))
            return (a * b).sum().item()

        assert score(7, 3) == pytest.approx(score(104, 100), abs=1e-5)
        assert abs(score(7, 3) - score(3, 7)) > 1e-3


# ---------------------------------------------------------------------- norm and feed forward
def test_offset_norm_starts_as_rms_norm_and_wrong_names_are_named():
    x = inputs(2, 3, 12).float()
    same(OffsetRMSNorm(12)(x), nn.RMSNorm(12, eps=1e-6)(x), 0.0)
    assert not OffsetRMSNorm(12).weight.array.any()
    assert (OffsetRMSNorm(12, offset=0.0).weight == 1).all()
    with pytest.raises(ValueError, match="activation must be gelu, gelu_new, .* got 'gleu'"):
        FeedForward(4, activation="gleu")
    with pytest.raises(
        ValueError, match="norm_place must be pre, post, sandwich, after, parallel, got 'mid'"
    ):
        Block(nn.Identity(), nn.Identity(), nn.Identity, norm_place="mid")


@pytest.mark.parametrize("place", ["pre", "post", "sandwich"])
def test_dropout_of_a_block_acts_on_what_is_added(place):
    block = Block(attention(), FeedForward(12), partial(nn.LayerNorm, 12), norm_place=place,
                  dropout=1.0 - 1e-12).double()  # fmt: skip
    x = inputs(2, 4, 12)
    norm = nn.LayerNorm(12).double()
    same(block.train()(x), norm(norm(x)) if place == "post" else x, 1e-9)
    assert (block.eval()(x) - x).abs().max().item() > 1e-3


@pytest.mark.parametrize("place", ["pre", "post", "sandwich"])
def test_gradients_of_a_block(place):
    torch.manual_seed(0)
    block = Block(attention(), GatedFeedForward(12, 7), partial(OffsetRMSNorm, 12),
                  norm_place=place).double()  # fmt: skip
    x = inputs(2, 4, 12).requires_grad_()
    assert gradcheck(lambda x: block(x), x, directions=2,
                     parameters=dict(block.named_parameters()))  # fmt: skip


# --------------------------------------------------------------------------------------- heads
def texts(seed=0, V=11):
    targets = torch.from_numpy(np.random.default_rng(seed).integers(0, V, (3, 5)))
    targets.array[0, :2] = -100
    return inputs(3, 5, 8), targets


def quantised(layer):
    quantize(layer, "int8")
    return layer


def check_loss(layer, x, targets):
    """Loss and gradients equal those of cross_entropy of all logits."""
    results = []
    for loss_of in (
        lambda y: head_loss(layer, y, targets),
        lambda y: F.cross_entropy(layer(y).flatten(0, 1), targets.flatten()),
    ):
        y = x.detach().requires_grad_()
        layer.zero_grad()
        loss = loss_of(y)
        loss.backward()
        grads = [p.grad for p in layer.parameters() if p.requires_grad]
        assert all(g is not None and g.abs().max().item() > 0 for g in grads)
        results.append([loss, y.grad, *(g.clone() for g in grads)])
    for a, b in zip(*results, strict=True):
        same(a, b)


@pytest.mark.parametrize("chunk", [1 << 22, 40])
@pytest.mark.parametrize(
    "kind", ["plain", "bias", "lora", "softcap", "tied", "own", "quantised", "quantised softcap"]
)
def test_loss_of_every_head(kind, chunk, monkeypatch):
    monkeypatch.setattr(head, "CHUNK", chunk)
    monkeypatch.setattr(head, "QUANTIZED_CHUNK", chunk)
    torch.manual_seed(0)
    x, targets = texts()

    class Shifted(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 0.1 * x.sum(-1, keepdim=True)

    layer = {
        "plain": lambda: nn.Linear(8, 11, bias=False),
        "bias": lambda: nn.Linear(8, 11),
        "lora": lambda: lora.LinearWithLoRA(nn.Linear(8, 11), rank=2),
        "softcap": lambda: SoftCappedHead(8, 11, 2.0, bias=True),
        "tied": lambda: SoftCappedHead(8, 11, 2.0),
        "own": lambda: Shifted(8, 11),
        "quantised": lambda: QuantizedLinear(nn.Linear(8, 11).weight, torch.randn(11), "int8"),
        "quantised softcap": lambda: quantised(SoftCappedHead(8, 11, 2.0, bias=True)),
    }[kind]().double()
    if kind == "tied":
        embedding = nn.Embedding(11, 8).double()
        layer.linear.weight = embedding.weight
        assert list(layer.parameters()) == [embedding.weight]
    if kind == "lora":
        layer.lora.lora_B.data = inputs(11, 2, seed=4)
    assert is_plain_linear(layer) == (kind in ("plain", "bias"))
    check_loss(layer, x, targets)


def test_a_hook_on_the_head_is_called():
    x, targets = texts()
    for add in ("register_forward_hook", "register_forward_pre_hook"):
        layer, calls = nn.Linear(8, 11).double(), []
        handle = getattr(layer, add)(lambda *a, calls=calls: calls.append(1))
        check_loss(layer, x, targets)
        assert len(calls) == 2
        handle.remove()
        assert is_plain_linear(layer)
    layer = nn.Linear(8, 11).double()
    layer.register_forward_hook(lambda module, args, y: 2 * y)
    check_loss(layer, x, targets)
    changed = nn.Linear(8, 11).double()
    changed.forward = lambda x: 3 * nn.Linear.forward(changed, x)
    check_loss(changed, x, targets)


def test_a_capped_loss_never_holds_all_logits(monkeypatch):
    monkeypatch.setattr(head, "CHUNK", 50_000)
    layer, x = SoftCappedHead(8, 5000, 30.0), torch.randn(4, 200, 8, requires_grad=True)
    targets = torch.zeros(4, 200, dtype=torch.int64)
    head_loss(layer, x, targets).backward()  # what is imported and made once is there
    tracemalloc.start()
    head_loss(layer, x, targets).backward()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 800 * 5000 * 4 / 2  # half of the logits in float32
    with pytest.raises(ValueError, match="softcap must be positive and finite, got 0"):
        SoftCappedHead(8, 11, 0)


def test_a_quantised_loss_never_holds_all_logits(monkeypatch):
    """Forward and backward, and without a gradient; whole, they take more than the logits."""
    layer = QuantizedLinear(nn.Linear(32, 5000).weight, kind="q8_0")
    targets = torch.zeros(4, 200, dtype=torch.int64)
    n_bytes = 800 * 5000 * 4  # of all logits in float32
    for chunk, with_gradient in ((50_000, True), (50_000, False), (1 << 26, True)):
        monkeypatch.setattr(head, "QUANTIZED_CHUNK", chunk)
        for _ in range(2):  # the first time imports and compiles
            x = torch.randn(4, 200, 32, requires_grad=with_gradient)
            tracemalloc.start()
            with torch.set_grad_enabled(with_gradient):
                loss = head_loss(layer, x, targets)
            if with_gradient:
                loss.backward()
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most < n_bytes / 4 if chunk == 50_000 else most > n_bytes


def test_a_hook_on_a_quantised_head_is_called(monkeypatch):
    monkeypatch.setattr(head, "QUANTIZED_CHUNK", 40)
    x, targets = texts()
    layer, rows = QuantizedLinear(nn.Linear(8, 11).weight, kind="int8"), []
    layer.register_forward_hook(lambda module, args, y: rows.append(len(args[0])))
    head_loss(layer, x, targets)
    assert rows == [15]


def test_a_loss_without_targets_is_nan_as_pytorchs(monkeypatch):
    monkeypatch.setattr(head, "CHUNK", 40)
    x, targets = texts()
    for layer in (nn.Linear(8, 11).double(), SoftCappedHead(8, 11, 2.0).double()):
        assert np.isnan(head_loss(layer, x, torch.full_like(targets, -100)).item())


# ---------------------------------------------------------------------------------------- LoRA
def test_lora_by_pattern_on_every_kind_of_layer():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(
                Block(attention(), ff, partial(nn.RMSNorm, 12), cross=attention(
                    cross=True, rotary=None))
                for ff in (FeedForward(12), GatedFeedForward(12, 16))
            )  # fmt: skip
            self.out_head = SoftCappedHead(12, 11, 2.0)

        def forward(self, x, memory):
            for block in self.blocks:
                x = block(x, memory=memory)
            return self.out_head(x)

    expected = {
        "qkv": ["blocks.0.att.qkv", "blocks.1.att.qkv"],
        "q": ["blocks.0.cross.q", "blocks.1.cross.q"],
        "cross.kv": ["blocks.0.cross.kv", "blocks.1.cross.kv"],
        "blocks.1.*.out_proj": ["blocks.1.att.out_proj", "blocks.1.cross.out_proj"],
        "ff.*": ["blocks.0.ff.layers.0", "blocks.0.ff.layers.2", "blocks.1.ff.gate_up",
                 "blocks.1.ff.down"],
        "gate_up": ["blocks.1.ff.gate_up"],
        "out_head.*": ["out_head.linear"],
    }  # fmt: skip
    x, memory = inputs(2, 4, 12), inputs(2, 3, 12, seed=1)
    targets = torch.from_numpy(np.random.default_rng(0).integers(0, 11, (2, 4)))
    for pattern, names in expected.items():
        torch.manual_seed(0)
        model = Decoder().double()
        before = model(x, memory)
        assert lora.add(model, rank=2, names=[pattern]) == names
        same(model(x, memory), before, 0.0)
        for layer in lora.layers(model):
            layer.lora.lora_B.data = inputs(*layer.lora.lora_B.shape)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert trained == {f"{n}.lora.lora_{m}" for n in names for m in "AB"}
        check_loss_of_model(model, x, memory, targets)
        with_lora = model(x, memory)
        assert (with_lora - before).abs().max().item() > 1e-3
        lora.merge(model)
        same(model(x, memory), with_lora)


def check_loss_of_model(model, x, memory, targets):
    hidden = x
    for block in model.blocks:
        hidden = block(hidden, memory=memory)
    loss = head_loss(model.out_head, hidden, targets)
    same(loss, F.cross_entropy(model(x, memory).flatten(0, 1), targets.flatten()))
    loss.backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 2), ({"norm_place": "sandwich"}, 2), ({"norm_place": "post"}, 0),
     ({"norm_place": "after"}, 0), ({"norm_place": "parallel"}, 0), ({"cross": True}, 3),
     ({"gated": True}, 2), ({"lora": True}, 1), ({"watched": "norm1"}, 1), ({"watched": "att"}, 1),
     ({"watched": "ff.layers.0"}, 1)],
    ids=str,
)  # fmt: skip
def test_norms_that_only_a_linear_layer_reads(options, count, device, monkeypatch):
    """Within autocast on a GPU these may come in bfloat16."""
    from tinygrad_llm.layers import block as blocks

    seen = []
    monkeypatch.setattr(blocks, "for_products", lambda norm, x: seen.append(norm) or norm(x))
    cross = Attention(16, 2, cross=True) if options.get("cross") else None
    ff = GatedFeedForward(16, 24) if options.get("gated") else FeedForward(16)
    place = options.get("norm_place", "pre")
    block = Block(Attention(16, 2), ff, partial(nn.LayerNorm, 16), norm_place=place, cross=cross)
    if options.get("lora"):
        block.att.qkv = lora.LinearWithLoRA(block.att.qkv, 2, 4)
    block.to(device)
    if "watched" in options:
        block.get_submodule(options["watched"]).register_forward_pre_hook(lambda *args: None)
    x = torch.ones(1, 3, 16, device=device)
    memory = {"memory": x} if cross is not None else {}
    expected = block(x, **memory)
    assert not seen
    with torch.autocast("cuda"):
        y = block(x, **memory)
    assert len(seen) == (0 if device == "cpu" else count)
    same(y.float().cpu(), expected.cpu(), 0.05)


@pytest.mark.parametrize(
    ("norm", "error"),
    [(nn.LayerNorm(8, elementwise_affine=False), "Given normalized_shape=[8]"),
     (nn.RMSNorm(8, 1e-5, elementwise_affine=False), "Given normalized_shape=[8]"),
     (nn.LayerNorm(16), "to be on the same device"),
     (nn.LayerNorm(16, "x", elementwise_affine=False), "argument 'eps' must be float")],
    ids=str,
)  # fmt: skip
def test_errors_of_a_norm_that_only_a_linear_layer_reads(norm, error, other_device, monkeypatch):
    """They are layer_norm's, also where a kernel would take what it is given."""
    op = SimpleNamespace(takes=lambda *arrays: True, apply=lambda *args, **options: "rounded")
    both = {"layer_norm": op, "rms_norm": op}
    monkeypatch.setattr(twins, "gpu", SimpleNamespace(rounded_norms=both, ops={}))
    x = torch.ones(2, 16).to(other_device)
    with torch.autocast("cuda"):
        assert for_products(nn.RMSNorm(16, 1e-5, elementwise_affine=False), x) == "rounded"
        with pytest.raises((RuntimeError, TypeError), match=re.escape(error)):
            for_products(norm, x)
        assert not state.for_products


def test_ops_that_are_changed_run_themselves(other_device, monkeypatch):
    """study.lesson.broken: a kernel, or one op for several, would not be broken."""
    from tinygrad_llm.layers.feed_forward import one_op
    from tinygrad_llm.study import lesson

    def never(*args, **options):
        raise AssertionError

    op = SimpleNamespace(takes=lambda *arrays: True, apply=never)
    slots = {"takes_mixed_linear": lambda *arrays: True, "mixed_linear": never}
    gpu = SimpleNamespace(rounded_norms={"layer_norm": op}, ops={}, **slots)
    x, layers = torch.ones(2, 16).to(other_device), FeedForward(16).to(other_device).layers
    with torch.autocast("cuda"):
        assert one_op(x, layers)
        with lesson.broken("gelu", never):
            assert not one_op(x, layers)
        monkeypatch.setattr(twins, "gpu", gpu)
        with pytest.raises(AssertionError):
            for_products(nn.LayerNorm(16).to(other_device), x)
        with pytest.raises(AssertionError):
            layers[0](x)
        gpu.narrow = gpu.mixed_sum = lambda *args: False
        with lesson.broken("layer_norm", never), lesson.broken("linear", never):
            for_products(nn.LayerNorm(16).to(other_device), x)
            layers[0](x)


class Skipping(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


@pytest.mark.parametrize("change", [lambda layers: Skipping(*layers), lambda _: nn.Sequential(),
                         lambda _: nn.Identity()], ids=["skipping", "empty", "other"])  # fmt: skip
def test_a_feed_forward_with_other_layers(change, device):
    """Another class than Sequential may do other things with its layers."""
    torch.manual_seed(0)
    block = Block(Attention(16, 2), FeedForward(16), partial(nn.LayerNorm, 16))
    block.ff.layers = change(block.ff.layers)
    x = torch.rand(1, 3, 16)
    expected = block(x)
    with torch.autocast("cuda"):
        y = block.to(device)(x.to(device))
    same(y.float().cpu(), expected, 0.05)


def test_a_block_of_what_is_not_a_tensor():
    block = Block(Attention(16, 2), FeedForward(16), partial(nn.LayerNorm, 16))
    for x in (np.ones((1, 3, 16), np.float32), None):
        with pytest.raises(TypeError, match="must be Tensor"):
            block(x)
