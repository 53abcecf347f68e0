# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Grouped-query attention and the bytes of the KV cache
#
# **Question.** A model that writes keeps the keys and values of all tokens so far. How many bytes is that,
# and why do newer models have fewer heads of keys than of queries?
#
# **For example.** 32 layers, 8 key heads of 128, 16 bits: 2·32·8·128·2 bytes = 131,072 bytes per token. A
# text of 8,192 tokens takes 1.07 GB.
#
# **Predict first.** Llama 3 8B has 16 GB of weights in 16 bits. Eight users write texts of 131,072 tokens.
# Which is larger, the weights or the caches? And with as many key heads as query heads?
#
#     bytes = 2 (keys and values) · layers · tokens · KV heads · D · bytes of a number
#
# Only the number of KV heads can be chosen freely. With H query heads and KV key heads each key head serves
# a group of H/KV query heads (Ainslie et al., 2023). KV = H is GPT-2's attention, KV = 1 is "multi-query".
#
# **You need.** Lesson 1, chapter 04, lesson 5.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: groups
# 6 query heads, 2 key heads: query heads 0, 1, 2 look at key head 0, and 3, 4, 5 at key head 1.

# %%
torch.manual_seed(123)
B, H, KV, T, D = 1, 6, 2, 5, 8
q, k, v = torch.randn(B, H, T, D), torch.randn(B, KV, T, D), torch.randn(B, KV, T, D)


