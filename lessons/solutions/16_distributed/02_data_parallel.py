# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: data parallel

# %%
import tinygrad_llm as torch
from tinygrad_llm import nn

torch.manual_seed(123)
x, y = torch.randn(8, 4), torch.randn(8, 2)


def make_model():
    torch.manual_seed(1)
    return nn.Linear(4, 2)


def gradient(inputs, targets):
    """The gradient of the weight for the mean loss."""
    model = make_model()
    nn.functional.mse_loss(model(inputs), targets).backward()
    return model.weight.grad.clone()


# %% [markdown]
# ## 1. A rank without examples
# It sends zeros, and the count 0. It must not send 0·NaN, which is NaN: zeros are selected, not multiplied.

# %%
def sum_over_ranks(means, counts):
    """Σ n_r·g_r / Σ n_r, where a rank without examples counts as zeros."""
    terms = [n * g if n else torch.zeros_like(g) for g, n in zip(means, counts)]
    return sum(terms) / sum(counts)


nothing = torch.full((2, 4), float("nan"))
result = sum_over_ranks([gradient(x, y), nothing], [8, 0])
print("a rank without examples:", torch.isfinite(result).all().item())
assert torch.allclose(result, gradient(x, y))

# %% [markdown]
# ## 2. Several batches per step
# Each rank adds up the sums of its batches; one all-reduce at the end. A sum of sums does not depend on the order
# (beyond rounding), so k − 1 of k messages can be left out. In DistributedDataParallel this is `no_sync()`.

# %%
batches = [(x[:4], y[:4]), (x[4:], y[4:])]  # of one step
first, second = slice(0, 2), slice(2, 4)  # which rows of a batch each rank has
every_time = sum(sum_over_ranks([gradient(a[s], b[s]) for s in (first, second)], [2, 2]) for a, b in batches)
own = [sum(gradient(a[s], b[s]) for a, b in batches) for s in (first, second)]
once = sum_over_ranks(own, [2, 2])
print("sent once instead of twice, largest difference:", (once - every_time).abs().max().item())
assert torch.allclose(once, every_time, atol=1e-6)

# %% [markdown]
# ## 3. Clipping
# One process clips the gradient of the whole batch: so after the all-reduce. Clipped before, each rank's part is cut
# by its own norm, and the ranks' gradients no longer add up to it.

# %%
def clipped(g, largest=1.0):
    return g * min(1.0, largest / g.norm().item())


means = [gradient(x[:4], y[:4]), gradient(x[4:], y[4:])]
after = clipped(sum_over_ranks(means, [4, 4]), 0.5)
before = sum_over_ranks([clipped(g, 0.5) for g in means], [4, 4])
expected = clipped(gradient(x, y), 0.5)
print("after:", (after - expected).abs().max().item(), " before:", (before - expected).abs().max().item())
assert torch.allclose(after, expected, atol=1e-6) and not torch.allclose(before, expected, atol=1e-3)
