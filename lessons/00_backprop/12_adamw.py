# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 12. AdamW by hand
#
# **Question.** Backward gave us the gradient. How far should each weight move?
#
# **For example.** Two weights have the gradients 0.1 and −4. Gradient descent with lr = 0.1 moves them by
# 0.01 and 0.4; Adam moves both by about 0.1.
#
# Plain gradient descent moves by lr·g: far where the gradient is large, hardly at all where it is
# small. Adam keeps two running means for every weight and moves by their ratio, so that every weight
# moves by about lr:
#
#     m ← β₁·m + (1 − β₁)·g           the mean gradient
#     v ← β₂·v + (1 − β₂)·g²          its mean square
#     m̂ = m/(1 − β₁ᵗ)   v̂ = v/(1 − β₂ᵗ)     both began at 0 and are too small at first
#     w ← w − lr·λ·w                  weight decay, separate from the gradient: the W in AdamW
#     w ← w − lr·m̂/(√v̂ + ε)
#
# Sources: Kingma and Ba (2015); Loshchilov and Hutter (2019).
#
# **You need.** Lesson 1.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand, on three numbers

# %%
lr, beta1, beta2, eps, decay = 0.1, 0.9, 0.999, 1e-8, 0.01
w = [1.0, -2.0, 0.5]
gradients = [[0.1, -4.0, 0.0], [0.2, -3.0, 0.0], [0.1, -5.0, 1e-3]]
m, v = [0.0] * 3, [0.0] * 3
for t, g in enumerate(gradients, 1):
    for i in range(3):
        m[i] = beta1 * m[i] + (1 - beta1) * g[i]
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
        w[i] -= lr * decay * w[i]
        w[i] -= lr * (m[i] / (1 - beta1**t)) / (math.sqrt(v[i] / (1 - beta2**t)) + eps)
    print(f"step {t}:", [round(x, 6) for x in w])

# %% [markdown]
# Look at the first two weights: their gradients differ by a factor of 40, and both moved by about lr
# (0.1) per step. The gradient of the third was exactly 0 for two steps; only the decay moved it.

# %% [markdown]
# ## With the package

# %%
parameter = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.AdamW([parameter], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
for g in gradients:
    parameter.grad = torch.tensor(g, dtype=torch.float64)
    optimizer.step()
assert all(abs(a - b) < 1e-12 for a, b in zip(parameter.tolist(), w))
print("the package's AdamW agrees to 1e-12")

# %% [markdown]
# ## A narrow valley
# f(x, y) = x²/2 + 50·y². Gradient descent must take steps small enough for y, and then x hardly moves.

# %%
def descend(make, steps=120):
    xy = torch.tensor([-4.0, 0.9], requires_grad=True)
    optimizer = make([xy])
    path = [xy.tolist()]
    for _ in range(steps):
        loss = 0.5 * xy[0] ** 2 + 50 * xy[1] ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append(xy.tolist())
    return path


paths = {
    "SGD, lr 0.018": descend(lambda p: torch.optim.SGD(p, lr=0.018)),
    "SGD with momentum": descend(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "AdamW, lr 0.1": descend(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0)),
}
figure, axis = plt.subplots(figsize=(7, 4))
for name, path in paths.items():
    axis.semilogy([0.5 * x * x + 50 * y * y + 1e-12 for x, y in path], label=name)
axis.set_xlabel("step"), axis.set_ylabel("f"), axis.legend()
save_plot(figure, "12_adamw")

# %% [markdown]
# ## Break it
# Without the correction by 1 − βᵗ the first step is not lr but lr·(1 − β₁)/√(1 − β₂) = 3.2·lr, for any
# gradient.

# %%
first = (1 - beta1) / math.sqrt(1 - beta2)
print(f"without the correction the first step is {first:.2f} times lr")
assert 3.1 < first < 3.2

# %% [markdown]
# Weight decay that is added to the gradient (g + λ·w, as in plain Adam) is divided by √v̂ like the rest
# of it: a weight with large gradients then hardly decays. That is why AdamW keeps the two apart.

# %%
def shrinkage(optimizer_class, gradient):
    """How much further a weight of 1 moved because of weight decay, in units of lr·λ."""
    moved = []
    for decay in (0.0, 0.1):
        p = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
        optimizer = optimizer_class([p], lr=0.01, weight_decay=decay)
        for sign in (1, -1, 1, -1):  # the gradient changes its sign, as noise does
            p.grad = torch.tensor([gradient * sign], dtype=torch.float64)
            optimizer.step()
        moved.append(p.item())
    return (moved[0] - moved[1]) / (0.01 * 0.1)


for gradient in (1.0, 100.0):
    print(f"gradient {gradient:5}: decayed by AdamW {shrinkage(torch.optim.AdamW, gradient):.2f}, "
          f"by Adam with λ in the gradient {shrinkage(torch.optim.Adam, gradient):.2f}  (times lr·λ)")
assert shrinkage(torch.optim.AdamW, 100.0) > 3.9 > 1 > shrinkage(torch.optim.Adam, 100.0)

# %% [markdown]
# ## Exercises
# 1. What does Adam do with a weight whose gradient is always exactly 0, except once? Simulate it, and see
#    for how long that one gradient keeps moving the weight.
# 2. Multiply every gradient by 1,000. How do the weights move under SGD, and how under Adam? What does this mean for
#    a loss that is a sum instead of a mean?
#
# More: `tinygrad-llm exercise start adamw_step`.
#
# Solutions: `lessons/solutions/00_backprop/12_adamw.py`
