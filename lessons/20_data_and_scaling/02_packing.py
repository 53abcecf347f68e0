# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Packing: documents of all lengths in rows of one length
#
# **Question.** A batch is a rectangle, documents are not. What becomes of the empty places, and what does a token see of the
# document that happens to stand before its own?
#
# **For example.** Documents of 3, 5 and 8 tokens, rows of 8: one document in each row leaves 8 of 24 places
# empty; 3 + 5 in one row and 8 in the other leave none.
#
# **Predict first.** Documents have 1 to 60 tokens, 18 on average; a row has 64. One document in each row: which share of the places is
# empty? And with several in a row: which share of a causal mask's pairs joins two *different* documents?
#
# **You need.** Chapter 05, lesson 2.

# %%
import random

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
draw = random.Random(3)
T, B = 64, 8
lengths = [min(60, 1 + int(draw.expovariate(1 / 18))) for _ in range(60)]

# %% [markdown]
# ## By hand: three ways to fill rows
# **Alone**: each document in its own row, the rest is padding. **First fit**: a document goes into the first row that still
# has room for it. **Cut**: all documents one after the other, cut every T tokens: nothing is empty, but documents are torn.

# %%
def first_fit(lengths):
    rows = []
    for n in lengths:
        row = next((row for row in rows if sum(row) + n <= T), None)
        if row is None:
            rows.append([n])
        else:
            row.append(n)
    return rows


ways = {"alone": [[n] for n in lengths], "first fit": first_fit(lengths)}
total = sum(lengths)
ways["cut"] = [[T]] * (total // T) + [[total % T]] * (total % T > 0)
empty = {name: 1 - total / (len(rows) * T) for name, rows in ways.items()}
for name, rows in ways.items():
    print(f"{name:10} {len(rows):3} rows, {empty[name]:6.1%} of the places empty")
assert empty["alone"] > 0.6 and empty["first fit"] < 0.1 and empty["cut"] < empty["first fit"]

# %% [markdown]
# ## By hand: the block-diagonal mask
# In a row with several documents the causal mask lets a token look into the ones before its own. To stay within, a pair
# (query i, key j) needs j ≤ i *and* the same document: small triangles along the diagonal.

# %%
row = max(ways["first fit"], key=len)
documents = torch.tensor([k for k, n in enumerate(row) for _ in range(n)])  # shape (t,)
t = len(documents)
causal = torch.tril(torch.ones(t, t)).bool()  # shape (t, t)
within = causal & (documents[:, None] == documents[None, :])
pairs, useful = int(causal.sum().item()), int(within.sum().item())
print(f"documents of {row} tokens: {useful:,} of {pairs:,} pairs stay within one")
assert useful == sum(n * (n + 1) // 2 for n in row) and useful < pairs

q, k, v = (torch.randn(1, 2, t, 8, requires_grad=True) for _ in range(3))  # shape (1, H, t, D)
masked = F.scaled_dot_product_attention(q, k, v, attn_mask=within)

# %% [markdown]
# The mask has t² numbers, most of them say no. The same result without it: each document is a small attention by itself.
# Cut queries, keys and values where documents end, attend, join. The cost is Σn² in place of t².

# %%
def within_each(q, k, v, lengths):
    parts = zip(*(x.split(lengths, dim=2) for x in (q, k, v)))
    return torch.cat([F.scaled_dot_product_attention(*part, is_causal=True) for part in parts], dim=2)


y = within_each(q, k, v, row)
assert torch.allclose(y, masked, atol=1e-6), "the same numbers"
upstream = torch.randn_like(y)
with_mask = torch.autograd.grad(masked, (q, k, v), upstream)
without = torch.autograd.grad(y, (q, k, v), upstream)
assert all(torch.allclose(g, h, atol=1e-5) for g, h in zip(with_mask, without)), "and the same gradients"
squares = sum(n * n for n in row)
print(f"scores: {t * t:,} with a mask, {squares:,} without: {t * t / squares:.1f} times fewer")

# %% [markdown]
# ## With the package
# `within_documents` does this for a whole model, positions included: each document starts at position 0. So a packed row's
# logits are those of its documents alone. `pretrain --data shards --packing isolated` trains so; `--packing documents` packs
# and lets attention cross; `--packing windows` cuts anywhere.

# %% tags=["package"]
from tinygrad_llm.functions.attention import within_documents  # noqa: E402
from tinygrad_llm.models.gpt import GPT, GPTConfig  # noqa: E402

config = GPTConfig(vocab_size=50, context_length=T, emb_dim=32, n_heads=2, n_layers=2, drop_rate=0.0)
model = GPT(config).eval()
ids = torch.randint(0, 50, (1, t))
with torch.no_grad():
    crossing = model(ids)
    with within_documents(documents[None]):
        packed = model(ids)
    begin = 0
    for n in row:
        alone = model(ids[:, begin : begin + n])
        assert torch.allclose(packed[:, begin : begin + n], alone, atol=1e-5)
        begin += n
first, last = slice(0, row[0]), slice(t - row[-1], t)
print("difference that other documents make: first", f"{(crossing - packed)[:, first].abs().max().item():.1e}, last",
      f"{(crossing - packed)[:, last].abs().max().item():.3f}")  # fmt: skip
assert (crossing - packed)[:, first].abs().max() < 1e-5 < (crossing - packed)[:, last].abs().max()

# %% [markdown]
# **Answer.** Alone, two thirds of the work is padding. First fit leaves a few percent, and cutting leaves nothing. Whether attention
# crosses documents is a second question: within them the model never learns to look at an unrelated text, and scores
# cost less; across them the code is simpler, and GPT-2 and most others were trained that way.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4.5))
axes[0].bar(list(empty), [100 * share for share in empty.values()])
axes[0].set_ylabel("empty places, %")
axes[1].imshow((causal.float() + within.float()).numpy(), cmap="Blues")
axes[1].set_title("causal (light) and within documents (dark)"), axes[1].set_xlabel("key"), axes[1].set_ylabel("query")
save_plot(figure, "02_packing")

# %% [markdown]
# ## Exercises
# 1. A row of T tokens holds T/n documents of n tokens. How many times fewer scores are computed within documents?
# 2. Sort the documents by length, longest first, before first fit. How many rows are left, and why is that no way to
#    make training batches?
# 3. A mistake that runs without an error: targets are shifted over the whole row, so that the last token of each document
#    must predict the first of the next. Count these targets in the rows of "first fit", and set them to −100.
#
# Solutions: `lessons/solutions/20_data_and_scaling/02_packing.py`
