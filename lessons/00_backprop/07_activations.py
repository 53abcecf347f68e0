# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 7. Activations
#
# **Question.** An activation works on each number alone, so its backward is g·f′(x). What does f′ do
# to a gradient that has to pass through many layers?
#
# **For example.** Sigmoid's derivative is at most 0.25. After ten layers at most 0.25¹⁰ = 0.000001 of a
# gradient is left; with ReLU's derivative of 1 all of it.
#
#     sigmoid   σ(x) = 1/(1 + e⁻ˣ)     σ′ = σ·(1 − σ)         never above 1/4
#     tanh      tanh x                 1 − tanh²              1 at 0, small elsewhere
#     ReLU      max(0, x)              1 for x > 0, else 0    a unit can die
#     GELU      x·Φ(x)                 Φ(x) + x·φ(x)          smooth; slightly negative for x < 0
#     SiLU      x·σ(x)                 σ·(1 + x·(1 − σ))
#
# Φ is the normal distribution function ½·(1 + erf(x/√2)), φ its density. GPT-2 uses an approximation
# of GELU by tanh; the two differ by up to 4.7e-4, so don't mix them up when loading weights.
#
# **You need.** Lesson 1.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import broken, save_plot

x = np.linspace(-5, 5, 401)

# %% [markdown]
# ## By hand

# %%
sigmoid = 1 / (1 + np.exp(-x))
cdf = 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x]))
density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
by_hand = {
    "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
    "tanh": (np.tanh(x), 1 - np.tanh(x) ** 2),
    "relu": (np.maximum(x, 0), (x > 0) * 1.0),
    "gelu": (x * cdf, cdf + x * density),
    "silu": (x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))),
}

# %% [markdown]
# ## With the package

# %%
package = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}
figure, axes = plt.subplots(1, 2, figsize=(9, 4))
for name, function in package.items():
    t = torch.tensor(x, requires_grad=True)
    y = function(t)
    y.backward(torch.ones(401).double())  # element by element, so ones show f′ itself
    value, derivative = by_hand[name]
    assert np.allclose(y.detach().numpy(), value) and np.allclose(t.grad.numpy(), derivative), name
    axes[0].plot(x, value, label=name)
    axes[1].plot(x, derivative, label=name)
axes[0].set_title("f"), axes[0].set_ylim(-1.5, 3), axes[1].set_title("f′"), axes[1].legend()
save_plot(figure, "07_activations")

exact, tanh = F.gelu(torch.tensor(x)), F.gelu(torch.tensor(x), approximate="tanh")
apart = (exact - tanh).abs().max().item()
print(f"GELU with erf and with tanh differ by up to {apart:.1e}")
assert 4e-4 < apart < 5e-4

# %% [markdown]
# ## What f′ does to a deep model
# Twenty layers, each y = f(1.5·x): how much of the gradient is left at the first?

# %%
remaining = {}
for name, function in package.items():
    t = torch.tensor(np.random.default_rng(0).normal(size=1000), requires_grad=True)
    y = t
    for _ in range(20):
        y = function(1.5 * y)
    y.backward(torch.ones(1000).double())
    remaining[name] = t.grad.abs().mean().item()
    print(f"{name:8} mean |gradient| after 20 layers: {remaining[name]:.1e}")
assert remaining["sigmoid"] < 1e-6 < remaining["relu"]  # 20 factors of at most 1.5/4

# %% [markdown]
# ## The kink
# At 0, ReLU has no derivative. The convention (PyTorch's too) is 0. A finite difference there gives ½,
# so a gradient check must stay away from kinks.

# %%
zero = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
F.relu(zero).backward(torch.ones(1).double())
assert zero.grad.item() == 0.0
try:
    gradcheck(F.relu, torch.tensor([0.0], dtype=torch.float64, requires_grad=True))
except Exception as error:
    print("at the kink:", str(error).split(". Elements")[0])
else:
    raise AssertionError("finite differences can't agree at a kink")

# %% [markdown]
# ## Break it
# The most common mistake: the formula σ·(1 − σ) with the *input* where the *output* belongs.

# %%
def input_for_output(self, g):
    y = self.saved[0]
    x_again = np.log(y / (1 - y))  # the input, computed from the output
    return g * x_again * (1 - x_again)


with broken("sigmoid", input_for_output):
    try:
        gradcheck(torch.sigmoid, torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True))
    except Exception as error:
        print("input for output:", str(error).split(". Elements")[0])
    else:
        raise AssertionError("the check must detect this")

# %% [markdown]
# ## Exercises
# 1. What is the derivative of softplus, ln(1 + eˣ)? You already know it under another name.
# 2. For which x is the derivative of GELU larger than 1, and how large is it at most? Can a gradient grow on its
#    path through many such layers?
#
# Then: `tinygrad-llm exercise start gelu`.
#
# Solutions: `lessons/solutions/00_backprop/07_activations.py`
