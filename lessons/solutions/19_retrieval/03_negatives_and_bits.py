# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: wrong answers teach

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

# %% [markdown]
# ## 1. The same passage twice
# Both columns have the same score, so the right one has at most half of the softmax: the loss of each of the two rows is
# log 2 or more, however well the model is trained. Leave one of the pairs out of the batch, or mask the copy's column.

# %%
scores = torch.tensor([[50.0, 50.0, -50.0]])
print(F.cross_entropy(scores, torch.tensor([0])).item(), math.log(2))
assert abs(F.cross_entropy(scores, torch.tensor([0])).item() - math.log(2)) < 1e-6

# %% [markdown]
# ## 2. Wikipedia in memory
# 21e6 · 768 · 4 bytes = 64.5 GB, and 1/32 of it as bits: 2.0 GB.

# %%
numbers, bits = 21e6 * 768 * 4 / 1e9, 21e6 * 768 / 8 / 1e9
print(f"{numbers:.1f} GB, {bits:.1f} GB")
assert abs(numbers / bits - 32) < 1e-9 and 64 < numbers < 65

# %% [markdown]
# ## 3. The right passage as a negative
# The scores are equal, P = (1/2, 1/2), and ∂L/∂q = (P₀ − 1)·p + P₁·p = 0: nothing is learned from the pair. With more
# candidates the question is still pulled towards p, at half the strength, and the loss never falls below log 2.

# %%
q = torch.tensor([[0.3, -1.2, 0.8]], requires_grad=True)
p = torch.tensor([[1.0, 2.0, -0.5]])
F.cross_entropy(q @ torch.cat([p, p]).T, torch.tensor([0])).backward()
print(q.grad.tolist())
assert q.grad.abs().max() < 1e-6
