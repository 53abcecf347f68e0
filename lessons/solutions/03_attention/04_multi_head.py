# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: several heads
#
# ## 1. GPT-2's layer
# Queries, keys, values and the output: four times C·C weights and C biases. H only says how the C channels
# are cut.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

C, H = 768, 12
parts = [nn.Linear(C, C) for _ in range(4)]
n = sum(p.numel() for part in parts for p in part.parameters())
print(f"{n:,} parameters, {C // H} channels per head")
assert n == 4 * (C * C + C) == 2_362_368

# %% [markdown]
# ## 2. The wrong view
# It cuts the T·C numbers into H pieces. So with two heads, "head" 0 holds all channels of the first half of
# the tokens, and "head" 1 those of the second half: the second half cannot see the first any more. No
# error, no wrong shape, and the loss still falls. To find the mistake, change one token and see which
# results change.

# %%
torch.manual_seed(1)
B, T, C, H, D = 1, 6, 8, 2, 4
x = torch.randn(B, T, C)
changed = x.clone()
changed[0, 0] = 0.0  # only the first token


def attend(x, wrong):
    y = x.view(B, H, T, D) if wrong else x.view(B, T, H, D).transpose(1, 2)  # (B, H, T, D)
    out = F.scaled_dot_product_attention(y, y, y, is_causal=True)
    return out.reshape(B, T, C) if wrong else out.transpose(1, 2).reshape(B, T, C)


for wrong, expected in ((False, [0, 1, 2, 3, 4, 5]), (True, [0, 1, 2])):
    before, after = attend(x, wrong)[0], attend(changed, wrong)[0]
    moved = [t for t in range(T) if not torch.allclose(before[t], after[t])]
    print("wrong view" if wrong else "right view", "- tokens that see token 0:", moved)
    assert moved == expected

# %% [markdown]
# ## 3. Pruning
# The output layer adds up what the heads give: out = Σ_h y_h·W_hᵀ + b, where W_h are the columns of head h.
# If they are zero, it is as if the head did not exist.

# %%
heads = torch.randn(5, H, D)  # (T, H, D)
out_proj = nn.Linear(C, C)
with torch.no_grad():
    without = F.linear(heads[:, 0], out_proj.weight[:, :D], out_proj.bias)  # head 0 alone
    out_proj.weight[:, D:] = 0.0  # head 1 is cut off
    pruned = out_proj(heads.reshape(5, C))
print("equal:", torch.allclose(without, pruned, atol=1e-6))
assert torch.allclose(without, pruned, atol=1e-6)
