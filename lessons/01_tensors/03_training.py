# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. A small network and its training loop
#
# **Question.** One straight line cannot separate a ring from what is inside it. What can, and what are
# the parts of a program that learns to do so?
#
# **For example.** A network says 0.7 for "right" and the truth is 1. Its loss is −ln 0.7 = 0.36. After one
# step of training it may say 0.72, and the loss is 0.33.
#
# **Answer.** Layers with a non-linear function, an *activation*, between them. The program has four
# parts that stay the same up to GPT:
#
#     data set -> loader (batches, shuffled) -> model (logits) -> loss, backward, step
#
# A layer is  y = x·Wᵀ + b.  Two layers without an activation would be one layer again:
#
#     (x·W₁ᵀ)·W₂ᵀ = x·(W₂·W₁)ᵀ
#
# Our activation is ReLU, max(x, 0).
#
# **You need.** Lessons 1 and 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.utils.data import DataLoader, Dataset

# %% [markdown]
# ## The data: a disc inside a ring

# %%
torch.manual_seed(3)
angle = torch.rand(400) * 2 * torch.pi  # (400)
radius = torch.cat([0.9 * torch.rand(200).sqrt(), 1.1 + 0.5 * torch.rand(200)])  # (200) + (200) -> (400)
points = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)  # (400, 2)
labels = (radius > 1).long()  # (400): 0 disc, 1 ring
print("points", points.shape, points.dtype, "  labels", labels.shape, labels.dtype)

# %% [markdown]
# ## By hand
# A layer draws its weights uniformly between ±1/√(inputs), so that its output is neither huge nor tiny.
# A model is a list of layers. A loader is a random order, cut into pieces.

# %%
class OwnLinear:
    def __init__(self, n_in, n_out):
        bound = n_in**-0.5
        self.weight = torch.empty(n_out, n_in).uniform_(-bound, bound).requires_grad_()  # (out, in)
        self.bias = torch.empty(n_out).uniform_(-bound, bound).requires_grad_()  # (out)

    def __call__(self, x):
        return x @ self.weight.T + self.bias  # (B, in) @ (in, out) + (out) -> (B, out)


class OwnNetwork:
    def __init__(self):
        self.layers = [OwnLinear(2, 16), OwnLinear(16, 16), OwnLinear(16, 2)]

    def __call__(self, x):  # (B, 2)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))  # (B, 16)
        return self.layers[-1](x)  # (B, 2): a score per class, the logits

    def parameters(self):
        return [p for layer in self.layers for p in (layer.weight, layer.bias)]


def own_loader(batch_size):
    order = torch.randperm(len(points))
    for start in range(0, len(points), batch_size):
        some = order[start : start + batch_size]
        yield points[some], labels[some]


torch.manual_seed(5)
own = OwnNetwork()
print("parameters:", [tuple(p.shape) for p in own.parameters()])
for epoch in range(5):
    for x, y in own_loader(50):
        loss = F.cross_entropy(own(x), y)
        for p in own.parameters():
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in own.parameters():
                p -= 0.2 * p.grad
    print(f"by hand, epoch {epoch + 1}: loss of the last batch {loss.item():.4f}")

# %% [markdown]
# ## With the package
# `nn.Module` finds the parameters of everything that is assigned to it. With the same seed its layers
# draw the same weights as ours, because they draw them in the same way and order.

# %%
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)
        )

    def forward(self, x):
        return self.layers(x)  # (B, 2) -> (B, 2)


torch.manual_seed(5)
model = Network()
torch.manual_seed(5)
for p, q in zip(model.parameters(), OwnNetwork().parameters()):
    assert torch.allclose(p, q, atol=1e-7)
n = sum(p.numel() for p in model.parameters())
print(model)
print("parameters in total:", n)
assert n == (2 * 16 + 16) + (16 * 16 + 16) + (16 * 2 + 2)

# %% [markdown]
# A data set says how many examples there are, and returns example i. The loader does the rest. 320
# points are for training; the model never sees the other 80, and only they show what it has really
# learned.

# %%
class Points(Dataset):
    def __init__(self, which):
        self.x, self.y = points[which], labels[which]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


order = torch.randperm(400)
train, test = Points(order[:320]), Points(order[320:])
loader = DataLoader(train, batch_size=32, shuffle=True, drop_last=True)
x, y = next(iter(loader))
print("batches:", len(loader), "  one batch:", x.shape, y.shape, "  labels:", y[:8].tolist())
assert len(loader) == 10 and x.shape == (32, 2)


def accuracy(model, data):
    model.eval()
    with torch.no_grad():
        right = model(data.x).argmax(dim=1) == data.y  # (N, 2) -> (N)
    model.train()
    return right.float().mean().item()


# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
losses, scores = [], []
for epoch in range(30):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()  # 1. forget the old gradients
        loss.backward()  # 2. compute the new ones
        optimizer.step()  # 3. move against them
        losses.append(loss.item())
    scores.append(accuracy(model, test))
    if epoch in (0, 4, 9, 29):
        print(f"epoch {epoch + 1:2}: loss {loss.item():.4f}   accuracy on the test points {scores[-1]:.3f}")
assert scores[-1] > 0.95 and losses[-1] < 0.2

# %% [markdown]
# A straight line, a model of one layer, stays near chance:

# %%
torch.manual_seed(5)
straight = nn.Linear(2, 2)
optimizer = torch.optim.SGD(straight.parameters(), lr=0.2)
for epoch in range(30):
    for x, y in loader:
        loss = F.cross_entropy(straight(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"one layer: accuracy {accuracy(straight, test):.3f}")
assert accuracy(straight, test) < 0.75

# %%
line = torch.linspace(-1.8, 1.8, 90)
gx, gy = torch.meshgrid(line, line, indexing="xy")  # (90, 90) each
with torch.no_grad():
    ring = torch.softmax(model(torch.stack([gx, gy], dim=-1)), dim=-1)[..., 1]  # (90, 90, 2) -> (90, 90)
figure, axes = plt.subplots(1, 2, figsize=(9, 4))
axes[0].contourf(gx.numpy(), gy.numpy(), ring.numpy(), levels=10, cmap="RdBu", alpha=0.6)
for label, color in ((0, "tab:red"), (1, "tab:blue")):
    some = test.x[test.y == label].numpy()
    axes[0].plot(some[:, 0], some[:, 1], "o", ms=4, c=color, label=("disc", "ring")[label])
axes[0].set_title("what the model says, and the test points"), axes[0].set_aspect("equal")
axes[0].legend(loc="upper right")
axes[1].plot(losses, lw=0.8), axes[1].set_xlabel("step"), axes[1].set_ylabel("loss of a batch")
save_plot(figure, "03_training")

# %% [markdown]
# ## Exercises
# 1. How many parameters has a network 2 -> 32 -> 16 -> 2? Write a formula, then count.
# 2. With `drop_last=False` and batches of 48 the last batch has 32 points. Is the mean of the batch losses
#    the mean over all points? Compute both.
# 3. Remove the ReLUs and multiply the three weight matrices. Show that one `nn.Linear` gives the same.
#
# Solutions: `lessons/solutions/01_tensors/03_training.py`
