# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: µP

# %%
import tinygrad_llm as torch
from tinygrad_llm import nn

BASE = 32
torch.manual_seed(1)
teacher = [torch.randn(8, 16), torch.randn(16, 1)]


def batch():
    x = torch.randn(64, 8)  # shape (B, 8)
    return x, (x @ teacher[0]).tanh() @ teacher[1] / 4  # shape (B, 1)


def network(width, depth=1, scaled=False):
    torch.manual_seed(0)
    layers = [nn.Linear(8, width)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    last = nn.Linear(width, 1)
    if scaled:
        with torch.no_grad():
            last.weight *= (width / BASE) ** 0.5
    return nn.Sequential(*layers, nn.ReLU(), last)


def change(width, kind, rate, hidden_rate=None, factor=1.0, scaled=False):
    """How much one step changes the hidden layer and the output."""
    model = network(width, scaled=scaled)
    hidden = [model[2].weight]
    others = [p for p in model.parameters() if p is not hidden[0]]
    params = [{"params": others, "lr": rate}, {"params": hidden, "lr": hidden_rate or rate}]
    optimizer = kind(params, lr=rate)
    torch.manual_seed(7)
    x, y = batch()
    before = model[:3](x).detach(), (model(x) * factor).detach()
    ((model(x) * factor - y) ** 2).mean().backward()
    optimizer.step()
    after = model[:3](x).detach(), (model(x) * factor).detach()
    return [(a - b).square().mean().sqrt().item() for a, b in zip(after, before)]


# %% [markdown]
# ## 1. SGD
# The gradient of a hidden weight is a product with an output weight, which is about 1/√n; n of them move a hidden unit, so
# it changes by about n·1/√n = √n. The output's own n weights have gradients of size 1: it changes by about n. From 32 to 512
# channels that is 4 and 16 times; small networks are a little below.

# %%
sgd = {width: change(width, torch.optim.SGD, 0.1) for width in (32, 128, 512)}
for width, (hidden, out) in sgd.items():
    print(f"width {width:3}: hidden layer {hidden:.4f}, output {out:.4f}")
hidden, out = (sgd[512][i] / sgd[32][i] for i in (0, 1))
assert 2 < hidden < 5 < out < 20

# %% [markdown]
# ## 2. µP without the output's factor
# The coordinate check finds it immediately, in the output's column: the change grows with the width.

# %%
for factor in (True, False):
    changes = []
    for width in (32, 128, 512):
        m = width / BASE
        changes.append(change(width, torch.optim.Adam, 0.01, 0.01 / m, 1 / m if factor else 1.0, True)[1])
    print("with 1/m:   " if factor else "without 1/m:", [f"{c:.3f}" for c in changes])
    assert (changes[-1] < 2 * changes[0]) == factor

# %% [markdown]
# ## 3. Depth
# The rules of µP are those of the width. With more layers the best rate moves as well, to the left here: depth needs its own rule,
# such as a factor 1/√depth of what each block adds to a shortcut.

# %%
rates = [2.0**-k for k in range(10, 2, -1)]


def loss_of(depth, rate, steps=40):
    model = network(64, depth)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    torch.manual_seed(7)
    losses = []
    for _ in range(steps):
        x, y = batch()
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


best = {}
for depth in (1, 2, 6):
    losses = [loss_of(depth, rate) for rate in rates]
    best[depth] = rates[losses.index(min(losses))]
    print(f"{depth} hidden matrices: best rate {best[depth]:g}, loss {min(losses):.3f}")
assert best[6] < best[1]
