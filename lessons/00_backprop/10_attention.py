# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 10. Attention
#
# **Question.** Attention is two products with a softmax between them. We know the three derivatives.
# What is the result when we chain them?
#
# **For example.** Two keys with the scores (0, 0): weights (0.5, 0.5), and y is the mean of both values. Move
# the first score up by 0.1: the weights become (0.525, 0.475), and y moves towards the first value.
#
#     s = q·kᵀ/√D        p = softmax(s)        y = p·v
#
# Backward, starting at the end, with g = ∂L/∂y:
#
#     ∂L/∂v = pᵀ·g                              (product, lesson 4)
#     ∂L/∂p = g·vᵀ                              (product)
#     ∂L/∂s = p·(∂L/∂p − rowsum(p·∂L/∂p))       (softmax, lesson 5)
#     ∂L/∂q = ∂L/∂s·k/√D                        (product)
#     ∂L/∂k = ∂L/∂sᵀ·q/√D                       (product)
#
# A causal mask sets s to −∞ where the key is in the future. There p = 0, so ∂L/∂s = 0 as well: the
# mask needs no extra line.
#
# **You need.** Lessons 4 and 5.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import broken, save_plot

rng = np.random.default_rng(0)
T, D = 6, 4
q, k, v, g = (rng.normal(size=(T, D)) for _ in range(4))
past = np.tril(np.ones((T, T), bool))  # query i may look at the keys 0 … i

# %% [markdown]
# ## By hand

# %%
s = np.where(past, q @ k.T / math.sqrt(D), -np.inf)  # (T, T)
p = np.exp(s - s.max(-1, keepdims=True))
p /= p.sum(-1, keepdims=True)
y = p @ v  # (T, D)

gv = p.T @ g
gp = g @ v.T
gs = p * (gp - (p * gp).sum(-1, keepdims=True))
gq = gs @ k / math.sqrt(D)
gk = gs.T @ q / math.sqrt(D)
assert np.all(gs[~past] == 0)

# %% [markdown]
# ## With the package: composed of primitives, as in a book, and in one op

# %%
def composed(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    scores = scores.masked_fill(~torch.tensor(past), -torch.inf)
    return torch.softmax(scores, dim=-1) @ v


def fused(q, k, v):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


for attention in (composed, fused):
    tq, tk, tv = (torch.tensor(a, requires_grad=True) for a in (q, k, v))
    out = attention(tq, tk, tv)
    out.backward(torch.tensor(g))
    assert np.allclose(out.detach().numpy(), y), attention.__name__
    for t, by_hand in ((tq, gq), (tk, gk), (tv, gv)):
        assert np.allclose(t.grad.numpy(), by_hand), attention.__name__
    gradcheck(attention, *(torch.tensor(a, requires_grad=True) for a in (q, k, v)))
print("by hand, composed and fused agree")

# %% [markdown]
# The sum in ∂L/∂s can be written in another way: rowsum(p·∂L/∂p) = rowsum(p·(g·vᵀ)) = rowsum(g·y).
# This form needs no T x T matrix. Lesson 11 is built on it.

# %%
assert np.allclose((p * gp).sum(-1), (g * y).sum(-1))

figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, matrix, title in zip(axes, [p, gp, gs], ["p: the weights", "∂L/∂p", "∂L/∂s: rows sum to 0"]):
    limit = np.abs(matrix).max()
    axis.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
    axis.set_title(title, fontsize=10), axis.set_xlabel("key"), axis.set_ylabel("query")
save_plot(figure, "10_attention")
assert np.allclose(gs.sum(-1), 0)

# %% [markdown]
# ## Break it
# Forget the factor 1/√D in the backward pass. The model still learns, but the gradients of q and k
# are too large by the factor √D. The loss goes down all the same; only a gradient check notices.

# %%
from tinygrad_llm.autograd.engine import OPS

true_backward = OPS["scaled_dot_product_attention"].backward


def without_scale(self, g):
    gq, gk, *others = true_backward(self, g)
    return gq * math.sqrt(D), gk * math.sqrt(D), *others


with broken("scaled_dot_product_attention", without_scale):
    try:
        gradcheck(fused, *(torch.tensor(a, requires_grad=True) for a in (q, k, v)))
    except Exception as error:
        print("without 1/√D:", str(error).split(". Elements")[0])
        assert "ratio 2" in str(error)  # √4
    else:
        raise AssertionError("the check must detect this")

# %% [markdown]
# ## Why 1/√D at all?
# A sum of D products of independent numbers of size 1 has the size √D. Without the factor the scores
# grow, softmax puts all the weight on one key, p·(1 − p) is nearly 0, and nothing is learned.

# %%
for size in (4, 64, 1024):
    a, b = rng.normal(size=(200, size)), rng.normal(size=(50, size))
    for factor, name in ((1.0, "without"), (1 / math.sqrt(size), "with   ")):
        z = torch.softmax(torch.tensor(a @ b.T * factor), dim=-1)
        print(f"D = {size:4}  {name} 1/√D: largest weight {z.amax(-1).mean().item():.2f}")

# %% [markdown]
# ## Exercises
# 1. Several heads: what changes in these five lines? (None of them. Where do the heads go?)
# 2. All keys are the same vector. What is p, what is y, and what is ∂L/∂q? Say why before you compute it.
#
# Then: `tinygrad-llm exercise start scaled_dot_product_attention`.
#
# Solutions: `lessons/solutions/00_backprop/10_attention.py`
