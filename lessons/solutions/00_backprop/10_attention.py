# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: attention
#
# ## 1. Several heads
# The heads are one more dimension in front, like the batch: q, k and v have the shape (H, T, D), each product
# is done for each head, and the sums of softmax run over the last axis. No line changes, if the transpose swaps
# the last two axes only. Where the heads are cut from and joined to (T, H·D), the backward pass does the same
# reshapes in reverse.

# %%
import math

import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

rng = np.random.default_rng(6)
H, T, D = 3, 5, 4
q, k, v, g = (rng.normal(size=(H, T, D)) for _ in range(4))


def turned(a):
    return a.swapaxes(-1, -2)


def by_hand(q, k, v, g):
    s = q @ turned(k) / math.sqrt(D)  # (H, T, T)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    gv, gp = turned(p) @ g, g @ turned(v)
    gs = p * (gp - (p * gp).sum(-1, keepdims=True))
    return p @ v, gs @ k / math.sqrt(D), turned(gs) @ q / math.sqrt(D), gv


tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
out = F.scaled_dot_product_attention(*tensors)
out.backward(torch.tensor(g))
y, *gradients = by_hand(q, k, v, g)
assert np.allclose(out.detach().numpy(), y)
for t, expected in zip(tensors, gradients):
    assert np.allclose(t.grad.numpy(), expected)
print("three heads, the same five lines")

# %% [markdown]
# ## 2. All keys equal
# All scores of a query are equal, so p = 1/T everywhere and y is the mean of the values, for every query. ∂L/∂q
# is zero: if q changes, all its scores change by the same number, and softmax does not see that. In the
# formula: ∂L/∂q = (Σⱼ ∂L/∂s_j)·k/√D, and the row of ∂L/∂s sums to 0. The keys do get gradients: they may become
# different.

# %%
same = np.broadcast_to(rng.normal(size=(H, 1, D)), (H, T, D)).copy()
y, gq, gk, gv = by_hand(q, same, v, g)
print("largest |∂L/∂q|:", np.abs(gq).max(), "  largest |∂L/∂k|:", np.abs(gk).max().round(3))
assert np.allclose(y, v.mean(1, keepdims=True)) and np.allclose(gq, 0) and np.abs(gk).max() > 0.01
