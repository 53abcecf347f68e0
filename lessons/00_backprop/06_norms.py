# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6. Layer norm and RMS norm
#
# **Question.** Layer norm subtracts a mean and divides by a standard deviation, and both depend on
# *every* number of the row. By how many paths does one x reach the output?
#
# **For example.** x = (1, 3) has the mean 2 and becomes (−1, 1). x = (101, 103) becomes (−1, 1) as well: a
# shift of the whole row changes nothing, so its gradient must sum to 0.
#
#     μ = mean(x)     σ² = mean((x − μ)²)     r = 1/√(σ² + ε)     x̂ = (x − μ)·r     y = w·x̂ + b
#
# Three paths lead from x_i to x̂: directly, through μ, and through σ². Let u = g·w be what arrives at
# x̂.
#
# 1. directly:     r·u_i
# 2. through μ:    every x̂_j falls by r/n when x_i grows by 1:      −r·mean(u)
# 3. through σ²:   ∂r/∂x_i = −r³·(x_i − μ)/n = −r²·x̂_i/n, and every x̂_j has the factor (x_j − μ) = x̂_j/r:
#                  Σⱼ u_j·(x̂_j/r)·(−r²·x̂_i/n) = −r·x̂_i·mean(u·x̂)
#
# Together:
#
#     ∂L/∂x = r·(u − mean(u) − x̂·mean(u·x̂))
#
# In words: remove from u the part that would only shift the row (its mean) and the part that would
# only stretch it (along x̂), because layer norm undoes both anyway. RMS norm does not subtract a
# mean, so only the stretch is removed:  ∂L/∂x = r·(u − x̂·mean(u·x̂)).
#
# **You need.** Lessons 1 and 3; mean and variance.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import broken, save_plot

rng = np.random.default_rng(0)
n, eps = 8, 1e-5
x, w, b, g = rng.normal(size=n) * 3 + 1, rng.normal(size=n), rng.normal(size=n), rng.normal(size=n)

# %% [markdown]
# ## By hand

# %%
mu = x.mean()
r = 1 / np.sqrt(((x - mu) ** 2).mean() + eps)
xhat = (x - mu) * r
u = g * w
direct, through_mean, through_scale = r * u, -r * u.mean() * np.ones(n), -r * xhat * (u * xhat).mean()
gx = direct + through_mean + through_scale

# %% [markdown]
# ## With the package

# %%
tx, tw, tb = (torch.tensor(v, requires_grad=True) for v in (x, w, b))
F.layer_norm(tx, (n,), tw, tb, eps).backward(torch.tensor(g))
assert np.allclose(tx.grad.numpy(), gx)
assert np.allclose(tw.grad.numpy(), g * xhat) and np.allclose(tb.grad.numpy(), g)
gradcheck(lambda x, w, b: F.layer_norm(x, (n,), w, b), tx.detach().requires_grad_(),
          tw.detach().requires_grad_(), tb.detach().requires_grad_())

rms = 1 / np.sqrt((x * x).mean() + eps)
tx = torch.tensor(x, requires_grad=True)
F.rms_norm(tx, (n,), torch.tensor(w), eps).backward(torch.tensor(g))
assert np.allclose(tx.grad.numpy(), rms * (u - x * rms * (u * x * rms).mean()))

# %% [markdown]
# Two things must be true of the gradient for every u: its mean is 0 (a shift of x changes nothing),
# and it has no component along x − μ (except for the small ε, a stretch changes nothing).

# %%
print("mean of the gradient:", gx.mean(), "  along x − μ:", gx @ (x - mu))
assert abs(gx.mean()) < 1e-12 and abs(gx @ (x - mu)) < 1e-4

figure, axis = plt.subplots(figsize=(7, 4))
places = np.arange(n)
for k, (part, name) in enumerate([(direct, "directly"), (through_mean, "through μ"),
                                  (through_scale, "through σ²"), (gx, "together")]):
    axis.bar(places + (k - 1.5) * 0.2, part, 0.2, label=name)
axis.set_xlabel("channel"), axis.set_ylabel("∂L/∂x"), axis.legend()
save_plot(figure, "06_norms")

# %% [markdown]
# ## Break it
# Leave out a path. With a constant upstream gradient and w = 1 some of these mistakes are invisible,
# because then u − mean(u) is 0 anyway. So the check draws u at random.

# %%
def variance_held_constant(self, g):
    xhat, r, w = self.saved
    u = g * w
    return r * (u - u.mean(-1, keepdims=True)), (g * xhat).reshape(-1, n).sum(0), g.reshape(-1, n).sum(0)


with broken("layer_norm", variance_held_constant):
    try:
        gradcheck(lambda x: F.layer_norm(x, (n,), torch.tensor(w), torch.tensor(b)),
                  torch.tensor(x, requires_grad=True))
    except Exception as error:
        print("σ² held constant:", str(error).split(". If")[0])
    else:
        raise AssertionError("the check must detect this")

    ones = torch.tensor(x, requires_grad=True)
    F.layer_norm(ones, (n,), torch.ones(n).double(), torch.zeros(n).double()).sum().backward()
    print("with .sum() and w = 1 the wrong gradient is", ones.grad.abs().max().item(), ": invisible")
    assert ones.grad.abs().max().item() < 1e-12

# %% [markdown]
# ## Exercises
# 1. Group norm takes mean and variance over groups of channels. What changes in the formula? (Almost
#    nothing: what do the means run over?)
# 2. Multiply x by 10. What happens to y, and what to ∂L/∂x? Say why a layer with large inputs learns slowly.
#
# Then: `tinygrad-llm exercise start layer_norm`.
#
# Solutions: `lessons/solutions/00_backprop/06_norms.py`
