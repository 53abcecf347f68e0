"""Attention's other forms: caches against the whole text, padding, devices, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.indexer import Indexer, collected_index_losses, index_loss
from tinygrad_llm.layers.latent_attention import LatentAttention
from tinygrad_llm.layers.masks import with_padding
from tinygrad_llm.layers.rotary import Rotary
from tinygrad_llm.nn.attention import flex_attention

ROUNDS = 24  # three windows of eight tokens


def latent(**options):
    torch.manual_seed(0)
    options = {"rotary": Rotary(4, interleaved=True), "q_rank": 5, **options}
    return LatentAttention(6, 3, kv_rank=7, head_dim=4, value_head_dim=5, **options).double()


def attention(**options):
    """An Attention of float64 whose sinks are not zero."""
    torch.manual_seed(0)
    layer = Attention(6, 4, n_kv_heads=2, head_dim=4, rotary=Rotary(4), **options).double()
    if layer.sinks is not None:
        layer.sinks.data = torch.randn(4).double()
    return layer


def sparse(**options):
    torch.manual_seed(1)
    return latent(indexer=Indexer(6, 2, 4, top_k=3, q_dim=5, rotary=Rotary(4)).double(), **options)


LAYERS = {
    "latent": latent,
    "latent, absorbed": lambda: latent(absorb=True),
    "latent, expanded": lambda: latent(absorb=False, rotary=None),
    "sparse": sparse,
    "dilated": lambda: attention(window=3, dilation=2),
    "first keys kept": lambda: attention(window=4, keep_first=2),
    "first keys kept, dilated": lambda: attention(window=2, keep_first=1, dilation=3),
    "sinks": lambda: attention(sinks=True),
    "sinks, window": lambda: attention(sinks=True, window=8),
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


@pytest.mark.parametrize("name", [n for n in LAYERS if "first keys" not in n])
def test_padding_at_the_left_changes_nothing(name):
    """Each row of a padded batch equals that row alone, whole and one token after the other."""
    layer = LAYERS[name]().eval()
    x, padding = torch.randn(3, 9, 6).double(), [0, 2, 5]
    real = torch.tensor([[t >= n for t in range(9)] for n in padding])
    positions = torch.tensor([[max(t - n, 0) for t in range(9)] for n in padding])

    def mask(past, T):
        """Of padding; an Attention takes the whole mask, as the models pass it."""
        own = real[:, : past + T]
        return with_padding(own, past, T) if isinstance(layer, Attention) else own

    with torch.no_grad():
        whole, cache = layer(x, mask=mask(0, 9), positions=positions), layer.new_cache(9)
        pieces = [
            layer(x[:, t : t + 1], cache=cache, mask=mask(t, 1), positions=positions[:, t : t + 1])
            for t in range(9)
        ]
        assert torch.isfinite(whole).all()
        for row, n in enumerate(padding):
            alone = layer(x[row : row + 1, n:])
            assert_close(whole[row : row + 1, n:], alone)
            assert_close(torch.cat(pieces, 1)[row : row + 1, n:], alone)


@every_layer
@pytest.mark.suite_cases(2)
def test_gradients_by_finite_differences(name):
    layer = LAYERS[name]()
    x = torch.randn(1, 4, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    y = layer(x)
    upstream = torch.randn(*y.shape).double()
    y.backward(upstream)
    for p in layer.parameters():
        if p.grad is None:  # of an indexer: its choice has no gradient
            continue
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


# ------------------------------------------------------------------------ windows, holes and sinks
def seen_by(layer, T):
    """Which tokens each token depends on, by the gradient of its output."""
    rows = []
    for i in range(T):
        x = torch.randn(1, T, 6).double().requires_grad_()
        (layer(x)[0, i] * torch.randn(6).double()).sum().backward()
        rows.append([j for j in range(T) if x.grad[0, j].abs().sum().item() > 0])
    return rows


@pytest.mark.parametrize("window, dilation, first", [(3, 1, 0), (3, 2, 0), (2, 3, 2), (2, 1, 1)])
def test_what_a_token_sees(window, dilation, first):
    layer = attention(window=window, dilation=dilation, keep_first=first)
    expected = [
        [j for j in range(10)
         if j <= i and (j < first or (i - j < window * dilation and (i - j) % dilation == 0))]
        for i in range(10)
    ]  # fmt: skip
    assert seen_by(layer, 10) == expected


@pytest.mark.parametrize("options", [{"window": 3, "dilation": 2}, {"window": 3, "keep_first": 2}])
def test_a_pattern_equals_full_attention_with_its_mask(options):
    layer, plain = attention(**options), attention()
    i, j = np.arange(9)[:, None], np.arange(9)
    d, first = options.get("dilation", 1), options.get("keep_first", 0)
    seen = (j <= i) & (((i - j < 3 * d) & ((i - j) % d == 0)) | (j < first))
    x = torch.randn(2, 9, 6).double()
    assert_close(layer(x), plain(x, mask=torch.from_numpy(seen)))
    numbers = np.where(seen, 0.5, -np.inf)
    assert_close(layer(x, mask=torch.from_numpy(np.where(j <= i, 0.5, -np.inf))),
                 plain(x, mask=torch.from_numpy(numbers)))  # fmt: skip


def test_a_streaming_cache_keeps_the_first_tokens_and_the_window():
    layer = attention(window=4, keep_first=2)
    cache = layer.new_cache(500)
    with torch.no_grad():
        for _ in range(200):
            layer(torch.randn(1, 1, 6).double(), cache=cache)
    assert cache.length == 200 and cache._keys.shape[2] <= 64 and cache._kept[0].shape[2] == 2
    new = torch.zeros(1, 2, 1, 4).double()
    keys, _, first = cache.append(new, new)
    assert first == 197 and keys.shape[2] == 2 + 4


def test_a_sink_takes_weight_from_the_keys():
    """A large sink leaves nothing; −∞ leaves ordinary attention; its gradient is by the formula."""
    layer, plain = attention(sinks=True, bias=False), attention(bias=False)
    plain.load_state_dict({n: p for n, p in layer.state_dict().items() if n != "sinks"})
    x = torch.randn(2, 5, 6).double()
    layer.sinks.data = torch.full((4,), -1e4).double()
    assert_close(layer(x), plain(x))
    layer.sinks.data = torch.full((4,), 1e4).double()
    assert layer(x).abs().max().item() == 0.0
    assert layer.group_size == 2 and layer.n_kv_heads == 2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"dilation": 2}, "dilation needs a window"),
        ({"keep_first": 1}, "keep_first needs a window"),
        ({"window": 2, "dilation": 0}, "dilation must be an integer of at least 1, got 0"),
        ({"window": 2, "keep_first": -1}, "keep_first must be an integer of at least 0, got -1"),
        ({"sinks": True, "softcap": 2.0}, "sinks need causal self-attention without softcap"),
        ({"sinks": True, "causal": False}, "sinks need causal self-attention"),
    ],
)
def test_what_attention_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        Attention(6, 2, **options)


def test_the_keys_of_a_pattern_are_counted():
    """The closed form against the pairs that are seen, which differ by the own key of each."""
    for window, dilation, first in ((8, 1, 0), (8, 4, 0), (8, 2, 3), (300, 2, 0)):
        layer = attention(window=window, dilation=dilation, keep_first=first)
        i, j = np.arange(256)[:, None], np.arange(256)
        near = (i - j < window * dilation) & ((i - j) % dilation == 0)
        pairs = ((j <= i) & (near | (j < first))).sum() / 256
        counted = layer.flops_per_token(256) / (12.0 * 4 * 4)
        assert abs(counted - pairs) <= 0.6, (window, dilation, first, counted, pairs)


# --------------------------------------------------------------------------------- sparse attention
def test_a_query_reads_the_keys_that_are_chosen_and_no_other_gets_a_gradient():
    layer = sparse()
    x = torch.randn(1, 8, 6).double()
    narrow = layer.q_norm(layer.q_down(x))
    causal = torch.tril(torch.ones(8, 8)) > 0
    chosen = layer.indexer.chosen(layer.indexer(x, narrow), causal)[0, 0].tolist()
    assert [sum(row) for row in chosen] == [1, 2, 3, 3, 3, 3, 3, 3]
    for i, row in enumerate(chosen):
        latents = layer.kv_norm(layer.kv_down(x)[..., :7]).detach().requires_grad_()
        # what every key and value is made of
        hook = layer.kv_norm.register_forward_hook(lambda module, inputs, y, held=latents: held)
        (layer(x)[0, i] * torch.randn(6).double()).sum().backward()
        hook.remove()
        read = [j for j in range(8) if latents.grad[0, j].abs().sum().item() > 0]
        assert read == [j for j in range(8) if row[j]]
    assert all(p.grad is None for p in layer.indexer.parameters())


def test_with_all_keys_chosen_it_is_latent_attention():
    layer, plain = sparse(), latent()
    layer.indexer.top_k = 99
    layer.load_state_dict({**layer.state_dict(), **plain.state_dict()})
    x = torch.randn(2, 7, 6).double()
    assert_close(layer(x), plain(x))


def test_the_indexer_learns_what_attention_looks_at():
    """Its loss is the KL divergence to attention's weights; nothing else gets a gradient."""
    layer, x = sparse(), torch.randn(2, 12, 6).double()
    with collected_index_losses() as losses:
        layer(x)
    assert len(losses) == 1 and losses[0].item() > 0
    losses[0].backward()
    own = {n for n, p in layer.named_parameters() if p.grad is not None}
    assert own == {f"indexer.{n}" for n, _ in layer.indexer.named_parameters()}
    optimizer, before = torch.optim.AdamW(layer.indexer.parameters(), lr=0.02), losses[0].item()
    for _ in range(40):
        with collected_index_losses() as losses:
            layer(x)
        optimizer.zero_grad()
        losses[0].backward()
        optimizer.step()
    assert losses[0].item() < 0.7 * before
    layer(x)
    with torch.no_grad(), collected_index_losses() as losses:  # outside nothing is collected
        layer(x[:1])
    assert len(losses) == 1


