# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Vectors as rows: what rank says about data, weights and gradients
#
# **Question.** A batch of N vectors is a matrix with N rows. When does such a matrix hold less than it seems to, and what can
# be saved by that?
#
# **For example.** The rows (1, 2), (2, 4) and (3, 6) are 6 numbers, but each row is a multiple of (1, 2): 5 numbers are
# enough, the factors 1, 2, 3 and the row. Their rank is 1.
#
# **Predict first.** A layer has 256 inputs and 256 outputs. A batch of 8 rows goes through it. Which rank can the gradient of
# its 65,536 weights have at most? And what is the rank after one more batch of 8?
#
# **You need.** Products of matrices, and the gradient of a linear layer (chapter 00).

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: a product of matrices, read in three ways
# X has a vector in each row. X·W is: each row of X mixed by W; each number a dot product of a row and a column;
# a **sum of outer products**, one for each column of X with the row of W that belongs to it.

# %%
X, W = torch.randn(5, 3), torch.randn(3, 4)
by_rows = torch.stack([sum(X[i, k] * W[k] for k in range(3)) for i in range(5)])  # shape (5, 4)
by_dots = torch.tensor([[(X[i] * W[:, j]).sum().item() for j in range(4)] for i in range(5)])
by_outer = sum(X[:, k : k + 1] * W[k : k + 1] for k in range(3))  # 3 terms, each of shape (5, 4)
for way in (by_rows, by_dots, by_outer):
    assert torch.allclose(way, X @ W, atol=1e-6)

# %% [markdown]
# ## By hand: rank is the number of outer products
# The third way says it: a matrix that passes through 3 columns is a sum of 3 outer products, so its rank is at most 3, however
# large it is. The singular value decomposition finds the fewest and the best ones:
#
#     A = Σ_k σ_k · u_k · v_kᵀ,     σ_1 ≥ σ_2 ≥ ... ≥ 0
#
# The rank is the number of σ_k above 0. Cut the sum after r terms: no matrix of rank r is nearer to A, and the squared error
# is the sum of the σ² that were left out (Eckart and Young, 1936).

# %%
def rank(A, tolerance=1e-5):
    sigma = torch.linalg.svd(A)[1]  # shape (min(rows, columns))
    return int((sigma > tolerance * sigma[0]).sum().item())


thin = torch.randn(40, 3) @ torch.randn(3, 60)  # shape (40, 60)
print("rank of 40 x 60 numbers that passed through 3:", rank(thin))
assert rank(thin) == 3 and rank(torch.randn(40, 60)) == 40

A = torch.randn(30, 20)
U, sigma, V = torch.linalg.svd(A, full_matrices=False)  # shapes (30, 20), (20), (20, 20)
for r in (1, 5, 12):
    cut = (U[:, :r] * sigma[:r]) @ V[:r]  # shape (30, 20)
    error = ((A - cut) ** 2).sum().item()
    left_out = (sigma[r:] ** 2).sum().item()
    print(f"rank {r:2}: squared error {error:8.3f}, squares left out {left_out:8.3f}")
    assert abs(error - left_out) < 1e-3 * left_out

# %% [markdown]
# ## By hand: a gradient is a sum over the rows of a batch
# For y = x·Wᵀ the gradient of W is Σ over rows of (gradient of y) times (x): one outer product for each row. **Its rank is at
# most the number of rows.** For a text of 8 tokens the gradient points in 8 directions at most. Plain SGD moves the weights
# along these only; Adam divides number by number, and its step has full rank.

# %%
weight = torch.randn(256, 256, requires_grad=True)
ranks = []
for n in (1, 8, 64):
    weight.grad = None
    x, target = torch.randn(n, 256), torch.randn(n, 256)
    F.mse_loss(torch.tanh(F.linear(x, weight) / 16), target).backward()
    ranks.append(rank(weight.grad))
    print(f"{n:3} rows: the gradient of 256 x 256 weights has rank {ranks[-1]}")
assert ranks == [1, 8, 64]

step_ranks = []
for Optimizer in (torch.optim.SGD, torch.optim.Adam):
    moved = torch.zeros(256, 256, requires_grad=True)  # from 0, so that the weights after a step are the step
    optimizer = Optimizer([moved], lr=1.0)
    x, target = torch.randn(8, 256), torch.randn(8, 256)
    F.mse_loss(torch.tanh(F.linear(x, moved) / 16), target).backward()
    optimizer.step()
    step_ranks.append(rank(moved.detach()))
    print(f"8 rows: the first step of {Optimizer.__name__} has rank {step_ranks[-1]}")
assert step_ranks == [8, 256]

# %% [markdown]
# ## By hand: real rows are nearly of low rank
# Random rows fill all directions. Rows of text do not: which character follows which is a table of 65 x 65, and most of it
# follows from a few properties (is it a vowel? a capital? the end of a line?). We count pairs of characters, and look at how
# many directions hold 90 % of the squares.

