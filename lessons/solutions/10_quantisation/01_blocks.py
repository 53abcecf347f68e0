# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: weights in 8 and in 4 bits
#
# ## 1. Two numbers in a byte
# 16·high + low. GGUF's blocks put weight j into the low half and weight j + 16 into the high half.

# %%
import numpy as np

import tinygrad_llm as torch

q = np.arange(32) % 16
packed = (q[:16] | q[16:] << 4).astype(np.uint8)  # (32) -> (16)
back = np.concatenate([packed & 15, packed >> 4])  # (16) -> (32)
print(f"{q.size} numbers in {packed.nbytes} bytes")
assert np.array_equal(back, q) and packed.nbytes == 16

# %% [markdown]
# ## 2. The size of a block
# Small blocks have small steps, and many of them. 32 is a good middle.

# %%
torch.manual_seed(1)
w = torch.randn(64, 256)


def error(back):
    return ((w - back).norm() / w.norm()).item()


def in_blocks(block, shrink=1.0):
    rows = w.reshape(-1, block)  # (O, I) -> (O·I/block, block)
    step = rows.abs().max(dim=1, keepdim=True).values / 7 * shrink
    return (torch.round(rows / step).clamp(-7, 7) * step).reshape(w.shape)


errors = {block: error(in_blocks(block)) for block in (8, 16, 32, 64, 128)}
for block, e in errors.items():
    print(f"blocks of {block:3}: {4 + 16 / block:5.3f} bits per weight, error {e:.1%}")
assert list(errors.values()) == sorted(errors.values())

# %% [markdown]
# ## 3. A smaller step
# The largest weight of a block is then cut, and all others are finer. A little less than max/7 is best.

# %%
shrunk = {s: error(in_blocks(32, s)) for s in (0.7, 0.8, 0.9, 0.95, 1.0)}
best = min(shrunk, key=shrunk.get)
print(", ".join(f"{s}: {e:.2%}" for s, e in shrunk.items()), "; best", best)
assert 0.7 <= best < 1.0
