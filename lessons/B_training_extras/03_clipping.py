# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Clipping gradients
#
# **Question.** Most batches give a small gradient, one in a thousand a huge one. How do we survive the huge
# one without taking tiny steps everywhere?
#
# **For example.** Gradients (3, 4) have the length 5. With a limit of 1 they become (0.6, 0.8): the same
# direction.
#
# **Answer.** Look at the length of the gradient of *all* weights together. If it is longer than c, shorten it
# to c, and keep its direction:
#
#     ‖g‖ = √(Σ over every weight of g²)          g ← g · min(1, c/‖g‖)
#
# **You need.** Chapter 05, lesson 2.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: one length for all
# The gradients of two layers, [3, 4] and [12]: together they have the length √(9 + 16 + 144) = 13.

# %%
first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
first.grad, second.grad = torch.tensor([3.0, 4.0]), torch.tensor([12.0])


def length(parameters):
    return math.sqrt(sum((p.grad**2).sum().item() for p in parameters))


def clip(parameters, c):
    """Shorten all gradients by one factor; return the length before."""
    parameters = list(parameters)
    before = length(parameters)
    if before > c:
        for p in parameters:
            p.grad = p.grad * (c / before)
    return before


print("shapes", tuple(first.shape), tuple(second.shape), " length before:", clip([first, second], 6.5), " after:", first.grad.tolist(), second.grad.tolist())
assert first.grad.tolist() == [1.5, 2.0] and second.grad.tolist() == [6.0]  # half of each: same direction

# %% [markdown]
# ## With the package
# The function has PyTorch's name. It returns the length *before* clipping, which is worth a line in the log of
# every run.

# %%
first.grad, second.grad = torch.tensor([3.0, 4.0]), torch.tensor([12.0])
before = nn.utils.clip_grad_norm_([first, second], max_norm=6.5)
print("package:", round(before.item(), 4), [round(x, 4) for x in first.grad.tolist()])
assert abs(before.item() - 13.0) < 1e-5 and abs(first.grad[1].item() - 2.0) < 1e-5

# %% [markdown]
# ## A cliff
# A layer used forty times in a row, as in a recurrent network: its output is x·w⁴⁰. For w = 0.9 the gradient
# is small, for w = 1.2 it is a hundred million. Gradient descent comes to the edge of the cliff, and one step
# throws it far away.

# %%
def descend(c, lr=0.01, steps=300):
    w = torch.tensor([0.95], requires_grad=True)
    path = []
    for _ in range(steps):
        loss = (w**40 - 3.0).square().sum()  # best at w = 3^(1/40) = 1.028
        w.grad = None
        loss.backward()
        path.append((w.item(), loss.item(), abs(w.grad.item())))
        if c is not None:
            clip([w], c)
        with torch.no_grad():
            w -= lr * w.grad
        if not math.isfinite(w.item()) or abs(w.item()) > 50:
            break
    return path


free, clipped = descend(None), descend(1.0)
print(f"without clipping: {len(free)} steps, the longest gradient 1e{math.log10(max(g for _, _, g in free)):.0f}, last w {free[-1][0]:.3f}")
print(f"with c = 1:       {len(clipped)} steps, last w {clipped[-1][0]:.3f}, best is {3 ** (1 / 40):.3f}")
assert abs(clipped[-1][0] - 3 ** (1 / 40)) < 0.02
assert abs(free[-1][0] - 3 ** (1 / 40)) > 0.1

# %% [markdown]
# ## One bad batch
# A classifier, and at step 60 a batch whose inputs are a thousand times too large (a broken file, say). SGD
# with momentum remembers it for a long time.

# %%
def train(c, steps=150):
    torch.manual_seed(123)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses, lengths = [], []
    for step in range(steps):
        x = torch.randn(64, 10)
        y = x[:, :3].argmax(dim=-1)
        if step == 60:
            x = x[torch.randperm(64)] * 1000.0  # too large, and with the wrong labels
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        lengths.append(clip(model.parameters(), math.inf if c is None else c))
        optimizer.step()
        losses.append(loss.item())
    return losses, lengths


plain, lengths = train(None)
safe, _ = train(1.0)
print(f"before the bad batch: {plain[59]:.3f} and {safe[59]:.3f} (clipped)")
usual = sorted(lengths[:60])[30]  # the median
print(f"length of the gradients: usually {usual:.2f}, of the bad batch more than {10 ** int(math.log10(lengths[60]))}")
print(f"30 steps after it, clipped: {sum(safe[85:95]) / 10:.3f}")
assert lengths[60] > 100 * usual
assert sum(safe[85:95]) / 10 < 0.6 and sum(plain[85:95]) / 10 > 1.0

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.semilogy(lengths, lw=0.9), left.axhline(1.0, ls="--", c="C2", label="c = 1")
left.set_xlabel("step"), left.set_ylabel("length of the gradient, not clipped"), left.legend()
right.semilogy(plain, label="not clipped", lw=0.9), right.semilogy(safe, label="clipped at 1", lw=0.9)
right.axvline(60, ls=":", c="gray"), right.set_xlabel("step"), right.set_ylabel("loss"), right.legend()
save_plot(figure, "03_clipping")

# %% [markdown]
# ## Break it
# Clip each number by itself (`clip_grad_value_`). The direction is lost: a gradient (100, 1) becomes (1, 1), a
# turn of 44 degrees.

# %%
p = nn.Parameter(torch.zeros(2))
p.grad = torch.tensor([100.0, 1.0])
nn.utils.clip_grad_value_([p], 1.0)
turned = math.degrees(math.atan2(p.grad[1].item(), p.grad[0].item()) - math.atan2(1.0, 100.0))
print(f"each number by itself: {p.grad.tolist()}, turned by {turned:.1f} degrees")
assert turned > 40

# %% [markdown]
# ## Exercises
# 1. With gradient accumulation, clip after each part or once at the end? Show that they differ.
# 2. AdamW divides by the root of the mean square, so a gradient twice as long makes the same step. Why does
#    clipping help AdamW all the same?
# 3. One gradient contains a NaN: what does clipping do to the others?
#
# Solutions: `lessons/solutions/B_training_extras/03_clipping.py`
