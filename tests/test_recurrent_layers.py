"""Layers with a memory in place of attention: every form of each is the same, cached or not."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.layers.cache import Cache
from tinygrad_llm.layers.delta_net import GatedDeltaNet
from tinygrad_llm.layers.linear_attention import LinearAttention, causal_sums
from tinygrad_llm.layers.mamba import Mamba
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops import delta_rule, selective_scan

C = 6
LAYERS = {
    "GatedDeltaNet": lambda: GatedDeltaNet(C, 4, n_key_heads=2, head_dim=3, key_head_dim=5),
    "LinearAttention": lambda: LinearAttention(C, 2, head_dim=4),
    "Mamba": lambda: Mamba(C, inner_dim=10, state_dim=3, bias=True),
}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
every_layer = pytest.mark.parametrize("name", LAYERS)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def made(name, dtype=torch.float64):
    """The layer with numbers that matter in every parameter."""
    torch.manual_seed(0)
    layer = LAYERS[name]()
    for p in layer.parameters():
        p.data = torch.randn(p.shape) * (0.5 if p.dim() > 1 else 0.8)
    return layer.to(dtype)


def text(*shape, dtype=torch.float64, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def same(a, b, tolerance=1e-12, what=""):
    a, b = (np.asarray(getattr(x, "array", x), dtype=np.float64) for x in (a, b))
    bound = tolerance * np.abs(b).max(initial=1e-30)
    np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=what)


# ------------------------------------------------------------------------------- forms of a rule
def decays(kind, shape, rng):
    """The logarithm of what each token keeps."""
    u = rng.random(shape)
    return {
        "none": 0.0 * u, "mild": -0.1 * u, "strong": -30.0 * u,
        "one forgets all": np.where(u < 0.05, -1e4, -1e-3 * u),
    }[kind]  # fmt: skip


KINDS = ("none", "mild", "strong", "one forgets all")


@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", [1, 5, 63, 130])
def test_the_delta_rule_in_chunks_is_the_recurrence(T, kind, dtype):
    """Values and all gradients, held against chunks of one token in float64."""
    rng = np.random.default_rng(T)
    q, k, v = (rng.standard_normal((2, 2, T, n)) for n in (5, 5, 4))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    given = q, k, v, decays(kind, (2, 2, T), rng), rng.random((2, 2, T))
    upstream = rng.standard_normal(v.shape)

    def run(chunk, dtype):
        xs = [torch.from_numpy(a).to(dtype).requires_grad_() for a in given]
        y = delta_rule.GatedDeltaRule.apply(*xs, chunk=chunk)
        y.backward(torch.from_numpy(upstream).to(dtype))
        return [y.detach(), *(x.grad for x in xs)]

    expected = run(1, torch.float64)
    for chunk in (2, 16, 64, 256):
        for got, value in zip(run(chunk, dtype), expected, strict=True):
            assert got.dtype is dtype
            same(got, value, TOLERANCE[dtype], f"chunks of {chunk}")


@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", [1, 5, 33])
def test_the_scan_in_chunks_is_the_recurrence(T, kind, dtype):
    rng = np.random.default_rng(T)
    given = [
        rng.standard_normal((2, 5, T)), -decays(kind, (2, 5, T), rng), -rng.random((5, 3)),
        *rng.standard_normal((2, 2, 3, T)),
    ]  # fmt: skip
    upstream = rng.standard_normal((2, 5, T))

    def run(chunk, parallel, dtype):
        xs = [torch.from_numpy(a).to(dtype).requires_grad_() for a in given]
        y = selective_scan.SelectiveScan.apply(*xs, chunk=chunk, parallel=parallel)
        y.backward(torch.from_numpy(upstream).to(dtype))
        return [y.detach(), *(x.grad for x in xs)]

    expected = run(1, False, torch.float64)
    for chunk in (1, 3, 16, 64):
        for parallel in (False, True):
            for got, value in zip(run(chunk, parallel, dtype), expected, strict=True):
                assert got.dtype is dtype
                same(got, value, TOLERANCE[dtype], f"chunks of {chunk}, {parallel}")


@both_dtypes
@pytest.mark.parametrize("T", [1, 5, 130])
def test_linear_attention_in_chunks_is_the_recurrence(T, dtype):
    q, k, v = (text(2, 3, T, n, seed=n) for n in (4, 4, 5))
    state, rows = np.zeros((2, 3, 4, 5)), []
    for t in range(T):
        state = state + k.array[:, :, t, :, None] * v.array[:, :, t, None]
        rows.append((q.array[:, :, t, :, None] * state).sum(-2))
    for chunk in (1, 3, 64):
        y, after = causal_sums(*(a.to(dtype) for a in (q, k, v)), None, chunk)
        assert y.dtype is dtype
        same(y, np.stack(rows, 2), TOLERANCE[dtype])
        same(after, state, TOLERANCE[dtype])
    if T > 1:  # the second half after the first
        n = T // 2
        _, half = causal_sums(*(a[:, :, :n] for a in (q, k, v)), None)
        y, after = causal_sums(*(a[:, :, n:] for a in (q, k, v)), half)
        same(y, np.stack(rows[n:], 2))
        same(after, state)


def test_linear_attention_is_attention_with_another_kernel():
    """All T × T weights φ(q)·φ(k), causal, each row divided by its sum."""
    layer, x = made("LinearAttention"), text(2, 9, C)
    q, k, v = layer.qkv(x).view(2, 9, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    weights = ((F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)).tril()
    y = (weights / weights.sum(-1, keepdim=True)) @ v
    y = layer.out_proj(y.transpose(1, 2).reshape(2, 9, 8))
    same(layer(x).detach(), y.detach(), 1e-5)  # ε of the denominator
    shifted = weights @ v / (weights.sum(-1, keepdim=True) + 1e-6)
    same(layer(x).detach(), layer.out_proj(shifted.transpose(1, 2).reshape(2, 9, 8)).detach())


# ---------------------------------------------------------------------------------------- caches
@both_dtypes
@every_layer
def test_cached_is_uncached_over_three_chunks(name, dtype):
    """Token by token, and in pieces that begin and end anywhere: 200 tokens, chunks of 64 or 16."""
    layer, x = made(name, dtype), text(2, 200, C, dtype=dtype)
    with torch.no_grad():
        whole = layer(x)
        for pieces in ([1] * 200, [5, 1, 64, 1, 65, 1, 1, 62], [199, 1]):
            cache = layer.new_cache(200)
            parts = [layer(part, cache=cache) for part in x.split(pieces, 1)]
            assert cache.length == 200
            same(torch.cat(parts, 1), whole, TOLERANCE[dtype], str(pieces[:3]))


@every_layer
def test_reset_and_reuse_leave_nothing_behind(name):
    layer, x, other = made(name), text(2, 9, C), text(3, 11, C, seed=1)
    with torch.no_grad():
        cache, second = layer.new_cache(11), layer.new_cache(11)
        layer(x, cache=cache)
        fresh = layer(other, cache=second)
        cache.truncate(0)
        assert cache.length == 0 and cache.can_truncate(0)
        same(layer(other, cache=cache), fresh, 0.0)  # another batch size too
        same(layer(other), fresh)
        cache.truncate(7)
        again = torch.cat([fresh[:, :7], layer(other[:, 7:], cache=cache)], 1)
        same(again, fresh)
        cache.reorder([2, 0, 0, 1])
        cache.truncate(9)
        rows = [2, 0, 0, 1]
        same(layer(other[rows, 9:], cache=cache), fresh[rows, 9:])


@every_layer
def test_a_cache_says_what_does_not_fit(name):
    layer, x = made(name), text(2, 5, C)
    with torch.no_grad():
        cache = layer.new_cache(6)
        cache.reorder([5])  # nothing there yet
        layer(x, cache=cache)
        with pytest.raises(ValueError, match="holds 6 tokens, not 7"):
            layer(x[:, :2], cache=cache)
        with pytest.raises(ValueError, match="batch of 2, not 1"):
            layer(x[:1, :1], cache=cache)
        same(layer(x[:, :1], cache=cache), layer(torch.cat([x, x[:, :1]], 1))[:, 5:])
        with pytest.raises(ValueError, match="can't go back to 4 tokens.* from token 5 on"):
            cache.truncate(4)
    with pytest.raises(RuntimeError, match=r"no_grad\(\)"):
        layer(x, cache=layer.new_cache(6))


@every_layer
def test_rows_with_left_padding_equal_themselves_alone(name):
    """Values and gradients, with anything in the padding; then on with a cache."""
    layer, padding, n = made(name), [0, 4, 2], 9
    alone = [text(1, n - p, C, seed=p) for p in padding]
    x = torch.cat(
        [torch.cat([9.0 * torch.ones(1, p, C).double(), row], 1)
         for p, row in zip(padding, alone, strict=True)]
    )  # fmt: skip
    mask = torch.arange(n) >= torch.tensor(padding)[:, None]  # (B, T)
    x.requires_grad = True
    layer(x, mask=mask)[mask].square().sum().backward()
    for b, (p, row) in enumerate(zip(padding, alone, strict=True)):
        row.requires_grad = True
        layer(row).square().sum().backward()
        same(x.grad[b, p:], row.grad[0], 1e-12)
        assert not x.grad[b, :p].any()
    more = text(3, 4, C, seed=9)
    with torch.no_grad():
        cache = layer.new_cache(20)
        parts = [layer(x[:, :5], cache=cache, mask=mask[:, :5])]
        parts.append(layer(x[:, 5:], cache=cache, mask=mask[:, 5:]))
        parts += [layer(part, cache=cache) for part in more.split(1, 1)]
        got = torch.cat(parts, 1)
        for b, (p, row) in enumerate(zip(padding, alone, strict=True)):
            same(got[b, p:], layer(torch.cat([row, more[b : b + 1]], 1))[0])


@every_layer
@pytest.mark.parametrize("bytes_per_number", [2, 4])
def test_bytes_of_the_cache_in_closed_form(name, bytes_per_number):
    """The memory and the convolution's last inputs; the same after 1 token and after 100."""
    layer = made(name, torch.float32 if bytes_per_number == 4 else torch.bfloat16)
    cache, sizes = Cache([layer.new_cache(101)], 101), []
    with torch.no_grad():
        for n in (1, 99, 1):
            layer(text(1, n, C, dtype=next(layer.parameters()).dtype), cache=cache.layers[0])
            part = cache.layers[0]
            inputs = part._inputs
            kept = 0 if inputs is None else inputs.shape[1] * (part.conv_size - 1) * inputs.itemsize
            sizes.append(part._state.nbytes + kept)
    assert set(sizes) == {layer.cache_bytes(100, bytes_per_number)}
    assert layer.cache_bytes(1, bytes_per_number) == layer.cache_bytes(10**6, bytes_per_number)


