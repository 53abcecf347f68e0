# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: words, vectors, bits

# %%
import math

import tinygrad_llm as torch

# %% [markdown]
# ## 1. The limit of repetition
# f·(k1 + 1)/(f + k1·(…)) goes to k1 + 1 if f grows and the rest stays. With b = 0 the length is not in it.

# %%
def weight(times, length, mean=10.0, k1=1.5, b=0.0):
    return times * (k1 + 1) / (times + k1 * (1 - b + b * length / mean))


print([round(weight(f, f), 4) for f in (1, 10, 1000, 10**6)])
assert abs(weight(10**6, 10**6) - 2.5) < 1e-4 and weight(3, 5) == weight(3, 500)

# %% [markdown]
# ## 2. Chunks with overlap
# The first chunk takes 4 characters, each later one 2 more: 1 + ⌈(N − 4)/2⌉ for N > 4.

# %%
text = "abcdefghij"
chunks = [text[i : i + 4] for i in range(0, len(text) - 2, 2)]
print(chunks)
assert len(chunks) == 1 + math.ceil((len(text) - 4) / 2) == 4 and "".join(c[:2] for c in chunks) + "ij" == text

# %% [markdown]
# ## 3. β = 50 from the beginning
# β·(1 − tanh²(50·0.2)) is about 4e-7: the bits are what the random first numbers made them.

# %%
e = torch.tensor([0.2, 0.5, 1.0], requires_grad=True)
(g,) = torch.autograd.grad((50.0 * e).tanh(), e, torch.ones(3))
(small,) = torch.autograd.grad(e.tanh(), e, torch.ones(3))
print("β = 50:", g.tolist(), " β = 1:", [round(v, 2) for v in small.tolist()])
assert g.max() < 1e-4 and small.min() > 0.4
