# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: vectors as rows, and rank

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

torch.manual_seed(123)


def rank(A, tolerance=1e-5):
    sigma = torch.linalg.svd(A)[1]
    return int((sigma > tolerance * sigma[0]).sum().item())


# %% [markdown]
# ## 1. Two thin matrices
# r·(rows + columns) = 32·5,120 = 163,840 numbers in place of 4,194,304: 3.9 %.

# %%
numbers = 32 * (1024 + 4096)
print(numbers, f"{numbers / (1024 * 4096):.1%}")
assert numbers == 163_840 and round(1000 * numbers / (1024 * 4096)) == 39

# %% [markdown]
# ## 2. Sums of gradients
# Ranks add up at most. They do not where both batches have the same rows x: then Σ g·xᵀ + Σ h·xᵀ = Σ (g + h)·xᵀ.

# %%
weight = torch.randn(256, 256, requires_grad=True)


def gradient(x):
    weight.grad = None
    F.mse_loss(torch.tanh(F.linear(x, weight) / 16), torch.randn(len(x), 256)).backward()
    return weight.grad.clone()


x, other = torch.randn(8, 256), torch.randn(8, 256)
print(rank(gradient(x) + gradient(other)), rank(gradient(x) + gradient(x)))
assert rank(gradient(x) + gradient(other)) == 16 and rank(gradient(x) + gradient(x)) == 8

# %% [markdown]
# ## 3. A tolerance that is absolute
# Singular values that should be 0 are rounding errors, a share of about 10⁻⁷ of the largest. Multiplied by 10⁴ they are above
# 10⁻⁵, and the count says that nearly all directions are used.

# %%
A = 1e4 * torch.randn(40, 3) @ torch.randn(3, 60)
absolute = int((torch.linalg.svd(A)[1] > 1e-5).sum().item())
print("a share of the largest:", rank(A), " absolute:", absolute)
assert rank(A) == 3 and absolute > 20
