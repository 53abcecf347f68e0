# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Shortcuts, and what they do to gradients
#
# **Question.** A deep model can do more than a shallow one. But its first layers hardly learn. Why, and what
# helps?
#
# **For example.** Ten layers that each halve a gradient leave 0.5¹⁰ = 0.001 of it. With a shortcut around
# each of them it is 1.5¹⁰ = 58 in place of 0.001.
#
# **Answer.** The gradient of the first layer is a *product* of the derivatives of all layers after it, and a
# product of many numbers below 1 is nearly 0. Add the input to the output, and every factor contains a 1:
#
#     y = f(x)          ∂y/∂x = f′(x)              ∂L/∂x₀ = f₁′·f₂′·…·f_n′
#     y = x + f(x)      ∂y/∂x = 1 + f′(x)          ∂L/∂x₀ = (1 + f₁′)·(1 + f₂′)·…·(1 + f_n′)
#
# Multiply the second one out: a sum of 2ⁿ products, one for every path through the layers, and one of them is
# 1, the path around them all. (He, Zhang, Ren and Sun 2015.)
#
# **You need.** Chapter 01, lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: one number through ten layers
# f(x) = 0.3·x in every layer: forward and backward need no library.

# %%
derivative, through, around = 0.3, 1.0, 1.0
for layer in range(10):
    through *= derivative  # y = f(x)
    around *= 1 + derivative  # y = x + f(x)
print(f"gradient at the first layer's input: without shortcuts {through:.7f}, with {around:.3f}")
assert through < 1e-5 and around > 10

x = torch.tensor(1.0, requires_grad=True)
y = x
for layer in range(10):
    y = y + derivative * y
y.backward()
print("backward says", round(x.grad.item(), 3))
assert abs(x.grad.item() - around) < 1e-4

# %% [markdown]
# With a shortcut the gradient may also *grow* from layer to layer. That is why GPT-2 divides the initial
# weights of the layers that write into the sum by √(2·n_layers), and why there is a norm before each of them.

# %% [markdown]
# ## With the package: eight real layers

# %%
class Deep(nn.Module):
    def __init__(self, n_layers, C, shortcut):
        super().__init__()
        self.shortcut = shortcut
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(C, C), nn.GELU()) for _ in range(n_layers)])
        self.last = nn.Linear(C, 1)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x) if self.shortcut else layer(x)  # (B, C)
        return self.last(x)  # (B, 1)


def gradients(shortcut):
    """The mean size of each layer's weight gradient."""
    torch.manual_seed(123)
    model = Deep(8, 32, shortcut)
    x = torch.randn(64, 32)
    F.mse_loss(model(x), x[:, :1] * 2).backward()
    return [layer[0].weight.grad.abs().mean().item() for layer in model.layers]


sizes = {"without": gradients(False), "with shortcuts": gradients(True)}
for name, values in sizes.items():
    print(f"{name:14} first layer {values[0]:.2e}   last {values[-1]:.2e}   ratio {values[-1] / values[0]:.1f}")
assert sizes["without"][-1] / sizes["without"][0] > 100
assert 0.2 < sizes["with shortcuts"][-1] / sizes["with shortcuts"][0] < 5
print("shape of a layer's gradient:", Deep(8, 32, True).layers[0][0].weight.shape)

# %% [markdown]
# ## And does it learn better?
# With AdamW, which divides each gradient by its size, eight layers learn even without shortcuts. Sixteen do
# not: the output hardly depends on the input any more, and there is almost no gradient to divide.

# %%
def train(n_layers, shortcut):
    torch.manual_seed(7)
    model = Deep(n_layers, 32, shortcut)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(200):
        x = torch.randn(64, 32)
        loss = F.mse_loss(model(x), torch.tanh(x[:, :1] + x[:, 1:2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


losses = {f"{n} layers, {name}": train(n, name == "with shortcuts")
          for n in (8, 16) for name in ("without", "with shortcuts")}
end = {name: sum(values[-20:]) / 20 for name, values in losses.items()}
for name, value in end.items():
    print(f"{name:26} {'has learned it' if value < 0.1 else 'has not learned it'}")
assert end["16 layers, with shortcuts"] < 0.1 and end["16 layers, without"] > 0.4 > end["8 layers, without"]

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
for name, values in sizes.items():
    axes[0].semilogy(range(1, 9), values, "o-", label=name)
axes[0].set_xlabel("layer"), axes[0].set_ylabel("mean |gradient| of its weights"), axes[0].legend()
for name, values in losses.items():
    axes[1].semilogy(values, "--" if name.startswith("8") else "-", lw=1, label=name)
axes[1].set_xlabel("step"), axes[1].set_ylabel("loss"), axes[1].legend(fontsize=8)
save_plot(figure, "03_shortcuts")

# %% [markdown]
# ## Exercises
# 1. Multiply out (1 + a)(1 + b)(1 + c) and name the path through the three layers that each product stands
#    for. How many paths go through exactly two of twelve layers?
# 2. In GPT-2 each layer gets a normalised input: x + f(norm(x)). How large does x become after 24 layers, and
#    how large if the weights that write into the sum are smaller by √24?
# 3. Set the weights of all layers' linears to 0. What does the model with shortcuts compute, and does a
#    gradient reach the first layer?
#
# Solutions: `lessons/solutions/04_gpt/03_shortcuts.py`
