# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 13. Accumulation and memory
#
# **Question.** A batch of 64 does not fit into memory. Can four batches of 16 give the same gradient?
# And what is the memory of a training step used for?
#
# **For example.** Three targets with the losses 1, 1, 4 have the mean 2. In parts (1, 1) and (4) the means
# are 1 and 4, and their mean is 2.5: wrong, because the second part has only one target.
#
# The loss is a mean over all targets, and a gradient is linear. With nᵢ targets in part i and N in
# total:
#
#     L = (1/N)·Σᵢ (sum of losses in part i)       ∂L/∂w = Σᵢ (nᵢ/N)·∂(mean of part i)/∂w
#
# So run backward for each part, with its loss weighted by nᵢ/N; `.grad` adds the gradients up by
# itself. If all parts have the same size, all weights are ¼. If they do not (padding, ignored targets),
# ¼ is *wrong*.
#
# **You need.** Lessons 1 and 5.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.autograd.engine import backward_observers, observers
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 10)).double()
x, target = torch.randn(64, 16, dtype=torch.float64), torch.randint(0, 10, (64,))
target[20:40] = -100  # targets that do not count, most of them in the second part


def gradients(parts, weight):
    """The gradient of all parameters after one backward per part, each loss times weight(part)."""
    model.zero_grad()
    for part in parts:
        loss = F.cross_entropy(model(x[part]), target[part]) * weight(part)
        loss.backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


# %%
whole = gradients([slice(0, 64)], lambda part: 1.0)
parts = [slice(i, i + 16) for i in range(0, 64, 16)]
counted = {part.start: (target[part] != -100).sum().item() for part in parts}
print("targets that count in each part:", list(counted.values()))
by_count = gradients(parts, lambda part: counted[part.start] / 44)
by_part = gradients(parts, lambda part: 1 / 4)
assert sum(counted.values()) == 44
assert torch.allclose(by_count, whole, atol=1e-12)

# %% [markdown]
# ## Break it
# The mean of means, which almost every training script computed until somebody noticed in 2024:

# %%
error = ((by_part - whole).norm() / whole.norm()).item()
print(f"weighted by targets: equal.   mean of means: wrong by {error:.0%}")
assert error > 0.05

# %% [markdown]
# ## By hand: what a step keeps
# Between forward and backward each op keeps what its derivative needs, in `saved`. Backward drops the
# arrays of each op once it is done with it. To watch, we add a function to `observers`, which the
# engine calls after each op's forward, and one to `backward_observers`, which it calls after each op's
# backward.

# %%
def owner(array):
    """The array that owns the memory: several ops may keep views of the same."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def memory_of(run):
    """Bytes kept after each op, forward and then backward."""
    held, curve, owners = {}, [], {}

    def after_forward(op, inputs, output):
        if any(op.needs):
            for array in (a for a in op.saved if isinstance(a, np.ndarray)):
                held[id(owner(array))] = owner(array).nbytes
                owners.setdefault(id(op), []).append(id(owner(array)))
            curve.append(sum(held.values()))

    def after_backward(op, gradient, gradients):
        curve.append(sum(held.values()))
        for key in owners.pop(id(op), []):
            if not any(key in keys for keys in owners.values()):
                held.pop(key, None)

    observers.append(after_forward)
    backward_observers.append(after_backward)
    try:
        run()
    finally:
        observers.remove(after_forward)
        backward_observers.remove(after_backward)
    return np.array(curve) / 1e6


deep = nn.Sequential(*[nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), nn.GELU()) for _ in range(12)])
data = torch.randn(512, 64)
plain = memory_of(lambda: deep(data).square().mean().backward())

# %% [markdown]
# ## Checkpointing
# Keep only the input of each block. When backward comes to a block, run the block forward again, this
# time keeping everything, and then run its backward pass immediately. This costs one more forward pass
# (a third more arithmetic) and needs the memory of one block instead of twelve. Chen et al. (2016).
#
# We have everything to write it by hand: each block's output is cut off from the graph (`detach`), and
# its gradient is passed to the block before it.

# %%
def checkpointed_step():
    inputs = [data]
    with torch.no_grad():
        for block in deep:
            inputs.append(block(inputs[-1]))
    last = inputs.pop().detach().requires_grad_()
    last.square().mean().backward()
    g = last.grad
    for block in reversed(list(deep)):
        start = inputs.pop().detach().requires_grad_()
        block(start).backward(g)  # forward again, then backward
        g = start.grad


deep.zero_grad()
deep(data).square().mean().backward()
expected = [p.grad.clone() for p in deep.parameters()]
deep.zero_grad()
in_parts = memory_of(checkpointed_step)
assert all(torch.equal(p.grad, e) for p, e in zip(deep.parameters(), expected))  # to the last bit
print(f"largest: plain {plain.max():.2f} MB, checkpointed {in_parts.max():.2f} MB (and 12 block inputs)")
assert in_parts.max() < plain.max() / 4

figure, axis = plt.subplots(figsize=(7, 4))
axis.plot(plain, label="plain: up in forward, down in backward")
axis.plot(in_parts, label="one block at a time")
axis.set_xlabel("op"), axis.set_ylabel("MB kept for backward"), axis.legend()
save_plot(figure, "13_accumulation_and_memory")

# %% [markdown]
# ## Exercises
# 1. Twelve blocks, but checkpoint only every third one. What is the largest memory, and how much is
#    computed again? For n blocks, how many should be in a group so that the memory is smallest?
# 2. Two parts have 30 and 10 targets, their mean losses are 2.0 and 4.0. What is the loss of the whole batch, and what
#    does the mean of means say?
#
# Solutions: `lessons/solutions/00_backprop/13_accumulation_and_memory.py`
