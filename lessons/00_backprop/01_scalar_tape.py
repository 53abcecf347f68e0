# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. A tape for one number
#
# **Question.** How can a computer find the gradient of a formula that it has only *run*? (The
# gradient ∂L/∂a says how steeply L rises when a grows: it is the slope of the curve L(a).)
#
# **For example.** With a = 2, b = −3, c = 10 we get L = (−6 + 10)² = 16. Make a larger by 0.01: L becomes
# 15.7609, so it falls by about 24 times the change. −24 is the gradient.
#
# **Answer.** While the formula runs, write down each step on a tape. Then read the tape backwards.
# Each step knows its own small derivative, and the chain rule multiplies them together.
#
# Take  L = (a·b + c)²  and call the steps  p = a·b,  s = p + c,  L = s².
#
#     ∂L/∂s = 2·s
#     ∂L/∂p = ∂L/∂s · 1          ∂L/∂c = ∂L/∂s · 1
#     ∂L/∂a = ∂L/∂p · b          ∂L/∂b = ∂L/∂p · a
#
# Every line uses only the line above it. That is the whole of backpropagation.
#
# **You need.** Python, and what a derivative is. No other lesson.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import broken, save_plot

# %% [markdown]
# ## By hand
# A tape is a list of steps. A step is a function that passes a gradient from its output to its inputs.

# %%
class Number:
    """A number, its gradient, and nothing else."""

    def __init__(self, value):
        self.value, self.grad = value, 0.0


tape = []


def multiply(x, y):
    out = Number(x.value * y.value)

    def step():
        x.grad += out.grad * y.value
        y.grad += out.grad * x.value

    tape.append(step)
    return out


def add(x, y):
    out = Number(x.value + y.value)

    def step():
        x.grad += out.grad
        y.grad += out.grad

    tape.append(step)
    return out


a, b, c = Number(2.0), Number(-3.0), Number(10.0)
s = add(multiply(a, b), c)
L = multiply(s, s)
L.grad = 1.0  # ∂L/∂L
for step in reversed(tape):
    step()
print(f"L = {L.value}   ∂L/∂a = {a.grad}   ∂L/∂b = {b.grad}   ∂L/∂c = {c.grad}")
assert (a.grad, b.grad, c.grad) == (2 * 4 * -3, 2 * 4 * 2, 2 * 4)

# %% [markdown]
# ## With the package
# `requires_grad=True` says "I will want the gradient with respect to this". The
# package records the tape for you.

# %%
a = torch.tensor(2.0, requires_grad=True)
b = torch.tensor(-3.0, requires_grad=True)
c = torch.tensor(10.0, requires_grad=True)
s = a * b + c
L = s * s
L.backward()
print("with the package:", a.grad.item(), b.grad.item(), c.grad.item())
assert (a.grad.item(), b.grad.item(), c.grad.item()) == (-24.0, 16.0, 8.0)

# %% [markdown]
# Is that really how steep the curve is? Change `a` a little and look.

# %%
def f(a_value):
    return (a_value * -3.0 + 10.0) ** 2


h = 1e-5
difference = (f(2.0 + h) - f(2.0 - h)) / (2 * h)
print("finite difference:", difference)
assert abs(difference - (-24.0)) < 1e-6

xs = [i / 50 for i in range(-50, 250)]
figure, axis = plt.subplots(figsize=(6, 4))
axis.plot(xs, [f(x) for x in xs], label="L as a changes")
axis.plot(xs, [16 - 24 * (x - 2.0) for x in xs], "--", label="tangent, with the gradient from backward: −24")
axis.plot([2.0], [16.0], "o")
axis.set_xlabel("a"), axis.set_ylabel("L"), axis.set_ylim(-20, 180), axis.legend()
save_plot(figure, "01_scalar_tape")

# %% [markdown]
# ## Break it
# `s * s` uses `s` twice, so two gradients arrive at it, and they must be *added*. What if the
# backward pass of the product returned only one of the two?

# %%
def only_one_gradient(self, g):
    x, y = self.saved
    return (g * y if self.needs[0] else None), None


s = torch.tensor(4.0, requires_grad=True)
with broken("mul", only_one_gradient):
    (s * s).backward()
print("one gradient forgotten:", s.grad.item(), " instead of 8")
assert s.grad.item() == 4.0  # exactly half: a sure sign that one gradient is missing

# %% [markdown]
# ## Exercises
# 1. Add `power(x, n)` to the tape by hand (its step: `x.grad += out.grad * n * x.value ** (n - 1)`),
#    and compute the gradients of  L = (a·b + c)³. Check them with `torch.tensor(...) ** 3`.
# 2. `x.grad += ...` adds. Write `x.grad = ...` in its place in one step, and find a formula in which the
#    mistake shows and one in which it does not.
#
# More: `tinygrad-llm exercise start pow`.
#
# Solutions: `lessons/solutions/00_backprop/01_scalar_tape.py`
