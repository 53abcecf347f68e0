"""The checks of exercises that build attention's other forms: they equal those of layers/."""

from __future__ import annotations

from typing import Any

from .evidence import seen
from .layer_checks import _same_layer, _torch
from .model_layer_checks import _noisy
from .task_checks import Wrong, check, same


@check("latent_attention", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.latent_attention import LatentAttention

    for h, rank in ((2, 5), (3, 4), (1, 2)):
        theirs = _noisy(LatentAttention(6, h, kv_rank=rank))
        _same_layer(m.LatentAttention(6, h, rank), theirs, torch.randn(2, 5, 6),
                    "kv_up: for each head D rows of its key, then D of its value")  # fmt: skip


@check("latent_attention", "one token after the other, by the latents alone")
def _(m):
    torch = _torch()
    mine: Any = _noisy(m.LatentAttention(6, 2, 4))
    x, latents = torch.randn(2, 5, 6), torch.zeros(2, 0, 4)
    with torch.no_grad():
        expected = mine(x)
        for t in range(5):
            y, latents = mine.step(x[:, t : t + 1], latents)
            if (shape := seen(list(latents.shape))) != [2, t + 1, 4]:
                raise Wrong(f"after {t + 1} tokens latents have the shape {shape}, should be "
                            f"{[2, t + 1, 4]}: R numbers per token, nothing else")  # fmt: skip
            same(y, expected[:, t : t + 1], f"token {t}", "the same as forward, without its keys")


@check("attention_sinks", "weights with a learned sink")
def _(m):
    torch = _torch()
    scores, sinks = torch.randn(2, 3, 4, 5), torch.randn(3)
    e, sink = scores.exp(), sinks.exp().reshape(1, 3, 1, 1)
    expected = e / (e.sum(dim=-1, keepdim=True) + sink)
    hint = "each head's exp(sink) belongs to the sum; those of the keys sum to less than 1"
    same(m.with_sinks(scores, sinks), expected, "the weights of the keys", hint)


@check("attention_sinks", "a window that keeps the first keys")
def _(m):
    for n, window, first in ((7, 2, 1), (6, 3, 2), (3, 5, 1)):
        expected = [[j <= i and (i - j < window or j < first) for j in range(n)] for i in range(n)]
        if (rows := seen(m.streaming_mask(n, window, first).tolist())) != expected:
            i = next(i for i in range(n) if rows[i] != expected[i])
            raise Wrong(f"window {window}, the first {first} kept: token {i} sees "
                        f"{[j for j in range(n) if rows[i][j]]}, should see "
                        f"{[j for j in range(n) if expected[i][j]]}")  # fmt: skip


@check("attention_sinks", "what the cache keeps")
def _(m):
    for n, window, first in ((9, 3, 2), (3, 3, 2), (2, 4, 1)):
        begin = max(0, n - window + 1)
        expected = [j for j in range(n + 1) if j < first or j >= begin]
        if (places := seen(list(m.kept(n, window, first)))) != expected:
            raise Wrong(f"for token {n}, window {window}, the first {first}: {places}, should be "
                        f"{expected}")  # fmt: skip


@check("sparse_keys", "the scores of the indexer")
def _(m):
    torch = _torch()
    q, k, w = torch.randn(2, 3, 5, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 3)
    products = torch.einsum("bhtd,bsd->bhts", q, k)
    expected = torch.einsum("bth,bhts->bts", w, products.clamp(min=0.0)) / (3 * 4) ** 0.5
    same(m.index_scores(q, k, w), expected, "I_ts", "relu of each head's score, times its weight, "
         "summed over heads, divided by √(D·H)")  # fmt: skip


@check("sparse_keys", "the keys that are chosen")
def _(m):
    torch = _torch()
    scores = torch.randn(2, 6, 6)
    for k in (1, 3, 9):
        rows = seen(m.chosen(scores, k).tolist())
        for b in range(2):
            for t in range(6):
                order = sorted(range(t + 1), key=lambda s: -float(scores[b, t, s].item()))  # noqa: B023
                expected = sorted(order[:k])
                shown = [s for s in range(6) if rows[b][t][s]]
                if shown != expected:
                    raise Wrong(f"query {t}, k = {k}: keys {shown}, should be {expected}, the "
                                "largest scores among the keys up to its own")  # fmt: skip


@check("sparse_keys", "the loss of the indexer")
def _(m):
    torch = _torch()
    from ...layers.indexer import index_loss

    scores = torch.randn(2, 4, 4).requires_grad_()
    causal = torch.tril(torch.ones(4, 4)) > 0
    weights = torch.softmax(torch.randn(2, 3, 4, 4).masked_fill(~causal, float("-inf")), dim=-1)
    weights = weights.requires_grad_()
    every = causal.expand(2, 4, 4)
    expected = index_loss(scores, weights, every.unsqueeze(1))
    mine = m.index_loss(scores, weights, every)
    same(mine, expected, "KL(p ‖ softmax(scores))", "p is the mean over heads; divide by B·T")
    (own,) = torch.autograd.grad(mine, [scores], retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, [scores])
    same(own, theirs, "its gradient in the scores")
    mine.backward()
    if seen(weights.grad is not None):
        raise Wrong("a gradient arrives at attention's weights: p is detached")


@check("differential_attention", "λ")
def _(m):
    torch = _torch()
    mine = _noisy(m.DifferentialAttention(12, 3))
    a, b, c, d = (getattr(mine, f"lambda_{n}") for n in ("q1", "k1", "q2", "k2"))
    expected = torch.exp(a @ b) - torch.exp(c @ d) + 0.8
    same(mine.strength().detach(), expected.detach(), "λ", "two dot products, their exp, λ_init")


@check("differential_attention", "the difference of two attentions")
def _(m):
    torch = _torch()
    F = torch.nn.functional
    mine, x = _noisy(m.DifferentialAttention(12, 3)), torch.randn(2, 5, 12)
    q, k = (f(x).reshape(2, 5, 6, 2).transpose(1, 2) for f in (mine.q, mine.k))
    v = mine.v(x).reshape(2, 5, 3, 4).transpose(1, 2)  # (B, H, T, 2·D)
    first, second = (
        F.scaled_dot_product_attention(q[:, i::2], k[:, i::2], v, is_causal=True) for i in (0, 1)
    )
    a, b, c, d = (getattr(mine, f"lambda_{n}") for n in ("q1", "k1", "q2", "k2"))
    y = first - (torch.exp(a @ b) - torch.exp(c @ d) + 0.8) * second
    y = F.rms_norm(y, (4,), eps=1e-5) * (1 - 0.8)
    expected = mine.out_proj(y.transpose(1, 2).reshape(2, 5, 12))
    same(mine(x).detach(), expected.detach(), "forward",
         "heads 2·i and 2·i + 1 are a pair; causal; scores divided by √D; the norm of each head; "
         "times 1 − λ_init")  # fmt: skip
