# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: activations
#
# ## 1. Softplus
# d/dx ln(1 + eˣ) = eˣ/(1 + eˣ) = 1/(1 + e⁻ˣ) = σ(x): the sigmoid. So softplus is a smooth ReLU, and its
# derivative is a smooth step.

# %%
import math

import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

x = np.linspace(-8, 8, 161)
t = torch.tensor(x, requires_grad=True)
F.softplus(t).backward(torch.ones(161, dtype=torch.float64))
assert np.allclose(t.grad.numpy(), 1 / (1 + np.exp(-x)))
print("softplus′(0) =", t.grad.numpy()[80])

# %% [markdown]
# ## 2. Where GELU's derivative is above 1
# f′ = Φ + x·φ. Its own derivative is φ + φ − x²·φ = φ·(2 − x²), which is zero at x = ±√2. So f′ is largest at
# √2, where it is about 1.129. It passes 1 where Φ + x·φ = 1, which is near x = 0.75, and stays above it from
# there on, though only by a hair for large x. Twenty layers can multiply a gradient by at most 1.129²⁰ = 11: it
# may grow, slowly.

# %%
def gelu_derivative(v):
    return 0.5 * (1 + math.erf(v / math.sqrt(2))) + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi)


largest = gelu_derivative(math.sqrt(2))
low, high = 0.0, math.sqrt(2)
for _ in range(60):  # halve the interval in which f′ passes 1
    middle = (low + high) / 2
    low, high = (middle, high) if gelu_derivative(middle) < 1 else (low, middle)
print(f"largest {largest:.4f} at √2; above 1 from x = {low:.4f} on; twenty layers: {largest**20:.1f}")
assert abs(largest - 1.1289) < 1e-4 and 0.7 < low < 0.8
grid = np.linspace(-6, 6, 2401)
t = torch.tensor(grid, requires_grad=True)
F.gelu(t).backward(torch.ones(2401, dtype=torch.float64))
assert t.grad.max().item() <= largest + 1e-12
assert abs(grid[int(t.grad.argmax().item())] - math.sqrt(2)) < 0.01
