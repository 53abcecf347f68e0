# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: nine ways
#
# ## 1. Numbers that are kept
# Softmax keeps p: T² numbers per head, and q, k, v have 3·T·D. They are equal at T = 3·D: 192 for D = 64. The fused
# op keeps q, k, v, y and one number per query.

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

D = 64
crossing = next(T for T in range(1, 1000) if T * T > 3 * T * D)
print("T² is more than q, k and v from T =", crossing, "on")
assert crossing == 3 * D + 1

# %% [markdown]
# ## 2. A window as a mask
# Query i sees key j if 0 <= i − j < w.

# %%
torch.manual_seed(1)
T, w, E = 7, 3, 4
q, k, v = torch.randn(T, E), torch.randn(T, E), torch.randn(T, E)
behind = torch.arange(T).unsqueeze(1) - torch.arange(T)  # (T, T)
mask = (behind >= 0) & (behind < w)
y = F.scaled_dot_product_attention(q.view(1, 1, T, E), k.view(1, 1, T, E), v.view(1, 1, T, E), attn_mask=mask)[0, 0]
for i in range(T):
    first = max(0, i - w + 1)
    p = torch.softmax(k[first : i + 1] @ q[i] / math.sqrt(E), dim=0)  # (at most w)
    assert torch.allclose(y[i], p @ v[first : i + 1], atol=1e-5)
print("a window of", w, "as a mask equals the loop; the last token sees", mask[-1].sum().item(), "keys")

# %% [markdown]
# ## 3. The products of the heads
# Each head has three matrices (D, C). H heads need H·3·T·D·C = 3·T·C² multiplications, as many as one product
# (T, C) @ (C, 3C). They are only cut into 3·H smaller calls.

# %%
T, C, H = 10, 48, 4
heads = H * 3 * T * (C // H) * C
print("multiplications:", heads, "and", 3 * T * C * C)
assert heads == 3 * T * C * C
