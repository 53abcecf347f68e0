# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. NF4: sixteen numbers for a bell curve, and steps of steps
#
# **Question.** Four bits can name 16 numbers. Must they be evenly spaced?
#
# **For example.** Of 1,000 weights of a bell curve 683 lie within one standard deviation. Sixteen evenly
# spaced numbers use most of their places for the few others.
#
# **Predict first.** Most weights of a model are small: a bell curve. Where would you put more of the 16 numbers, near 0 or
# far from it? And if the scales take half a bit per weight: could they be quantised too?
#
# NF4 ("normal float", Dettmers et al., 2023) puts the 16 numbers where equal shares of a bell curve are: its
# *quantiles*. Each block of 64 weights is divided by its largest, and each weight becomes the nearest of the 16.
# *Double quantisation*: the scales of the blocks become 8-bit numbers, with one scale for 256 of them.
#
#     4 + 32/64 = 4.5 bits per weight  ->  4 + 8/64 + 32/(64·256) = 4.127
#
# **You need.** Lesson 1; what a bell curve is.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: the sixteen numbers
# Quantiles of a normal distribution, from the inverse of its cumulative distribution: eight levels from the negative half,
# nine from the positive, and the 0 that both share counts once. Divided by the largest, they reach from −1 to 1.

# %%
from statistics import NormalDist

offset = 0.9677083  # appendix E: the mean of 1 − 1/30 and 1 − 1/32, so that no quantile is infinite
quantile = NormalDist().inv_cdf
positive = [quantile(p) for p in np.linspace(offset, 0.5, 9)[:-1]]  # 8 numbers above 0
negative = [-quantile(p) for p in np.linspace(offset, 0.5, 8)[:-1]]  # 7 below
levels = np.array(sorted([*negative, 0.0, *positive])) / max(positive)
print(" ".join(f"{x:.3f}" for x in levels))
assert len(levels) == 16 and levels[7] == 0.0 and levels[0] == -1.0 and levels[-1] == 1.0
gaps = np.diff(levels)
assert gaps[7] < gaps[0] / 2  # dense in the middle, coarse at the ends

# %% [markdown]
# ## By hand: quantise
# The nearest of 16 sorted numbers: count how many middles lie below.

# %%
def nearest(x, table):
    table = torch.tensor(table).float()
    middles = (table[1:] + table[:-1]) / 2  # (15)
    return table[(x.unsqueeze(-1) > middles).sum(-1)]  # (...) -> (..., 15) -> (...)


def in_blocks(w, table, block=64):
    rows = w.reshape(-1, block)  # (O, I) -> (O·I/64, 64)
    scale = rows.abs().max(dim=1, keepdim=True).values
    return (nearest(rows / scale, table) * scale).reshape(w.shape)


def error(w, back):
    return ((w - back).norm() / w.norm()).item()


even = np.linspace(-1, 1, 16)
torch.manual_seed(123)
tables = {"even": even, "NF4": levels}
weights = {"bell curve": torch.randn(64, 512), "all sizes alike": torch.rand(64, 512) * 2 - 1}
for name, w in weights.items():
    print(f"{name:16} error with even steps {error(w, in_blocks(w, even)):.2%}, with NF4 {error(w, in_blocks(w, levels)):.2%}")
bell, flat = weights.values()
assert error(bell, in_blocks(bell, levels)) < error(bell, in_blocks(bell, even))
assert error(flat, in_blocks(flat, levels)) > error(flat, in_blocks(flat, even))  # the price

# %% [markdown]
# So NF4 is a bet on the bell curve. How often is each of the 16 numbers used? The more evenly, the better the four
# bits are spent:

# %%
usage = {}
for name, table in tables.items():
    rows = bell.reshape(-1, 64)
    back = nearest(rows / rows.abs().max(dim=1, keepdim=True).values, table)
    usage[name] = np.array([(back == float(np.float32(x))).float().mean().item() for x in table])
    entropy = -(usage[name] * np.log2(usage[name])).sum()
    print(f"{name:5} from {usage[name].min():.1%} to {usage[name].max():.1%} of the weights; {entropy:.2f} of 4 bits are used")
    assert abs(usage[name].sum() - 1) < 1e-4

# %% [markdown]
# ## By hand: double quantisation
# Scales are all positive and much alike. Take off their mean, and keep 8 bits of the rest.

# %%
rows = bell.reshape(-1, 64)
scales = rows.abs().max(dim=1).values  # (O·I/64): 512 of them
groups = scales.reshape(-1, 256)  # (512) -> (2, 256)
mean = scales.mean()
outer = (groups - mean).abs().max(dim=1, keepdim=True).values  # (2, 1)
back = torch.round((groups - mean) / outer * 127) / 127 * outer + mean
print(f"shape of the scales {tuple(scales.shape)}: error with 8 bits {error(groups, back):.2%}")
assert error(groups, back) < 0.01
for name, bits in (("float32 scales", 4 + 32 / 64), ("double quantisation", 4 + 8 / 64 + 32 / (64 * 256))):
    print(f"{name:20} {bits:.3f} bits per weight: 65 billion weights are {65e9 * bits / 8e9:.1f} GB")
assert 65e9 * (32 / 64 - 8 / 64 - 32 / 16384) / 8e9 > 3.0  # 3 GB less

# %% [markdown]
# ## With the package
# The same 16 numbers, and codes that fill their bytes. (For the scales it uses an 8-bit *float*, as bitsandbytes does.)

# %% tags=["package"]
from tinygrad_llm.weights.quantized import quantize
from tinygrad_llm.weights.quantized.nf4 import NF4_VALUES

assert np.abs(NF4_VALUES - levels).max() < 1e-5
matrix = quantize(bell.numpy(), "nf4")
theirs = torch.tensor(matrix.dequantize())
print(f"{matrix.nbytes * 8 / bell.numel():.3f} bits per weight, error {error(bell, theirs):.2%}, "
      f"by hand with float32 scales {error(bell, in_blocks(bell, levels)):.2%}")
assert abs(matrix.nbytes * 8 / bell.numel() - 4.127) < 0.01
assert abs(error(bell, theirs) - error(bell, in_blocks(bell, levels))) < 0.002
compared = {kind: error(bell, torch.tensor(quantize(bell.numpy(), kind).dequantize())) for kind in ("q4_0", "q4_1", "nf4")}
print({kind: f"{e:.2%}" for kind, e in compared.items()}, "at 4.5, 5 and 4.127 bits")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
x = np.linspace(-1, 1, 400)
left.plot(x, np.exp(-((x * 2.5) ** 2) / 2), color="grey")
for i, (name, table) in enumerate(tables.items()):
    left.plot(table, [-0.1 - 0.1 * i] * 16, "|", ms=14, label=name)
    right.plot(table, usage[name], "o-", label=name)
left.set_xlabel("weight / largest of its block"), left.legend()
right.set_xlabel("the number"), right.set_ylabel("share of the weights"), right.legend()
save_plot(figure, "02_nf4")

# %% [markdown]
# ## Exercises
# 1. Let data choose: begin with even levels and repeat "each level becomes the mean of the weights that chose it" (Lloyd's
#    algorithm). How much better than NF4 is the result, for normalised blocks of a bell curve?
# 2. Why must 0 be one of the 16 numbers? Try a table without it on weights of which half are 0.
# 3. Larger blocks need fewer scales. Bits per weight and error of NF4 for blocks of 32, 64, 128, 1,024?
#
# Solutions: `lessons/solutions/10_quantisation/02_nf4.py`
