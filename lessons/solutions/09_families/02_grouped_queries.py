# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: grouped-query attention
#
# ## 1. How many texts
# Divide what is left by the bytes of one text.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F


def cache_bytes(layers, tokens, kv_heads, D, bytes_each=2):
    return 2 * layers * tokens * kv_heads * D * bytes_each


fit = {kv: int((80e9 - 16.06e9) // cache_bytes(32, 8192, kv, 128)) for kv in (8, 32)}
print(f"texts of 8,192 tokens beside the weights: {fit[8]} with 8 key heads, {fit[32]} with 32")
assert fit == {8: 59, 32: 14}

# %% [markdown]
# ## 2. The mean of two heads
# The output is unchanged only if the two heads of a pair were already equal, keys and values. Otherwise
# the model has to be trained further, on about 5 % of the tokens of its first training (Ainslie et al., 2023).

# %%
torch.manual_seed(1)
q, k, v = (torch.randn(1, 4, 6, 8) for _ in range(3))


def in_pairs(x):
    return x.view(1, 2, 2, 6, 8).mean(2)  # (1, 4, 6, 8) -> (1, 2 pairs, 2, 6, 8) -> (1, 2, 6, 8)


def attend(k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)  # (1, 4, 6, 8)


twins = [x[:, ::2].repeat_interleave(2, dim=1) for x in (k, v)]  # heads 0, 0, 2, 2
error = (attend(k, v) - attend(in_pairs(k), in_pairs(v))).abs().max().item()
no_error = (attend(*twins) - attend(*(in_pairs(x) for x in twins))).abs().max().item()
print(f"largest change of the output: different heads {error:.2f}, equal heads below 1e-5: {no_error < 1e-5}")
assert no_error < 1e-5 < 0.1 < error

# %% [markdown]
# ## 3. Tokens per second
# The bandwidth divided by the bytes that one token reads.

# %%
speeds = {kv: 100e9 / (16.06e9 + cache_bytes(32, 131_072, kv, 128)) for kv in (8, 32)}
print(", ".join(f"{kv} key heads: {speed:.1f} tokens/s" for kv, speed in speeds.items()))
assert 2.9 < speeds[8] < 3.1 and 1.1 < speeds[32] < 1.2
