# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: cleaning a corpus

# %%
import math
import random

import tinygrad_llm as torch

torch.manual_seed(123)
draw = random.Random(2)

# %% [markdown]
# ## 1. A standard error of 0.01
# √(J(1 − J)/K) = 0.01 at J = 0.5: K = 0.25/0.0001 = 2,500. Ten times as precise costs a hundred times as much.

# %%
K = 0.5 * 0.5 / 0.01**2
print("K =", round(K))
assert round(K) == 2500 and abs(math.sqrt(0.25 / K) - 0.01) < 1e-12

# %% [markdown]
# ## 2. Where the curve is 1/2
# 1 − (1 − Jʳ)ᵇ = 1/2 means Jʳ = 1 − 2^(−1/b). With 32 bands of 4 it is lower: more pairs are found, also those that are not
# similar enough, and each of them costs a comparison of two signatures.

# %%
def half(bands, rows):
    return (1 - 2 ** (-1 / bands)) ** (1 / rows)


def detected(j, bands, rows):
    return 1 - (1 - j**rows) ** bands


print(f"16 bands of 8: {half(16, 8):.3f}   32 bands of 4: {half(32, 4):.3f}")
print(f"at J = 0.4: {detected(0.4, 16, 8):.3f} and {detected(0.4, 32, 4):.3f} are compared in vain")
assert half(16, 8) > 0.65 > half(32, 4) and detected(0.4, 32, 4) > 10 * detected(0.4, 16, 8)

# %% [markdown]
# ## 3. One function K times
# All K minima say the same: the estimate is 0 or 1, and its error is √(J(1 − J)), that of K = 1. The mean is still right, so
# a test that looks at the mean of many pairs does not see it.

# %%
p, n = (1 << 31) - 1, 128


def error(repeated):
    common = [draw.randrange(p) for _ in range(90)]
    first, second = (torch.tensor(common + [draw.randrange(p) for _ in range(5)]) for _ in range(2))
    a, b = torch.randint(1, 1 << 31, (n, 1)), torch.randint(0, 1 << 31, (n, 1))
    if repeated:
        a, b = a[:1].expand(n, 1), b[:1].expand(n, 1)
    minima = [((a * s + b) % p).min(dim=1).values for s in (first, second)]  # shape (n,) twice
    return (minima[0] == minima[1]).float().mean().item() - 0.9


def spread(errors):
    return math.sqrt(sum(e * e for e in errors) / len(errors))


right, wrong = (spread([error(same) for _ in range(200)]) for same in (False, True))
print(f"root mean square error: {right:.3f} with K functions, formula {math.sqrt(0.09 / n):.3f}; "
      f"{wrong:.3f} with one, formula {math.sqrt(0.09):.3f}")  # fmt: skip
assert wrong > 4 * right and right < 1.6 * math.sqrt(0.09 / n)
