# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: training and BLEU

# %%
import math
from collections import Counter

import tinygrad_llm as torch

# %% [markdown]
# ## 1. Only half, but all correct
# The penalty is exp(1 − r/c) = exp(1 − 2); without it the score would be 100.

# %%
half = torch.tensor(100.0) * math.exp(1 - 2)
print(f"BLEU {half.item():.2f}")
assert abs(half.item() - 36.79) < 0.01

# %% [markdown]
# ## 2. Single sentences
# One sentence often has no run of 4 words in common: log 0. A mean of sentences would be 0 for most of them, or
# depend on how one avoids the zero.

# %%
def shares(text, reference):
    a, b = text.split(), reference.split()
    values = []
    for n in range(1, 5):
        mine, theirs = (Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (a, b))
        values.append(sum((mine & theirs).values()) / max(1, sum(mine.values())))
    return values


first = shares("the cat sat on the mat .", "the cat is on the mat .")
second = shares("a dog is in the garden .", "there is a dog in the garden .")
print("p1 to p4:", [f"{p:.2f}" for p in first], [f"{p:.2f}" for p in second])
few = shares("a dog is in a garden", "there is a dog in the garden")
assert few[3] == 0.0, "one word changed, and the sentence's BLEU is 0"

# %% [markdown]
# ## 3. The same rate twice
# step·warmup^(−3/2) at 1,000 equals s^(−1/2): s = warmup³/1,000² = 64,000.

# %%
s = 4000**3 / 1000**2
print(f"step {s:,.0f}")
assert abs(1000 * 4000**-1.5 - s**-0.5) < 1e-12
