# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: encoder and decoder

# %%
import math

import tinygrad_llm as torch

# %% [markdown]
# ## 1. Whose lengths
# (T, S): the target has the queries, the source the keys. Pairs for S = 30 and T = 10: the encoder meets the most.

# %%
pairs = {"encoder": 30 * 30, "decoder": 10 * 11 // 2, "cross-attention": 10 * 30}
print(pairs)
assert max(pairs, key=pairs.get) == "encoder"

# %% [markdown]
# ## 2. Padding at the left
# Attention adds up keys in any order: only the mask knows which are real.

# %%
torch.manual_seed(0)
q, k, v = torch.randn(2, 4), torch.randn(5, 4), torch.randn(5, 4)  # (T, D), (S, D), (S, D)


def attention(q, k, v, real):
    scores = (q @ k.T / math.sqrt(4)).masked_fill(~real, float("-inf"))  # (T, S)
    return torch.softmax(scores, dim=-1) @ v  # (T, D)


right = attention(q, k, v, torch.tensor([True, True, True, False, False]))
order = torch.tensor([3, 4, 0, 1, 2])  # the same rows, padding first
left = attention(q, k[order], v[order], torch.tensor([False, False, True, True, True]))
print("largest difference is below 1e-6:", (right - left).abs().max().item() < 1e-6)
assert torch.allclose(right, left, atol=1e-6)

# %% [markdown]
# ## 3. Weights
# An encoder's block has 4 matrices of attention and 2 of feed forward; the decoder's has 4 more.

# %%
C, hidden = 512, 2048
encoder = 6 * (4 * C * C + 2 * C * hidden)
decoder = 6 * (8 * C * C + 2 * C * hidden)
print(f"encoder {encoder:,}, decoder {decoder:,}")
assert (encoder, decoder) == (18_874_368, 25_165_824)
