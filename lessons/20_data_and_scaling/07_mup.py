# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 7. µP: one learning rate for every width
#
# **Question.** The best learning rate is found by trying, and trying is cheap for a small model only. May the rate be carried
# over to a wider one?
#
# **For example.** Adam with a rate of 0.01 moves each of 32 weights by 0.01: a unit that sums them moves by up to 0.32. With
# 512 weights it moves by up to 5.12.
#
# **Predict first.** A network of 32 channels learns best with some rate. With 512 channels: the same rate, a larger one, or a
# smaller one? And by which factor?
#
# **You need.** Chapter 05, and Adam's rule.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

BASE = 32  # the width at which a rate is found
torch.manual_seed(1)
teacher = [torch.randn(8, 16), torch.randn(16, 1)]  # an unknown function to learn


def batch():
    x = torch.randn(64, 8)  # shape (B, 8)
    return x, (x @ teacher[0]).tanh() @ teacher[1] / 4  # shape (B, 1)


# %% [markdown]
# ## By hand: why a rate does not fit every width
# Adam moves each number by about the rate, with a large gradient or a small one. A hidden unit of a layer with n inputs is a sum of n
# products, and all n weights move in the direction that helps: the *change* of the sum is about n times the rate, so it grows
# with the width. (The sum itself does not: its initial weights have random signs and are drawn with σ ~ 1/√n.)
#
# µP divides what grows. With m = width / base:
#
# | | initial σ | Adam's rate | output times |
# |---|---|---|---|
# | input layer, biases | as ever | as ever | |
# | hidden matrices | as ever, 1/√n | rate / m | |
# | output layer | that of the base | as ever | 1/m |

# %%
def network(width, mup):
    torch.manual_seed(0)
    layers = [nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 1)]
    if mup:  # the output layer starts as large as that of the base
        with torch.no_grad():
            layers[2].weight *= (width / BASE) ** 0.5
            layers[2].bias *= (width / BASE) ** 0.5
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def groups(model, rate, mup):
    m = len(model[0].bias) / BASE if mup else 1.0
    hidden = [model[2].weight]
    others = [p for p in model.parameters() if p is not hidden[0]]
    return [{"params": others, "lr": rate}, {"params": hidden, "lr": rate / m}], 1.0 / m


def train(width, rate, mup, steps=40):
    """The mean loss of the last 10 steps."""
    model = network(width, mup)
    params, scale = groups(model, rate, mup)
    optimizer = torch.optim.Adam(params)
    torch.manual_seed(7)  # the same batches for all
    losses = []
    for _ in range(steps):
        x, y = batch()
        optimizer.zero_grad()
        loss = ((model(x) * scale - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


# %% [markdown]
# ## The coordinate check
# The test of an implementation, before any sweep: after one step, how much have the activations of each layer changed? With
# µP as much at every width, without it more and more.

# %%
def change_of_one_step(width, mup, rate=0.01):
    model = network(width, mup)
    params, scale = groups(model, rate, mup)
    optimizer = torch.optim.Adam(params)
    torch.manual_seed(7)
    x, y = batch()
    before = model[:3](x).detach(), (model(x) * scale).detach()
    ((model(x) * scale - y) ** 2).mean().backward()
    optimizer.step()
    after = model[:3](x).detach(), (model(x) * scale).detach()
    return [(a - b).square().mean().sqrt().item() for a, b in zip(after, before)]


for mup in (False, True):
    print("µP" if mup else "standard")
    for width in (32, 128, 512):
        hidden, out = change_of_one_step(width, mup)
        print(f"   width {width:3}: hidden layer {hidden:.4f}, output {out:.4f}")
small, large = change_of_one_step(32, False), change_of_one_step(512, False)
assert large[1] > 5 * small[1], "standard: the output's change grows with the width"
small, large = change_of_one_step(32, True), change_of_one_step(512, True)
assert all(0.5 < b / a < 2 for a, b in zip(small, large)), "µP: it does not"

# %% [markdown]
# ## The sweep
# Three widths, rates a factor of 2 apart, 40 steps each.

# %%
widths, rates = (32, 128, 512), [2.0**-k for k in range(10, 2, -1)]
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
best = {}
for axis, mup in zip(axes, (False, True)):
    for width in widths:
        losses = [train(width, rate, mup) for rate in rates]
        best[mup, width] = rates[losses.index(min(losses))]
        axis.plot(rates, losses, "o-", label=f"width {width}, best {best[mup, width]:g}")
    axis.set_xscale("log", base=2), axis.set_yscale("log")
    axis.set_xlabel("learning rate"), axis.set_title("µP" if mup else "standard"), axis.legend()
axes[0].set_ylabel("loss of the last steps")
save_plot(figure, "07_mup")
print("standard:", [best[False, w] for w in widths], " µP:", [best[True, w] for w in widths])
assert best[False, 512] <= best[False, 32] / 4, "standard: the minimum moves to the left"
assert best[True, 512] / best[True, 32] in (0.5, 1, 2), "µP: it stays"

# %% [markdown]
# **Answer.** Standard: 16 times the width wants a rate that is many times smaller. Carrying the small model's rate over trains
# a large model badly: at the narrow one's best rate the wide one has twice the loss. With µP the curves lie on each other:
# the rate of the small model serves all.
#
# ## With the package
# `GPTConfig(emb_dim=..., mup_base=...)` has these rules for a GPT: `pretrain --emb-dim 512 --n-heads 16 --mup-base 128 --lr`
# with the rate found at 128 channels. Weight decay of hidden matrices is m times larger there, because a step shrinks weights
# by lr·weight_decay. `python -m benchmarks mup` draws the same picture for GPTs (benchmarks/LADDER.md).

# %% tags=["package"]
from tinygrad_llm.models import GPT, GPTConfig  # noqa: E402
from tinygrad_llm.training.weight_decay import make_optimizer  # noqa: E402

model = GPT(GPTConfig(65, 64, emb_dim=128, n_heads=4, n_layers=2, mup_base=32))
optimizer = make_optimizer("adamw", model, "none", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
for group in optimizer.param_groups:
    n = sum(p.numel() for p in group["params"])
    print(f"{n:7,} numbers: rate {group['lr']:g}, weight decay {group['weight_decay']:g}")

# %% [markdown]
# ## Exercises
# 1. SGD in place of Adam: its steps are proportional to the gradient. Run the coordinate check of the standard network with
#    SGD. By which power of the width do the hidden layer's and the output's changes grow?
# 2. Leave one rule of µP out, the output's factor 1/m. Which check finds it, and at which width does the sweep?
# 3. Depth: double the hidden layers instead of the width. Does the best rate stay?
#
# Solutions: `lessons/solutions/20_data_and_scaling/07_mup.py`
