# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: accumulation and memory
#
# ## 1. Groups of blocks
# Keep the inputs of groups: n/k of them for groups of k blocks. Backward runs one group again and keeps
# everything within it: k blocks. In units of a block's whole memory, with an input that takes the part s of it:
#
#     memory(k) = s·n/k + k          smallest where its derivative is 0:  k = √(s·n)
#
# With s = 1 and n = 12 that is k = 3 or 4 and 7 units in place of 12; √n is the number that the paper gives
# (Chen et al. 2016). Each block is computed once more, except those of the last group, which can go straight to
# backward: 12 − k blocks again at most.

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.utils.checkpoint import checkpoint


def memory(n, k, s=1.0):
    return s * n / k + k


for k in (1, 2, 3, 4, 6, 12):
    print(f"groups of {k:2}: {memory(12, k):4.1f} units, {12 - k} blocks computed again")
assert min(range(1, 13), key=lambda k: memory(12, k)) in (3, 4) and memory(12, 3) == 7.0
best = [min(range(1, n + 1), key=lambda k: memory(n, k)) for n in (16, 64, 100, 400)]
assert best == [4, 8, 10, 20]  # √n

torch.manual_seed(0)
blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(12)]).double()
x = torch.randn(5, 8, dtype=torch.float64).requires_grad_()


def group(i, h):
    for block in blocks[i : i + 3]:
        h = block(h)  # (5, 8)
    return h


def gradients(in_groups):
    blocks.zero_grad()
    h = x
    for i in range(0, 12, 3):
        h = checkpoint(group, i, h, use_reentrant=False) if in_groups else group(i, h)
    h.pow(2).sum().backward()
    return [p.grad.clone() for p in blocks.parameters()]


assert all(torch.equal(a, b) for a, b in zip(gradients(False), gradients(True)))
print("every third block: the same gradients")

# %% [markdown]
# ## 2. The mean of means
# The whole loss is (30·2.0 + 10·4.0)/40 = 2.5. The mean of means is 3.0: it counts each target of the small
# part three times as much as one of the large part.

# %%
losses = np.r_[np.full(30, 2.0), np.full(10, 4.0)]
whole, of_means = losses.mean(), (2.0 + 4.0) / 2
print("whole", whole, " mean of means", of_means)
assert whole == (30 * 2.0 + 10 * 4.0) / 40 == 2.5 and of_means == 3.0

logits, target = torch.randn(40, 7, dtype=torch.float64), torch.randint(0, 7, (40,))
parts = [F.cross_entropy(logits[a:b], target[a:b]) * (b - a) / 40 for a, b in ((0, 30), (30, 40))]
assert abs((parts[0] + parts[1] - F.cross_entropy(logits, target)).item()) < 1e-12
