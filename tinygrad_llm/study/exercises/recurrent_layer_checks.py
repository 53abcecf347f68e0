"""The checks of exercises about layers with a memory, and about who goes to which expert."""

from __future__ import annotations

from typing import Any

import numpy as np

from .evidence import seen
from .layer_checks import _torch
from .task_checks import Wrong, check, same


@check("linear_attention", "φ is positive")
def _(m):
    torch = _torch()
    x = torch.linspace(-4.0, 4.0, 9)
    same(m.feature(x), torch.where(x > 0, x + 1.0, torch.exp(x)), "feature(x)", "elu(x) + 1")


def _heads(torch: Any) -> tuple[Any, Any, Any, Any]:
    """q, k, v, and what linear attention makes of them."""
    q, k, v = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 5)
    fq, fk = (torch.nn.functional.elu(a) + 1.0 for a in (q, k))
    weights = torch.tril(fq @ fk.transpose(-1, -2))
    return q, k, v, weights @ v / (weights.sum(dim=-1, keepdim=True) + 1e-6)


@check("linear_attention", "all tokens together")
def _(m):
    torch = _torch()
    q, k, v, expected = _heads(torch)
    got = m.all_together(q, k, v)
    same(got, expected, "all_together",
         "weights φ(q)·φ(k), 0 for later tokens, each row divided by its sum")  # fmt: skip


@check("linear_attention", "one token after the other")
def _(m):
    torch = _torch()
    q, k, v, expected = _heads(torch)
    memory = m.LinearMemory(2, 3, 4, 5)
    for t in range(6):
        got = memory.step(q[:, :, t], k[:, :, t], v[:, :, t])
        hint = (
            "there is one key: the output is its value" if t == 0
            else "S and z go on: each token adds φ(k)·vᵀ and φ(k), then reads"
        )  # fmt: skip
        same(got, expected[:, :, t], f"token {t}", hint)


@check("selective_memory", "the same as the model's")
def _(m):
    torch = _torch()
    x, delta = torch.randn(2, 3, 6), torch.rand(2, 3, 6) + 0.1
    A, b, c = -torch.rand(3, 4) - 0.2, torch.randn(2, 4, 6), torch.randn(2, 4, 6)
    expected = torch.nn.functional.selective_scan(x, delta, A, b, c)
    memory = m.SelectiveMemory(2, A)
    first = memory.step(*(a[:, :, 0] for a in (x, delta, b, c)))
    same(first, expected[:, :, 0], "the first token",
         "nothing is kept yet: c·b·Δ·x, read after writing")  # fmt: skip
    second = memory.step(*(a[:, :, 1] for a in (x, delta, b, c)))
    same(second, expected[:, :, 1], "the second token",
         "forget by exp(Δ·A) first, then write Δ·x·b")  # fmt: skip
    got = memory.append(*(a[:, :, 2:] for a in (x, delta, b, c)))
    same(got, expected[:, :, 2:], "the tokens after it, by append", "one after the other")


@check("expert_capacity", "the router")
def _(m):
    torch = _torch()
    scores, correction = torch.randn(6, 5), 0.8 * torch.randn(5)
    weights, chosen = m.routed(scores, correction, 2)
    p = torch.sigmoid(scores)
    best = torch.topk(p + correction, 2, dim=-1)[1]
    same(chosen, best, "the chosen experts", "those with the largest σ(score) + correction")
    picked = torch.gather(p, 1, best)
    same(weights, picked / picked.sum(dim=-1, keepdim=True), "the weights",
         "σ(score) without the correction, divided by their sum")  # fmt: skip


@check("expert_capacity", "who finds room")
def _(m):
    rows = [[0, 1], [0, 2], [1, 0], [0, 1], [2, 1]]
    expected = {
        1: [[True, False], [False, False], [True, False], [False, False], [True, False]],
        2: [[True, True], [True, True], [True, False], [False, False], [True, False]],
    }
    for capacity, kept in expected.items():
        got = seen(m.with_room(rows, 3, capacity))
        for n, (mine, theirs) in enumerate(zip(got, kept, strict=True)):
            if list(mine) != theirs:
                raise Wrong(
                    f"capacity {capacity}, token {n} with the choices {rows[n]}: {list(mine)}, "
                    f"should be {theirs}: all first choices come before any second one, and an "
                    "expert takes `capacity` of them"
                )


@check("expert_capacity", "the z-loss")
def _(m):
    torch = _torch()
    scores = torch.randn(6, 5)
    z = np.log(np.exp(scores.numpy()).sum(-1))
    same(m.z_loss(scores), np.mean(z * z), "z_loss", "logsumexp over the experts, squared, mean")
