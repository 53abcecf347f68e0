# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: embedding
#
# ## 1. A padding token
# Forward looks up its row as any other. Backward must not add to that row: the rows of g that belong to the
# padding token are left out. Setting the row of the gradient to zero afterwards is the same. (If the model also
# has weight decay, the optimizer would still shrink the row, unless it is zero.)

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

rng = np.random.default_rng(4)
V, C, PAD = 6, 4, 0
W, ids = rng.normal(size=(V, C)), np.array([2, 5, PAD, 2, PAD])
g = rng.normal(size=(len(ids), C))
by_hand = np.zeros((V, C))
for n, v in enumerate(ids):
    if v != PAD:
        by_hand[v] += g[n]
weight = torch.tensor(W, requires_grad=True)
F.embedding(torch.tensor(ids), weight, padding_idx=PAD).backward(torch.tensor(g))
assert np.allclose(weight.grad.numpy(), by_hand)
assert not weight.grad[PAD].any()
print("the padding row's gradient:", weight.grad[PAD].tolist())

# %% [markdown]
# ## 2. Rows without a gradient
# At most 4,096 different tokens appear, so at least 50,257 − 4,096 = 46,161 rows are zero. But an optimizer
# with momentum moves them all the same: the running mean of earlier gradients is not zero. So the embedding of
# a rare token goes on moving after its last appearance, and weight decay shrinks it at every step.

# %%
rows_without = 50_257 - 4_096
print(f"at least {rows_without:,} rows are zero")
assert rows_without == 46_161
weight = torch.tensor(W, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
F.embedding(torch.tensor([3]), weight).sum().backward()
optimizer.step()
before = weight.detach().clone()
optimizer.zero_grad()
F.embedding(torch.tensor([1]), weight).sum().backward()  # token 3 does not appear any more
assert not weight.grad[3].any()
optimizer.step()
moved = (weight - before)[3].abs().max().item()
print(f"row 3 has no gradient, and moved by {moved:.2f}")
assert abs(moved - 0.1 * 0.9) < 1e-9
