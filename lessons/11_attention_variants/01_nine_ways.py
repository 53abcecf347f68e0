# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Nine ways to write multi-head attention
#
# **Question.** The formula is one line. Programs write it in many ways, all with the same result: where do their
# time and their memory go?
#
# **For example.** 1,000 tokens, 12 heads: the weights are 12 million numbers for each text, the queries only
# 768,000. Some programs write the 12 million down, some never do.
#
# **Predict first.** Which keeps more for the backward pass of a text of T tokens: the way with a loop over heads, or
# the way that computes all heads together? Does either need T² numbers?
#
#     q, k, v = x·Wᵀ                       products of T·C² multiplications: the same in all ways
#     p = softmax(q·kᵀ/√D, masked)         T² numbers per head, if they are ever written down
#     y = concat(p·v)·W_oᵀ
#
# **You need.** Chapter 03, and chapter 00, lesson 10.

# %%
import math
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
B, T, C, H = 2, 128, 48, 4
D = C // H
x = torch.randn(B, T, C)
w_qkv = nn.Parameter(torch.randn(3 * C, C) * 0.1)  # rows of queries, keys, values
w_out = nn.Parameter(torch.randn(C, C) * 0.1)
future = torch.triu(torch.ones(T, T), diagonal=1).bool()

# %% [markdown]
# ## By hand: five ways with functions that you know
# The first is the book's: a head is a small attention, and there is a list of them. The next three compute all
# heads with one product, and differ in how they cut it. The fifth calls one op for scores, softmax and sum.

