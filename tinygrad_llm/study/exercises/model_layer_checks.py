"""The checks of exercises that build the layers of models: they equal those of layers/.

What differs and is one of the planted mistakes (study/mistakes/whole_layers.py) is called by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .evidence import seen
from .layer_checks import _same_layer, _torch, given, named
from .task_checks import Wrong, check, same


def _noisy(layer: Any) -> Any:
    """The layer with random numbers in every parameter: norms start as ones, which hide much."""
    torch = _torch()
    for p in layer.parameters():
        p.data = torch.randn(p.shape) * (0.6 if p.dim() > 1 else 0.8)
    return layer


# -------------------------------------------------------------------------------------- attention
@check("grouped_query_attention", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.attention import Attention

    for h, kv in ((4, 2), (6, 2), (4, 1), (2, 2)):
        theirs = _noisy(Attention(12, h, n_kv_heads=kv))
        _same_layer(m.GroupedQueryAttention(12, h, kv), theirs, torch.randn(2, 5, 12),
                    "query heads 0 … H/KV − 1 share key head 0")  # fmt: skip


@check("sliding_window", "a token sees the last `window` tokens")
def _(m):
    torch = _torch()
    F = torch.nn.functional
    q, k, v = (torch.randn(2, 3, 7, 4) for _ in range(3))
    for window in (3, 1, 20):
        got = m.windowed_attention(q, k, v, window)
        if got is not None and got.shape == q.shape:
            _one_off(got, lambda w: F.scaled_dot_product_attention(
                q, k, v, is_causal=True, window=w), window)  # fmt: skip
        expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, window=window)
        same(got, expected, f"window {window}", "token i sees j with j ≤ i and i − j < window")


@check("sliding_window", "with a past")
def _(m):
    torch = _torch()
    q, k, v = torch.randn(2, 2, 4), torch.randn(2, 7, 4), torch.randn(2, 7, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, window=3, offset=5
    )
    same(m.windowed_attention(q, k, v, 3), expected, "2 queries after 5 tokens, window 3",
         "the first query is token S − T")  # fmt: skip


def _one_off(got: Any, attend: Callable[[int], Any], window: int) -> None:
    """Raises: Wrong if this is the result for a window of one more or one less."""
    if np.allclose(got.array, attend(window).array, atol=1e-5):
        return
    for other, word in ((window + 1, "wide"), (window - 1, "narrow")):
        if other > 0 and np.allclose(got.array, attend(other).array, atol=1e-5):
            raise Wrong(
                f"window {window}: the window is one too {word}: a token's own key is one of the "
                f"{window}, so i − j < window"
            )


@check("qk_norm", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.attention import Attention
    from ...layers.rotary import Rotary

    rotary = Rotary(4)
    theirs = _noisy(Attention(8, 2, qk_norm=torch.nn.RMSNorm, rotary=rotary))
    _same_layer(m.NormedAttention(8, 2, rotary), theirs, torch.randn(2, 5, 8),
                "q_norm and k_norm come before the rotation, values stay as they are")  # fmt: skip


@check("soft_cap", "between −c and c")
def _(m):
    torch = _torch()
    x = torch.linspace(-9.0, 9.0, 13)
    for c in (0.5, 3.0):
        same(m.soft_cap(x, c), torch.tanh(x / c) * c, f"c = {c}", "c·tanh(x/c)")


@check("soft_cap", "attention with capped scores")
def _(m):
    torch = _torch()
    q, k, v = (3.0 * torch.randn(2, 5, 4) for _ in range(3))
    got = m.capped_attention(q, k, v, 0.7)
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, softcap=0.7
    )
    if got is not None and got.shape == q.shape and not np.isfinite(got.array).all():
        raise Wrong("there are NaN or infinite numbers: the −∞ of the mask must reach softmax")
    same(got, expected, "softcap 0.7", "cap the scores, before the mask and before softmax: capped "
         "after the mask, −∞ becomes −c and the future is seen")  # fmt: skip


@check("soft_cap", "the output layer")
def _(m):
    torch = _torch()
    from ...layers.head import SoftCappedHead

    theirs = _noisy(SoftCappedHead(6, 9, 0.8))
    _same_layer(m.SoftCappedHead(6, 9, 0.8), theirs, torch.randn(2, 3, 6))


@check("cross_attention", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.attention import Attention

    theirs, x, memory = _noisy(Attention(6, 2, cross=True)), torch.randn(2, 3, 6), None
    memory = torch.randn(2, 5, 6)

    def use(layer: Any, x: Any, memory: Any) -> Any:
        return layer(x, memory=memory)

    _same_layer(m.CrossAttention(6, 2), theirs, x, "every query sees the whole memory",
                use=use, more=(memory,))  # fmt: skip


@check("cross_attention", "the memory is computed once")
def _(m):
    torch = _torch()
    layer = given(m.CrossAttention(6, 2))
    cache: dict[str, Any] = {}
    x, memory = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    expected = layer(x, memory)
    first = layer(x[:, :1], memory, cache)
    if not seen(bool(cache)):
        raise Wrong("after the first call the cache is empty: keep keys and values in it")
    calls = []
    layer.kv.register_forward_hook(lambda *_: calls.append(1))
    rest = layer(x[:, 1:], memory, cache)
    if seen(calls):
        raise Wrong("the second call computes kv again: take it from the cache")
    same(first, expected[:, :1], "the first token")
    same(rest, expected[:, 1:], "the other tokens, with the cache")


# ----------------------------------------------------------------------------------------- rotary
@check("rotary_positions", "the frequencies")
def _(m):
    from ...layers.rotary import Rotary

    for dim in (2, 8):
        same(m.frequencies(dim, 100.0), Rotary(dim, 100.0).frequencies, f"{dim} channels",
             "base^(−2j/D), one for each of the D/2 pairs")  # fmt: skip


@check("rotary_positions", "both layouts")
def _(m):
    torch = _torch()
    from ...layers.rotary import Rotary

    x, positions = torch.randn(2, 3, 5, 8), torch.tensor([0, 1, 2, 5, 11])
    for interleaved in (False, True):
        rotary = Rotary(8, 100.0, interleaved=interleaved)

        def use(layer: Any, x: Any) -> Any:
            return layer(x, positions=positions)[0]

        got, what = m.rotate(x, positions, 100.0, interleaved), f"interleaved={interleaved}"
        same(got, use(rotary, x), what, named(rotary, got, x, use=use))


@check("rotary_scaling", "linear")
def _(m):
    torch = _torch()
    same(m.linear_scaling(torch.tensor([1.0, 0.1]), 4.0), [0.25, 0.025], "factor 4",
         "every ω is divided")  # fmt: skip


@check("rotary_scaling", "llama3")
def _(m):
    torch = _torch()
    from ...layers.rotary import Rotary

    numbers = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}  # fmt: skip
    omega = Rotary(16, 100.0).frequencies
    expected = Rotary(16, 100.0, scaling={"rope_type": "llama3", **numbers}).frequencies
    got = m.llama3_scaling(torch.tensor(omega.tolist()), *numbers.values())
    if got is not None and tuple(got.shape) == expected.shape:
        other = omega + omega / 8.0 - expected  # fast and slow pairs exchanged
        if np.allclose(got.array, other, rtol=1e-4):
            raise Wrong("fast and slow pairs are exchanged: ω stays where n is above high")
    scale = 1.0 / expected  # so that slow pairs count as much as fast ones
    got = None if got is None else got.array * scale if got.shape == expected.shape else got
    same(got, expected * scale, "ω, divided by what it should be",
         "s is 1 for fast pairs, 0 for slow ones, never outside [0, 1]")  # fmt: skip


# ------------------------------------------------------------------------------- blocks and others
@check("norm_places", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.block import Block

    nn = torch.nn
    for place in ("pre", "post", "sandwich"):
        att, ff = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        theirs = _noisy(Block(_Taking(att), ff, partial(nn.LayerNorm, 6), norm_place=place))
        mine = m.Block(
            6, _Taking(nn.Linear(6, 6)), nn.Sequential(nn.Linear(6, 6), nn.Tanh()), place
        )
        _same_layer(mine, theirs, torch.randn(2, 3, 6), f"norm_place {place!r}")


def _Taking(linear: Any) -> Any:
    """The linear, called as an Attention: further arguments are None."""
    linear.forward = lambda x, **_: type(linear).forward(linear, x)
    return linear


@check("gated_feed_forward", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.feed_forward import GatedFeedForward

    theirs = _noisy(GatedFeedForward(6, 5))
    _same_layer(m.GatedFeedForward(6, 5), theirs, torch.randn(2, 3, 6),
                "silu of the first half, times the second")  # fmt: skip


@check("mixture_of_experts", "the router")
def _(m):
    torch = _torch()
    mine, x = m.MixtureOfExperts(6, 5, 4, 2), torch.randn(5, 6)
    weights, chosen = mine.routed(x)
    p = torch.softmax(mine.router(x), dim=-1)
    best, expected = torch.topk(p, 2, dim=-1)
    same(chosen, expected, "the chosen experts", "those with the largest probabilities")
    same(weights, best / best.sum(dim=-1, keepdim=True), "the weights",
         "probabilities among all experts, divided by the sum of the chosen")  # fmt: skip


@check("mixture_of_experts", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.moe import MixtureOfExperts

    theirs, mine = _noisy(MixtureOfExperts(6, 5, 4, 2)), m.MixtureOfExperts(6, 5, 4, 2)
    mine.router.weight.data = theirs.router.weight.data
    mine.gate_up.data, mine.down.data = theirs.experts.gate_up.data, theirs.experts.down.data
    x = torch.randn(7, 6)
    y = mine(x)
    same(y, theirs(x), "forward", named(theirs, y, x, hint="Σ weight·expert over the chosen"))
    (y * y).sum().backward()
    z = theirs(x)
    (z * z).sum().backward()
    for name, a, b in (("router", mine.router.weight, theirs.router.weight),
                       ("gate_up", mine.gate_up, theirs.experts.gate_up),
                       ("down", mine.down, theirs.experts.down)):  # fmt: skip
        same(a.grad, b.grad, f"the gradient of {name}", "the weights must stay in the graph")


@check("mixture_of_experts", "experts that nobody chose do not compute")
def _(m):
    torch = _torch()
    mine = m.MixtureOfExperts(6, 5, 9, 2)
    asked: list[int] = []
    inner = mine.expert

    def watched(e: int, x: Any) -> Any:
        asked.append(e)
        return inner(e, x)

    mine.expert = watched
    x = torch.randn(1, 6)
    chosen = mine.routed(x)[1].flatten().tolist()
    mine(x)
    if sorted(asked) != sorted(chosen):
        raise Wrong(f"one token chose {sorted(chosen)}, but {sorted(asked)} computed")


@check("delta_memory", "the same as the model's")
def _(m):
    torch = _torch()
    q, k, v = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 4) * 0.5, torch.randn(2, 3, 6, 5)
    decay, beta = -torch.rand(2, 3, 6), torch.rand(2, 3, 6)
    expected = torch.nn.functional.gated_delta_rule(q, k, v, decay, beta)
    memory = m.DeltaMemory(2, 3, 4, 5)
    first = memory.step(*(a[:, :, 0] for a in (q, k, v, decay, beta)))
    same(first, expected[:, :, 0], "the first token",
         "nothing is known yet: beta·(k·q)·v, read after writing")  # fmt: skip
    second = memory.step(*(a[:, :, 1] for a in (q, k, v, decay, beta)))
    same(second, expected[:, :, 1], "the second token",
         "forget by exp(decay), then write the share beta of what is missing")  # fmt: skip
    got = memory.append(*(a[:, :, 2:] for a in (q, k, v, decay, beta)))
    same(got, expected[:, :, 2:], "the tokens after it, by append", "one after the other")


@check("offset_rms_norm", "starts as an RMSNorm does")
def _(m):
    torch = _torch()
    x = torch.randn(2, 3, 6)
    same(m.OffsetRMSNorm(6)(x), torch.nn.functional.rms_norm(x, (6,), eps=1e-6), "before training",
         "w starts at zero, and the factor is 1 + w")  # fmt: skip


@check("offset_rms_norm", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.norm import OffsetRMSNorm

    for scale in (1.0, 1e-3):
        theirs = _noisy(OffsetRMSNorm(6, 1e-6))
        _same_layer(m.OffsetRMSNorm(6, 1e-6), theirs, scale * torch.randn(2, 3, 6))


@check("int8_layers", "codes and scales")
def _(m):
    torch = _torch()
    weight = torch.randn(5, 12) * torch.tensor([[1.0], [0.01], [30.0], [2.0], [0.5]])
    mine = m.QuantizedLinear(weight)
    if mine.codes.dtype != torch.int8:
        raise Wrong(f"codes are {mine.codes.dtype}: keep them as torch.int8")
    same(mine.scale.reshape(5), weight.abs().amax(dim=1) / 127, "scale", "one for each row")
    same(mine.codes.float(), torch.round(weight / mine.scale.reshape(5, 1)), "codes",
         "round, do not cut")  # fmt: skip


@check("int8_layers", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.quantized import QuantizedEmbedding, QuantizedLinear

    weight, x, ids = torch.randn(5, 12), torch.randn(2, 3, 12), torch.tensor([[4, 0], [1, 4]])
    theirs, rows = QuantizedLinear(weight, kind="int8"), QuantizedEmbedding(weight, "int8")
    same(m.QuantizedLinear(weight)(x), theirs(x), "x·Ŵᵀ", "codes·scale is the weight")
    same(m.QuantizedEmbedding(weight)(ids), rows(ids), "rows of Ŵ", "pick codes and scales")


def _losses(m: Any, chunk: int) -> tuple[list[Any], list[int]]:
    """[loss, gradients] of the learner's and of the model's, and the rows of each call."""
    torch = _torch()
    from ...layers.head import head_loss

    start, targets = torch.randn(7, 6), torch.tensor([1, -100, -100, 3, 0, 8, -100])
    head, rows, results = torch.nn.Linear(6, 9), [], []
    for mine in (True, False):
        hidden = start.detach().clone().requires_grad_()
        head.zero_grad()
        if mine:
            hook = head.register_forward_hook(lambda module, xs, y: rows.append(len(xs[0])))
            loss = m.chunked_loss(head, hidden, targets, chunk)
            hook.remove()
            if loss is None:
                raise Wrong("None was returned: return the loss")
        else:
            loss = head_loss(head, hidden, targets)
        loss.backward()
        results.append([loss, hidden.grad, head.weight.grad, head.bias.grad])
    return results, rows


@check("chunked_loss", "the mean of all targets that count")
def _(m):
    names = "the loss", "the gradient of hidden", "of the head's weight", "of its bias"
    for chunk in (3, 7, 100):
        (mine, theirs), _ = _losses(m, chunk)
        for name, a, b in zip(names, mine, theirs, strict=True):
            same(a, b, f"{name}, 3 of 7 ignored, chunks of {chunk}",
                 "add up the chunks' sums, and divide once, by the targets that count")  # fmt: skip


@check("chunked_loss", "few logits at a time")
def _(m):
    rows = seen(_losses(m, 3)[1])
    if not rows or max(rows) > 3:
        raise Wrong(f"head was called with {max(rows, default=0)} rows, at most 3 are allowed")


# ----------------------------------------------------------------------------------------- caches
@check("window_cache", "what append returns")
def _(m):
    torch = _torch()
    from ...layers.cache import AttentionCache

    for window, pieces in ((3, (4, 1, 1, 2, 1)), (2, (1, 1, 1, 3)), (9, (2, 3)), (1, (2, 1))):
        mine, theirs, start = m.WindowCache(window), AttentionCache(50, window), 0
        for n in pieces:
            k, v = torch.randn(2, 3, n, 4), torch.randn(2, 3, n, 4)
            got, expected = mine.append(k, v), theirs.append(k, v)
            what = f"window {window}, tokens {start} to {start + n - 1}"
            if not isinstance(got, tuple) or len(got) != 3:
                raise Wrong("append returns keys, values and the position of the first key")
            hint = "from the oldest that the first new token sees: window − 1 before it"
            same(got[0], expected[0], f"{what}: the keys", hint)
            same(got[2], expected[2], f"{what}: the position of the first key",
                 "tokens that were dropped count too")  # fmt: skip
            same(got[1], expected[1], f"{what}: the values", hint)
            start += n
            if (length := seen(mine.length)) != start:
                raise Wrong(f"{what}: length is {length}, should be {start}")


@check("window_cache", "old tokens are dropped")
def _(m):
    torch = _torch()
    cache = m.WindowCache(3)
    for _ in range(30):
        cache.append(torch.randn(1, 1, 1, 4), torch.randn(1, 1, 1, 4))
    kept = seen(max(cache.keys.shape[2], cache.values.shape[2]))
    if kept > 3:
        raise Wrong(f"after 30 tokens {kept} are kept, a window of 3 needs 2")


def _filled(m: Any) -> tuple[Any, list[Any]]:
    torch = _torch()
    cache, tensors = m.Cache(2), []
    for layer in range(2):
        k, v = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 4)
        cache.append(layer, k, v)
        tensors.append((k, v))
    return cache, tensors


def _same_rows(cache: Any, expected: list[Any], what: str, hint: str) -> None:
    torch = _torch()
    nothing = torch.randn(expected[0][0].shape)[:, :, :0]
    for n, pair in enumerate(expected):
        got = cache.append(n, nothing, nothing)
        for name, a, b in zip(("keys", "values"), got, pair, strict=True):
            same(a, b, f"layer {n}, {name} {what}", hint)


@check("cache_rows", "truncate")
def _(m):
    cache, tensors = _filled(m)
    cache.truncate(3)
    if (kept := seen(len(cache))) != 3:
        raise Wrong(f"truncate(3) of 5 tokens keeps {kept}")
    expected = [(k[:, :, :3], v[:, :, :3]) for k, v in tensors]
    _same_rows(cache, expected, "after truncate(3)", "the first 3 tokens stay, in every layer")


@check("cache_rows", "reorder")
def _(m):
    torch = _torch()
    for indices in ([2, 0, 1], [1, 1, 0, 2], [2]):
        cache, tensors = _filled(m)
        cache.reorder(torch.tensor(indices))
        expected = [(k[indices], v[indices]) for k, v in tensors]
        _same_rows(cache, expected, f"after reorder({indices})",
                   "row i becomes what row indices[i] was, in every layer")  # fmt: skip
