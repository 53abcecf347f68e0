# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Let the machine compute the gradient
#
# **Question.** A model gives a wrong answer. In which direction should each of its numbers move?
#
# **For example.** A model says w·3 with w = 2, and 9 would be right: it is 3 too low. A larger w makes it
# better; how much better per step is what the gradient says.
#
# **Answer.** Write "how wrong" as one number, the *loss* L. The gradient ∂L/∂w says how much L grows if
# w grows a little; so w moves against it. Autograd computes all gradients in one backward pass through
# the steps that made L.
#
# The model: a bike shop rents more bikes when it is warm. From the temperature x it guesses whether the
# shop sells out (y = 1) or not (y = 0). One weight, one bias:
#
#     z = w·x + b          p = 1/(1 + e⁻ᶻ)          L = −(y·ln p + (1 − y)·ln(1 − p))
#
# Three steps forward, three steps backward, each with its own small derivative:
#
#     ∂L/∂p = (p − y)/(p·(1 − p))      ∂p/∂z = p·(1 − p)      ∂z/∂w = x      ∂z/∂b = 1
#
# The chain rule multiplies them, and two factors cancel:  ∂L/∂w = (p − y)·x,   ∂L/∂b = p − y.
#
# **You need.** Lesson 1, and what a derivative is.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand, for one day

# %%
x, y = 1.1, 1.0  # 11 °C in units of 10 °C, and the shop sold out
w, b = 0.8, -1.5

z = w * x + b
p = 1 / (1 + math.exp(-z))
L = -(y * math.log(p) + (1 - y) * math.log(1 - p))
step_3 = (p - y) / (p * (1 - p))  # ∂L/∂p
step_2 = step_3 * p * (1 - p)  # ∂L/∂z
w_gradient, b_gradient = step_2 * x, step_2 * 1  # ∂L/∂w, ∂L/∂b
print(f"p = {p:.4f}   L = {L:.4f}   ∂L/∂w = {w_gradient:.4f}   ∂L/∂b = {b_gradient:.4f}")
assert abs(w_gradient - (p - y) * x) < 1e-12

# %% [markdown]
# ## With the package
# `requires_grad=True` marks the tensors whose gradient we will want. Each result then remembers the step
# that made it (its `grad_fn`). `backward()` goes from the loss to all marked tensors and stores the
# gradients there, in `.grad`, which has the shape of the tensor itself.

# %%
x_t, y_t = torch.tensor([1.1]), torch.tensor([1.0])
w_t = torch.tensor([0.8], requires_grad=True)
b_t = torch.tensor([-1.5], requires_grad=True)
z_t = x_t * w_t + b_t
loss = F.binary_cross_entropy(torch.sigmoid(z_t), y_t)
print("z", z_t, "  loss", round(loss.item(), 4))
loss.backward()
print("∂L/∂w", w_t.grad, " ∂L/∂b", b_t.grad, " shapes", w_t.grad.shape, b_t.grad.shape)
assert abs(w_t.grad.item() - w_gradient) < 1e-6 and abs(b_t.grad.item() - b_gradient) < 1e-6

# %% [markdown]
# ## Learn: many days, many small steps
# Twenty days. Each step: the loss of all days, the gradients, a small move against them. Gradients are
# *added* to what is in `.grad`, so it must be emptied before each backward pass.

# %%
torch.manual_seed(7)
days = torch.rand(20) * 3  # (20): 0 to 30 °C
sold_out = (days + 0.5 * torch.randn(20) > 1.7).float()  # (20): warm days, with some chance
w_t = torch.zeros(1, requires_grad=True)
b_t = torch.zeros(1, requires_grad=True)
losses = []
for step in range(300):
    p_t = torch.sigmoid(days * w_t + b_t)  # (20)
    loss = F.binary_cross_entropy(p_t, sold_out)  # (20), (20) -> ()
    w_t.grad = b_t.grad = None
    loss.backward()
    with torch.no_grad():  # the update itself must not become part of the graph
        w_t -= 0.5 * w_t.grad
        b_t -= 0.5 * b_t.grad
    losses.append(loss.item())
    if step in (0, 9, 99, 299):
        print(f"step {step:3}: loss {loss.item():.4f}   w {w_t.item():.4f}   b {b_t.item():.4f}")
border = -b_t.item() / w_t.item()  # p is 1/2 where w·x + b = 0
print(f"the model expects to sell out above {10 * border:.1f} °C")
assert losses[0] > 0.69 and losses[-1] < 0.4  # ln 2 = 0.693: at first it knows nothing
assert all(b <= a for a, b in zip(losses, losses[1:]))

# %% [markdown]
# The backward pass gave the same as the formula, the mean of (p − y)·x, for all twenty days together:

# %%
p_t = torch.sigmoid(days * w_t + b_t)
w_t.grad = None
F.binary_cross_entropy(p_t, sold_out).backward()
formula = ((p_t - sold_out) * days).mean().detach()
assert torch.allclose(w_t.grad[0], formula, atol=1e-6)

# %% [markdown]
# ## Forgetting to empty `.grad`

# %%
w_one = torch.tensor([2.0], requires_grad=True)
for n in (1, 2):
    (w_one * 3).sum().backward()
    print(f"after backward pass {n}: {w_one.grad.item()}")
assert w_one.grad.item() == 6.0  # 3 + 3

# %%
grid = [i / 20 for i in range(61)]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
axes[0].plot([10 * d for d in days.tolist()], sold_out.tolist(), "o", label="a day")
chances = [1 / (1 + math.exp(-(w_t.item() * g + b_t.item()))) for g in grid]
axes[0].plot([10 * g for g in grid], chances, label="p, after learning")
axes[0].axvline(10 * border, lw=0.8, ls="--", c="k")
axes[0].set_xlabel("temperature (°C)"), axes[0].set_ylabel("sold out"), axes[0].legend()
axes[1].plot(losses), axes[1].axhline(math.log(2), lw=0.8, ls="--", c="k")
axes[1].text(150, math.log(2) + 0.01, "ln 2: knows nothing", fontsize=9)
axes[1].set_xlabel("step"), axes[1].set_ylabel("loss"), axes[1].set_ylim(0, 0.8)
save_plot(figure, "02_autograd")

# %% [markdown]
# How backward itself is made: chapter `00_backprop`.
#
# ## Exercises
# 1. Compute ∂L/∂w by moving w by a small h to both sides, for h = 1e-1, 1e-2, …, 1e-7 in float32. Which
#    h comes closest to the true gradient, and why do smaller ones get worse?
# 2. Use `torch.autograd.grad(loss, [w, b])`. What is different from `backward()`?
# 3. Replace the loss by the squared error (p − y)². Start from w = −8 (very sure, and wrong). How large
#    is the gradient with each loss?
#
# Solutions: `lessons/solutions/01_tensors/02_autograd.py`