# %%
def attend(q, k, v):
    """Every step a function, so that every step's result exists: (..., T, D) -> (..., T, D)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)  # (..., T, T)
    return torch.softmax(scores.masked_fill(future, -math.inf), dim=-1) @ v


def joined(y):
    return F.linear(y.transpose(1, 2).reshape(B, T, C), w_out)  # (B, H, T, D) -> (B, T, C)


def cut(x):
    y = F.linear(x, w_qkv).view(B, T, 3, H, D)
    return (y[:, :, i].transpose(1, 2) for i in range(3))  # (B, H, T, D) three times


def heads_in_a_list(x):
    rows = []
    for h in range(H):
        q, k, v = (F.linear(x, w_qkv[i * C + h * D : i * C + (h + 1) * D]) for i in range(3))  # (B, T, D)
        rows.append(attend(q, k, v))
    return F.linear(torch.cat(rows, dim=-1), w_out)


def split_from_one_matrix(x):
    q, k, v = (F.linear(x, w_qkv[i * C : (i + 1) * C]).view(B, T, H, D).transpose(1, 2) for i in range(3))
    return joined(attend(q, k, v))


def one_qkv_matrix(x):
    return joined(attend(*cut(x)))


def with_einsum(x):
    q, k, v = (torch.einsum("btc,hdc->bhtd", x, w_qkv.view(3, H, D, C)[i]) for i in range(3))
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(D)
    p = torch.softmax(scores.masked_fill(future, -math.inf), dim=-1)
    return torch.einsum("bhts,bhsd,chd->btc", p, v, w_out.view(C, H, D))


def fused(x):
    return joined(F.scaled_dot_product_attention(*cut(x), is_causal=True))


# %% [markdown]
# The same op with an explicit mask must look at the mask: it does not know that half of it is empty.
# `nn.MultiheadAttention` is PyTorch's layer. It returns the weights too, unless you say that you do not need them.

# %%
def fused_with_mask(x):
    return joined(F.scaled_dot_product_attention(*cut(x), attn_mask=~future))


module = nn.MultiheadAttention(C, H, bias=False, batch_first=True)
module.in_proj_weight, module.out_proj.weight = w_qkv, w_out


def module_with_weights(x):
    return module(x, x, x, attn_mask=future)[0]


def module_without_weights(x):
    return module(x, x, x, attn_mask=future, need_weights=False, is_causal=True)[0]


WAYS = [heads_in_a_list, split_from_one_matrix, one_qkv_matrix, with_einsum, fused, fused_with_mask,
        module_with_weights, module_without_weights]
upstream = torch.randn(B, T, C)


def outcome(way):
    x_leaf = x.clone().requires_grad_()
    y = way(x_leaf)
    return [y, *torch.autograd.grad(y, [x_leaf, w_qkv, w_out], upstream)]


expected = outcome(one_qkv_matrix)
for way in WAYS:
    for a, b in zip(outcome(way), expected):
        assert torch.allclose(a, b, atol=1e-4), way.__name__
print("eight ways: equal outputs", tuple(expected[0].shape), "and equal gradients of x and both matrices")

# %% [markdown]
# ## With the package: the ninth way, a mask in blocks
# `flex_attention` takes functions: `mask_mod` says who sees whom, `score_mod` changes a score. A BlockMask knows
# which blocks of keys no query of a block sees. They are never computed, for any pattern.

# %% tags=["package"]
from tinygrad_llm import study
from tinygrad_llm.nn.attention.flex_attention import create_block_mask, flex_attention

causal = create_block_mask(lambda b, h, q, k: q >= k, None, None, T, T, BLOCK_SIZE=16)
window = create_block_mask(lambda b, h, q, k: (q >= k) & (q - k < 16), None, None, T, T, BLOCK_SIZE=16)
print("of the pairs are in blocks that are skipped: causal", causal.sparsity(), "%, with a window", window.sparsity(), "%")
assert causal.sparsity() == 43.75 and window.sparsity() == 76.5625


def block_mask(x):
    return joined(flex_attention(*cut(x), block_mask=causal))


for a, b in zip(outcome(block_mask), expected):
    assert torch.allclose(a, b, atol=1e-4)

# %% [markdown]
# Now what each keeps for the backward pass, and how long it takes. `study.trace` counts every array that an op
# keeps. A way that writes p down keeps B·H·T² numbers at least once; the fused op keeps B·H·T.

# %% tags=["package"]
kept, seconds = {}, {}
for way in [*WAYS, block_mask]:
    with study.trace() as t:
        way(x.clone().requires_grad_())
    kept[way.__name__] = sum(op.new for op in t.ops) / 1e6
    times = []
    for _ in range(5):
        start = time.perf_counter()
        outcome(way)
        times.append(time.perf_counter() - start)
    seconds[way.__name__] = min(times)
    print(f"{way.__name__:24} {len(t.ops):3} ops, keeps {kept[way.__name__]:6.3f} MB, {min(times) * 1e3:6.2f} ms")
assert kept["fused"] < 0.5 * kept["one_qkv_matrix"]
scores = B * H * T * T * 4 / 1e6
print(f"one array of scores has {scores:.3f} MB; at T = 1024 with 12 heads and 8 texts {8 * 12 * 1024**2 * 4 / 1e6:.0f} MB")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
left.barh(list(kept), list(kept.values())), left.set_xlabel("kept for backward, MB")
right.barh(list(seconds), [s * 1e3 for s in seconds.values()]), right.set_xlabel("forward and backward, ms")
left.axvline(scores, color="black", ls=":")
save_plot(figure, "01_nine_ways")

# %% [markdown]
# `python -m benchmarks attention --batch 8 --context 1024 --channels 768 --heads 12` measures them beside PyTorch.
#
# ## Exercises
# 1. How many numbers does the way with functions keep per head for T tokens, and the fused op? At which T are the
#    T² numbers of one head more than its q, k and v together?
# 2. Write causal attention with a window of w as a boolean mask for `scaled_dot_product_attention`, and check it
#    against a loop.
# 3. In `heads_in_a_list` the rows of `w_qkv` are cut for each head. What is the shape of one head's three
#    matrices, and how many multiplications do all heads need, compared with one product?
#
# Solutions: `lessons/solutions/11_attention_variants/01_nine_ways.py`