def test_the_index_loss_by_hand_and_by_finite_differences():
    scores = torch.randn(1, 4, 4).double().requires_grad_()
    seen = torch.tril(torch.ones(4, 4)) > 0
    p = torch.softmax(torch.randn(1, 2, 4, 4).double().masked_fill(~seen, -np.inf), -1)
    loss, expected = index_loss(scores, p, seen), 0.0
    for t in range(4):
        row = np.exp(scores.detach().numpy()[0, t, : t + 1])
        mean = p.numpy()[0, :, t, : t + 1].mean(0)
        expected += (mean * np.log(mean / (row / row.sum()))).sum() / 4
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda s: index_loss(s, p, seen), (scores,))


def test_what_the_indexer_refuses():
    with pytest.raises(ValueError, match="top_k must be an integer of at least 1, got 0"):
        Indexer(6, 2, 4, top_k=0)
    with pytest.raises(ValueError, match="rotary is for a head_dim of 2, not 4"):
        Indexer(6, 2, 4, top_k=1, rotary=Rotary(2))
    with pytest.raises(ValueError, match="bool masks"):
        sparse()(torch.randn(1, 3, 6).double(), mask=torch.zeros(3, 3).double())
    layer = sparse()
    assert layer.cache_bytes_per_token(2) == 2 * (7 + 4 + 4)
    assert layer.flops_per_token(2) == 6.0 * 3 * 13 * 1 + 6.0 * 8 * 1
    assert layer.flops_per_token(30) == 6.0 * 3 * 13 * (3 - 9 / 60) + 6.0 * 8 * 15


# ---------------------------------------------------------------------------------- flex attention
def test_flex_attention_on_another_device(other_device):
    """Blocks that are skipped, partly seen and wholly seen, and a score_mod that learns."""

    def run(device):
        q, k, v = (x.clone().to(device).requires_grad_() for x in arrays)
        bias = factor.clone().to(device).requires_grad_()
        mask = flex_attention.create_block_mask(
            lambda b, h, q, k: (q >= k) & (q - k < 9), None, None, 20, 20, device=device,
            BLOCK_SIZE=4,
        )  # fmt: skip
        y = flex_attention.flex_attention(
            q, k, v, lambda s, b, h, q, k: s + bias[h] * (k - q), mask, enable_gqa=True
        )
        (y * y).sum().backward()
        return [y, q.grad, k.grad, v.grad, bias.grad], mask.sparsity()

    arrays = [torch.randn(2, heads, 20, 5).double() for heads in (4, 2, 2)]
    factor = torch.randn(4).double()
    (here, sparsity), (there, other) = run("cpu"), run("cuda")
    assert sparsity == other > 40
    for a, b in zip(there, here, strict=True):
        assert_close(a.cpu(), b)
