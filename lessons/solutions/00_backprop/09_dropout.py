# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: dropout
#
# ## 1. p = 1
# Everything is dropped: y = 0 and ∂L/∂x = 0. The formula has 1/(1 − 1), a division by zero, and 0·∞ is not a
# number. So the op treats p = 1 apart, as PyTorch does.

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

x = torch.tensor(np.arange(1.0, 6.0), requires_grad=True)
y = F.dropout(x, p=1.0, training=True)
y.backward(torch.ones(5, dtype=torch.float64))
print("y", y.tolist(), " ∂L/∂x", x.grad.tolist())
assert not y.any() and not x.grad.any()
with np.errstate(divide="ignore", invalid="ignore"):
    assert np.isnan(np.zeros(5) * (np.ones(5) / (1 - 1.0))).all()  # what the formula would compute

# %% [markdown]
# ## 2. The variance
# y is 0 with probability p and x/(1 − p) otherwise. For x = 1:
#
#     E[y²] = (1 − p)·1/(1 − p)² = 1/(1 − p)        Var[y] = 1/(1 − p) − 1 = p/(1 − p)
#
# The mean is kept, but noise is added, and it grows without a limit as p comes near 1. A sum of n such numbers
# has the relative noise √(p/(1 − p)/n): wide layers suffer less.

# %%
torch.manual_seed(5)
for p in (0.1, 0.5, 0.9):
    y = F.dropout(torch.ones(400_000), p).double()
    print(f"p = {p}: mean {y.mean().item():.3f}, variance {y.var().item():.3f}, by hand {p / (1 - p):.3f}")
    assert abs(y.mean().item() - 1) < 0.02
    assert abs(y.var().item() / (p / (1 - p)) - 1) < 0.02