def grouped(q, k, v):
    groups = q.view(B, KV, H // KV, T, D)  # (B, H, T, D) -> (B, KV, H/KV, T, D)
    scores = groups @ k.unsqueeze(2).transpose(-2, -1) / D**0.5  # (B, KV, H/KV, T, T)
    hidden = torch.ones(T, T).triu(1).bool()  # the future
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return (weights @ v.unsqueeze(2)).view(B, H, T, D)  # (B, KV, H/KV, T, D) -> (B, H, T, D)


by_hand = grouped(q, k, v)
by_package = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
print("shapes: queries", tuple(q.shape), " keys", tuple(k.shape), " output", tuple(by_hand.shape))
assert torch.allclose(by_hand, by_package, atol=1e-5)

# %% [markdown]
# A trap: the heads of a group are *neighbours*. `repeat` would give query head 1 the second key head.

# %%
right, wrong = k.repeat_interleave(3, dim=1), k.repeat(1, 3, 1, 1)  # (B, KV, T, D) -> (B, H, T, D)
same = [[i for i in range(KV) if torch.equal(r[:, h], k[:, i])][0] for r in (right, wrong) for h in range(H)]
print("key head of each query head: repeat_interleave", same[:H], "  repeat", same[H:])
assert same == [0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1]

# %% [markdown]
# ## By hand: bytes

# %%
def cache_bytes(layers, tokens, kv_heads, D, bytes_each=2):
    return 2 * layers * tokens * kv_heads * D * bytes_each


one = cache_bytes(32, 1, 8, 128)
print(f"Llama 3 8B: {one:,} bytes per token; weights {8_030_261_248 * 2 / 1e9:.1f} GB")
for users, kv in ((1, 8), (8, 8), (8, 32)):
    size = users * cache_bytes(32, 131_072, kv, 128)
    print(f"  {users} texts of 131,072 tokens, {kv:2} key heads: {size / 1e9:6.1f} GB")
assert one == 131_072  # 128 KiB
assert 8 * cache_bytes(32, 131_072, 8, 128) > 8 * 16e9  # eight times the weights, even with groups

# %% [markdown]
# So the caches win by far, and with 32 key heads they would be four times larger still. Time too: each new
# token reads the whole cache once, and a computer that writes is busy reading memory.
#
# ## What the smaller heads cost
# Fewer numbers, and less freedom: all query heads of a group see the same keys. The parameters, for
# C = 4,096 and H = 32:

# %%
for kv in (32, 8, 1):
    n = 2 * 4096 * 32 * 128 + 2 * 4096 * kv * 128  # q and out_proj, k and v
    print(f"{kv:2} key heads: {n:11,} parameters in an attention layer, {cache_bytes(1, 1, kv, 128):6,} bytes per token")
assert 2 * 4096 * 32 * 128 + 2 * 4096 * 8 * 128 == 41_943_040

# %% [markdown]
# The gradient of a shared key head is the sum over its group: more query heads, more votes. With random,
# independent votes from n heads the sum is √n as large as one alone, not n times.

# %%
torch.manual_seed(7)
sizes = {}
for kv in (6, 3, 2, 1):
    q, g = torch.randn(8, 6, 32, D), torch.randn(8, 6, 32, D)
    k, v = torch.randn(8, kv, 32, D, requires_grad=True), torch.randn(8, kv, 32, D, requires_grad=True)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    (y * g).sum().backward()
    sizes[kv] = v.grad.pow(2).mean().sqrt().item()
    print(f"{kv} key heads, groups of {6 // kv}: a gradient of the values has the size {sizes[kv]:.3f}")
assert 1.2 < sizes[3] / sizes[6] < 1.7 and 2.0 < sizes[1] / sizes[6] < 3.0  # √2 and √6

# %% [markdown]
# ## With the package
# `Attention` has `n_kv_heads`, and its cache holds just these heads.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.models.llama import PRESETS, Llama

measured = {}
x = torch.randn(1, 64, 48)
for kv in (6, 3, 2, 1):
    layer = Attention(48, 6, n_kv_heads=kv, bias=False)
    cache = layer.new_cache(64)
    with torch.no_grad():
        pieces = [layer(x[:, t : t + 1], cache=cache) for t in range(64)]
        assert torch.allclose(torch.cat(pieces, dim=1), layer(x), atol=1e-5)  # (1, 64, 48)
    keys, values, _ = cache.append(torch.zeros(1, kv, 0, 8), torch.zeros(1, kv, 0, 8))  # all that it holds
    measured[kv] = keys.nbytes + values.nbytes
    print(f"{kv} key heads: {tuple(keys.shape)} keys, {measured[kv]:6,} bytes with the values, "
          f"{sum(p.numel() for p in layer.parameters()):,} parameters")
    assert measured[kv] == cache_bytes(1, 64, kv, 8, 4)

# %% [markdown]
# Published models, at 8,192 tokens in 16 bits:

# %% tags=["package"]
names = ("llama2-7b", "llama3-8b", "llama3.2-1b", "smollm2-135m")
totals = {}
for name in names:
    c = PRESETS[name]
    totals[name] = cache_bytes(c.n_layers, 8192, c.n_kv_heads, c.head_dim) / 1e6
    print(f"{name:13} {c.n_heads:2} query heads, {c.n_kv_heads:2} of keys, {c.n_layers} layers: {totals[name]:7.1f} MB")
assert totals["llama2-7b"] == 4 * totals["llama3-8b"]

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
tokens = [1024 * 2**i for i in range(8)]
for kv in (32, 8, 1):
    left.plot(tokens, [cache_bytes(32, t, kv, 128) / 1e9 for t in tokens], "o-", label=f"{kv} key heads")
left.axhline(16.06, color="black", ls=":", label="the weights of Llama 3 8B")
left.set_xscale("log", base=2), left.set_yscale("log"), left.legend()
left.set_xlabel("tokens of one text"), left.set_ylabel("GB of keys and values, 16 bits")
right.barh(list(totals), list(totals.values())), right.set_xlabel("MB for 8,192 tokens")
save_plot(figure, "02_grouped_queries")

# %% [markdown]
# ## Exercises
# 1. A graphics card has 80 GB. Llama 3 8B in 16 bits takes 16.1 GB. How many texts of 8,192 tokens fit beside
#    it, with 8 and with 32 key heads?
# 2. Turn a layer with 4 key heads into one with 2: take the mean of the heads of each pair (this is how Ainslie
#    et al. convert trained models). When is the output unchanged?
# 3. A memory delivers 100 GB/s. Writing one token reads all weights and the cache once. How many tokens/s at
#    most for Llama 3 8B in 16 bits at 131,072 tokens, with 8 and with 32 key heads?
#
# Solutions: `lessons/solutions/09_families/02_grouped_queries.py`
