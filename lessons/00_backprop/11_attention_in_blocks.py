# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 11. Attention in blocks
#
# **Question.** Attention over T tokens has T x T weights. With T = 1,024 and 12 heads that is 12.6
# million numbers per layer, and backward needs them again. Can we avoid storing them?
#
# **For example.** Softmax of (1, 2, 3) in two blocks: after (1, 2) the sum is e⁻¹ + 1 = 1.37 with the maximum
# 2; then 3 comes, and the old sum shrinks to 1.37·e⁻¹ = 0.50 before 1 is added.
#
# **Forward.** A softmax needs its whole row, but not all of it at the same time. Go through the keys
# in blocks and keep, for each query, the largest score m so far, the sum l of exp(s − m), and the
# output so far. When a block brings a larger score m′, the old sum and output are too large:
# multiply them by e^(m − m′).
#
#     m′ = max(m, max s)      l′ = l·e^(m − m′) + Σ e^(s − m′)      y′ = y·e^(m − m′) + Σ e^(s − m′)·v
#
# At the end divide y by l. Keep one number per query, λ = m + ln l, the logarithm of the whole sum.
#
# **Backward.** Compute a block of scores again; this time exp(s − λ) gives p directly. Lesson 10
# showed that the sum in softmax's backward is d = rowsum(g·y), which needs no p. So every block of
# ∂L/∂s = p·(∂L/∂p − d) can be computed on its own.
#
# The price is one more product, and we avoid storing T x T numbers. (Dao et al., 2022,
# "FlashAttention".)
#
# **You need.** Lesson 10.

# %%
import math
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

rng = np.random.default_rng(0)
T, D, BLOCK = 96, 16, 32
q, k, v, g = (rng.normal(size=(T, D)) for _ in range(4))
scale = 1 / math.sqrt(D)

# %% [markdown]
# ## By hand: forward

# %%
def forward(q, k, v):
    m = np.full((len(q), 1), -np.inf)
    total = np.zeros((len(q), 1))
    y = np.zeros_like(q)
    for start in range(0, len(k), BLOCK):
        keys = slice(start, start + BLOCK)
        s = q @ k[keys].T * scale  # (T, BLOCK)
        new = np.maximum(m, s.max(-1, keepdims=True))
        shrink, p = np.exp(m - new), np.exp(s - new)
        total = total * shrink + p.sum(-1, keepdims=True)
        y = y * shrink + p @ v[keys]
        m = new
    return y / total, m + np.log(total)


y, log_sum = forward(q, k, v)
whole = np.exp(q @ k.T * scale)
whole /= whole.sum(-1, keepdims=True)
assert np.allclose(y, whole @ v)

# %% [markdown]
# ## By hand: backward

# %%
def backward(g, q, k, v, y, log_sum):
    d = (g * y).sum(-1, keepdims=True)
    gq, gk, gv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for start in range(0, len(k), BLOCK):
        keys = slice(start, start + BLOCK)
        p = np.exp(q @ k[keys].T * scale - log_sum)  # computed again: (T, BLOCK)
        gv[keys] = p.T @ g
        gs = p * (g @ v[keys].T - d) * scale
        gq += gs @ k[keys]
        gk[keys] = gs.T @ q
    return gq, gk, gv


by_hand = backward(g, q, k, v, y, log_sum)

# %% [markdown]
# ## With the package

# %%
tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
out = F.scaled_dot_product_attention(*(t[None] for t in tensors))[0]
out.backward(torch.tensor(g))
assert np.allclose(out.detach().numpy(), y)
for t, gradient in zip(tensors, by_hand):
    assert np.allclose(t.grad.numpy(), gradient)
print("in blocks and as a whole: the same")

# %% [markdown]
# ## What is saved
# The memory that one training step of attention needs: composed of products and softmax, and as the
# fused op that works in blocks.

# %%
def composed(q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) * scale, dim=-1) @ v


def peak(attention, n):
    inputs = [torch.randn(1, 4, n, D, requires_grad=True) for _ in range(3)]
    tracemalloc.start()
    attention(*inputs).sum().backward()
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used / 1e6


lengths = [64, 128, 256, 512]
fused = F.scaled_dot_product_attention
peak(composed, 512), peak(fused, 512)  # once before: a first call may compile loops, which takes memory too
memory = {"composed": [peak(composed, n) for n in lengths], "in blocks": [peak(fused, n) for n in lengths]}
for name, values in memory.items():
    print(f"{name:10}", "  ".join(f"T={n}: {m:6.2f} MB" for n, m in zip(lengths, values)))
assert memory["composed"][-1] > 4 * memory["in blocks"][-1]

figure, axis = plt.subplots(figsize=(6, 4))
for name, values in memory.items():
    axis.loglog(lengths, values, "o-", label=name)
axis.set_xlabel("tokens T"), axis.set_ylabel("MB at the peak"), axis.legend()
save_plot(figure, "11_attention_in_blocks")

# %% [markdown]
# ## Break it
# Forget to scale down the sums of the earlier blocks. As long as the first block has the largest
# score, nothing goes wrong, so a small test can miss the mistake.

# %%
def forget_to_shrink(q, k, v):
    m, total, y = np.full((len(q), 1), -np.inf), np.zeros((len(q), 1)), np.zeros_like(q)
    for start in range(0, len(k), BLOCK):
        keys = slice(start, start + BLOCK)
        s = q @ k[keys].T * scale
        m = np.maximum(m, s.max(-1, keepdims=True))
        p = np.exp(s - m)
        total, y = total + p.sum(-1, keepdims=True), y + p @ v[keys]
    return y / total


wrong = np.abs(forget_to_shrink(q, k, v) - y).max(-1) > 1e-9
print(f"without shrinking {wrong.mean():.0%} of the rows are wrong")
assert 0 < wrong.mean() < 1
assert np.allclose(forget_to_shrink(q[:, :], k[:BLOCK], v[:BLOCK]), forward(q, k[:BLOCK], v[:BLOCK])[0])

# %% [markdown]
# ## Exercises
# 1. With a causal mask half of the blocks lie entirely in the future. Which (query block, key block)
#    pairs can be skipped? How much time does that save for 4 blocks, and for very many?
# 2. Two machines have computed attention over two halves of the keys. What must each send so that the results can be
#    joined, and what is the formula?
#
# Solutions: `lessons/solutions/00_backprop/11_attention_in_blocks.py`
