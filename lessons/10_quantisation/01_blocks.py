# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Weights in 8 and in 4 bits
#
# **Question.** A float32 has 32 bits and about seven digits. A model does not need seven digits of each weight. How few
# bits are enough, and what exactly is lost?
#
# **For example.** Weights 0.31 and −0.7, 4 bits, the largest is 0.7: the step is 0.1, and 0.31 is stored as
# 3, which means 0.3. The error is 0.01.
#
# **Predict first.** From 8 bits to 4 bits the file becomes half as large. Does the error double, or does it become
# 16 times larger?
#
# Choose a step d, and store the nearest whole number of steps:
#
#     q = round(w / d)          w ≈ d·q          |error| <= d/2
#
# With 8 bits q is −127 … 127, with 4 bits −8 … 7. The step must reach the largest weight: d = max|w| / 127. So one
# large weight makes the step of all others coarse. The cure: a step for each *block* of 32 weights.
#
# **You need.** Chapter 01, lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: one step for a row

# %%
def to_codes(w, levels):
    """Rows of w (O, I) as whole numbers from −levels to levels, and the step of each row (O, 1)."""
    step = w.abs().max(dim=1, keepdim=True).values / levels
    return torch.round(w / step).clamp(-levels, levels), step


def error(w, back):
    return ((w - back).norm() / w.norm()).item()


torch.manual_seed(123)
w = torch.randn(64, 256) * 0.02  # (O, I)
codes, step = to_codes(w, 127)
print("shapes: codes", tuple(codes.shape), " steps", tuple(step.shape))
print("first weights", [round(x, 4) for x in w[0, :4].tolist()], " codes", codes[0, :4].int().tolist(),
      " back", [round(x, 4) for x in (codes * step)[0, :4].tolist()])
assert ((w - codes * step).abs() <= step / 2 + 1e-8).all()
errors = {}
for bits in (8, 6, 4, 3, 2):
    codes, step = to_codes(w, 2 ** (bits - 1) - 1)
    errors[bits] = error(w, codes * step)
    print(f"{bits} bits: {errors[bits]:.2%} of the size of w")
assert 14 < errors[4] / errors[8] < 22  # 127 steps or 7 steps: 18 times

# %% [markdown]
# Each bit less doubles the error, so 4 bits less are about 16 times. The error is spread evenly over ±d/2; its size is
# d/√12 (the standard deviation of such a number):

# %%
codes, step = to_codes(w, 127)
measured, expected = (w - codes * step).pow(2).mean().sqrt().item(), (step.mean() / 12**0.5).item()
print(f"size of the error {measured:.2e}, d/√12 = {expected:.2e}")
assert abs(measured / expected - 1) < 0.05

# %% [markdown]
# ## By hand: blocks
# One weight is 50 times larger than the others (trained models have such weights). It spoils its row, or only
# its block.

# %%
outlier = w.clone()
outlier[:, 7] = 1.0
rest = torch.ones(256).bool()
rest[7] = False


def in_blocks(w, levels, block):
    codes, step = to_codes(w.reshape(-1, block), levels)  # (O, I) -> (O·I/block, block)
    return (codes * step).reshape(w.shape)


for block in (256, 32):
    back = in_blocks(outlier, 7, block)
    print(f"4 bits, blocks of {block:3}: error of the ordinary weights {error(outlier[:, rest], back[:, rest]):.1%}")
assert error(outlier[:, rest], in_blocks(outlier, 7, 256)[:, rest]) > 0.9  # all of them became 0
assert error(outlier[:, rest], in_blocks(outlier, 7, 32)[:, rest]) < 0.5

# %% [markdown]
# Steps cost bytes too. A step in 16 bits for 32 weights adds half a bit to each:

# %%
formats = {"float32": 32, "float16": 16, "8 bits, blocks of 32": 8 + 16 / 32, "4 bits, blocks of 32": 4 + 16 / 32,
           "4 bits, step and offset": 4 + 32 / 32}
