# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: sparse attention
#
# ## 1. Why relu
# Without it, a head that dislikes a key cancels one that wants it: both keys have the score 0. With it, a key that
# one head wants is found.

# %%
import math

import tinygrad_llm as torch

scores = torch.tensor([[3.0, 0.0], [-3.0, 0.0]])  # (heads, keys)
print("without relu", scores.sum(dim=0).tolist(), " with relu", torch.relu(scores).sum(dim=0).tolist())
assert scores.sum(dim=0).tolist() == [0.0, 0.0] and torch.relu(scores).sum(dim=0).tolist() == [3.0, 0.0]

# %% [markdown]
# ## 2. Two queries, one choice
# The keys with the largest sum of both queries' weights. It holds at most as much as two choices.

# %%
torch.manual_seed(4)
T, D, k = 24, 8, 4
q, keys = torch.randn(T, D), torch.randn(T, D)
causal = torch.tril(torch.ones(T, T)).bool()
p = torch.softmax((q @ keys.T / math.sqrt(D)).masked_fill(~causal, -math.inf), dim=-1)


def held(index):
    best = index.masked_fill(~causal, -math.inf).topk(k, dim=-1)[1]
    mask = (torch.zeros(T, T).scatter(-1, best, 1.0) > 0) & causal
    return (p * mask).sum().item() / T


pairs = p.view(T // 2, 2, T).sum(dim=1).repeat_interleave(2, dim=0)  # (T, T)
print("one choice for two holds less, but more than half:", 0.5 < held(pairs) < held(p))
assert 0.5 < held(pairs) < held(p)

# %% [markdown]
# ## 3. When the indexer is the larger part
# 2·64·128·S = 4·16384·2048: S = 8,192 tokens. Therefore the indexer computes in 8 bits, and with ReLU alone.

# %%
S = 4 * 16384 * 2048 // (2 * 64 * 128)
print("the indexer costs more than attention from", S, "tokens on")
assert S == 8192
