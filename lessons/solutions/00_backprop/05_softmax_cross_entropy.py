# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: softmax and cross-entropy
#
# ## 1. Label smoothing
# The target is a distribution q: q_i = (1 − ε)·δ_it + ε/C, and L = −Σ q_i·ln p_i. Each term −ln p_i has the
# gradient p − (one-hot of i). Their mean with the weights q, which sum to 1, is
#
#     ∂L/∂x = Σᵢ q_i·(p − e_i) = p − q
#
# The same form: probabilities minus targets. It is zero at p = q, so the model stops before it is entirely
# sure.

# %%
import math

import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

x, t, eps = np.array([2.0, -1.0, 0.5, 0.1]), 2, 0.1
C = len(x)
p = np.exp(x - x.max())
p /= p.sum()
q = np.full(C, eps / C)
q[t] += 1 - eps
logits = torch.tensor(x[None], requires_grad=True)
loss = F.cross_entropy(logits, torch.tensor([t]), label_smoothing=eps)
loss.backward()
print("p − q =", (p - q).round(4))
assert abs(loss.item() + (q * np.log(p)).sum()) < 1e-12
assert np.allclose(logits.grad.numpy()[0], p - q)

# %% [markdown]
# ## 2. At the start
# All p are 1/C, so L = ln C, and the gradient is 1/C for every wrong class and 1/C − 1 for the right one:
# nearly −1 for a large vocabulary. For GPT-2's 50,257 tokens the first loss must be close to 10.8. If it is far
# from ln C, something is wrong before training has begun.

# %%
for C in (2, 512, 50_257):
    logits = torch.zeros(1, C, dtype=torch.float64).requires_grad_()
    loss = F.cross_entropy(logits, torch.tensor([0]))
    loss.backward()
    print(f"C = {C:6}: loss {loss.item():.4f}, gradient of the right class {logits.grad[0, 0].item():.5f}")
    assert abs(loss.item() - math.log(C)) < 1e-9
    assert abs(logits.grad[0, 0].item() - (1 / C - 1)) < 1e-12
    assert abs(logits.grad[0, 1].item() - 1 / C) < 1e-12
