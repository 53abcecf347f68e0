# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: layer norm
#
# ## 1. Batch norm
# Its means are over the tokens. So a later token changes the result of an earlier one: the future leaks
# in, without any attention. And at generation, with one token, there is nothing to take a mean over.

# %%
import math

import tinygrad_llm as torch
from tinygrad_llm import nn

torch.manual_seed(1)
x = torch.randn(6, 4)  # (T, C)
later = x.clone()
later[-1] = 7.0


def batch_norm(x):
    return (x - x.mean(dim=0)) / torch.sqrt(x.var(dim=0, unbiased=False) + 1e-5)


layer = nn.LayerNorm(4)
print("token 0 changed by token 5: batch norm", not torch.allclose(batch_norm(x)[0], batch_norm(later)[0]),
      "  layer norm", not torch.allclose(layer(x)[0], layer(later)[0]))
assert not torch.allclose(batch_norm(x)[0], batch_norm(later)[0], atol=1e-2)
assert torch.equal(layer(x)[0], layer(later)[0])

# %% [markdown]
# ## 2. The largest number
# μ = 1/n, σ² = 1/n − 1/n². So (1 − μ)/σ = (1 − 1/n)/√((1/n)·(1 − 1/n)) = √(n − 1). For 768: √767 = 27.7,
# minus a little for ε. No vector of n channels can give more: this is the largest number that a norm
# outputs.

# %%
n = 768
one = torch.zeros(n)
one[5] = 1.0
largest = nn.LayerNorm(n)(one).max().item()
print(f"largest {largest:.4f}   √767 = {math.sqrt(767):.4f}")
assert abs(largest - (1 - 1 / n) / math.sqrt(1 / n - 1 / n**2 + 1e-5)) < 1e-3

# %% [markdown]
# ## 3. The input again
# w = √(σ² + ε) and b = μ give the vector back. So the model can learn to do without the norm.

# %%
vector = torch.tensor([3.0, -1.0, 4.0, 1.0])
layer = nn.LayerNorm(4)
with torch.no_grad():
    layer.weight.fill_((vector.var(unbiased=False) + layer.eps).sqrt().item())
    layer.bias.fill_(vector.mean().item())
print(layer(vector))
assert torch.allclose(layer(vector), vector, atol=1e-5)
