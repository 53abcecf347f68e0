# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: not looking ahead

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

torch.manual_seed(4)
T, D = 6, 4
q, k, v = (torch.randn(1, T, D) for _ in range(3))

# %% [markdown]
# ## 1. A whole row masked
# All exponentials are 0, and 0/0 is not a number. It happens with padding: a text of padding only, or a
# padding token at the start that may see nothing. NaN then spreads to everything it is added to. (NumPy
# warns about the "invalid value" in the division.)

# %%
row = torch.full((3,), -torch.inf)
print(torch.softmax(row, dim=0))
assert torch.softmax(row, dim=0).isnan().all()

# %% [markdown]
# ## 2. A window of three
# The mask hides the future, and every token three or more places back. (Mistral's sliding window is this,
# with 4,096.)

# %%
far = torch.tril(torch.ones(T, T), diagonal=-3).bool()
future = torch.triu(torch.ones(T, T), diagonal=1).bool()


def windowed(q, k, v):
    scores = (q @ k.transpose(1, 2) / D**0.5).masked_fill(far | future, -torch.inf)
    return torch.softmax(scores, dim=-1) @ v


print((~(far | future)).int())
changed = v.clone()
changed[0, 1] = 50.0
before, after = windowed(q, k, v)[0], windowed(q, k, changed)[0]
moved = [t for t in range(T) if not torch.equal(before[t], after[t])]
print("tokens that see token 1:", moved)
assert moved == [1, 2, 3]

# %% [markdown]
# ## 3. One pass instead of six
# This is why a window of T tokens trains T predictions at the price of one.

# %%
one_pass = F.scaled_dot_product_attention(q, k, v, is_causal=True)[0]  # (T, D)
for t in range(1, T + 1):
    alone = F.scaled_dot_product_attention(q[:, :t], k[:, :t], v[:, :t], is_causal=True)[0, -1]
    assert torch.allclose(alone, one_pass[t - 1], atol=1e-6)
print("the same for all", T, "lengths")
