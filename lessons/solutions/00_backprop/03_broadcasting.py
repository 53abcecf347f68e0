# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: broadcasting
#
# ## 1. One number times a table
# s reaches the loss through every element: y_nc = s·x_nc. So ∂L/∂s = Σ g_nc·x_nc, over all elements, and its
# shape is (): `unbroadcast(g·x, ())`.

# %%
import numpy as np

import tinygrad_llm as torch
from tinygrad_llm.autograd.finite_differences import gradcheck

rng = np.random.default_rng(1)
x, g = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
s = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
tx = torch.tensor(x, requires_grad=True)
(s * tx).backward(torch.tensor(g))
print("∂L/∂s =", (g * x).sum(), " shape", s.grad.shape)
assert s.grad.shape == () and np.allclose(s.grad.numpy(), (g * x).sum())
assert np.allclose(tx.grad.numpy(), 1.5 * g)
gradcheck(lambda s, x: s * x, s.detach().requires_grad_(), tx.detach().requires_grad_())

# %% [markdown]
# ## 2. Each is the other's backward pass
# y = Σ x_n: every x_n has the derivative 1, so the backward pass copies g to all places, which is `expand`'s
# forward pass. y = expand(x): x reaches every copy, so the backward pass is the sum over the copies. The mean
# is the sum divided by N.

# %%
row = torch.tensor(rng.normal(size=(1, 3)), requires_grad=True)
row.expand(4, 3).backward(torch.tensor(g))
assert np.allclose(row.grad.numpy(), torch.tensor(g).sum(dim=0, keepdim=True).numpy())

one = rng.normal(size=(1, 3))
for name, factor in (("sum", 1), ("mean", 4)):
    table = torch.tensor(x, requires_grad=True)
    getattr(table, name)(dim=0, keepdim=True).backward(torch.tensor(one))
    copies = torch.tensor(one).expand(4, 3).numpy()
    print(name, "copies the gradient, divided by", factor)
    assert np.allclose(table.grad.numpy(), copies / factor)
