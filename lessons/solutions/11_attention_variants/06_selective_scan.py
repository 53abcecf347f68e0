# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the selective scan
#
# ## 1. Division by what has faded
# P falls to 0 within a few tokens, and u/P overflows: 0·∞ is not a number. Doubling multiplies factors that are at
# most 1, so what has faded becomes 0, which is right.

# %%
import tinygrad_llm as torch

T = 8
a, u = torch.full((T,), -40.0).exp(), torch.ones(T)
P = a.cumprod(0)
by_division = P * (u / P).cumsum(0)
n, h, factor = 1, u, a
while n < T:
    h = torch.cat([h[:n], h[n:] + factor[n:] * h[:-n]])
    factor = torch.cat([factor[:n], factor[n:] * factor[:-n]])
    n *= 2
print("by division", by_division.tolist())
print("by doubling", h.tolist())
assert torch.isnan(by_division).any() and torch.allclose(h, torch.ones(T))

# %% [markdown]
# ## 2. More products, fewer steps
# The loop needs T − 1 of h's products in T − 1 steps. Doubling needs about T in each of log₂ T rounds for h and as
# many for the factors. On a machine that does thousands of products together the number of steps counts.

# %%
def products(T):
    n, total, rounds = 1, 0, 0
    while n < T:
        total, n, rounds = total + 2 * (T - n), 2 * n, rounds + 1
    return total, rounds


for T in (16, 1024):
    total, rounds = products(T)
    print(f"{T} tokens: loop {T - 1} products in {T - 1} steps, doubling {total} in {rounds}")
assert products(16) == (2 * (15 + 14 + 12 + 8), 4) and products(1024)[1] == 10

# %% [markdown]
# ## 3. Nothing fades
# exp(0) = 1: h is the sum of all x·b so far, linear attention without the division, with b for keys and c for queries.

# %%
torch.manual_seed(0)
x, b, c = torch.randn(4, 9), torch.randn(3, 9), torch.randn(3, 9)  # (D, T), (N, T) twice
h, rows = torch.zeros(4, 3), []
for t in range(9):
    h = torch.exp(torch.zeros(4, 3)) * h + x[:, t].unsqueeze(1) * b[:, t]  # (D, N)
    rows.append(h @ c[:, t])
linear = ((c.T @ b).tril() @ x.T).T  # weights c·b (T, T), values x
print("the same as linear attention:", torch.allclose(torch.stack(rows, 1), linear, atol=1e-5))
assert torch.allclose(torch.stack(rows, 1), linear, atol=1e-5)