# -------------------------------------------------------------------------------- whole layers
@every_layer
def test_gradients_by_finite_differences(name):
    layer = made(name)
    x = text(2, 5, C).requires_grad_()
    parameters = dict(layer.named_parameters())
    assert gradcheck(lambda x: layer(x), x, directions=2, parameters=parameters)


@every_layer
def test_the_same_on_every_device(name, other_device):
    """Values, gradients and a cache; on a GPU the scan takes its parallel form."""
    results = []
    for where in ("cpu", other_device):
        layer, x = made(name).to(where), text(2, 40, C).to(where).requires_grad_()
        y = layer(x)
        y.backward(text(2, 40, C, seed=1).to(where))
        with torch.no_grad():
            cache = layer.new_cache(40)
            parts = [layer(p, cache=cache) for p in x.detach().split([7, 1, 32], 1)]
            cache.truncate(39)
            cache.reorder([1, 0])
            parts.append(layer(x.detach()[[1, 0], 39:], cache=cache)[[1, 0]])
        grads = [p.grad for p in layer.parameters()]
        parts = torch.cat([*parts[:-2], parts[-2][:, :-1], parts[-1]], 1)
        results.append([t.detach().cpu() for t in (y, x.grad, parts, *grads)])
    same(results[0][2], results[0][0])
    for got, expected in zip(results[1], results[0], strict=True):
        same(got, expected)


