# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: perplexity and bits per byte

# %%
import math

import tinygrad_llm as torch

# %% [markdown]
# ## 1. A model that knows nothing
# −ln(1/V) = ln V for each token, so the perplexity is V. Over bytes it is log₂ 256 = 8 bits per byte: no compression at all.

# %%
for V in (2, 50, 256):
    loss = torch.nn.functional.cross_entropy(torch.zeros(4, V), torch.tensor([0, 1, 0, 1]))
    print(V, round(math.exp(loss.item()), 3), round(loss.item() / math.log(2), 3))
assert abs(loss.item() / math.log(2) - 8) < 1e-5

# %% [markdown]
# ## 2. Tokens twice as long
# The nats of the text stay, the tokens are half as many: the loss doubles, the perplexity is squared. Bits per byte stay.

# %%
log_p = torch.tensor([-0.5, -1.5, -2.0, -1.0])  # shape (4,)
pairs = log_p.reshape(2, 2).sum(1)  # shape (2,)
print(round(math.exp(-log_p.mean().item()), 4), round(math.exp(-pairs.mean().item()), 4))
assert abs(math.exp(-pairs.mean().item()) - math.exp(-log_p.mean().item()) ** 2) < 1e-4
assert log_p.sum() == pairs.sum()

# %% [markdown]
# ## 3. What a stride costs
# The first window reads W tokens, each later one W again for S new ones: W·(1 + ⌈(N − W)/S⌉). Stride 1 costs about W times
# as much as windows that follow one another.


# %%
def read(N, W, S):
    return W * (1 + math.ceil(max(0, N - W) / S))


print([read(1000, 100, S) for S in (100, 50, 10, 1)])
assert read(1000, 100, 100) == 1000 and read(1000, 100, 1) == 90_100
