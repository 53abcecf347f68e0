# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: norms
#
# ## 1. Group norm
# The formula stays. Only the set over which the means run changes: it is the group's channels, and for pictures
# all their positions too, in place of the row. With one group it is layer norm. (w and b stay one per channel,
# so u = g·w is computed before the means.)

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

rng = np.random.default_rng(3)
B, C, groups, eps = 5, 12, 3, 1e-5
x, w, b, g = rng.normal(size=(B, C)) * 2 + 1, rng.normal(size=C), rng.normal(size=C), rng.normal(size=(B, C))


def in_groups(a):
    return a.reshape(B, groups, C // groups)  # (B, groups, C/groups)


def mean(a):
    return a.mean(-1, keepdims=True)


centred = in_groups(x) - mean(in_groups(x))
r = 1 / np.sqrt(mean(centred**2) + eps)
xhat, u = centred * r, in_groups(g * w)
by_hand = (r * (u - mean(u) - xhat * mean(u * xhat))).reshape(B, C)

tx = torch.tensor(x, requires_grad=True)  # the same from layer norm, one group at a time
parts = [F.layer_norm(part, (C // groups,), eps=eps) for part in tx.split(C // groups, dim=1)]
y = torch.cat(parts, dim=1) * torch.tensor(w) + torch.tensor(b)
y.backward(torch.tensor(g))
print("largest difference:", np.abs(tx.grad.numpy() - by_hand).max())
assert np.allclose(tx.grad.numpy(), by_hand)

# %% [markdown]
# ## 2. A larger input
# y stays as it is, because μ and σ grow by 10 too. r falls by 10, and with it ∂L/∂x: a gradient with respect to
# a large input is small. If the input is W·z, then so is ∂L/∂W: weights that have grown by 10 get gradients
# that are smaller by 10, and a step of the same learning rate changes their direction 100 times less. So before
# a norm, the size of the weights acts as a learning rate.

# %%
def run(factor):
    t = torch.tensor(x * factor, requires_grad=True)
    out = F.layer_norm(t, (C,), eps=0.0)
    out.backward(torch.tensor(g))
    return out.detach().numpy(), t.grad.numpy()


(y1, g1), (y10, g10) = run(1.0), run(10.0)
print("y changes by", np.abs(y10 - y1).max(), "; the gradient becomes smaller by", (g1 / g10).mean().round(6))
assert np.allclose(y1, y10) and np.allclose(g1, 10 * g10)
