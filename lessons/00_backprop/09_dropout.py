# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 9. Dropout
#
# **Question.** Dropout is random. How can something random have a derivative?
#
# **For example.** x = (4, 8, 6), the mask (1, 0, 1), p = 0.5: y = (8, 0, 12). If x's second number changes, y
# does not: its gradient is 0.
#
# Once the coin has been thrown, it is no longer random: the mask m of zeros and ones is a constant.
#
#     y = x·m/(1 − p)          ∂L/∂x = g·m/(1 − p)
#
# where an element of m is 0 with probability p. The backward pass must use the *same* mask, so the
# mask is saved. The factor 1/(1 − p) keeps the mean, because E[m] = 1 − p. It is applied in
# training, so that evaluation needs no factor ("inverted dropout").
#
# **You need.** Lesson 1.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import broken, save_plot

p = 0.25

# %% [markdown]
# ## By hand

# %%
rng = np.random.default_rng(0)
x, g = rng.normal(size=1000), rng.normal(size=1000)
mask = rng.random(1000) >= p
y = x * mask / (1 - p)
gx = g * mask / (1 - p)
assert np.all((gx == 0) == (y == 0))  # a dropped element gets no gradient

# %% [markdown]
# ## With the package
# The same seed drops the same elements as in PyTorch on a CPU.

# %%
torch.manual_seed(123)
tx = torch.tensor(x, requires_grad=True)
ty = F.dropout(tx, p, training=True)
ty.backward(torch.tensor(g))
kept = ty.detach().numpy() != 0
assert np.allclose(ty.detach().numpy()[kept], x[kept] / (1 - p))
assert np.allclose(tx.grad.numpy(), g * kept / (1 - p))
print(f"kept {kept.mean():.1%}, expected {1 - p:.0%}")

layer = nn.Dropout(p)
layer.eval()
assert torch.equal(layer(tx), tx)  # in evaluation it does nothing

# %% [markdown]
# ## Why the factor 1/(1 − p)
# Without it the next layer would see smaller sums in training than in evaluation.

# %%
torch.manual_seed(0)
ones = torch.ones(200, 512)
with_factor = F.dropout(ones, p).sum(dim=1) / 512
without = with_factor * (1 - p)
figure, axis = plt.subplots(figsize=(6, 4))
axis.hist(with_factor.tolist(), 25, alpha=0.7, label="with 1/(1 − p)")
axis.hist(without.tolist(), 25, alpha=0.7, label="without")
axis.axvline(1.0, c="k", label="in evaluation"), axis.set_xlabel("mean of 512 ones after dropout")
axis.legend()
save_plot(figure, "09_dropout")
assert abs(with_factor.mean().item() - 1) < 0.01

# %% [markdown]
# ## Break it
# A new mask in the backward pass. Every number is plausible and the mean is right, but the training
# is wrong: gradients arrive at elements that had no part in the loss. Finite differences detect it,
# if the mask stays the same while they change x.

# %%
def new_mask(self, g):
    return g * (rng.random(g.shape) >= p) / (1 - p), None


with broken("dropout", new_mask):
    torch.manual_seed(123)
    tx = torch.tensor(x, requires_grad=True)
    ty = F.dropout(tx, p, training=True)
    ty.backward(torch.tensor(g))
dropped = ty.detach().numpy() == 0
share_wrong = (tx.grad.numpy()[dropped] != 0).mean()
print(f"a new mask: {share_wrong:.0%} of the dropped elements get a gradient")
assert share_wrong > 0.5

# %% [markdown]
# ## Exercises
# 1. p = 1 drops everything. What should y and ∂L/∂x be, and what does 1/(1 − p) give? See what
#    `tinygrad-llm study dropout` says about it.
# 2. Dropout keeps the mean. What does it do to the variance of y? Compute it by hand for x = 1, and measure it.
#
# Then: `tinygrad-llm exercise start dropout`.
#
# Solutions: `lessons/solutions/00_backprop/09_dropout.py`
