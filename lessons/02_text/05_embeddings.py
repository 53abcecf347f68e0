# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. Embeddings: a vector for each token
#
# **Question.** Token 412 is not "more" than token 411. How can numbers that mean nothing become something a
# network can work with? And how does it know which token came first?
#
# **For example.** A table of 3 rows: (1, 0), (0, 1), (2, 2). The ids (2, 0) become the rows (2, 2) and (1,
# 0).
#
# **Answer.** Each token has its own vector, a row of a table, and the rows are learned. Looking up row 412
# is the same as multiplying a *one-hot* vector (all 0, a single 1 at place 412) by the table, but without
# the multiplications. A second table has a vector for each *position*, and the two are added.
#
# **You need.** Lesson 4, and chapter 01.

# %%
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand
# Five tokens, three numbers each.

# %%
torch.manual_seed(123)
table = torch.randn(5, 3)  # (V, C)
ids = torch.tensor([4, 1, 1, 2])  # (T)
looked_up = table[ids]  # (5, 3), (4) -> (4, 3)
one_hot = torch.zeros(4, 5)  # (T, V)
for t, i in enumerate(ids.tolist()):
    one_hot[t, i] = 1.0
multiplied = one_hot @ table  # (4, 5) @ (5, 3) -> (4, 3)
print(one_hot)
print(looked_up)
assert torch.equal(looked_up, multiplied)


class OwnEmbedding(nn.Module):
    def __init__(self, vocab_size, emb_dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, emb_dim))  # (V, C)

    def forward(self, ids):
        return self.weight[ids]  # (B, T) -> (B, T, C)


# %% [markdown]
# ## With the package
# `nn.Embedding` is that table. A linear layer with the same rows, applied to one-hot vectors, gives the
# same vectors *and the same gradients*: a row that was not looked up gets zero, a row looked up twice gets
# the sum.

# %%
torch.manual_seed(5)
own = OwnEmbedding(5, 3)
torch.manual_seed(5)
embedding = nn.Embedding(5, 3)
linear = nn.Linear(5, 3, bias=False)
with torch.no_grad():
    linear.weight.copy_(embedding.weight.T)  # a linear layer stores (out, in)
assert torch.equal(own.weight, embedding.weight) and torch.equal(own(ids), embedding(ids))
a, b = embedding(ids), linear(F.one_hot(ids, 5).float())
assert torch.allclose(a, b)
torch.manual_seed(6)
g = torch.randn(4, 3)  # what arrives from later layers, one row per token
a.backward(g)
b.backward(g)
print("gradient of the table:", embedding.weight.grad)
assert torch.allclose(embedding.weight.grad, linear.weight.grad.T)
assert torch.allclose(embedding.weight.grad[1], g[1] + g[2])  # token 1 was there twice
assert not embedding.weight.grad[0].any()  # token 0 was not there

# %% [markdown]
# Why not multiply, then? One-hot vectors cost V numbers per token, and almost all of the products are with
# 0.

# %% tags=["package"]
V, C, T = 20_000, 64, 256
big, some = nn.Embedding(V, C), torch.randint(0, V, (T,))
with torch.no_grad():
    start = time.perf_counter()
    big(some)
    looked = time.perf_counter() - start
    start = time.perf_counter()
    F.one_hot(some, V).float() @ big.weight  # (T, V) @ (V, C) -> (T, C)
    product = time.perf_counter() - start
print(f"{T} tokens of {V:,}: looking up {looked * 1e3:.2f} ms, one-hot product {product * 1e3:.0f} ms")

# %% [markdown]
# ## Positions
# The lookup gives the same vector for a token at every position, and attention (next chapter) does not see
# the order either. So add a vector for the position: it is the same in every text of the batch.

# %%
torch.manual_seed(123)
tok_emb = nn.Embedding(500, 32)
pos_emb = nn.Embedding(8, 32)  # as many positions as the context is long
batch = torch.randint(0, 500, (4, 8))  # (B, T)
batch[0, 5] = batch[0, 2]  # one token twice in the first text
tokens = tok_emb(batch)  # (4, 8) -> (4, 8, 32)
positions = pos_emb(torch.arange(8))  # (8) -> (8, 32)
x = tokens + positions  # (4, 8, 32) + (8, 32) -> (4, 8, 32)
print("tokens", tokens.shape, " positions", positions.shape, " sum", x.shape)
print(x[0, 0, :5])
assert torch.equal(tokens[0, 2], tokens[0, 5]) and not torch.equal(x[0, 2], x[0, 5])

# %% [markdown]
# An id that the table does not have is an error; it must not read from somewhere else in memory.

# %%
try:
    tok_emb(torch.tensor([500]))
    raise AssertionError("there are only 0 … 499")
except IndexError:
    print("id 500: IndexError")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3), sharey=True)
for axis, value, title in zip(axes, (tokens[0], positions, x[0]), ("token vectors", "position vectors", "their sum")):
    axis.imshow(value.detach().numpy(), cmap="RdBu", vmin=-3, vmax=3, aspect="auto")
    axis.set_title(title, fontsize=11), axis.set_xlabel("channel")
axes[0].set_ylabel("position in the text")
axes[0].set_yticks(range(8), ["same token  2" if i == 2 else "same token  5" if i == 5 else i for i in range(8)])
save_plot(figure, "05_embeddings")

# %% [markdown]
# ## Exercises
# 1. How many parameters do both tables of GPT-2 small have (50,257 tokens, 1,024 positions, 768 channels)?
#    What share of its 124 million is that?
# 2. After one step of SGD, which rows of the table have changed? And after one of AdamW with weight decay?
# 3. Average the vectors of "dog bites man" and of "man bites dog" over the text. Are they different without
#    positions, and with them? What else is needed?
#
# Solutions: `lessons/solutions/02_text/05_embeddings.py`
