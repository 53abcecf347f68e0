"""A few new tokens through blocks by compiled loops: equal to the ordinary path, and when taken."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.layers import step
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.block import Block
from tinygrad_llm.layers.cache import Cache
from tinygrad_llm.layers.feed_forward import FeedForward, GatedFeedForward
from tinygrad_llm.layers.norm import OffsetRMSNorm
from tinygrad_llm.layers.rotary import Rotary
from tinygrad_llm.models.gpt import GPT, GPTConfig

C = 20
KINDS = {
    "gpt": (dict(n_heads=5), partial(FeedForward, C), nn.LayerNorm, "pre"),
    "llama": (
        dict(n_heads=4, n_kv_heads=2, head_dim=6, bias=False, rotary=Rotary(6)),
        partial(GatedFeedForward, C, 13), nn.RMSNorm, "pre",
    ),
    "one key head, window": (
        dict(n_heads=3, n_kv_heads=1, head_dim=8, window=4,
             rotary=Rotary(8, partial=0.5, interleaved=True)),
        partial(GatedFeedForward, C, 27, activation="gelu_new"), OffsetRMSNorm, "sandwich",
    ),
    "relu": (
        dict(n_heads=2, head_dim=3, scale=0.7, out_bias=False),
        partial(FeedForward, C, 9, activation="relu", bias=False), nn.LayerNorm, "pre",
    ),
}  # fmt: skip


def blocks_of(kind, dtype):
    """Two blocks with every weight drawn."""
    options, ff, norm, place = KINDS[kind]
    tg.manual_seed(3)
    blocks = [
        Block(Attention(C, **options), ff(), partial(norm, C), norm_place=place) for _ in range(2)
    ]
    for block in blocks:
        for p in block.parameters():
            p.array[...] = np.random.default_rng(p.array.size).normal(0.1, 0.3, p.array.shape)
        block.to(dtype).eval()
    return blocks


def ordinary(blocks, x, cache, mask=None):
    for block, part in zip(blocks, cache.layers, strict=True):
        x = block(x, cache=part, mask=mask)
    return x


def equal(result, expected, dtype):
    scale = np.abs(expected.array).max()
    tolerance = 1e-5 if dtype == tg.float32 else 1e-12
    assert result.array.dtype == expected.array.dtype
    assert np.abs(result.array - expected.array).max() <= tolerance * scale


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("B, T", [(1, 1), (1, 3), (2, 1), (5, 1), (2, 4), (7, 1)])
def test_equals_the_blocks(kind, B, T, dtype, loops):
    blocks = blocks_of(kind, dtype)
    caches = [Cache([b.new_cache(40) for b in blocks], 40) for _ in range(2)]
    with tg.no_grad():
        first = tg.randn(B, 9, C, dtype=dtype)
        for cache in caches:
            ordinary(blocks, first, cache)
        for _ in range(5):
            x = tg.randn(B, T, C, dtype=dtype)
            before = x.array.copy()
            result = step.through(blocks, x, caches[0], {"mask": None})
            assert result is not None
            equal(result, ordinary(blocks, x, caches[1]), dtype)
            assert (x.array == before).all()
    assert len(caches[0]) == len(caches[1]) == 9 + 5 * T


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_as_near_to_float64_as_the_ordinary_path(kind, loops):
    """Both against the same weights in float64, over 24 tokens; these blocks magnify rounding."""
    errors = {"loops": 0.0, "ordinary": 0.0}
    exact_blocks, blocks = blocks_of(kind, tg.float64), blocks_of(kind, tg.float32)
    for mine, other in zip(blocks, exact_blocks, strict=True):
        for p, q in zip(mine.parameters(), other.parameters(), strict=True):
            q.array[...] = p.array
    caches = [Cache([b.new_cache(64) for b in blocks], 64) for _ in range(3)]
    with tg.no_grad():
        for _ in range(24):
            x = tg.randn(2, 1, C)
            exact = ordinary(exact_blocks, x.double(), caches[0]).array
            for name, result in (
                ("loops", step.through(blocks, x, caches[1], {})),
                ("ordinary", ordinary(blocks, x, caches[2])),
            ):
                errors[name] += float(np.square(result.array - exact).sum())
    assert errors["loops"] <= 1.5**2 * errors["ordinary"]


@pytest.mark.parametrize("kind", KINDS)
def test_mask(kind, loops):
    blocks = blocks_of(kind, tg.float64)
    caches = [Cache([b.new_cache(40) for b in blocks], 40) for _ in range(2)]
    with tg.no_grad():
        for cache in caches:
            ordinary(blocks, tg.ones(3, 6, C, dtype=tg.float64), cache)
        x = tg.randn(3, 1, C, dtype=tg.float64)
        mask = tg.tensor(np.random.default_rng(0).random((3, 1, 1, 7)) < 0.6)
        mask[..., -1] = True
        result = step.through(blocks, x, caches[0], {"mask": mask})
        equal(result, ordinary(blocks, x, caches[1], mask), tg.float64)


def changed_model(model, change):
    block = model.trf_blocks[1]
    if change == "weight":
        block.ff.layers[0].weight = nn.Parameter(block.ff.layers[0].weight * 2)
    elif change == "array":
        block.att.qkv.weight.data = block.att.qkv.weight.data * 2
    elif change == "module":
        block.ff = FeedForward(24, 11)
    elif change == "hook":
        block.att.register_forward_hook(lambda module, args, y: y * 2)
    elif change == "training":
        model.train()
    elif change == "in place":
        block.ff.layers[2].bias.array[...] += 1


@pytest.mark.parametrize(
    "change", ["weight", "array", "module", "hook", "training", "in place", "nothing"]
)
def test_a_change_between_two_tokens_counts(change, loops, monkeypatch):
    tg.manual_seed(0)
    model = GPT(GPTConfig(11, 30, 24, 3, 2, drop_rate=0.5)).eval()
    cache, idx = model.new_cache(), tg.tensor([[1, 2, 3]])
    plain = model.new_cache()
    with tg.no_grad():
        model(idx, cache=cache)
        with monkeypatch.context() as patch:
            patch.setattr(step, "MOST_ROWS", 0)
            model(idx, cache=plain)
        changed_model(model, change)
        tg.manual_seed(5)
        result = model(tg.tensor([[4]]), cache=cache)
        monkeypatch.setattr(step, "MOST_ROWS", 0)
        tg.manual_seed(5)
        equal(result, model(tg.tensor([[4]]), cache=plain), tg.float32)


def test_a_copied_cache_goes_on_alone(loops):
    """A plan holds addresses: those of the original must not be written by the copy."""
    model = GPT(GPTConfig(11, 30, 24, 3, 2, drop_rate=0.0)).eval()
    cache = model.new_cache()
    with tg.no_grad():
        model(tg.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10] * 2]), cache=cache)
        model(tg.tensor([[4]]), cache=cache)
        copied = copy.deepcopy(cache)
        expected = model(tg.tensor([[5]]), cache=cache).array
        cache.truncate(21)
        model(tg.tensor([[7]]), cache=copied)
        model(tg.tensor([[8]]), cache=copied)
        assert len(cache) == 21 and len(copied) == 23
        equal(model(tg.tensor([[5]]), cache=cache), tg.tensor(expected), tg.float32)
        assert cache.layers[0]._keys is not copied.layers[0]._keys


def test_generation_takes_it_and_writes_the_same(loops, monkeypatch):
    from tinygrad_llm.generation import generate

    taken = []
    through = step.through
    model = GPT(GPTConfig(11, 60, 24, 3, 2, drop_rate=0.0)).eval()
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    monkeypatch.setattr(step, "MOST_ROWS", 0)
    expected = generate(model, prompts, 40)
    monkeypatch.undo()
    from tinygrad_llm.arrays import twins
    from tinygrad_llm.models import base

    monkeypatch.setattr(twins.large, "least", 0)

    def watched(*args):
        taken.append(through(*args))
        return taken[-1]

    monkeypatch.setattr(base, "few_tokens_through", watched)
    assert generate(model, prompts, 40).tolist() == expected.tolist()
    assert sum(y is not None for y in taken) >= 39
