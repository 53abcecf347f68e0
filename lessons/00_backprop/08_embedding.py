# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 8. Embedding
#
# **Question.** An embedding looks up rows: y_n = W[id_n]. Looking up has no formula. What is ∂L/∂W?
#
# **For example.** The ids (2, 5, 2) read row 2 twice. If the gradients of the three outputs are 1, 10 and
# 100, then row 2 gets 101 and row 5 gets 10.
#
# It has one. A look-up is a product with a one-hot matrix:
#
#     O_nv = 1 if id_n = v, else 0         y = O·W         ∂L/∂W = Oᵀ·g
#
# so row v of ∂L/∂W is the sum of g_n over all n with id_n = v. Nobody builds O: 4,096 tokens with a
# vocabulary of 50,257 would be 200 million zeros. Instead, g_n is added to row id_n. *Added*, not
# assigned: a token that appears twice gets both gradients.
#
# **You need.** Lessons 3 and 4.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import broken, save_plot

rng = np.random.default_rng(0)
V, C = 6, 4
W, ids = rng.normal(size=(V, C)), np.array([2, 5, 2, 0, 2])
g = rng.normal(size=(len(ids), C))

# %% [markdown]
# ## By hand, twice

# %%
one_hot = np.eye(V)[ids]  # (N, V)
assert np.allclose(one_hot @ W, W[ids])
by_product = one_hot.T @ g  # (V, N)·(N, C) -> (V, C)

by_adding = np.zeros((V, C))
for n, v in enumerate(ids):
    by_adding[v] += g[n]
assert np.allclose(by_product, by_adding)

# %% [markdown]
# ## With the package

# %%
weight = torch.tensor(W, requires_grad=True)
F.embedding(torch.tensor(ids), weight).backward(torch.tensor(g))
assert np.allclose(weight.grad.numpy(), by_adding)
print("rows of ∂L/∂W that are zero:", [v for v in range(V) if not weight.grad[v].any()])

# %% [markdown]
# A weight that is used twice gets the sum of both gradients. GPT-2's token embedding is an example:
# it is the output layer as well. One gradient comes from the rows that were looked up, the other from
# the product at the end.

# %%
weight = torch.tensor(W, requires_grad=True)
hidden = F.embedding(torch.tensor(ids), weight)
logits = hidden @ weight.T  # tied
logits.backward(torch.tensor(rng.normal(size=(5, V))))
assert all(weight.grad[v].any() for v in range(V))  # now every row has a gradient

# %% [markdown]
# ## Break it
# NumPy's `dW[ids] += g` looks right but is wrong: it reads all rows, adds, and writes them back. Of
# the three rows for token 2 only the last one remains.

# %%
wrong = np.zeros((V, C))
wrong[ids] += g
print("token 2, right:", by_adding[2].round(2), "  with dW[ids] += g:", wrong[2].round(2))
assert np.allclose(wrong[2], g[4]) and not np.allclose(wrong[2], by_adding[2])
assert np.allclose(wrong[5], by_adding[5])  # right for tokens that appear once: that hides the mistake


def last_one_remains(self, g):
    out = np.zeros((V, C))
    out[ids] += g
    return out, None


with broken("embedding", last_one_remains):
    weight = torch.tensor(W, requires_grad=True)
    F.embedding(torch.tensor(ids), weight).backward(torch.tensor(g))
    assert np.allclose(weight.grad.numpy(), wrong)

# %% [markdown]
# ## How fast
# Four ways to add rows, for 4,096 tokens. The product spends most of its time on zeros; `np.add.at`
# is right but slow; the package sorts the ids and adds runs of equal ones.

# %%
V, C, N = 2_000, 64, 4_096
ids, g = rng.integers(0, V, N), rng.normal(size=(N, C)).astype(np.float32)


def sorted_runs():
    order = np.argsort(ids, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0])
    out = np.zeros((V, C), np.float32)
    out[ids[order][first]] = np.add.reduceat(g[order], first, axis=0)
    return out


def add_at():
    out = np.zeros((V, C), np.float32)
    np.add.at(out, ids, g)
    return out


def loop():
    out = np.zeros((V, C), np.float32)
    for n, v in enumerate(ids):
        out[v] += g[n]
    return out


methods = {"one-hot product": lambda: np.eye(V, dtype=np.float32)[ids].T @ g, "np.add.at": add_at,
        "Python loop": loop, "sorted runs": sorted_runs}
times = {}
for name, method in methods.items():
    assert np.allclose(method(), loop(), atol=1e-4)
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        method()
        runs.append(time.perf_counter() - start)
    times[name] = sorted(runs)[2] * 1e3
figure, axis = plt.subplots(figsize=(7, 3))
axis.barh(list(times), list(times.values()))
axis.set_xlabel(f"milliseconds for {N} rows of {C} numbers")
save_plot(figure, "08_embedding")

# %% [markdown]
# ## Exercises
# 1. An embedding can have a padding token whose row must stay as it is. Where does the backward pass
#    have to know about it?
# 2. A batch has 4,096 tokens, the vocabulary 50,257. How many rows of ∂L/∂W are zero at least? What does that mean
#    for an optimizer with momentum?
#
# Then: `tinygrad-llm exercise start embedding`.
#
# Solutions: `lessons/solutions/00_backprop/08_embedding.py`
