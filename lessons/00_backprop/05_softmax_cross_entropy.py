# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. Softmax and cross-entropy together
#
# **Question.** Why is the gradient of this pair so simple, when neither gradient is simple alone?
#
# **For example.** Logits (2, 0) give p = (0.88, 0.12). If the second class is right, the gradient is (0.88,
# −0.88): the first logit must fall as much as the second must rise.
#
# Softmax turns logits into probabilities:  p_i = exp(x_i) / Σⱼ exp(x_j). Each p depends on *every* x:
#
#     ∂p_i/∂x_j = p_i·(δ_ij − p_j)        (δ_ij is 1 if i = j, else 0)
#
# so that for a gradient g = ∂L/∂p
#
#     ∂L/∂x_j = Σᵢ gᵢ·p_i·(δ_ij − p_j) = p_j·(g_j − Σᵢ gᵢ·p_i)
#
# Cross-entropy with target t is L = −ln p_t, so g_t = −1/p_t and all other g are 0. Put it in:
#
#     Σᵢ gᵢ·p_i = −1       ∂L/∂x_j = p_j·(g_j + 1) = p_j − δ_jt
#
# **probabilities minus one-hot.** All divisions are gone, and with them every problem near p = 0.
#
# **You need.** Lessons 1 and 4; e and ln.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import broken, save_plot

x = np.array([2.0, -1.0, 0.5, 0.1])
target = 2

# %% [markdown]
# ## By hand, in two steps and in one

# %%
p = np.exp(x - x.max())  # the shift changes nothing and stops overflow
p /= p.sum()
g = np.zeros(4)
g[target] = -1 / p[target]  # through cross-entropy
two_steps = p * (g - (g * p).sum())  # through softmax
one_step = p - np.eye(4)[target]
print("p − one-hot =", one_step.round(4))
assert np.allclose(two_steps, one_step)

# %% [markdown]
# ## With the package

# %%
logits = torch.tensor(x[None], requires_grad=True)  # (1, 4): a batch of one
loss = F.cross_entropy(logits, torch.tensor([target]))
loss.backward()
assert np.allclose(logits.grad.numpy()[0], one_step)
print("loss", loss.item(), " = −ln p_t =", -np.log(p[target]))
gradcheck(lambda z: torch.softmax(z, dim=-1), torch.tensor(x, requires_grad=True))

# %% [markdown]
# The gradient sums to zero: softmax gives the same result for x and x + 1, so moving all logits
# together changes nothing.

# %%
assert abs(logits.grad.sum().item()) < 1e-12

# %% [markdown]
# ## Why together: a model that is very sure, and wrong
# In float32, p = exp(−200) is 0, and ln 0 is −∞. Log-softmax subtracts instead of dividing.

# %%
sure = torch.tensor([[0.0, -200.0]], requires_grad=True)
apart = -torch.log(torch.softmax(sure, dim=-1))[0, 1]
together = F.cross_entropy(sure, torch.tensor([1]))
print("apart:", apart.item(), "  together:", together.item())
assert apart.item() == float("inf") and together.item() == 200.0
together.backward()
assert sure.grad.tolist() == [[1.0, -1.0]]

# %%
z = np.linspace(-6, 6, 200)
pz = 1 / (1 + np.exp(-z))  # two classes, logits (z, 0), target 0
figure, axis = plt.subplots(figsize=(6, 4))
axis.plot(z, -np.log(pz), label="loss −ln p")
axis.plot(z, pz - 1, label="∂L/∂z = p − 1")
axis.plot(z, pz * (1 - pz) * 2 * (pz - 1), "--", label="the same for squared error: it vanishes on the left")
axis.axhline(0, lw=0.5, c="k"), axis.set_xlabel("z: wrong on the left, right on the right")
axis.legend()
save_plot(figure, "05_softmax_cross_entropy")

# %% [markdown]
# ## Break it
# Softmax treated as if each p depended on its own x alone: g·p·(1 − p). It keeps the shape and the sign.

# %%
def as_if_element_wise(self, g):
    y = self.saved[0]
    return g * y * (1 - y)


with broken("softmax", as_if_element_wise):
    try:
        gradcheck(lambda z: torch.softmax(z, dim=-1), torch.tensor(x, requires_grad=True))
    except Exception as error:
        print("gradcheck says:", str(error).splitlines()[0])
    else:
        raise AssertionError("the check must detect this")

# %% [markdown]
# But with `.sum()` as the loss nobody would notice. The sum of a softmax is always 1, its gradient is
# 0, and a check whose upstream gradient is all ones compares 0 with almost 0. That is why `gradcheck`
# draws a random upstream gradient. (Lesson 14 says more about this.)
#
# ## Exercises
# 1. Derive the gradient with label smoothing: the target is 1 − ε at t and ε/C is added everywhere.
# 2. What is the gradient at the start of training, when all C logits are equal? And what is the loss?
#
# Then: `tinygrad-llm exercise start cross_entropy`.
#
# Solutions: `lessons/solutions/00_backprop/05_softmax_cross_entropy.py`