@every_layer
def test_half_precision_stays_half_and_close(name):
    layer, x = made(name, torch.float32), text(2, 40, C, dtype=torch.float32)
    with torch.no_grad():
        expected = layer(x)
        half = layer.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert half.dtype is torch.bfloat16
    assert (half.float() - expected).abs().max().item() < 0.05 * expected.abs().max().item()


def test_work_does_not_grow_with_the_text():
    for name, expected in (
        ("GatedDeltaNet", 18 * 4 * 5 * 3), ("LinearAttention", 12 * 2 * 4 * 5), ("Mamba", 21 * 30)
    ):  # fmt: skip
        layer = LAYERS[name]()
        assert layer.flops_per_token(10) == layer.flops_per_token(10_000) == float(expected)


def test_the_first_steps_of_a_mamba():
    """A from −1 to −N, Δ between 0.001 and 0.1 for an input of zero, D one."""
    layer = Mamba(32, state_dim=5)
    assert (layer.inner_dim, layer.dt_rank) == (64, 2)
    same(layer.A_log.exp().detach(), np.tile(np.arange(1.0, 6.0), (64, 1)), 1e-6)
    step = F.softplus(layer.dt_proj.bias).detach()
    assert 0.00099 < step.min().item() < 0.01 < step.max().item() < 0.1001
    assert (layer.D == 1).all() and layer.dt_proj.weight.abs().max().item() <= 2**-0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Mamba(6, state_dim=0), "Mamba: state_dim must be an integer of at least 1, got 0"),
        (lambda: Mamba(6, inner_dim=2.0), "inner_dim must be an integer"),
        (lambda: LinearAttention(6, 4), "a multiple of n_heads, got 6 and 4"),
        (lambda: LinearAttention(6, True), "n_heads must be an integer of at least 1, got True"),
        (lambda: GatedDeltaNet(6, 4, n_key_heads=3), "multiple of n_key_heads, got 4 and 3"),
    ],
)
def test_sizes_that_do_not_fit(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_scan_says_what_does_not_fit():
    x, a, b = torch.randn(2, 5, 7), -torch.rand(5, 3), torch.randn(2, 3, 7)
    assert F.selective_scan(x, x, a, b, b).shape == (2, 5, 7)
    for wrong in (
        (x[0], x, a, b, b), (x, x[:, :4], a, b, b), (x, x, a[:4], b, b), (x, x, a, b[:, :2], b),
        (x, x, a, b, b[:, :, :6]), (x, x, a, b.transpose(1, 2), b.transpose(1, 2)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"expected x and delta \(B, D, T\)"):
            F.selective_scan(*wrong)
    with pytest.raises(RuntimeError, match="dtype"):
        F.selective_scan(x, x.double(), a, b, b)
