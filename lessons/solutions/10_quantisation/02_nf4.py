# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: NF4
#
# ## 1. Levels that the data choose
# Lloyd's algorithm makes the squared error as small as it can be. NF4 is made for equal
# shares; the chosen levels are somewhat better.

# %%
import numpy as np

from tinygrad_llm.weights.quantized.nf4 import NF4_VALUES

rng = np.random.default_rng(0)


def normalised(w, block=64):
    rows = w.reshape(-1, block)  # (n) -> (n/block, block)
    scale = np.abs(rows).max(1, keepdims=True)
    return rows / scale, scale


def codes(x, table):
    return np.searchsorted((table[1:] + table[:-1]) / 2, x)


x, _ = normalised(rng.normal(size=64 * 2000))
table = np.linspace(-1, 1, 16)
for _ in range(40):
    q = codes(x, table)
    table = np.array([x[q == i].mean() for i in range(16)])


def error(table):
    return np.sqrt(((table[codes(x, table)] - x) ** 2).mean() / (x**2).mean())


print(f"error: even {error(np.linspace(-1, 1, 16)):.2%}, NF4 {error(NF4_VALUES):.2%}, chosen by data {error(table):.2%}")
assert error(table) < error(NF4_VALUES) < error(np.linspace(-1, 1, 16))

# %% [markdown]
# ## 2. A zero
# Weights that are 0 (padding, pruned channels) must stay 0: without a zero they all get the same small error, and errors
# of one sign add up in a sum.

# %%
w = rng.normal(size=64 * 100)
w[rng.random(w.size) < 0.5] = 0.0
x, scale = normalised(w)
off = {}
for name, levels in (("with 0", NF4_VALUES), ("even, without 0", np.linspace(-1, 1, 16))):
    back = levels[codes(x, levels)] * scale
    off[name] = np.abs(back[x == 0]).mean()
    print(f"{name:16} the zeros become {off[name]:.3f} on average")
assert off["with 0"] == 0 < 0.1 < off["even, without 0"]

# %% [markdown]
# ## 3. Larger blocks
# The largest of many weights is larger, so the others lie closer together near 0.

# %%
w, errors = rng.normal(size=64 * 1024), {}
for block in (32, 64, 128, 1024):
    x, scale = normalised(w, block)
    back = NF4_VALUES[codes(x, NF4_VALUES)] * scale
    errors[block] = np.sqrt(((back - x * scale) ** 2).mean() / (w**2).mean())
    print(f"blocks of {block:4}: {4 + 8 / block + 32 / (256 * block):.3f} bits per weight, error {errors[block]:.1%}")
assert list(errors.values()) == sorted(errors.values())
