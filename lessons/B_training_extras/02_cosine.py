# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Lowering the learning rate along a cosine
#
# **Question.** Large steps cross the valley fast, small steps find its lowest point. Can one run have both?
#
# **For example.** From 1.0 down to 0.0 in ten steps: after step 1 still 0.976, in the middle 0.5, one step
# before the end 0.024.
#
# **Answer.** Yes: begin large, end small. The usual curve is half a cosine (Loshchilov and Hutter, 2017),
# flat at both ends. With progress t from 0 to 1:
#
#     lr(t) = low + (peak − low)·(1 + cos(π·t)) / 2
#
# **You need.** Lesson 1.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: why small steps at the end
# The loss is ½·|w|², its lowest point is 0. But each batch sees it with noise. With a constant rate the loss
# never settles: it keeps jumping at a distance that depends on lr alone.

# %%
def descend(rate, steps=300, seed=123):
    """The loss ½·|w|² (a mean of 400 numbers) after each step of SGD with noisy gradients."""
    torch.manual_seed(seed)
    w = torch.full((400,), 3.0)  # shape (400)
    path = []
    for step in range(steps):
        noisy = w + torch.randn(400)  # the true gradient is w
        w = w - rate(step, steps) * noisy
        path.append(0.5 * (w * w).mean().item())
    return path


def constant(lr):
    return lambda step, steps: lr


def cosine(peak, low=0.0):
    return lambda step, steps: low + (peak - low) * (1 + math.cos(math.pi * step / steps)) / 2


runs = {
    "constant 0.3": descend(constant(0.3)),
    "constant 0.01": descend(constant(0.01)),
    "cosine from 0.3": descend(cosine(0.3)),
}
for name, path in runs.items():
    print(f"{name:16} loss after 30 steps {path[29]:.3f}, after 300 steps {path[-1]:.4f}")
assert runs["cosine from 0.3"][-1] < min(runs["constant 0.3"][-1], runs["constant 0.01"][-1])

# %% [markdown]
# At what loss does the constant rate settle? Each step keeps (1 − lr) of w and adds lr times the noise. In
# balance the variance v obeys v = (1 − lr)²·v + lr², so that v = lr/(2 − lr).

# %%
predicted = 0.5 * 0.3 / (2 - 0.3)
measured = sum(runs["constant 0.3"][-100:]) / 100
print(f"constant 0.3: predicted {predicted:.4f}, measured {measured:.4f}")
assert abs(measured / predicted - 1) < 0.05

# %% [markdown]
# ## By hand: a class of our own, with warm-up
# This is the schedule of most language models: a straight line up, then half a cosine down.

# %%
class WarmUpThenCosine:
    def __init__(self, peak, low, warm_up, steps):
        self.peak, self.low, self.warm_up, self.steps = peak, low, warm_up, steps

    def __call__(self, step):
        if step < self.warm_up:
            return self.low + (self.peak - self.low) * step / self.warm_up
        t = (step - self.warm_up) / (self.steps - self.warm_up)
        return self.low + (self.peak - self.low) * (1 + math.cos(math.pi * t)) / 2


schedule = WarmUpThenCosine(peak=1e-3, low=1e-4, warm_up=20, steps=200)
by_hand = [schedule(step) for step in range(200)]
print("by hand:", ", ".join(f"{by_hand[i]:.6f}" for i in (0, 10, 20, 110, 199)), "at steps 0, 10, 20, 110, 199")
assert max(by_hand) == by_hand[20] == 1e-3 and abs(by_hand[110] - 5.5e-4) < 1e-9  # halfway down

# %% [markdown]
# ## With the package
# PyTorch's schedulers, one after the other. `scheduler.step()` comes after `optimizer.step()`.

# %%
w = torch.zeros(1, requires_grad=True)
optimizer = torch.optim.SGD([w], lr=1e-3)
scheduler = SequentialLR(
    optimizer,
    [LinearLR(optimizer, start_factor=0.1, total_iters=20), CosineAnnealingLR(optimizer, T_max=180, eta_min=1e-4)],
    milestones=[20],
)
packaged = []
for _ in range(200):
    packaged.append(optimizer.param_groups[0]["lr"])
    optimizer.step()
    scheduler.step()
print("package:", ", ".join(f"{packaged[i]:.6f}" for i in (0, 10, 20, 110, 199)))
assert max(abs(a - b) for a, b in zip(packaged, by_hand)) < 1e-9

# %% tags=["package"]
from tinygrad_llm.optim.lr_scheduler import WarmupCosineLR

optimizer = torch.optim.SGD([w], lr=1e-3)
one = WarmupCosineLR(optimizer, warmup_steps=20, total_steps=200)
print("WarmupCosineLR does both:", one.__class__.__doc__.splitlines()[0])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.plot(by_hand, label="warm-up, then cosine"), left.axhline(1e-4, ls=":", c="gray", label="low")
left.set_xlabel("step"), left.set_ylabel("learning rate"), left.legend()
for name, path in runs.items():
    right.semilogy(path, label=name)
right.set_xlabel("step"), right.set_ylabel("loss"), right.legend()
save_plot(figure, "02_cosine")

# %% [markdown]
# ## Break it
# The schedule was made for 300 steps, and the run is stopped after 150. At this point the rate is still half
# its peak, and the loss has not come down yet. A cosine must know its length.

# %%
short = runs["cosine from 0.3"][149]
right_length = descend(cosine(0.3), steps=150)[-1]
print(f"stopped halfway: {short:.4f};  a schedule made for 150 steps: {right_length:.4f}")
assert right_length < 0.2 * short

# %% [markdown]
# ## Exercises
# 1. What is the mean learning rate of half a cosine from `peak` to 0? And of a straight line?
# 2. Warm-up, a long constant part, and a decay only in the last fifth ("WSD"). Compare its loss with the
#    cosine's. What is its advantage when the length of the run is not known?
# 3. Average the weights of the last 100 steps with the constant rate 0.3. How low is the loss of the mean?
#
# Solutions: `lessons/solutions/B_training_extras/02_cosine.py`
