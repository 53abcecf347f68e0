# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: searching for good options

# %%
import math
import random

import tinygrad_llm as torch
from tinygrad_llm import nn

torch.manual_seed(123)

# %% [markdown]
# ## 1. Random points and the best 5 %
# None of n is among them with probability 0.95ⁿ. 1 − 0.95ⁿ ≥ 0.95 from n = 59 on, however many options there are.

# %%
n = math.ceil(math.log(0.05) / math.log(0.95))
print("n =", n)
assert n == 59 and 1 - 0.95**58 < 0.95 <= 1 - 0.95**59

# %% [markdown]
# ## 2. The steps of a search
# Rounds of 32, 16, 8, 4, 2, 1 trials with 16, 32, ..., 512 steps. Trials go on, so each round pays only what is new.

# %%
made, before = 0, 0
for k in range(6):
    until = 512 // 2 ** (5 - k)
    made += 32 // 2**k * (until - before)
    before = until
print(made, "steps,", made / 512, "whole runs, in place of 32")
assert made == 512 + 5 * 256

# %% [markdown]
# ## 3. One seed for all
# The three best were close; with other seeds their order changes. The difference between them is smaller than the
# difference that a seed makes, and only the mean over seeds says which is better, if anything does.

# %%
x = torch.rand(256, 2) * 2 - 1
y = torch.sin(3 * x[:, :1]) + x[:, 1:] ** 2
x_val = torch.rand(256, 2) * 2 - 1
y_val = torch.sin(3 * x_val[:, :1]) + x_val[:, 1:] ** 2


def run(lr, width, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(81):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return ((model(x_val) - y_val) ** 2).mean().item()


own = random.Random(7)
candidates = [(math.exp(own.uniform(math.log(1e-3), math.log(1.0))),
               round(math.exp(own.uniform(math.log(3.5), math.log(32.5))))) for _ in range(27)]  # fmt: skip
best = sorted(candidates, key=lambda options: run(*options, 1))[:3]
losses = [[run(*options, seed) for seed in range(2, 7)] for options in best]
for options, row in zip(best, losses):
    print(f"lr {options[0]:.4f}, width {options[1]:2}:", " ".join(f"{loss:.4f}" for loss in row))
winners = {min(range(3), key=lambda i: losses[i][seed]) for seed in range(5)}
means = [sum(row) / 5 for row in losses]
spread = max(max(row) - min(row) for row in losses)
print("winners by seed:", winners, f"; means differ by {max(means) - min(means):.4f}, one by up to {spread:.4f}")
assert len(winners) > 1 and spread > max(means) - min(means)
