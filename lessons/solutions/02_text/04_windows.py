# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: sliding windows
#
# ## 1. How many windows?
# A window at i needs the tokens i … i + T, so i ≤ N − T − 1. The starts are 0, S, 2S, …:
# ⌊(N − T − 1)/S⌋ + 1 windows, and none if N ≤ T.

# %%
import tinygrad_llm as torch
from tinygrad_llm.utils.data import DataLoader, TensorDataset


def starts(N, T, S):
    return range(0, N - T, S)


cases = [(N, T, S) for N in range(1, 40) for T in (1, 4, 7) for S in (1, 3, 4, 9)]
for N, T, S in cases:
    formula = (N - T - 1) // S + 1 if N > T else 0
    assert formula == len(starts(N, T, S))
print("the formula holds in", len(cases), "cases")

# %% [markdown]
# ## 2. Never a target
# The very first token, which has nothing before it, and what remains at the end: fewer than T
# tokens.

# %%
N, T = 5145, 256
targets = {t for s in starts(N, T, T) for t in range(s + 1, s + T + 1)}
never = sorted(set(range(N)) - targets)
print("never a target:", len(never), "tokens: the first, and the last", len(never) - 1)
assert never == [0, *range(5121, 5145)] and len(never) - 1 < T

# %% [markdown]
# ## 3. The text again

# %%
ids = torch.arange(129)
windows = ids[:128].view(32, 4), ids[1:].view(32, 4)  # (128) -> (32, 4)
loader = DataLoader(TensorDataset(*windows), batch_size=8, shuffle=False)
inputs = torch.cat([x.flatten() for x, _ in loader])  # 4 of (8, 4) -> (128)
print("batches", len(loader), "  all inputs", inputs.shape)
assert torch.equal(inputs, ids[:128])
