# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a small network and its training loop
#
# ## 1. Counting parameters
# A layer has n_in·n_out weights and n_out biases.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.utils.data import DataLoader, TensorDataset

sizes = [2, 32, 16, 2]
formula = sum((n_in + 1) * n_out for n_in, n_out in zip(sizes, sizes[1:]))
layers = []
for n_in, n_out in zip(sizes, sizes[1:]):
    layers += [nn.Linear(n_in, n_out), nn.ReLU()]
network = nn.Sequential(*layers[:-1])
print("formula", formula, "  counted", sum(p.numel() for p in network.parameters()))
assert formula == sum(p.numel() for p in network.parameters()) == 658

# %% [markdown]
# ## 2. A smaller last batch
# The mean of means counts each of the 32 last points as one and a half. Weight each batch by its size.

# %%
torch.manual_seed(1)
x, y = torch.randn(320, 2), torch.randint(0, 2, (320,))
network = nn.Linear(2, 2)
with torch.no_grad():
    parts = [(F.cross_entropy(network(a), b).item(), len(b))
             for a, b in DataLoader(TensorDataset(x, y), batch_size=48, drop_last=False)]
    true = F.cross_entropy(network(x), y).item()
of_means = sum(loss for loss, _ in parts) / len(parts)
weighted = sum(loss * n for loss, n in parts) / sum(n for _, n in parts)
print(f"mean of means {of_means:.5f}   weighted {weighted:.5f}   over all points {true:.5f}")
assert [n for _, n in parts] == [48] * 6 + [32]
assert abs(weighted - true) < 1e-5 < abs(of_means - true)

# %% [markdown]
# ## 3. Layers without an activation are one layer
# x·W₁ᵀ·W₂ᵀ·W₃ᵀ = x·(W₃·W₂·W₁)ᵀ, and the biases go through the later matrices.

# %%
torch.manual_seed(2)
a, b, c = nn.Linear(2, 16), nn.Linear(16, 16), nn.Linear(16, 2)
one = nn.Linear(2, 2)
with torch.no_grad():
    one.weight.copy_(c.weight @ b.weight @ a.weight)  # (2, 16) @ (16, 16) @ (16, 2) -> (2, 2)
    one.bias.copy_(c.weight @ (b.weight @ a.bias + b.bias) + c.bias)
    x = torch.randn(5, 2)
    print(one(x))
    assert torch.allclose(one(x), c(b(a(x))), atol=1e-6)
