# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: shortcuts
#
# ## 1. All paths
# 1 + a + b + c + ab + ac + bc + abc: around all; through one; through two; through all. There are "12
# choose 2" = 66 paths through exactly two of twelve layers. Most paths are short or of middle length.

# %%
import math
from itertools import combinations

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

a, b, c = 0.3, -0.5, 0.2
paths = [path for n in range(4) for path in combinations((a, b, c), n)]
total = sum(math.prod(path) for path in paths)
print(len(paths), "paths, together", round(total, 4))
assert len(paths) == 8 and abs(total - (1 + a) * (1 + b) * (1 + c)) < 1e-12
assert math.comb(12, 2) == len(list(combinations(range(12), 2))) == 66

# %% [markdown]
# ## 2. The sum grows
# What is added has about the same size in each layer, and for independent terms the squares add up: after n
# layers the sum has the size √(1 + n·σ²). With σ smaller by √n it is √(1 + σ²), at any depth. GPT-2 makes
# these weights smaller by √(2·n_layers), because each block adds twice.

# %%
def sizes(shrink):
    torch.manual_seed(3)
    x, stds = torch.randn(64, 48), []
    for _ in range(24):
        wide = torch.randn(48, 192) / 48**0.5
        back = torch.randn(192, 48) / 192**0.5 / shrink
        x = x + F.gelu(F.layer_norm(x, (48,)) @ wide) @ back  # (64, 48)
        stds.append(x.std().item())
    return stds


for shrink in (1.0, 24**0.5):
    stds = sizes(shrink)
    print(f"weights / {shrink:.2f}: size after 1 layer {stds[0]:.2f}, after 12 {stds[11]:.2f}, after 24 {stds[23]:.2f}")
assert stds[23] < 1.5 and sizes(1.0)[23] > 2.5

# %% [markdown]
# ## 3. All zero
# Then f(x) = 0 and y = x: the deep model is just its last layer. A gradient reaches the *first layer's*
# weights all the same, by the path around, although every linear after it is 0. So it can begin to learn.
# (That is why the second linear of each block may start at 0.) Without shortcuts everything is stuck.

# %%
torch.manual_seed(1)
linears = [nn.Linear(8, 8) for _ in range(6)]
last = nn.Linear(8, 1)
with torch.no_grad():
    for linear in linears:
        linear.weight.fill_(0.0), linear.bias.fill_(0.0)
x = torch.randn(5, 8)
for shortcut in (True, False):
    h = x
    for linear in linears:
        h = h + torch.tanh(linear(h)) if shortcut else torch.tanh(linear(h))
    for linear in linears:
        linear.weight.grad = None
    last(h).pow(2).mean().backward()
    size = linears[0].weight.grad.abs().max().item()
    print("with shortcuts:" if shortcut else "without:       ", "gradient of layer 1 is", "not 0" if size else "0")
    assert (size > 0) == shortcut
    assert torch.equal(h, x) or not shortcut
