# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a small change is a product of two thin matrices
#
# ## 1. How many numbers
# r·(in + out) of in·out. For a square matrix that is the share 2r/n.

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

n = 768
for rank in (1, 4, 8, 64, 384):
    print(f"rank {rank:3}: {rank * 2 * n:7,} of {n * n:,} numbers, {rank * 2 / n:.2%}")
assert round(0.01 * n / 2) == 4  # about 1 %
assert 384 * 2 * n == n * n  # half of n: nothing saved

# %% [markdown]
# ## 2. Cutting a full change to rank r
# A smaller experiment: one hidden layer, and a task whose direction turns.

# %%
torch.manual_seed(1)
a = F.normalize(torch.randn(16), dim=0)
b = F.normalize(a + 0.4 * F.normalize(torch.randn(16), dim=0), dim=0)


def batch(direction, n=256):
    x = torch.randn(n, 16)
    return x, torch.sin(2 * (x @ direction)).unsqueeze(1)  # (n, 16), (n, 1)


def train(model, direction, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(steps):
        x, y = batch(direction)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def loss_with(weight, model, direction):
    """The loss on a task with another first matrix."""
    x, y = batch(direction, 1000)
    with torch.no_grad():
        return F.mse_loss(model[2](torch.tanh(F.linear(x, weight, model[0].bias))), y).item()


model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1))
train(model, a, 600)
old = model[0].weight.detach().clone()
model.requires_grad_(False)
model[0].weight.requires_grad_(True)  # only the first matrix continues to train
optimizer = torch.optim.AdamW([model[0].weight], lr=5e-3, weight_decay=0.0)
for _ in range(300):
    x, y = batch(b)
    loss = F.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
u, s, v = np.linalg.svd((model[0].weight.detach() - old).numpy(), full_matrices=False)
loss_at = {}
for r in (0, 1, 2, 4, 16):
    cut = torch.tensor((u[:, :r] * s[:r]) @ v[:r])  # (64, r)·(r, 16) -> (64, 16)
    torch.manual_seed(5)  # the same test points
    loss_at[r] = loss_with(old + cut, model, b)
    print(f"rank {r:2} of the change: loss {loss_at[r]:.2f}")
assert loss_at[16] < loss_at[0] and loss_at[4] - loss_at[16] < 0.35 * (loss_at[0] - loss_at[16])

# %% [markdown]
# The first directions give most of the gain.
#
# ## 3. Both at random
# Then ΔW is noise from the start, and the old model is damaged before it has learned anything.

# %%
torch.manual_seed(7)
noise = torch.randn(64, 4) @ (torch.randn(4, 16) / 4) * 0.5
torch.manual_seed(5)
before = loss_with(old, model, a)
torch.manual_seed(5)
after = loss_with(old + noise, model, a)
print(f"the old task: loss {before:.2f} with B = 0, {after:.2f} with a random B")
assert after > 2 * before
