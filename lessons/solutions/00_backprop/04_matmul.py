# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the matrix product
#
# ## 1. A linear layer
# y_no = Σᵢ x_ni·W_oi + b_o. W_oi appears in column o of y, for every row n, with the factor x_ni:
#
#     ∂L/∂W_oi = Σₙ g_no·x_ni        ∂L/∂W = gᵀ·x      (out, N)·(N, in)
#     ∂L/∂x_ni = Σₒ g_no·W_oi        ∂L/∂x = g·W       (N, out)·(out, in)
#     ∂L/∂b_o  = Σₙ g_no
#
# There is no transpose of W in ∂L/∂x, because W is stored as (out, in) already.

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.autograd.finite_differences import gradcheck

rng = np.random.default_rng(2)
N, IN, OUT = 6, 4, 3
x, W, b = rng.normal(size=(N, IN)), rng.normal(size=(OUT, IN)), rng.normal(size=OUT)
g = rng.normal(size=(N, OUT))
tensors = [torch.tensor(a, requires_grad=True) for a in (x, W, b)]
F.linear(*tensors).backward(torch.tensor(g))
for t, expected in zip(tensors, (g @ W, g.T @ x, g.sum(0))):
    assert np.allclose(t.grad.numpy(), expected)
gradcheck(F.linear, *(t.detach().requires_grad_() for t in tensors))
print("gᵀ·x, g·W and the column sums of g: right")

# %% [markdown]
# ## 2. What it costs
# One product of (N, in) and (in, out) costs 2·N·in·out operations: a multiplication and an addition for each of
# its terms. Forward is one product, backward two. The first layer of a model does not need ∂L/∂x = g·W, because
# nothing before it learns. The engine asks for it only if x needs a gradient.

# %%
def operations(tokens, n_in, n_out):
    return 2 * tokens * n_in * n_out


forward = operations(1024, 768, 768)
print(f"forward {forward:,}, backward {2 * forward:,}")
assert forward == 1_207_959_552

first = torch.tensor(x)  # data: no gradient
W = torch.tensor(W, requires_grad=True)
F.linear(first, W).backward(torch.tensor(g))
assert first.grad is None and W.grad.shape == (OUT, IN)
