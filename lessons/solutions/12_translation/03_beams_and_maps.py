# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: greedy, beams and maps

# %%
import math

import tinygrad_llm as torch

# %% [markdown]
# ## 1. Enough beams
# Two: the best first words of the only two. The search with n + 1 beams has all beginnings that n beams keep at
# the first step, but at later steps better ones may push out what was good; only with as many beams as there are
# texts is it exhaustive, and cannot be worse.

# %%
texts = {("dog", "ran"): 0.6 * 0.1, ("cat", "sat"): 0.4 * 0.9, ("cat", "ran"): 0.4 * 0.1}
print("the most likely text:", " ".join(max(texts, key=texts.get)))
assert max(texts, key=texts.get) == ("cat", "sat")

# %% [markdown]
# ## 2. A larger matrix
# Each step multiplies the gradient by mixᵀ·diag(1 − state²). A large mix makes the states ±1, where 1 − state² is
# small, and yet the product can grow: it explodes or vanishes by chance, but it does not stay.

# %%
def gradient(scale, length=40, size=32):
    torch.manual_seed(2)
    mix = torch.randn(size, size) * scale / math.sqrt(size)  # (C, C)
    words = torch.randn(length, size).requires_grad_(True)
    state = torch.zeros(size)
    for t in range(length):
        state = torch.tanh(mix @ state + words[t])  # (C)
    state.sum().backward()
    return words.grad[0].norm().item(), words.grad[-1].norm().item()


for scale in (0.5, 1.0):
    first, last = gradient(scale)
    print(f"scale {scale}: the first word's gradient is below a thousandth of the last one's: {first < 1e-3 * last}")
    assert first < 1e-3 * last
first, last = gradient(3.0)
print("scale 3: it is not below a thousandth any more:", first > 1e-3 * last)

# %% [markdown]
# ## 3. A low temperature
# It rises: at 0.3 the likely words become far more likely, and sampling becomes greedy.

# %%
logits = torch.tensor([2.0, 1.0, 0.0])
for temperature in (1.0, 0.3):
    p = torch.softmax(logits / temperature, dim=-1)
    print(f"temperature {temperature}: {', '.join(f'{v:.3f}' for v in p.tolist())}")
assert torch.softmax(logits / 0.3, dim=-1)[0].item() > 0.95
