# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: chance, pairs, duplicates

# %%
import math

import tinygrad_llm as torch

torch.manual_seed(123)

# %% [markdown]
# ## 1. How many questions
# 1.96·√(p(1 − p)/N) = 0.01, so N = 38,416·p(1 − p): 9,220 for 0.6 and 1,825 for 0.95.

# %%
needed = {p: math.ceil(1.96**2 * p * (1 - p) / 0.01**2) for p in (0.6, 0.95)}
print(needed)
assert needed == {0.6: 9220, 0.95: 1825}

# %% [markdown]
# ## 2. The sign test
# Σ C(20, k)/2²⁰ for k from 12: about 0.25. Such a difference comes by chance in every fourth comparison of equal models.

# %%
p_value = sum(math.comb(20, k) for k in range(12, 21)) / 2**20
coins = (torch.rand(4000, 20) < 0.5).float().sum(1)  # shape (4000,)
print(round(p_value, 4), round((coins >= 12).float().mean().item(), 3))
assert abs(p_value - (coins >= 12).float().mean().item()) < 0.03

# %% [markdown]
# ## 3. The best of twenty
# The largest of twenty scores lies about 1.9 standard deviations above their mean: nine points, though nobody is better.
# So choose on one set of questions, and report on another.

# %%
scores = (torch.rand(500, 20, 100) < 0.6).float().mean(2)  # shape (500, 20)
best = scores.max(1).values.mean().item()
print(f"true 0.60, best of twenty {best:.3f}, its deviations {(best - 0.6) / math.sqrt(0.24 / 100):.2f}")
assert 0.67 < best < 0.71
