# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: lowering the learning rate along a cosine

# %%
import math

import tinygrad_llm as torch


def descend(rate, steps=300):
    """The weights after each step of SGD on ½·|w|² with noisy gradients: (steps, 400)."""
    torch.manual_seed(123)
    w = torch.full((400,), 3.0)
    path = []
    for step in range(steps):
        w = w - rate(step / steps) * (w + torch.randn(400))
        path.append(w)
    return torch.stack(path)


def loss(w):
    return 0.5 * (w * w).mean().item()


def cosine(t):
    return 0.3 * (1 + math.cos(math.pi * t)) / 2


# %% [markdown]
# ## 1. The mean rate
# The cosine's positive and negative halves cancel: the mean is peak/2. So is a straight line's. The cosine stays
# longer near both ends.

# %%
mean_cosine = sum(cosine((i + 0.5) / 1000) for i in range(1000)) / 1000
print(f"mean of the cosine {mean_cosine:.4f}, of the line {0.3 / 2:.4f}")
assert abs(mean_cosine - 0.15) < 1e-6

# %% [markdown]
# ## 2. Constant, then down
# It is as good as the cosine here. And the constant part can have any length: the decay can begin at any moment,
# from any checkpoint, and the run can later continue from before the decay.

# %%
def stable_then_down(t):
    if t < 0.05:
        return 0.3 * (t / 0.05)
    return 0.3 if t < 0.8 else 0.3 * (1 - t) / 0.2


ends = {name: loss(descend(f)[-1]) for name, f in
        (("constant", lambda t: 0.3), ("cosine", cosine), ("constant, then down", stable_then_down))}
print(", ".join(f"{name} {value:.4f}" for name, value in ends.items()))
assert max(ends["cosine"], ends["constant, then down"]) < 0.2 * ends["constant"]

# %% [markdown]
# ## 3. The mean of the last weights
# The noise of many steps cancels in their mean. So we get the result of small steps without taking small steps.

# %%
path = descend(lambda t: 0.3)
averaged = loss(path[-100:].mean(dim=0))
print(f"last weights {loss(path[-1]):.4f}, mean of the last 100 {averaged:.4f}")
assert averaged < 0.2 * loss(path[-1])
