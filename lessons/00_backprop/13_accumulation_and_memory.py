# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 13. Accumulation and memory
#
# **Question.** A batch of 64 does not fit. Can four batches of 16 give the same gradient? And where does
# the memory of a training step go at all?
#
# The loss is a mean over all targets, and a gradient is linear: with nᵢ targets in part i and N in all
#
#     L = (1/N)·Σᵢ (sum of losses in part i)       ∂L/∂w = Σᵢ (nᵢ/N)·∂(mean of part i)/∂w
#
# So: backward of each part, weighted by nᵢ/N, and `.grad` adds up by itself. If all parts are equally
# large the weights are all ¼. If they are not (padding, ignored targets), ¼ is *wrong*.

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
    """The gradient of all parameters after one backward a part, each loss times weight(part)."""
    model.zero_grad()
    for part in parts:
        loss = F.cross_entropy(model(x[part]), target[part]) * weight(part)
        loss.backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


# %%
whole = gradients([slice(0, 64)], lambda part: 1.0)
parts = [slice(i, i + 16) for i in range(0, 64, 16)]
kept = {part.start: (target[part] != -100).sum().item() for part in parts}
print("targets that count in each part:", list(kept.values()))
by_count = gradients(parts, lambda part: kept[part.start] / 44)
by_part = gradients(parts, lambda part: 1 / 4)
assert sum(kept.values()) == 44
assert torch.allclose(by_count, whole, atol=1e-12)

# %% [markdown]
# ## Break it
# The mean of means, which nearly every training script used until somebody noticed in 2024:

# %%
off = ((by_part - whole).norm() / whole.norm()).item()
print(f"weighted by targets: equal.   mean of means: off by {off:.0%}")
assert off > 0.05

# %% [markdown]
# ## By hand: what a step keeps
# Between forward and backward each op keeps what its derivative needs, in `saved`. Backward frees it as
# the walk passes. `observers` and `backward_observers` let us watch.

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
# time keeping everything, and go backward through it at once. One more forward pass (a third more
# arithmetic), and the memory of one block instead of twelve. Chen et al. (2016).
#
# By hand it needs nothing but what we have: each block's output is cut off (`detach`), and its gradient
# handed to the block before.

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
        block(start).backward(g)  # forward again, and back
        g = start.grad


deep.zero_grad()
deep(data).square().mean().backward()
expected = [p.grad.clone() for p in deep.parameters()]
deep.zero_grad()
frugal = memory_of(checkpointed_step)
assert all(torch.equal(p.grad, e) for p, e in zip(deep.parameters(), expected))  # bit for bit
print(f"largest: plain {plain.max():.2f} MB, checkpointed {frugal.max():.2f} MB (and 12 block inputs)")
assert frugal.max() < plain.max() / 4

figure, axis = plt.subplots(figsize=(7, 4))
axis.plot(plain, label="plain: up in forward, down in backward")
axis.plot(frugal, label="one block at a time")
axis.set_xlabel("op"), axis.set_ylabel("MB kept for backward"), axis.legend()
save_plot(figure, "13_accumulation_and_memory")

# %% [markdown]
# ## Exercise
# Twelve blocks, but checkpoint only every third. What is the most memory, and how much is computed
# again? For n blocks, how many should be in a group so that the memory is smallest?
