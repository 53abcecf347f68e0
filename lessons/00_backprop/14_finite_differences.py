# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 14. Finite differences, and how they fail
#
# **Question.** How do we know that a backward pass is right?
#
# **For example.** f(x) = x² at x = 3: (3.01² − 2.99²)/0.02 = 6.0. A backward pass that returns 3 is caught,
# without knowing the formula 2x.
#
# By asking the function itself:  (f(x + h) − f(x − h)) / 2h  is the derivative, up to an error of about
# h². It uses no derivative formula, so it cannot make the same mistake. But it can fail in four other
# ways.
#
# **You need.** Lesson 1.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import broken, save_plot

rng = np.random.default_rng(0)
x = rng.normal(size=20)


def f(x):
    return np.log(np.exp(x).sum(dtype=x.dtype))  # log-sum-exp; its gradient is the softmax


exact = np.exp(x) / np.exp(x).sum()

# %% [markdown]
# ## 1. Too little precision
# Two errors work against each other. A large h looks too far away: h². A small h subtracts two numbers
# that are nearly equal, and only rounding errors remain: ε/h, with ε = 1e-16 in float64 but 1e-7 in
# float32.

# %%
def worst_error(dtype, h):
    numeric = np.empty(20)
    for i in range(20):
        up, down = x.astype(dtype), x.astype(dtype)
        up[i] += dtype(h)
        down[i] -= dtype(h)
        numeric[i] = (float(f(up)) - float(f(down))) / (2 * h)
    return np.abs(numeric - exact).max()


steps = np.logspace(-10, 0, 21)
errors = {d.__name__: [worst_error(d, h) for h in steps] for d in (np.float64, np.float32)}
best = {name: min(values) for name, values in errors.items()}
print("smallest error that any h can give:", {k: f"{v:.0e}" for k, v in best.items()})
assert best["float64"] < 1e-9 < 1e-6 < best["float32"]

figure, axis = plt.subplots(figsize=(6, 4))
for name, values in errors.items():
    axis.loglog(steps, values, "o-", label=name)
axis.set_xlabel("h"), axis.set_ylabel("largest error"), axis.legend()
save_plot(figure, "14_finite_differences")

# %% [markdown]
# In float32 even the best h leaves an error that hides real mistakes. So `gradcheck` refuses float32:

# %%
try:
    gradcheck(torch.exp, torch.tensor([1.0], requires_grad=True))
except ValueError as error:
    print("float32:", error)
else:
    raise AssertionError("a check in float32 must be refused")

# %% [markdown]
# ## 2. Kinks
# ReLU at 0 has the derivative 0 on the left and 1 on the right. A finite difference gives ½, and none
# of the three is *the* derivative. The same is true for max with two equal values, for clamp at its
# bounds and for |x| at 0. Choose points away from such kinks.

# %%
at_zero = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
assert not gradcheck(torch.relu, at_zero, raise_exception=False)
away = torch.tensor([-0.5, 1.0], dtype=torch.float64, requires_grad=True)
assert gradcheck(torch.relu, away)

# %% [markdown]
# ## 3. Break it: `.sum()` as the loss
# Then every upstream gradient is 1, and whole classes of mistakes become invisible: the sum of a
# softmax is always 1, that of a layer norm's output always 0. Their true gradient is 0, and so is that
# of many wrong backward passes. A random upstream gradient makes the mistake visible.

# %%
def as_if_mean_alone(self, g):
    """Softmax's backward with the wrong sum: Σg/n instead of Σg·y."""
    y = self.saved[0]
    return y * (g - g.mean(self.axis if hasattr(self, "axis") else -1, keepdims=True))


logits = torch.tensor(x.reshape(4, 5), requires_grad=True)
with broken("softmax", as_if_mean_alone):
    detected_by_sum = not gradcheck(lambda z: torch.softmax(z, -1).sum(), logits, raise_exception=False)
    detected_by_random = not gradcheck(lambda z: torch.softmax(z, -1), logits, raise_exception=False)
print("detected with .sum():", detected_by_sum, "  detected with a random gradient:", detected_by_random)
assert detected_by_random and not detected_by_sum

# %% [markdown]
# ## 4. Random functions
# Dropout draws a new mask at each call, so f(x + h) and f(x − h) are values of two different functions.
# The check notices that two calls of f(x) differ:

# %%
try:
    gradcheck(lambda z: torch.dropout(z, 0.5, True), torch.tensor(x, requires_grad=True))
except ValueError as error:
    print("dropout:", error)
else:
    raise AssertionError("a random function must be refused")


def with_fixed_mask(z):
    torch.manual_seed(1)  # the same mask every time
    return torch.dropout(z, 0.5, True)


assert gradcheck(with_fixed_mask, torch.tensor(x, requires_grad=True))

# %% [markdown]
# ## By hand
# A whole gradcheck is ten lines:

# %%
def by_hand(function, x, h=1e-6):
    t = torch.tensor(x, requires_grad=True)
    y = function(t)
    u = rng.normal(size=y.shape)  # the random upstream gradient
    y.backward(torch.tensor(u))
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        difference = function(torch.tensor(up)).numpy() - function(torch.tensor(down)).numpy()
        assert abs((u * difference).sum() / (2 * h) - t.grad.numpy()[i]) < 1e-6, i


by_hand(lambda t: torch.softmax(t, -1), x.reshape(4, 5))
by_hand(lambda t: (t * t).tanh().cumsum(0), x)

# %% [markdown]
# ## Exercises
# 1. Nobody computes 124 million differences for 124 million parameters. Take one random direction d and
#    compare (f(x + h·d) − f(x − h·d))/2h with Σ g·d. Which mistakes can this miss, and which not?
#    (`gradcheck` does it with `directions=3`.)
# 2. (f(x + h) − f(x))/h needs one call less. How does its error fall when h is divided by 10, and how that of the
#    difference to both sides?
#
# Solutions: `lessons/solutions/00_backprop/14_finite_differences.py`
