# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: latent attention
#
# ## 1. Ranks
# A score is x_iᵀ·(W_Qᵀ·W_K)·c_j. W_Qᵀ·W_K has D rows in between, so its rank is at most D, and at most R. With
# R < D the latent is the narrower of the two.

# %%
import tinygrad_llm as torch

torch.manual_seed(1)


def rank(matrix):
    """How many of the singular values are not zero."""
    values = torch.linalg.svdvals(matrix)
    return (values > 1e-8 * values[0]).sum().item()


ranks = {}
for R in (4, 12):
    w_q, w_k = torch.randn(8, 32).double(), torch.randn(8, R).double()  # D = 8, C = 32
    ranks[R] = rank(w_q.T @ w_k)  # (C, R)
print("ranks for D = 8 and R = 4, 12:", list(ranks.values()))
assert ranks == {4: 4, 12: 8}

# %% [markdown]
# ## 2. Where the two forms are equal
# S·R·2D + T·S·(2D + P) = T·R·2D + T·S·(2R + P): T = S·R·2D / (R·2D + S·2·(R − D)).

# %%
S, D, R, P = 4096, 128, 512, 64
crossing = S * R * 2 * D / (R * 2 * D + 2 * S * (R - D))
print("the expanded form is less work from", int(crossing) + 1, "new tokens on")


def difference(T):
    return S * R * 2 * D + T * S * (2 * D + P) - T * R * 2 * D - T * S * (2 * R + P)


assert difference(int(crossing)) > 0 > difference(int(crossing) + 1)

# %% [markdown]
# ## 3. Nothing compressed
# c = x: keys and values are W_K·x and W_V·x, ordinary multi-head attention.

# %%
x, w_k = torch.randn(5, 6).double(), torch.randn(3, 6).double()
c = x @ torch.eye(6).double().T
print("keys from c are keys from x:", torch.allclose(c @ w_k.T, x @ w_k.T))
assert torch.allclose(c @ w_k.T, x @ w_k.T)
