# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. The matrix product
#
# **Question.** C = A·B. What are ∂L/∂A and ∂L/∂B, given G = ∂L/∂C?
#
# **For example.** (1, 2)·(3, 4)ᵀ = 11. If the 1 grows by a small h, the product grows by 3·h: the gradient of
# one factor is the other one.
#
# Write one element and look where each number goes:
#
#     C_nm = Σₖ A_nk·B_km
#
# A_nk appears in row n of C, in every column m, with the factor B_km:
#
#     ∂L/∂A_nk = Σₘ G_nm·B_km      that is   ∂L/∂A = G·Bᵀ
#
# B_km appears in column m of C, in every row n, with the factor A_nk:
#
#     ∂L/∂B_km = Σₙ A_nk·G_nm      that is   ∂L/∂B = Aᵀ·G
#
# **How to remember it:** the shapes leave only one way to write each product.
#
# **You need.** Lesson 1, and how a matrix product is computed.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import save_plot

rng = np.random.default_rng(0)
N, K, M = 4, 3, 5
A, B, G = rng.normal(size=(N, K)), rng.normal(size=(K, M)), rng.normal(size=(N, M))

# %% [markdown]
# ## By hand, number by number

# %%
gA, gB = np.zeros_like(A), np.zeros_like(B)
for n in range(N):
    for m in range(M):
        for k in range(K):  # C[n, m] += A[n, k] * B[k, m]
            gA[n, k] += G[n, m] * B[k, m]
            gB[k, m] += G[n, m] * A[n, k]

# %% [markdown]
# ## By hand, as products

# %%
assert np.allclose(gA, G @ B.T)  # (N, M)·(M, K) -> (N, K)
assert np.allclose(gB, A.T @ G)  # (K, N)·(N, M) -> (K, M)

# %% [markdown]
# ## With the package

# %%
tA, tB = torch.tensor(A, requires_grad=True), torch.tensor(B, requires_grad=True)
(tA @ tB).backward(torch.tensor(G))
assert np.allclose(tA.grad.numpy(), gA) and np.allclose(tB.grad.numpy(), gB)
gradcheck(lambda a, b: a @ b, tA.detach().requires_grad_(), tB.detach().requires_grad_())

# %% [markdown]
# A batch of matrices, and one matrix for the whole batch: W is used by every element of the batch, so
# its gradient is the sum over the batch. This is a linear layer.

# %%
x = torch.tensor(rng.normal(size=(2, N, K)), requires_grad=True)
W = torch.tensor(rng.normal(size=(K, M)), requires_grad=True)
g = rng.normal(size=(2, N, M))
(x @ W).backward(torch.tensor(g))
by_hand = sum(x.detach().numpy()[i].T @ g[i] for i in range(2))
assert np.allclose(W.grad.numpy(), by_hand)
print("∂L/∂W is the sum of", len(g), "products, one for each element of the batch")

# %% [markdown]
# ## What it costs
# One product forward, two backward, each of 2·N·K·M floating-point operations: a training step costs
# three times its forward pass. Look:

# %%
sizes, forward, backward = [64, 128, 256, 512], [], []
for n in sizes:
    a = torch.tensor(rng.normal(size=(n, n)), dtype=torch.float32, requires_grad=True)
    b = torch.tensor(rng.normal(size=(n, n)), dtype=torch.float32, requires_grad=True)
    one, two = [], []
    for _ in range(7):
        start = time.perf_counter()
        c = a @ b
        one.append(time.perf_counter() - start)
        start = time.perf_counter()
        c.backward(c.detach())
        two.append(time.perf_counter() - start)
    forward.append(sorted(one)[3] * 1e3)
    backward.append(sorted(two)[3] * 1e3)
figure, axis = plt.subplots(figsize=(6, 4))
axis.loglog(sizes, forward, "o-", label="forward: 1 product")
axis.loglog(sizes, backward, "s-", label="backward: 2 products")
axis.set_xlabel("n, for n x n matrices"), axis.set_ylabel("milliseconds"), axis.legend()
save_plot(figure, "04_matmul")

# %% [markdown]
# ## Break it
# With square matrices the shapes no longer protect you: a forgotten transpose runs without an error.

# %%
S, T, H = (rng.normal(size=(3, 3)) for _ in range(3))
wrong, right = H @ T, H @ T.T
assert wrong.shape == right.shape and not np.allclose(wrong, right)
print("a forgotten transpose has the right shape, and is off by up to", np.abs(wrong - right).max())

# %% [markdown]
# ## Exercises
# 1. Derive ∂L/∂x and ∂L/∂W for a linear layer as PyTorch stores it, y = x·Wᵀ + b with W (out, in).
# 2. A linear layer of 768 x 768 gets 1,024 tokens. How many operations are its forward and its backward pass? And
#    which of the two backward products is not needed in the first layer, whose input needs no gradient?
#
# Then: `tinygrad-llm exercise start linear`.
#
# Solutions: `lessons/solutions/00_backprop/04_matmul.py`
