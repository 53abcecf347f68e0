"""Attention's other forms: caches against the whole text, padding, devices, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.layers.latent_attention import LatentAttention
from tinygrad_llm.layers.masks import with_padding
from tinygrad_llm.layers.rotary import Rotary

ROUNDS = 24  # three windows of eight tokens


def latent(**options):
    torch.manual_seed(0)
    options = {"rotary": Rotary(4, interleaved=True), "q_rank": 5, **options}
    return LatentAttention(6, 3, kv_rank=7, head_dim=4, value_head_dim=5, **options).double()


LAYERS = {
    "latent": latent,
    "latent, absorbed": lambda: latent(absorb=True),
    "latent, expanded": lambda: latent(absorb=False, rotary=None),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def assert_close(a, b, tolerance=1e-12):
    a, b = (np.asarray(x.detach().numpy()) for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(abs(b).max(), 1e-30))


@every_layer
@pytest.mark.parametrize("pieces", [[1] * ROUNDS, [7, 1, 1, 9, 6], [ROUNDS]])
def test_cached_equals_uncached_and_a_used_cache_leaves_nothing(name, pieces):
    layer = LAYERS[name]().eval()
    x, other = torch.randn(2, ROUNDS, 6).double(), torch.randn(2, 11, 6).double()
    cache = layer.new_cache(ROUNDS)
    with torch.no_grad():
        expected = layer(x)
        for _ in range(2):  # the second time in the memory of another text
            got = [layer(part, cache=cache) for part in x.split(pieces, 1)]
            assert_close(torch.cat(got, 1), expected)
            assert cache.length == ROUNDS
            cache.truncate(0)
            layer(other, cache=cache)
            cache.truncate(0)


@every_layer
def test_tokens_are_taken_back_and_rows_moved(name):
    layer = LAYERS[name]().eval()
    x = torch.randn(3, 12, 6).double()
    with torch.no_grad():
        cache = layer.new_cache(12)
        layer(x[:, :5], cache=cache)
        layer(torch.randn(3, 3, 6).double(), cache=cache)  # a draft that is rejected
        assert cache.can_truncate(5) and not cache.can_truncate(9)
        cache.truncate(5)
        cache.reorder([2, 0, 0, 1])
        rows = x[[2, 0, 0, 1]]
        assert_close(layer(rows[:, 5:], cache=cache), layer(rows)[:, 5:])
        with pytest.raises(ValueError, match="holds 12 tokens, not 13"):
            layer(rows[:, :1], cache=cache)
        with pytest.raises(IndexError, match="rows of the cache"):
            cache.reorder([4])
    with pytest.raises(RuntimeError, match=r"no_grad\(\)"):
        layer(x[:, :1], cache=layer.new_cache(3))


@every_layer
def test_padding_at_the_left_changes_nothing(name):
    """Each row of a padded batch equals that row alone, whole and one token after the other."""
    layer = LAYERS[name]().eval()
    x, padding = torch.randn(3, 9, 6).double(), [0, 2, 5]
    real = torch.tensor([[t >= n for t in range(9)] for n in padding])
    positions = torch.tensor([[max(t - n, 0) for t in range(9)] for n in padding])
    with torch.no_grad():
        whole, cache = layer(x, mask=real, positions=positions), layer.new_cache(9)
        pieces = [
            layer(x[:, t : t + 1], cache=cache, mask=real[:, : t + 1],
                  positions=positions[:, t : t + 1])
            for t in range(9)
        ]  # fmt: skip
        assert torch.isfinite(whole).all()
        for row, n in enumerate(padding):
            alone = layer(x[row : row + 1, n:])
            assert_close(whole[row : row + 1, n:], alone)
            assert_close(torch.cat(pieces, 1)[row : row + 1, n:], alone)


@every_layer
def test_gradients_by_finite_differences(name):
    layer = LAYERS[name]()
    x = torch.randn(1, 4, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    y = layer(x)
    upstream = torch.randn(*y.shape).double()
    y.backward(upstream)
    for p in layer.parameters():
        flat, i = p.array.reshape(-1), 1 % p.numel()
        values, old = [], flat[i]
        for step in (1e-5, -1e-5):
            flat[i] = old + step
            values.append((layer(x.detach()) * upstream).sum().item())
        flat[i] = old
        assert p.grad.flatten()[i].item() == pytest.approx(
            (values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-8
        )


@every_layer
def test_on_another_device(name, other_device):
    layer, x = LAYERS[name](), torch.randn(2, 6, 6).double()
    moved = LAYERS[name]().to("cuda")
    moved.load_state_dict(layer.state_dict())
    here, there = x.clone().requires_grad_(), x.to("cuda").requires_grad_()
    y, z = layer(here), moved(there)
    (y * y).sum().backward()
    (z * z).sum().backward()
    assert_close(z.cpu(), y)
    assert_close(there.grad.cpu(), here.grad)
    with torch.no_grad():
        cache = moved.new_cache(6)
        pieces = [moved(part, cache=cache) for part in there.detach().split([4, 1, 1], 1)]
        assert_close(torch.cat(pieces, 1).cpu(), y)


# ------------------------------------------------------------------------------- latent attention
def test_the_form_with_less_work_is_chosen():
    layer = LatentAttention(512, 4, kv_rank=64, head_dim=32, rotary=Rotary(16))
    assert not layer._absorbs(256, 256)  # training
    assert layer._absorbs(1, 256)  # one new token
    assert layer._absorbs(1, 1 << 15) and not layer._absorbs(1 << 15, 1 << 15)


def test_the_cache_keeps_the_latent_and_one_turned_key():
    layer = latent()
    with torch.no_grad():
        cache = layer.new_cache(50)
        layer(torch.randn(2, 9, 6).double(), cache=cache)
    (kept,) = cache._parts
    assert kept.shape[0] == 2 and kept.shape[2] == 7 + 4
    assert layer.cache_bytes_per_token(8) == 8 * (7 + 4)
    assert layer.flops_per_token(10) == 6.0 * 3 * (4 + 4 + 5) * 5


def test_half_precision_stays_half():
    layer = latent().to(torch.bfloat16)
    assert layer(torch.randn(1, 3, 6).to(torch.bfloat16)).dtype is torch.bfloat16


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kv_rank": 0}, "kv_rank must be an integer of at least 1, got 0"),
        ({"kv_rank": 2.0}, "kv_rank must be an integer"),
        ({"kv_rank": 3, "q_rank": True}, "q_rank must be an integer"),
        ({"kv_rank": 3, "n_heads": 4}, "dim must be a multiple of n_heads, got 6 and 4"),
    ],
)
def test_what_latent_attention_refuses(options, words):
    n_heads = options.pop("n_heads", 2)
    with pytest.raises(ValueError, match=words):
        LatentAttention(6, n_heads, **options)


def test_a_latent_cache_refuses_other_parts():
    layer, cache = latent(), latent().new_cache(9)
    with torch.no_grad():
        layer(torch.randn(2, 3, 6).double(), cache=cache)
        for rows, dtype in ((3, torch.float64), (2, torch.float32)):
            with pytest.raises(ValueError, match="the KV cache holds"):
                layer.to(dtype)(torch.randn(rows, 1, 6).to(dtype), cache=cache)


# ------------------------------------------------------------------------------------------ masks
def test_a_mask_of_padding_is_causal_and_no_row_is_empty():
    mask = torch.tensor([[False, False, True, True], [True, True, True, True]])
    seen = with_padding(mask, 1, 3)
    assert seen.shape == (2, 1, 3, 4)
    assert seen[0, 0].tolist() == [
        [False, True, False, False], [False, False, True, False], [False, False, True, True],
    ]  # fmt: skip
    assert seen[1, 0].tolist() == [
        [True, True, False, False], [True, True, True, False], [True, True, True, True],
    ]  # fmt: skip
    for other in (None, torch.zeros(2, 4), seen):
        assert with_padding(other, 1, 3) is other
    with pytest.raises(ValueError, match="one column for each token.*: 4, got 3"):
        with_padding(mask[:, 1:], 1, 3)