# %%
sentence = ("the small dog and the large cat sat on the mat while the old man read the news to the boy "
            "and the girl who had come to see them from the town near the sea where the ships are ") * 3  # fmt: skip
letters = sorted(set(sentence))
place = {c: i for i, c in enumerate(letters)}
pairs = torch.zeros(len(letters), len(letters))
for a, b in zip(sentence, sentence[1:]):
    pairs[place[a], place[b]] += 1


def directions_for(A, share=0.9):
    squares = torch.linalg.svd(A)[1] ** 2
    held = torch.cumsum(squares, 0) / squares.sum()
    return int((held < share).sum().item()) + 1


shuffled = pairs.flatten()[torch.randperm(pairs.numel())].reshape(pairs.shape)
print(f"{len(letters)} letters: {directions_for(pairs)} directions hold 90 %, "
      f"of the same numbers in random places {directions_for(shuffled)}")  # fmt: skip
assert directions_for(pairs) < directions_for(shuffled)

# %% [markdown]
# ## With the package: what it saves
# A matrix of rank r is stored as two thin ones: r·(rows + columns) numbers in place of rows·columns, and a product with it
# costs as many times less. LoRA (chapter A_lora) trains such a pair; multi-head latent attention keeps keys and values so;
# Muon does the contrary: it makes all singular values of a step equal, so that no direction is too weak.

# %%
rows, columns = 256, 256
balance = rows * columns / (rows + columns)
print(f"two thin matrices are smaller below rank {balance:.0f}")
assert balance == 128

# %% tags=["package"]
from tinygrad_llm.layers import lora  # noqa: E402
from tinygrad_llm.nn import Linear  # noqa: E402

layer = torch.nn.Sequential(Linear(256, 256))
lora.add(layer, rank=8, names=["0"])
pair = [p for p in layer.parameters() if p.requires_grad]
print("with the package:", [tuple(p.shape) for p in pair])
assert sum(p.numel() for p in pair) == 8 * (256 + 256)

# %% [markdown]
# ## By hand: the idea of Muon's step, with a cubic iteration
# A gradient with few strong directions moves a matrix mostly along these. X <- 1.5·X − 0.5·X·Xᵀ·X leaves the directions of X and
# moves each singular value between 0 and √3 towards 1. We take 30 rounds of it, because it is the simplest such iteration. Muon
# itself takes 5 rounds of a polynomial of the fifth degree, which brings small values up faster and stops near 1, not at it.

# %%
momentum = torch.randn(64, 4) @ torch.randn(4, 64) + 0.05 * torch.randn(64, 64)  # four strong directions
X = momentum / momentum.norm()
for _ in range(30):  # X <- 1.5·X − 0.5·X·Xᵀ·X: each singular value goes to 1, its direction stays
    X = 1.5 * X - 0.5 * (X @ X.T) @ X
before, after = torch.linalg.svd(momentum)[1], torch.linalg.svd(X)[1]
for name, sigma in (("before", before), ("after", after)):
    print(f"{name}: largest / 4th singular value {sigma[0] / sigma[3]:.3f}, largest / 60th {sigma[0] / sigma[59]:,.3f}")
assert before[3] / before[4] > 5, "four directions stand out"
assert before[0] / before[59] > 100 and after[0] / after[59] < 1.05

# %% [markdown]
# **Answer.** Rank counts outer products, and a batch of 8 rows gives a gradient 8 of them; the sum of two such gradients has
# rank 16 at most. Data that follow from few properties have few strong directions, however many numbers they are.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for name, A in (("pairs of letters", pairs), ("the same numbers, shuffled", shuffled)):
    s = torch.linalg.svd(A)[1]
    axes[0].plot((s / s[0]).numpy(), "o-", markersize=3, label=name)
axes[0].set_xlabel("direction"), axes[0].set_ylabel("singular value / largest"), axes[0].legend()
axes[1].semilogy(before.numpy(), "o-", markersize=3, label="a gradient's")
axes[1].semilogy(after.numpy(), "o-", markersize=3, label="after 30 steps towards 1")
axes[1].set_xlabel("direction"), axes[1].set_ylabel("singular value"), axes[1].legend()
save_plot(figure, "03_low_rank")

# %% [markdown]
# ## Exercises
# 1. How many numbers does a 1,024 x 4,096 matrix of rank 32 need as two thin ones, and which share is that?
# 2. Two gradients of 8 rows each are added. Show that the rank is 16, and find two batches for which it is less.
# 3. A mistake that runs without an error: the tolerance of `rank` is absolute (σ > 10⁻⁵) instead of a share of σ_1. Multiply a
#    matrix of rank 3 by 10⁴ in float32, and count again.
#
# Solutions: `lessons/solutions/20_data_and_scaling/03_low_rank.py`