for name, bits in formats.items():
    print(f"{name:24} {bits:4} bits per weight: 8 billion weights are {8e9 * bits / 8 / 1e9:5.1f} GB")
assert formats["4 bits, blocks of 32"] == 4.5

# %% [markdown]
# An *offset* m helps blocks that are not even around 0: w ≈ d·q + m with q = 0 … 15 uses all 16 numbers.

# %%
def with_offset(w, block=32):
    rows = w.reshape(-1, block)  # (O, I) -> (O·I/32, 32)
    m = rows.min(dim=1, keepdim=True).values
    d = (rows.max(dim=1, keepdim=True).values - m) / 15
    return (torch.round((rows - m) / d).clamp(0, 15) * d + m).reshape(w.shape)


print(f"4 bits: error {error(w, in_blocks(w, 7, 32)):.2%} around 0, {error(w, with_offset(w)):.2%} with an offset")
assert error(w, with_offset(w)) < error(w, in_blocks(w, 7, 32))

# %% [markdown]
# ## What it does to a layer
# y = W·x adds many products, and the errors of the weights are independent: in the sum they do not add up in size, but
# like random steps. So the relative error of y is about that of W, no matter how many channels there are.

# %%
for n in (64, 256, 1024):
    big, x = torch.randn(64, n) * 0.02, torch.randn(32, n)
    back = in_blocks(big, 7, 32)
    print(f"{n:4} channels: error of W {error(big, back):.1%}, of y {error(x @ big.T, x @ back.T):.1%}")
    assert 0.7 < error(x @ big.T, x @ back.T) / error(big, back) < 1.4

# %% [markdown]
# ## With the package
# `quantize` makes these formats: "int8" (a step per row), and GGUF's blocks of 32, "q8_0", "q4_0", "q4_1" (with
# offset). They stay packed in memory, two 4-bit numbers in a byte.

# %% tags=["package"]
from tinygrad_llm.layers.quantized import QuantizedLinear
from tinygrad_llm.weights.quantized import quantize

bytes_of, error_of = {"float32": 4.0}, {"float32": 0.0}
for kind in ("int8", "q8_0", "q4_1", "q4_0"):
    matrix = quantize(w.numpy(), kind)
    bytes_of[kind], error_of[kind] = matrix.nbytes / w.numel(), error(w, torch.tensor(matrix.dequantize()))
    print(f"{kind:5} {matrix.nbytes:6,} bytes of {w.numel() * 4:,}, {bytes_of[kind] * 8:.2f} bits per weight, "
          f"error {error_of[kind]:.2%}")
codes, step = to_codes(w, 127)
assert torch.allclose(torch.tensor(quantize(w.numpy(), "int8").dequantize()), codes * step, atol=1e-7)
assert abs(error_of["q4_1"] - error(w, with_offset(w))) < 0.005
layer, x = QuantizedLinear(w, kind="q4_1"), torch.randn(3, 256)
assert torch.allclose(layer(x), x @ torch.tensor(layer.matrix.dequantize()).T, atol=1e-4)
print(layer)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.semilogy(list(errors), list(errors.values()), "o-"), left.set_xlabel("bits"), left.set_ylabel("error of W")
for kind in list(bytes_of)[1:]:
    right.plot(bytes_of[kind] * 8, error_of[kind], "o", label=kind)
right.set_xlabel("bits per weight, steps included"), right.set_ylabel("error of W"), right.set_yscale("log")
right.legend()
save_plot(figure, "01_blocks")

# %% [markdown]
# ## Exercises
# 1. Pack two 4-bit numbers into one byte and unpack them again. Which is in the low half?
# 2. Blocks of 8, 16, 32, 64, 128: bits per weight (16 for each step) and error. Which would you choose?
# 3. max|w| / 7 makes the step reach the largest weight. Try smaller steps, 0.7 to 1.0 times it, and cut off what is too
#    large. Which is best for a bell curve?
#
# Solutions: `lessons/solutions/10_quantisation/01_blocks.py`
