# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Broadcasting
#
# **Question.** A bias b (3 numbers) is added to every row of x (4 x 3). What is ∂L/∂b?
#
# **For example.** Two rows (1, 2) and (3, 4), b = (10, 20): the sums are (11, 22) and (13, 24). If b's first
# number grows by 1, both 11 and 13 grow by 1.
#
#     y_nc = x_nc + b_c
#
# b_c reaches the loss by four paths, one for each row n. Gradients from several paths add up:
#
#     ∂L/∂b_c = Σₙ ∂L/∂y_nc
#
# So: **what was copied forward is summed backward.** This holds for every dimension that broadcasting
# stretched, those of size 1 and those that were missing.
#
# **You need.** Lesson 1, and shapes of NumPy arrays.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
from tinygrad_llm.autograd.engine import Op
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import save_plot

rng = np.random.default_rng(0)

# %% [markdown]
# ## By hand
# `unbroadcast` brings a gradient back to the shape of the input: first the missing dimensions, then
# those of size 1.

# %%
def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # missing dimensions
    ones = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axis=ones, keepdims=True)  # dimensions of size 1


x, b = rng.normal(size=(4, 3)), rng.normal(size=3)
g = rng.normal(size=(4, 3))  # ∂L/∂y: random, as if later layers had sent it
print("∂L/∂b =", unbroadcast(g, b.shape))
for shape in [(3,), (1, 3), (4, 1), (1, 1), ()]:
    assert unbroadcast(g, shape).shape == shape

# %% [markdown]
# ## With the package
# The op only says that its output's gradient goes to both inputs. Summing over the copies is the
# engine's work, written once for all ops.

# %%
tx = torch.tensor(x, requires_grad=True)
tb = torch.tensor(b, requires_grad=True)
(tx + tb).backward(torch.tensor(g))
assert np.allclose(tb.grad.numpy(), unbroadcast(g, b.shape))
assert np.allclose(tx.grad.numpy(), g)

row = torch.tensor(rng.normal(size=(1, 3)), requires_grad=True)
column = torch.tensor(rng.normal(size=(4, 1)), requires_grad=True)
product = row * column  # (1, 3) · (4, 1) -> (4, 3)
product.backward(torch.tensor(g))
assert np.allclose(row.grad.numpy(), unbroadcast(g * column.detach().numpy(), (1, 3)))
assert np.allclose(column.grad.numpy(), unbroadcast(g * row.detach().numpy(), (4, 1)))
gradcheck(lambda r, c: r * c, row.detach().requires_grad_(), column.detach().requires_grad_())
print("the gradients of row", tuple(row.grad.shape), "and column", tuple(column.grad.shape), "have their shapes")

# %%
figure, axes = plt.subplots(1, 3, figsize=(8, 3))
for axis, values, title in zip(
    axes,
    [np.broadcast_to(b, (4, 3)), g, np.broadcast_to(unbroadcast(g, (3,)), (1, 3))],
    ["forward: b copied to 4 rows", "∂L/∂y arrives", "∂L/∂b: the column sums"],
):
    axis.imshow(values, cmap="RdBu", vmin=-3, vmax=3)
    for (i, j), v in np.ndenumerate(values):
        axis.text(j, i, f"{v:.1f}", ha="center", va="center", fontsize=8)
    axis.set_title(title, fontsize=9), axis.set_xticks([]), axis.set_yticks([])
save_plot(figure, "03_broadcasting")

# %% [markdown]
# ## Break it
# Two common mistakes: the *mean* over the copies instead of the sum, and no sum at all.

# %%
mean = g.mean(0)
print("mean instead of sum: wrong by the factor", np.round(unbroadcast(g, (3,)) / mean, 6))
assert np.allclose(unbroadcast(g, (3,)) / mean, 4)  # the number of rows


class AddWithoutSum(Op):
    """z = x + y with broadcasting; its author forgot `broadcasts = True`."""

    signature = "x(...) y(...) -> z(...)"

    def forward(self, x, y):
        return x + y

    def backward(self, g):
        return g, g


try:
    AddWithoutSum.apply(tx, tb).sum().backward()
except RuntimeError as error:
    print("no sum at all:", error)
else:
    raise AssertionError("a gradient of the wrong shape must be refused")

# %% [markdown]
# ## Exercises
# 1. What is ∂L/∂s for a 0-d tensor s in  y = s·x ? Write it with NumPy and compare with `gradcheck`.
# 2. mean(x) over N numbers copies 1/N of its gradient to each of them. Sum undoes copying: what does the backward
#    pass of a sum do, and what that of `expand`? Check that each is the other's forward pass.
#
# More: `tinygrad-llm exercise start expand`.
#
# Solutions: `lessons/solutions/00_backprop/03_broadcasting.py`
