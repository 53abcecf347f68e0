# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: linear attention
#
# ## 1. Weights that may be negative
# elu is between −1 and 0 below zero. Positive and negative weights can add up to almost nothing, and the output
# is divided by that.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

v = torch.tensor([[1.0], [2.0]])
q = torch.tensor([1.0, 1.0])
k = torch.tensor([[1.0, 0.0], [-20.0, 0.001]])  # elu: (1, 0) and (-1, 0.001)
weights = F.elu(k) @ F.elu(q)  # (2)
y = weights @ v / weights.sum()
print("weights", weights.tolist(), "sum", weights.sum().item(), "output", y.item())
assert abs(weights.sum().item()) < 0.01 and abs(y.item()) > 100
positive = (F.elu(k) + 1.0) @ (F.elu(q) + 1.0)
assert 1.0 <= (positive @ v / positive.sum()).item() <= 2.0  # a mean lies between the values

# %% [markdown]
# ## 2. The same key twice
# Linear attention returns the mean of the two values, the delta rule with β = 1 the newer one.

# %%
key = torch.tensor([1.0, 0.0])
values = torch.tensor([5.0, 9.0])
S = (F.elu(key) + 1.0) * values[0] + (F.elu(key) + 1.0) * values[1]  # (2)
z = 2.0 * (F.elu(key) + 1.0)
fq = F.elu(key) + 1.0
mean = ((fq @ S) / (fq @ z)).item()
memory = key * values[0]
memory = memory + key * (values[1] - key @ memory)
print("linear attention reads", mean, ", the delta rule", (key @ memory).item())
assert abs(mean - 7.0) < 1e-5 and (key @ memory).item() == 9.0

# %% [markdown]
# ## 3. Forgetting
# A token that is n steps old has the factor 0.9ⁿ, in both sums: its weight is φ(q)·φ(k)·0.9ⁿ.

# %%
torch.manual_seed(0)
T, D, M = 12, 4, 3
q, k, v = torch.randn(T, D), torch.randn(T, D), torch.randn(T, M)
S, z, rows = torch.zeros(D, M), torch.zeros(D), []
for t in range(T):
    fk, fq = F.elu(k[t]) + 1.0, F.elu(q[t]) + 1.0
    S, z = 0.9 * S + fk.unsqueeze(1) * v[t], 0.9 * z + fk
    rows.append(fq @ S / (fq @ z))
age = (torch.arange(T).unsqueeze(1) - torch.arange(T)).clamp(min=0)  # (T, T)
weights = ((F.elu(q) + 1.0) @ (F.elu(k) + 1.0).T * 0.9**age).tril()  # (T, T)
same = weights @ v / weights.sum(1, keepdim=True)
print("largest difference:", (torch.stack(rows) - same).abs().max().item())
assert torch.allclose(torch.stack(rows), same, atol=1e-5)
