# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. GELU and the feed-forward layer
#
# **Question.** Attention moves information between tokens, but it only mixes: a weighted mean contains
# nothing new. Where does a token think for itself?
#
# **For example.** GELU(2) = 1.95, GELU(0) = 0, GELU(−2) = −0.05: large numbers pass, negative ones hardly.
#
# **Answer.** In two linear layers with an activation between them, applied to every token alone: to four
# times as many channels, through the activation, and back to C channels. GPT-2's activation is the GELU, x
# times the probability that a standard normal number is below x:
#
#     GELU(x) = x·Φ(x)  ≈  x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
#
# (Hendrycks and Gimpel 2016.) It is ReLU with a rounded corner.
#
# **You need.** Lesson 1.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand

# %%
def own_gelu(x):
    """x·Φ(x), with Φ from the error function."""
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def own_gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


for x in (-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0):
    print(f"x {x:5}: GELU {own_gelu(x):8.5f}   by tanh {own_gelu_tanh(x):8.5f}   ReLU {max(x, 0.0)}")


class OwnFeedForward(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.wide, self.back = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        h = self.wide(x)  # (B, T, C) -> (B, T, 4C)
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h * h * h)))
        return self.back(h)  # (B, T, 4C) -> (B, T, C)


# %% [markdown]
# ## With the package

# %%
grid = torch.linspace(-4, 4, 801)
exact, by_tanh = F.gelu(grid), F.gelu(grid, approximate="tanh")
assert all(abs(own_gelu(x) - y) < 1e-6 for x, y in zip(grid.tolist(), exact.tolist()))
difference = (exact - by_tanh).abs()
print(f"the two differ by {difference.max().item():.5f} at most")
assert 4e-4 < difference.max().item() < 5e-4  # small; but use the one that the weights were trained with

torch.manual_seed(123)
own = OwnFeedForward(12)
torch.manual_seed(123)
layers = nn.Sequential(nn.Linear(12, 48), nn.GELU(approximate="tanh"), nn.Linear(48, 12))
x = torch.randn(2, 3, 12)  # (B, T, C)
print("shapes", x.shape, "->", layers[0](x).shape, "->", layers(x).shape)
print(layers(x)[0, 0, :5])
assert torch.allclose(own(x), layers(x), atol=1e-6)

# %% [markdown]
# The package's GPT has exactly this layer, as `layers.feed_forward.FeedForward`.

# %% tags=["package"]
from tinygrad_llm.layers.feed_forward import FeedForward

gpt_layer = FeedForward(12)
gpt_layer.layers.load_state_dict(layers.state_dict())
assert torch.equal(gpt_layer(x), layers(x))
print(gpt_layer)

# %% [markdown]
# Each token is processed alone: change one, and no other result changes.

# %%
other = x.clone()
other[0, 1] = 9.0
same = [torch.equal(layers(other)[0, t], layers(x)[0, t]) for t in range(3)]
print("unchanged tokens:", same)
assert same == [True, False, True]

# %% [markdown]
# ## Why an activation, why smooth, why wide?
# A fit to a curve shows all three. Without an activation the result is only a straight line, however wide
# the layer is. With more width the curve is followed more closely. A smooth activation makes the fit
# smooth.

# %%
xs = torch.linspace(-3, 3, 200).unsqueeze(1)  # (200, 1)
target = torch.sin(2 * xs) + 0.3 * xs
fits = {}
for name, activation, width in (("no activation, 64", nn.Identity, 64), ("ReLU, 64", nn.ReLU, 64),
                          ("GELU, 4", nn.GELU, 4), ("GELU, 64", nn.GELU, 64)):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(1, width), activation(), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for step in range(400):
        loss = F.mse_loss(model(xs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fits[name] = model(xs).detach().flatten(), loss.item()
order = sorted(fits, key=lambda name: -fits[name][1])
print("from worst to best:", order[0], "...;  GELU 64 below 0.01:", fits["GELU, 64"][1] < 0.01)
assert order[0] == "no activation, 64" and fits["GELU, 64"][1] < 0.01 < fits["GELU, 4"][1]

# %%
points = torch.linspace(-4, 4, 801, requires_grad=True)
F.gelu(points).sum().backward()
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
axes[0].plot(grid.tolist(), exact.tolist(), label="GELU")
axes[0].plot(grid.tolist(), F.relu(grid).tolist(), "--", label="ReLU")
axes[0].plot(grid.tolist(), points.grad.tolist(), lw=1, label="derivative of GELU")
axes[0].axhline(0, lw=0.5, c="k"), axes[0].legend(), axes[0].set_xlabel("x")
for name, (fit, _) in fits.items():
    axes[1].plot(xs.flatten().tolist(), fit.tolist(), lw=1.2, label=name)
axes[1].plot(xs.flatten().tolist(), target.flatten().tolist(), "k:", lw=2, label="target")
axes[1].legend(fontsize=8), axes[1].set_xlabel("input")
save_plot(figure, "02_feed_forward")

# %% [markdown]
# ## Exercises
# 1. How many of a block's parameters are in its feed-forward layer, how many in attention (C = 768)?
# 2. Where is GELU smallest, and how small? To the left of that point its derivative is negative: what does
#    that mean?
# 3. A ReLU unit whose input is negative for every token is *dead*: its gradient is 0 and it never
#    recovers. Make one (bias −10), and compare its gradient with a GELU's at −10, −2 and −1.
#
# Solutions: `lessons/solutions/04_gpt/02_feed_forward.py`
