# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: attention in blocks
#
# ## 1. Blocks in the future
# Query block i holds later tokens than key block j if i > j: nothing is masked there. i = j is the diagonal,
# half masked. i < j is all future: skip it. Of n² pairs n·(n + 1)/2 are left: 10 of 16 for n = 4, which saves
# 37.5 %, and the saving comes near ½ for many blocks.

# %%
import math

import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

rng = np.random.default_rng(7)
T, D, BLOCK = 64, 8, 16
q, k, v = (rng.normal(size=(T, D)) for _ in range(3))
scale = 1 / math.sqrt(D)


def part(q, k, v, allowed):
    """Output of one part of the keys and the logarithm of its sum: (T, D), (T, 1)."""
    s = np.where(allowed, q @ k.T * scale, -np.inf)
    m = s.max(-1, keepdims=True)
    p = np.exp(s - m)
    return p @ v / p.sum(-1, keepdims=True), m + np.log(p.sum(-1, keepdims=True))


def join(y1, lam1, y2, lam2):
    """Two parts of the keys as one: the weights are e^(λ₁ − λ) and e^(λ₂ − λ)."""
    lam = np.logaddexp(lam1, lam2)
    return y1 * np.exp(lam1 - lam) + y2 * np.exp(lam2 - lam), lam


done, rows = 0, []
for i in range(T // BLOCK):
    queries = slice(i * BLOCK, (i + 1) * BLOCK)
    y = lam = None
    for j in range(i + 1):  # the blocks j > i are skipped
        keys = slice(j * BLOCK, (j + 1) * BLOCK)
        allowed = np.tril(np.ones((BLOCK, BLOCK), bool)) if i == j else True
        new = part(q[queries], k[keys], v[keys], allowed)
        y, lam = new if y is None else join(y, lam, *new)
        done += 1
    rows.append(y)
expected = F.scaled_dot_product_attention(*(torch.tensor(a)[None] for a in (q, k, v)), is_causal=True)[0]
assert np.allclose(np.concatenate(rows), expected.numpy())
for n in (4, 64, 1024):
    print(f"{n} blocks: {n * (n + 1) // 2} of {n * n} pairs, {1 - (n + 1) / (2 * n):.1%} saved")
assert done == 10 and 1 - (4 + 1) / 8 == 0.375

# %% [markdown]
# ## 2. Two halves of the keys
# For each query each machine sends its output y (D numbers, already divided by its own sum) and one number, λ =
# ln Σ eˢ. Then λ = ln(e^λ₁ + e^λ₂) and y = y₁·e^(λ₁ − λ) + y₂·e^(λ₂ − λ): `join` above. The two weights sum to
# 1. It is the step of the block loop, in another form, and it does not matter in which order parts are joined.
# (Ring attention does this.)

# %%
first, second = part(q, k[:40], v[:40], True), part(q, k[40:], v[40:], True)
y, lam = join(*first, *second)
whole, lam_whole = part(q, k, v, True)
print("joined halves differ by", np.abs(y - whole).max())
assert np.allclose(y, whole) and np.allclose(lam, lam_whole)
assert np.allclose(np.exp(first[1] - lam) + np.exp(second[1] - lam), 1)
